"""Is drift named by field, how soon, with which weight; and does a quiet stream stay quiet?

    python -m benchmarks.drift quiet [--streams 20] [--days 30] [--per-day 60000]
    python -m benchmarks.drift faults [--seeds 3]
    python -m benchmarks.drift whole --folder DATA     # whole partitions, on the Handbook's stream
    python -m benchmarks.drift shard --folder DATA     # four of them; one drifts
    python -m benchmarks.drift cost --folder DATA      # time per event

Delays are in events since the change: at 500 events/s 5 minutes are 150,000.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.drift.faults import FAULTS
from benchmarks.drift.quiet import told

CHANGED_DAY = 12.3  # in the second week


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("quiet", "faults", "whole", "shard", "cost"))
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--first", type=int, default=100, help="seed of the first stream")
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--per-day", type=float, default=60_000.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--day", type=float, default=CHANGED_DAY, help="of the change")
    parser.add_argument("--faults", nargs="*", default=[name for name in FAULTS if name != "one_percent"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.what in ("whole", "shard"):
        from benchmarks.drift import whole

        run = whole.main if options.what == "whole" else whole.one_of_four
        run(options.folder / "handbook.jsonl.gz", 32, 4 if options.what == "whole" else 12)
    elif options.what == "cost":
        from benchmarks.drift import cost

        cost.main(options.folder)
    elif options.what == "quiet":
        pages = 0
        for seed in range(options.first, options.first + options.streams):
            said = told(seed, options.per_day, options.days)
            pages += len(said)
            print(f"stream {seed}: {len(said)} drifts", flush=True)
            for day, text, _ in said:
                print(f"  day {day:.2f}: {text}", flush=True)
        print(f"{options.streams} streams of {options.days:g} days: {pages} drifts")
    else:
        for name in options.faults:
            change, field = FAULTS[name]
            days = options.day + (60.0 if name == "one_percent" else 150_000 / options.per_day)
            for seed in range(options.first, options.first + options.seeds):
                said = told(seed, options.per_day, days, change, options.day)
                after = [one for one in said if one[2]]
                hits = [one for one in after if f"'{field}'" in one[1].split(":")[0]]
                others = [one for one in after if one not in hits and "['score']" not in one[1]]
                first = f"{hits[0][2]:,} events, {hits[0][1]}" if hits else "NOT NAMED"
                rest = f"others {len(others)}; before {len(said) - len(after)}"
                print(f"{name}, stream {seed}: {first}; {rest}", flush=True)
                for one in others:
                    print(f"  day {one[0]:.2f}: {one[1]}", flush=True)


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
