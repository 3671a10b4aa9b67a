"""Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once.

From Python, over data frames: `Detector`.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.api import Detector

__all__ = ["Detector", "__version__"]

__version__ = version("detector")  # stated in pyproject.toml


def __getattr__(name: str) -> Any:
    """Import `Detector` when it is asked for: it loads numba, and the command line should start fast."""
    if name == "Detector":
        from detector.api import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
