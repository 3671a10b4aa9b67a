"""Benchmarks; each module says what it measures, and how it is run."""

import detector  # noqa: F401  must come before numpy: it limits the CPU instructions numpy uses
