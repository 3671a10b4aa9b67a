"""Price of an alert: CPU time of an alert and of a candidate that is held back, beside that of plain scoring.

    python -m benchmarks.speed.alerts
    python -m benchmarks.speed.alerts --stream handbook --folder DATA
    python -m benchmarks.speed.alerts --labels

A partition without the world around it gets small polls, as under a steady load. Each poll is timed whole by
the laps of `detector.core.shard.partition.Partition`, and belongs to one of these kinds by what it gave:

    nothing    no candidate
    held       one candidate, held back; its case may be told of it
    alert      one alert

The price of an alert is the mean of the stage `alert` in polls of its kind less the mean in polls with
nothing; that of a candidate that is held back likewise. A poll's plain scoring is the stages before that one.
The budget is one in a hundred events, half of it for random ones, so that there are enough of all. With
`--labels` large amounts are labelled as frauds and some others as legitimate, as in
`benchmarks.speed.latency`: the labelled parts of the score cost something too.

The first half of the events, in which the model is young, is not counted, nor are polls that end a block.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import mean, stdev

import msgspec
from threadpoolctl import threadpool_limits

from benchmarks.speed.common import (
    about,
    clock_s,
    configuration,
    first_records,
    opened,
    parser,
    progress,
    show,
)
from benchmarks.speed.latency import SETTINGS, Transaction, label_of
from detector.config.tree import Config
from detector.core.records import Outputs, Record
from detector.core.recovery.sides import SideRange

SIDES = ("topics.feedback=feedback", "topics.exchange=exchange")
SCORING = ("parse", "features", "score")
NOTHING, HELD, ALERT = "nothing", "held", "alert"


class Laps:
    """Seconds by stage of one poll."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._last_s = clock_s()

    def reset(self) -> None:
        """Begin a poll."""
        self.seconds.clear()
        self._last_s = clock_s()

    def __call__(self, stage: str) -> None:
        """Record the end of `stage`."""
        now_s = clock_s()
        self.seconds[stage] += now_s - self._last_s
        self._last_s = now_s


def kind_of(outputs: Outputs) -> str | None:
    """The kind of a poll; None: several things at once."""
    alerts, held = len(outputs.alerts), sum(outputs.suppressed.values())
    if alerts + held > 1:
        return None
    return ALERT if alerts else HELD if held else NOTHING


Polls = dict[str, list[tuple[float, float]]]
"""Seconds of scoring and of the stage `alert`, of each poll by its kind."""


def measure(config: Config, log: Sequence[Record], poll_records: int, *, labels: bool) -> Polls:
    """Run a new partition over the log."""
    laps = Laps()
    partition = opened(config, laps)
    feedback: list[tuple[int, bytes]] = []
    decode = msgspec.json.Decoder(Transaction).decode
    polls: Polls = defaultdict(list)
    for start in range(0, len(log), poll_records):
        backlog = log[start : start + poll_records]
        if labels:
            found = [label_of(decode(record.value or b"")) for record in backlog]
            feedback += enumerate(filter(None, found), start=len(feedback))
        while backlog:
            laps.reset()
            step = partition.take(backlog)
            backlog = backlog[step.consumed :]
            kind = kind_of(step.outputs)
            if kind is not None and not step.block_ended and start >= len(log) // 2:
                scoring = sum(laps.seconds[stage] for stage in SCORING)
                polls[kind].append((scoring, laps.seconds["alert"]))
            if step.block_ended:
                ranges = {"feedback": SideRange(0, len(feedback))} if feedback else {}
                if (barrier := partition.due(ranges)) is not None:
                    at = {side: feedback[part.start : part.stop] for side, part in barrier.sides.items()}
                    partition.barrier(barrier, at)
    return polls


def rows_of(polls: Polls) -> list[list[str]]:
    """Rows of kind, polls, us of the stage `alert`, price with its standard error, price in scored polls."""
    scoring = mean(poll[0] for kind in polls.values() for poll in kind)
    base = [alerting for _, alerting in polls[NOTHING]]
    rows = []
    for kind in (NOTHING, HELD, ALERT):
        found = [alerting for _, alerting in polls.get(kind, [])]
        if len(found) < 2:
            rows.append([kind, str(len(found)), *4 * [""]])
            continue
        price = mean(found) - mean(base)
        error = stdev(found) / len(found) ** 0.5
        cells = [f"{1e6 * value:,.0f}" for value in (mean(found), price, error)]
        rows.append([kind, f"{len(found):,}", *cells, f"{price / scoring:.2f}"])
    return rows


def main() -> None:
    """Run the command."""
    made = parser(__doc__, events=60_000, rounds=1)
    made.add_argument("--poll", type=int, default=20, help="records per call")
    made.add_argument("--labels", action="store_true", help="with labels")
    options = made.parse_args()
    if options.quick:
        options.events = 6_000
    config = configuration([*SETTINGS, *(SIDES if options.labels else ()), *options.set])
    log = first_records(options)
    print(about())
    polls: Polls = defaultdict(list)
    with threadpool_limits(1):
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}")
            for kind, found in measure(config, log, options.poll, labels=options.labels).items():
                polls[kind] += found
    scoring = mean(poll[0] for kind in polls.values() for poll in kind)
    show(
        f"{len(log):,} events, the last half counted, {options.poll:,} at once; "
        f"scoring them {1e6 * scoring:,.0f} us a poll",
        ["poll with", "polls", "stage alert, us", "price, us", "+-", "in polls scored"],
        rows_of(polls),
    )


if __name__ == "__main__":
    main()
