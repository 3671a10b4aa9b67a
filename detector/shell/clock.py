"""The system's clocks, for intervals and latency. The model never reads them."""

from __future__ import annotations

import time


class SystemClock:
    """A `detector.ports.Clock`."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
