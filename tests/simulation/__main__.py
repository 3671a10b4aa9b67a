"""`python -m tests.simulation`: run many seeds on all cores, or one with its trace."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulation.run import run, run_all

CHUNK = 20  # seeds that a process takes at once


def main() -> int:
    """Return 0 if every check passed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run only this seed, and print its trace")
    parser.add_argument("--seeds", type=int, default=1000, help="number of seeds")
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        result = run(arguments.seed)
        print(result.report())
        return int(bool(result.violation))
    stop, began_s, seconds = arguments.start + arguments.seeds, time.monotonic(), 0.0
    chunks = [range(first, min(first + CHUNK, stop)) for first in range(arguments.start, stop, CHUNK)]
    done, failed, happened, rounds = 0, list[str](), Counter[str](), 0
    # Not forked: a child must not inherit the threads that some seeds start.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(arguments.processes, mp_context=context)
    futures = {pool.submit(run_all, chunk): chunk for chunk in chunks}
    try:
        for future in as_completed(futures):
            reports, more, most = future.result()
            done += len(futures[future])
            failed += reports
            happened += more
            rounds = max(rounds, most)
            for report in reports:
                print(f"\n{report}\n", flush=True)
            seconds = time.monotonic() - began_s
            print(f"{done} of {arguments.seeds} seeds, {len(failed)} failed, {seconds:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("Interrupted: some seeds were not run.")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    print(f"\n{done} seeds of {arguments.start} to {stop - 1}, {len(failed)} failed, {seconds:.0f} s:")
    for name, count in sorted(happened.items()):
        print(f"  {name:36} {count:9}")
    print(f"  {'maximum rounds to drain':36} {rounds:9}")
    for report in failed:
        print(report.splitlines()[0])
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
