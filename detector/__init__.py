"""Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once."""

__version__ = "0.1.0"  # also that of the distribution, which pyproject.toml names
