"""Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once."""

import os

# numpy's exp and log for AVX-512 differ from those for older CPUs in the last bit. Without them a state is
# the same on both. They are chosen when numpy is loaded, hence here; if it was loaded before, it keeps them.
os.environ.setdefault("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR")

__version__ = "0.1.0"  # also that of the distribution, which pyproject.toml names
