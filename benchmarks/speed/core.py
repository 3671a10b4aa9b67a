"""CPU time per event in one partition, by stage, without IO.

    python -m benchmarks.speed.core
    python -m benchmarks.speed.core --stream handbook --folder DATA --events 200000

A stage is the code between two laps of `detector.core.shard.partition.Partition`. Within the stages some
parts are timed directly (`PARTS`); where one calls another, only the outer one is. "other" is the rest of the
stage. The first quarter of the events, in which the model is young, is not counted. Times are CPU time.

The last lines are for comparing two versions of the code: equal events must give equal alerts and an equal
hash of the state.
"""

from __future__ import annotations

import pkgutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from statistics import median
from typing import Any
from unittest import mock

from threadpoolctl import threadpool_limits

from benchmarks.speed.common import (
    POLL_RECORDS,
    WARM_UP_SHARE,
    about,
    clock_s,
    configuration,
    drive,
    first_records,
    make_barrier,
    opened,
    parser,
    progress,
    read_back,
    show,
)
from detector.config.tree import Config
from detector.core.records import Record
from detector.core.recovery.checkpoint import encode
from detector.core.shard.partition import Partition

PARTS = {
    "detector.core.shard.scoring:to_rows": "rows",
    "detector.core.features.profiles:Profiles.observe": "profiles",
    "detector.core.features.fraud_rates:FraudRates.read": "fraud rates",
    "detector.core.features.features:Features.compute": "inputs",
    "detector.core.model.encoder:Encoder.encode": "encode",
    "detector.core.model.index:Exact.search": "search",
    "detector.core.model.index:Hnsw.search": "search",
    "detector.core.model.encoder:PlainLearner.learn_each": "gradient steps",
    "detector.core.alerts.explain:Explainer.reasons": "explain",
    "detector.core.model.clusters:Clusters.update": "cluster",
    "detector.core.model.learned_part:tuned": "build index",
}
"""What is timed within stages, by where it is; what is not there (any more) is named in the output."""

OTHER = "other"


class Laps:
    """Seconds by stage, and by part within it."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(
            float
        )  # by stage and part; part "": all of the stage
        self._inside: dict[str, float] = defaultdict(float)  # by part, in the stage under way
        self._depth = 0
        self.reset()

    def reset(self) -> None:
        """Set all counts to zero."""
        self.seconds.clear()
        self._inside.clear()
        self._last_s = clock_s()

    def __call__(self, stage: str) -> None:
        """Record the end of `stage`."""
        now_s = clock_s()
        self.seconds[stage, ""] += now_s - self._last_s
        for part, seconds in self._inside.items():
            self.seconds[stage, part] += seconds
        self._inside.clear()
        self._last_s = now_s

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `function`: its time counts as `part` unless another part calls it."""

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._depth += 1
            began_s = clock_s()
            try:
                return function(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self._inside[part] += clock_s() - began_s

        return call

    @contextmanager
    def installed(self) -> Iterator[list[str]]:
        """Time the `PARTS`; yields those that do not exist."""
        missing = []
        with ExitStack() as patches:
            for place, part in PARTS.items():
                try:
                    patches.enter_context(
                        mock.patch(place.replace(":", "."), self.timed(part, pkgutil.resolve_name(place)))
                    )
                except (ImportError, AttributeError):
                    missing.append(place)
            yield missing


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Results of one run over the events."""

    us: dict[tuple[str, str], float]  # per event, by stage and part; part "": all of the stage
    alerts: int
    alerts_hash: str  # of their bytes, in order
    state_hash: str  # after the last barrier
    missing: list[str]  # of `PARTS`
    partition: Partition


def measure(config: Config, log: Sequence[Record], poll_records: int = POLL_RECORDS) -> Costs:
    """Run a new partition over the log; the first events are not timed."""
    laps = Laps()
    partition = opened(config, laps)
    warm_up = int(len(log) * WARM_UP_SHARE)
    alerts, digest = 0, sha256()
    with laps.installed() as missing:
        for piece in (log[:warm_up], log[warm_up:]):
            laps.reset()
            for outputs in drive(partition, piece, poll_records=poll_records):
                alerts += len(outputs.alerts)
                for alert in outputs.alerts:
                    digest.update(alert.body)
    per_event = {name: 1e6 * seconds / (len(log) - warm_up) for name, seconds in laps.seconds.items()}
    return Costs(
        us=per_event,
        alerts=alerts,
        alerts_hash=digest.hexdigest()[:12],
        state_hash=partition.state_hash,
        missing=missing,
        partition=partition,
    )


def table(runs: Sequence[Costs]) -> list[list[str]]:
    """Rows of stage, us per event (median), share; parts below their stage."""
    medians = {name: median(run.us.get(name, 0.0) for run in runs) for name in runs[0].us}
    stages = [stage for stage, part in medians if not part]
    whole = sum(medians[stage, ""] for stage in stages)
    rows = []
    for stage in stages:
        parts = {part: us for (owner, part), us in medians.items() if owner == stage and part}
        rows.append([stage, f"{medians[stage, '']:.2f}", f"{medians[stage, ''] / whole:.1%}"])
        if parts:
            parts[OTHER] = medians[stage, ""] - sum(parts.values())
        rows += [[f"  {part}", f"{us:.2f}", f"{us / whole:.1%}"] for part, us in parts.items()]
    return [*rows, ["all", f"{whole:.2f}", f"{1e6 / whole:,.0f}/s"]]


def checkpoint(partition: Partition, config: Config, count: int) -> str:
    """Measure checkpoint and restore of a partition at a block's end; returns a sentence."""
    make_barrier(partition)
    writes, reads, size = [], [], 0
    for _ in range(count):
        began_s = clock_s()
        name, manifest, state = encode(partition.snapshot())
        written_s = clock_s()
        read_back(name, manifest, state, config)
        reads.append(clock_s() - written_s)
        writes.append(written_s - began_s)
        size = len(manifest) + len(state)
    return f"checkpoint: {size:,} bytes, made in {median(writes):.3f} s, back in {median(reads):.3f} s"


def main() -> None:
    """Run the command."""
    made = parser(__doc__, events=65_536, rounds=3)
    made.add_argument("--poll", type=int, default=POLL_RECORDS, help="records per call")
    options = made.parse_args()
    if options.quick:
        options.events, options.rounds = 8_192, 1
    config = configuration(options.set)
    log = first_records(options)
    log = log[: len(log) - len(log) % config.model.barriers.block_events]  # a checkpoint is made at the end
    print(about())
    runs = []
    with threadpool_limits(1):
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}")
            runs.append(measure(config, log, options.poll))
        words = checkpoint(runs[-1].partition, config, options.rounds)
    counted = f"the last {1 - WARM_UP_SHARE:.0%} counted, {options.poll:,} at once"
    show(
        f"{len(log):,} events, {counted}; median of {len(runs)} rounds",
        ["stage", "us/event", "share"],
        table(runs),
    )
    print(f"\n{words} (in the background)")
    if runs[0].missing:
        print(f"not timed, because not found: {', '.join(runs[0].missing)}")
    for run in runs[:1] if len({(run.alerts_hash, run.state_hash) for run in runs}) == 1 else runs:
        print(f"alerts: {run.alerts}, sha256 {run.alerts_hash}; state_hash {run.state_hash}")


if __name__ == "__main__":
    main()
