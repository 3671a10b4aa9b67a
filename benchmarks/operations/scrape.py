"""How long a scrape takes, and how many series it has: `python -m benchmarks.operations.scrape`.

Every series of the table exists, which no real process reaches. The time is CPU time, as other processes may
share the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time

from detector.shell.metrics import formula, series_max
from tests.unit.test_exposition import full
from tests.unit.test_metrics import render

TURNS = 21


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--fields", type=int, default=64)
    given = parser.parse_args()
    sizes = {"P": given.partitions, "F": given.fields, "E": 3, "O": 5 * given.partitions, "T": 3}
    scrape = render(full(**{name.lower(): size for name, size in sizes.items()}))
    for openmetrics in (False, True):
        took_ms = []
        for _ in range(TURNS):
            began_s = time.process_time()
            page, content_type = scrape(openmetrics)
            took_ms.append((time.process_time() - began_s) * 1e3)
        series = sum(not line.startswith("#") for line in page.decode().splitlines())
        print(
            f"{content_type.split(';')[0]}: {series:,} series, {len(page):,} bytes, "
            f"median {statistics.median(took_ms):.0f} ms, most {max(took_ms):.0f} ms of CPU time"
        )
    print(f"formula: {series_max(formula(), sizes):,}")


if __name__ == "__main__":
    main()
