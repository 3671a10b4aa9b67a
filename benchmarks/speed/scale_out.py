"""What a second replica brings, and what the broker takes.

    python -m benchmarks.speed.scale_out

One preloaded topic of 8 partitions is worked off by one daemon and by two, in turns (how a rate is measured
says `benchmarks.speed.service`; the clock runs from when each replica has its half on). Beside the rates
stand the CPU seconds of every process in the measured time, in cores: where replicas and broker together use
all that the machine has, a second replica cannot bring more.
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
        worked: dict[int, list[Worked]] = {replicas: [] for replicas in REPLICAS}

        def rate(replicas: int) -> float:
            worked[replicas].append(service.run(replicas))
            return worked[replicas][-1].rate

        found = rounds(options.rounds, {f"{n} replicas": partial(rate, n) for n in REPLICAS})
    rows = []
    for replicas, rates in zip(REPLICAS, found.values(), strict=True):
        runs = worked[replicas]
        daemons = [sum(cores(run, name) for name in run.cpu_s if name != "broker") for run in runs]
        brokers = [cores(run, "broker") for run in runs]
        rows.append(
            [
                f"{replicas}",
                f"{median(rates):,.0f}",
                f"{ratio(rates, next(iter(found.values()))):.2f}",
                f"{median(daemons):.2f}",
                f"{median(brokers):.2f}",
                f"{median(us_per_event(run, broker=False) for run in runs):.0f} us",
                f"{median(us_per_event(run, broker=True) for run in runs):.0f} us",
            ]
        )
    show(
        f"{options.events:,} events in {PARTITIONS} partitions, median of {options.rounds} rounds",
        ["replicas", "events/s", "ratio", "cores used", "by broker", "CPU per event", "by broker"],
        rows,
    )
    print(f"the machine has {os.cpu_count()} CPUs")


def cores(run: Worked, process: str) -> float:
    """How many CPUs a process kept busy."""
    return run.cpu_s[process] / run.seconds


def us_per_event(run: Worked, *, broker: bool) -> float:
    """CPU time per event, of the broker or of all replicas."""
    return 1e6 * sum(s for name, s in run.cpu_s.items() if (name == "broker") == broker) / run.events


if __name__ == "__main__":
    main()
