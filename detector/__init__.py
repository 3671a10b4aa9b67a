"""Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once."""

from importlib.metadata import version

__version__ = version("detector")  # stated in pyproject.toml
