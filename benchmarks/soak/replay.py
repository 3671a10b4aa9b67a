"""Memory over a long stream: `replay` of simulated events, with checkpoints, measured at every tenth.

    python -m benchmarks.soak.replay --events 20000000

Prints resident memory at each tenth's end (the median over a tenth of it, as a checkpoint takes some memory
for a moment) relative to the first. Tables have bounds that the stream exceeds, so they are full early. Exit
code 1 if the first and last end differ by more than `ALLOWED`, or if an event is neither scored nor rejected.
Linux only (/proc). The events lie in a temporary file, some 130 bytes each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from detector.config.load import load
from detector.ports import Commit
from detector.shell import logs
from detector.wiring.file_replay import Replay, replay

CONFIG = Path(__file__).parents[2] / "configs" / "handbook.yaml"
BOUNDS = ("model.features.entities_max=16384", "model.features.pairs_max=131072")
ALLOWED = 0.05
STEPS = 10
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Samples:
    """Resident memory at equal steps of the stream."""

    def __init__(self, events: int) -> None:
        self.resident_mib: list[float] = []
        self._recent: list[float] = []
        self._step = events // STEPS
        self._began = time.monotonic()

    def watch(self, commit: Commit) -> None:
        """Take a sample close to a step's end; print their median there."""
        position = max(committed.offset for committed in commit.positions.values())
        end = self._step * (len(self.resident_mib) + 1)
        if position < end - self._step // STEPS:
            return
        self._recent.append(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MIB)
        if position < end:
            return
        self.resident_mib.append(median(self._recent))
        self._recent.clear()
        rate = position / (time.monotonic() - self._began)
        print(
            f"{position:>12,} events  {self.resident_mib[-1]:8.1f} MiB  x {self.change():.3f}  {rate:,.0f}/s",
            flush=True,
        )

    def change(self) -> float:
        """Ratio of the last sample to the first one."""
        return self.resident_mib[-1] / self.resident_mib[0]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="detector-soak-") as name:
        folder = Path(name)
        events = folder / "events.jsonl"
        simulated = ["simulate", "--out", str(events)]
        for option in ("events", "customers", "seed"):
            simulated += [f"--{option}", str(getattr(arguments, option))]
        subprocess.run([sys.executable, "-m", "detector", *simulated], check=True)
        logs.configure("warning", "console")
        samples = Samples(arguments.events)
        replayed = replay(
            load(CONFIG, BOUNDS, {}),
            {},
            Replay(events=events, checkpoints=folder / "progress"),
            logs.get_logger("detector"),
            lambda _: None,
            watch=samples.watch,
        )
    totals = replayed.telemetry.totals()
    rejected = sum(totals.rejected.values())
    print(f"received {totals.received:,} = scored {totals.scored:,} + rejected {rejected:,}")
    print(f"memory at the end / after the first tenth: {samples.change():.3f}")
    whole = totals.received == totals.scored + rejected == arguments.events
    return 0 if whole and abs(samples.change() - 1.0) <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
