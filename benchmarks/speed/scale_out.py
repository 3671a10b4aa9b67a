"""Speed of two replicas compared with one, and the broker's share of the CPU.

    python -m benchmarks.speed.scale_out

One preloaded topic of 8 partitions is processed by one daemon and by two, in turns (see
`benchmarks.speed.service` for how a rate is measured; the clock starts when each replica has its half). The
table also has the CPU use of every process, in cores: where replicas and broker together use the whole
machine, a second replica cannot be faster.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.speed.common import about, parser, progress, ratio, rounds, show, transactions
from benchmarks.speed.service import BROKER, Service, Worked
from tests.kafka.broker import KafkaBroker

PARTITIONS = 8
REPLICAS = (1, 2)


def main() -> None:
    """Run the command."""
    options = parser(__doc__, events=400_000, rounds=3).parse_args()
    if options.quick:
        options.events, options.rounds = 60_000, 1
    print(about(BROKER))
    with (
        tempfile.TemporaryDirectory(prefix="detector-speed-") as folder,
        KafkaBroker() as broker,
        Service(broker, Path(folder), "scale", PARTITIONS, options.set) as service,
    ):
        progress(f"filling {PARTITIONS} partitions")
        service.preload(islice(transactions(options), options.events))
        found = rounds(options.rounds, {f"{n}": partial(service.run, n) for n in REPLICAS})
    rows = []
    rates = {replicas: [run.rate for run in runs] for replicas, runs in found.items()}
    for replicas, runs in found.items():
        cells = [f"{median(map(share, runs)):.2f}" for share in (replicas_cores, broker_cores)]
        cells += [f"{median(map(share, runs)):.0f} us" for share in (replicas_us, broker_us)]
        change = ratio(rates[replicas], rates[f"{REPLICAS[0]}"])
        rows.append([replicas, f"{median(rates[replicas]):,.0f}", f"{change:.2f}", *cells])
    show(
        f"{options.events:,} events in {PARTITIONS} partitions, median of {options.rounds} rounds",
        ["replicas", "events/s", "ratio", "cores used", "by broker", "CPU per event", "by broker"],
        rows,
    )
    print(f"the machine has {os.cpu_count()} CPUs")


def broker_cores(run: Worked) -> float:
    """CPU use of the broker, in cores."""
    return run.cpu_s["broker"] / run.seconds


def replicas_cores(run: Worked) -> float:
    """CPU use of all replicas, in cores."""
    return sum(run.cpu_s.values()) / run.seconds - broker_cores(run)


def broker_us(run: Worked) -> float:
    """The broker's CPU time per event."""
    return 1e6 * broker_cores(run) / run.rate


def replicas_us(run: Worked) -> float:
    """The replicas' CPU time per event."""
    return 1e6 * replicas_cores(run) / run.rate


if __name__ == "__main__":
    main()
