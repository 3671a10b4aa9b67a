"""The queue of alerts, week by week: shares and precision of severities, and what comes first.

    python -m benchmarks.quality.alert_queue --stream simulate:1 --labels none --days 182

One table has a row per severity: its share of the alerts in the weeks with the smallest and with the largest,
their ratio, and the share of frauds among its alerts. The other has the queue of each day, ordered by
priority, by score and by severity: precision of its first `FIRST`, and the share of the alerted frauds' value
that is in them. Weeks begin after the warm-up; a last one that is not whole is left out.

`--labels` are those of `benchmarks.quality.run`. `--keep` writes the alerts with their truth; `--judge` reads
them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.quality.answers import Answers, parse_labels, write_feedback
from benchmarks.quality.metrics import DAY_S, BoolArray, FloatArray, IntArray
from benchmarks.quality.streams import FactsBuilder, blocks, make, parse_plans
from detector.core.alerts.severity import SEVERITIES
from detector.core.events import read_time
from detector.ports import Commit
from detector.shell import logs
from detector.wiring.file_replay import Replay, replay

FIRST = 20  # alerts of a day that somebody reads
WEEK_S = 7 * DAY_S
WARM_UP_S = DAY_S  # of the alerts, from the first one on


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Queue:
    """Alerts of a run, n of them."""

    time: FloatArray  # (n,) s
    severity: IntArray  # (n,) ranks
    score: FloatArray  # (n,)
    priority: FloatArray  # (n,) NaN: the alerts have none
    exposure: FloatArray  # (n,)
    fraud: BoolArray  # (n,)

    @classmethod
    def of(cls, bodies: Sequence[dict[str, Any]], frauds: BoolArray) -> Queue:
        """Read the alerts, of which `frauds` (n,) are right."""
        nothing = float("nan")
        return cls(
            time=np.array([read_time(body["event_time"]) for body in bodies]),
            severity=np.array([SEVERITIES.index(body["severity"]) for body in bodies], dtype=np.int64),
            score=np.array([body["score"]["raw"] for body in bodies]),
            priority=np.array([body.get("priority", nothing) for body in bodies], dtype=np.float64),
            exposure=np.array([1.0 if body["exposure"] is None else body["exposure"] for body in bodies]),
            fraud=frauds,
        )


def main() -> None:
    """Run, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stream", default="simulate:1", help="name of a stream")
    parser.add_argument("--labels", type=parse_labels, default=parse_labels("none"))
    parser.add_argument("--folder", type=Path, help="folder of streams that are not simulated")
    parser.add_argument("--days", type=int, default=182, help="length of simulated streams")
    parser.add_argument("--events", type=int, help="use only the first events")
    parser.add_argument("--set", action="append", default=[], help="setting of the service, KEY=VALUE")
    parser.add_argument("--keep", type=Path, help="file for the alerts")
    parser.add_argument("--judge", type=Path, help="such a file: nothing is run")
    options = parser.parse_args()
    if options.judge is not None:
        bodies = [msgspec.json.decode(line) for line in options.judge.read_bytes().splitlines()]
    else:
        bodies = _run(options)
    if options.keep is not None:
        options.keep.write_bytes(b"".join(msgspec.json.encode(body) + b"\n" for body in bodies))
    queue = Queue.of(bodies, np.array([body["fraud"] for body in bodies], dtype=bool))
    print(severities(queue), queues(queue), sep="\n\n")


def _run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Alerts of a replay, each with its truth as `fraud`."""
    plan = options.labels
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        days = options.days if options.events is None else None
        stream = make(
            parse_plans(options.stream)[0],
            options.folder,
            scratch,
            days=days,
            events_max=options.events,
            overrides=options.set,
        )
        builder = FactsBuilder(stream)
        for block in blocks(stream):
            builder.add(block)
        facts = builder.build()
        feedback = scratch / "feedback.jsonl" if plan.mode == "late" else None
        if feedback is not None:
            write_feedback(feedback, plan, facts)
        answers = Answers(plan, facts, stream.config.topics.alerts) if plan.mode == "answers" else None
        frauds = {id_ for id_, kind in zip(facts.ids, facts.kind.tolist(), strict=True) if kind}

        def watch(commit: Commit) -> None:
            if answers is not None:
                answers.watch(commit)
            for message in commit.messages:
                if message.topic == stream.config.topics.alerts and message.value is not None:
                    body = msgspec.json.decode(message.value)
                    found.append({**body, "fraud": body["event_id"] in frauds})

        log = logs.get_logger("detector")
        files = Replay(events=stream.events, feedback=feedback)
        replay(stream.config, {}, files, log, lambda _: None, feedback=answers, watch=watch)
    return found


def severities(queue: Queue) -> str:
    """The table of severities."""
    week = ((queue.time - queue.time[0] - WARM_UP_S) // WEEK_S).astype(np.int64)
    weeks = int((queue.time[-1] - queue.time[0] - WARM_UP_S) // WEEK_S)
    judged = (week >= 0) & (week < weeks)
    rows = [
        f"{judged.sum():,} alerts in {weeks} weeks",
        "",
        "| severity | share | least | most | ratio | precision | halves |",
        "|---|---|---|---|---|---|---|",
    ]
    for rank, name in enumerate(SEVERITIES):
        mine = judged & (queue.severity == rank)
        shares = np.bincount(week[mine], minlength=weeks) / np.maximum(
            np.bincount(week[judged], minlength=weeks), 1
        )
        halves = [queue.fraud[mine & half] for half in (week < weeks // 2, week >= weeks // 2)]
        precision = " / ".join(f"{half.mean():.2f}" if len(half) else "-" for half in halves)
        ratio = shares.max() / max(shares.min(), 1e-9)
        rows.append(
            f"| {name} | {mine.sum() / max(judged.sum(), 1):.3f} | {shares.min():.3f} | {shares.max():.3f} "
            f"| {ratio:.2f} | {queue.fraud[mine].mean() if mine.any() else float('nan'):.3f} | {precision} |"
        )
    return "\n".join(rows)


def queues(queue: Queue) -> str:
    """The table of what comes first."""
    day = (queue.time // DAY_S).astype(np.int64)
    value = np.where(queue.fraud, queue.exposure, 0.0)
    orders = {"priority": queue.priority, "score": queue.score, "severity": queue.severity + 0.0}
    rows = [
        "| queue by | precision@5 | precision@20 | value in the first 5 | in the first 20 |",
        "|---|---|---|---|---|",
    ]
    for name, key in orders.items():
        if np.isnan(key).any():
            continue
        picked = {
            first: np.concatenate([_first(np.flatnonzero(day == one), key, first) for one in np.unique(day)])
            for first in (5, FIRST)
        }
        cells = [queue.fraud[chosen].mean() for chosen in picked.values()]
        cells += [value[chosen].sum() / max(value.sum(), 1e-9) for chosen in picked.values()]
        rows.append(f"| {name} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return "\n".join(rows)


def _first(places: IntArray, key: FloatArray, count: int) -> IntArray:
    """Those of `places` with the highest keys, at most `count`."""
    return places[np.argsort(-key[places], kind="stable")[:count]]


if __name__ == "__main__":
    main()
