"""Is drift named, how soon, and does a quiet stream stay quiet? See `python -m benchmarks.drift --help`."""
