"""The machine's clock, for intervals and latency; the model never sees it."""

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
