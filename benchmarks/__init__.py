"""Benchmarks; each module says what it measures, and how it is run."""

import detector  # noqa: F401  before numpy: it says which instructions numpy may use, as in the service
