"""Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once.

From Python, over data frames: `Detector`.
"""

import os
from typing import TYPE_CHECKING, Any

# numpy's exp and log for AVX-512 differ from those for older CPUs in the last bit. Without them a state is
# the same on both. They are chosen when numpy is loaded, hence here; if it was loaded before, it keeps them.
os.environ.setdefault("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR")

if TYPE_CHECKING:
    from detector.api import Detector

__all__ = ["Detector", "__version__"]

__version__ = "0.1.0"  # also that of the distribution, which pyproject.toml names


def __getattr__(name: str) -> Any:
    """Import `Detector` when it is asked for: it loads numba, and the command line should start fast."""
    if name == "Detector":
        from detector.api import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
