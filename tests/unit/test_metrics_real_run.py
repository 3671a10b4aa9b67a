"""Every exported series is fed: a real run moves it, or it is listed here with the reason why not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from threadpoolctl import threadpool_limits

from detector.config.tree import Config
from detector.core.labels.receipts import OUTCOMES
from detector.core.records import REASONS
from detector.core.recovery.journal import Journal
from detector.core.reporting.standing import FAILURES
from detector.core.reporting.telemetry import PartitionTelemetry
from detector.ports import Committed
from detector.shell.metrics import METRICS, TelemetryCollector, renderer
from detector.shell.runner.loop import Runner
from detector.shell.space import SpaceWatch
from detector.testing import MemoryLog
from tests.promql import FIXED
from tests.unit.runner_world import World
from tests.unit.test_shard import SCHEMA

Series = tuple[str, str]
"""Name of a metric, value of its last label (empty: it has none but `partition`)."""

PER_DAY, COMPROMISED = 200, "t-3"
START_S = 1_700_000_000.0
NOT_MOVED: dict[Series, str] = {
    **dict.fromkeys(
        [("detector_checkpoint_failures_total", kind) for kind in FAILURES],
        "needs a real store; see test_vitals.py",
    ),
    ("detector_partition_state", "waiting"): "needs a full journal; see test_runner_checkpoints.py",
    ("detector_rebalances_total", "lost"): "needs a member that goes on; see test_vitals.py",
    ("detector_rebalances_total", "revoked"): "needs a second member; see test_vitals.py",
    ("detector_events_rejected_total", "key_mismatch"): "only with require_key; see test_shard.py",
    ("detector_exchange_changes_dropped_total", ""): "needs 16,384 changes at once; see test_sharing.py",
    ("detector_exchange_messages_total", "foreign"): "needs another group; see test_exchange.py",
    ("detector_exchange_messages_total", "duplicate"): "needs at_least_once; see test_exchange.py",
    ("detector_exchange_messages_total", "too_large"): "needs 900,000 bytes; see test_exchange.py",
    ("detector_exchange_messages_total", "unfit"): "needs another schema; see test_sharing.py",
    ("detector_alerts_suppressed_total", "snooze"): "needs a snooze; see test_snoozes.py",
    ("detector_shifts_total", ""): "needs a change of the stream; see test_shifts.py",
    ("detector_index_hnsw_ratio", ""): "needs 4,096 core events; see test_shape.py",
    ("detector_index_deleted_ratio", ""): "needs a graph; see test_index.py",
    ("detector_refit_duration_seconds", ""): "needs threads; see test_vitals.py",
    ("detector_promotions_held", ""): "needs an operator; see test_versions.py",
    (
        "detector_transactions_ended_total",
        "dead_member",
    ): "needs a real Kafka; see tests/kafka/test_transactions.py",
    (
        "detector_transactions_ended_total",
        "hanging",
    ): "needs a real Kafka; see tests/kafka/test_transactions.py",
    ("detector_answerable_dropped_total", ""): "needs more alerts than fit; see test_event_archive.py",
    **dict.fromkeys(
        [
            ("detector_labels_total", outcome)
            for outcome in OUTCOMES
            if outcome not in ("applied", "retracted", "duplicate", "malformed", "unknown_kind")
        ],
        "every outcome is in test_receipts.py, test_labels.py and test_versions.py",
    ),
    **dict.fromkeys(
        [("detector_case_updates_total", cause) for cause in ("alert", "cooldown", "ended", "waiting")],
        "every cause is in test_cases.py",
    ),
    ("detector_events_irregular_total", "skipped"): "needs an envelope; see test_format_scores.py",
    **dict.fromkeys(
        [
            ("detector_events_rejected_total", reason)
            for reason in REASONS
            if reason not in ("malformed", "tombstone", "duplicate", "late", "key_mismatch")
        ],
        "one series for each reason; every reason is in test_parser.py and test_admission.py",
    ),
}


def config() -> Config:
    return Config.model_validate(
        {
            "event": SCHEMA,
            "model": {
                "barriers": {"block_events": 16, "every_events": 128, "early_events_min": 64},
                "clusters": {"core_events": 512, "count_max": 16, "memory_events": 1024, "members_min": 3},
                "encoder": {"dimension": 8, "hidden": 8, "hash_rows": 256},
                "calibration": {"memory_events": 1024, "warm_up_events": 256},
                "labels": {"buffer_events_max": 4096, "maturity_delay": "1d"},
            },
            "alerts": {
                "budget": {"share": 0.25},
                "exploration_share": 0.5,
                "cooldown": "1d",
                "severity": {"medium": 0.1, "high": 0.1, "critical": 0.7},
            },
            "topics": {
                "feedback": "feedback",
                "exchange": "exchange",
                "scores": "scores",
                "case_updates": "updates",
            },
            "checkpoints": {"interval": 0.05},
            "on_data_loss": "skip",
        }
    )


def event(rng: np.random.Generator, number: int, scale: float = 1.0) -> dict[str, Any]:
    moment = datetime.fromtimestamp(START_S + number * 86_400.0 / PER_DAY, UTC)
    return {
        "tx": {"id": f"tx-{number}", "time": moment.isoformat()},
        "customer": f"c-{rng.integers(60)}",
        "terminal": f"t-{rng.integers(12)}",
        "amount": float(rng.lognormal(3, 0.5)) * scale,
        "channel": ("web", "shop")[int(rng.integers(2))],
        "memo": "thanks",
    }


class RealRun:
    """Two partitions with labels, exchange, exploration and accidents; most traffic is on partition 0."""

    def __init__(self) -> None:
        self.world = World(partitions=2, config=config(), poll_records_max=64)
        self.moved: set[Series] = set()
        self.seen: set[Series] = set()
        self.unknown: set[tuple[str, str, str]] = set()  # values of labels that the table does not have
        infos = {"version": "1", "python": "3"}, {"model": "0", "delivery": "exactly_once", "shadow": ""}
        clock, telemetry = self.world.clock, self.world.telemetry
        self._render = renderer(
            TelemetryCollector(telemetry, *infos, monotonic=clock.monotonic, wall=clock.time)
        )
        SpaceWatch(lambda: 10**9, telemetry, MemoryLog()).look()
        self._rng = np.random.default_rng(4)
        self._number = 0
        self._answered = 0

    def runner(self) -> Runner:
        return self.world.runner()

    def produce(self, count: int, scale: float = 1.0) -> None:
        for _ in range(count):
            self.append(event(self._rng, self._number, scale))
            self._number += 1

    def produce_irregular(self) -> None:
        """Bytes that are no event, a repeated event, one out of order, a late one, one with a foreign key."""
        self.append(b"{")
        self.append(None)
        for back in (0, 0, 1):
            self.append(event(self._rng, self._number - back))
        late = event(self._rng, self._number + 2)
        self.append(late | {"tx": {"id": "late", "time": "2020-01-01T00:00:00Z"}})
        self.append(event(self._rng, self._number + 3), key=b"other")
        self._number += 4

    def append(self, value: dict[str, Any] | bytes | None, key: bytes | None = None) -> None:
        data = json.dumps(value).encode() if isinstance(value, dict) else value
        if key is None and isinstance(value, dict):
            key = str(value["customer"]).encode()
        log_ms = int(self.world.clock.time() * 1000) - 50
        self.world.broker.append(int(self._number % 4 == 3), data, key=key, timestamp_ms=log_ms)

    def answer(self) -> None:
        """Label every alert that was published since the last time."""
        alerts = [m for m in self.world.broker.published if m.topic == "alerts"]
        for message in alerts[self._answered :]:
            body = json.loads(message.value or b"{}")
            fraud = body["entities"]["terminal"] == COMPROMISED
            self.label(body["event_id"], "fraud" if fraud else "legitimate")
        self._answered = len(alerts)

    def label(self, event_id: str, label: str, **more: str) -> None:
        line = {"time": START_S, "label": label, "event_id": event_id, **more}
        self.world.feedback.append(json.dumps(line).encode())

    def turn(self, runner: Runner, turns: int = 12) -> None:
        for _ in range(turns):
            runner.turn()
            self.world.ends.look()
            if self.world.telemetry.outages.since_s is not None:
                self.scrape()
        self.scrape()

    def scrape(self) -> None:
        page, _ = self._render(False)
        for family in text_string_to_metric_families(page.decode()):
            name = family.name + "_total" * (family.type == "counter")
            for sample in family.samples:
                self.unknown |= {
                    (name, label, value)
                    for label, value in sample.labels.items()
                    if value not in FIXED.get((name, label), {value})
                }
                labels = {k: v for k, v in sample.labels.items() if k not in ("partition", "le")}
                last = "" if name.endswith("_info") else next(iter(labels.values()), "")
                self.seen.add((name, last))
                if sample.value:
                    self.moved.add((name, last))

    def live(self) -> None:
        """Run through everything that is expected to move a series."""
        world = self.world
        # A model that learns from answers, side topics with lines that are no messages.
        runner = self.runner()
        for part in range(14):
            self.produce(200)
            self.produce_irregular()
            if part == 10:
                self.label("tx-3", "fraud", feedback_id="a")
                self.label("tx-3", "fraud", feedback_id="a")
                self.label("tx-3", "retracted", feedback_id="b")
                self.label("tx-7", "fraud", kind="other")
                world.feedback.append(b"{")
                world.exchange.append(b"{")
            self.turn(runner)
            self.answer()
        # Amounts change for good, then events become unreadable; the budget cannot hold all the alerts.
        for _ in range(8):
            self.produce(200, scale=50.0)
            self.turn(runner)
        for _ in range(400):
            self.append(b"{")
            self.produce(2)
        self.turn(runner, 40)
        # A commit fails; events wait while the broker is away.
        self.produce(50)
        world.clock.sleep(6.0)
        world.ends.look()
        world.clock.sleep(1.0)
        self.scrape()
        world.broker.fail_commits()
        self.turn(runner)
        # No checkpoint can be written; the process dies; its successor replays and finds another state.
        world.store.fail = 1_000_000
        self.produce(600)
        self.turn(runner, 40)
        world.store.fail = 0
        committed = world.broker.committed[0]
        noted = Journal.from_text(committed.metadata).barriers[-1].state
        wrong = committed.metadata.replace(noted, f"{noted.split(':')[0]}:000000000000")
        world.broker.committed[0] = Committed(offset=committed.offset, metadata=wrong)
        runner = self.successor()
        self.turn(runner, 40)
        # It dies too, and the log deletes what nobody has processed.
        self.produce(100)
        world.broker.trim(0, world.broker.end(0) - 10)
        runner = self.successor()
        self.turn(runner, 40)
        world.broker.closed = True
        runner.stop()
        runner.run()
        self.scrape()

    def successor(self) -> Runner:
        """Another process, after the first one ended without leaving."""
        self.world.broker.evict(self.world.stream)
        return self.runner()


@pytest.fixture(scope="module")
def lived() -> RealRun:
    with threadpool_limits(1):
        made = RealRun()
        made.live()
    return made


def test_a_real_run_moves_every_series(lived: RealRun) -> None:
    # Which causes an update has depends on the stream; see test_cases.py and test_case_updates.py. Drift is
    # judged after eight days, see test_drift.py.
    elsewhere = ("detector_case_updates_total", "detector_drift_", "detector_label_precision")
    unmoved = {one for one in lived.seen - lived.moved if not one[0].startswith(elsewhere)}
    assert sorted(unmoved - NOT_MOVED.keys()) == []


def test_no_label_has_a_value_that_the_table_lacks(lived: RealRun) -> None:
    assert lived.unknown == set()


def test_every_exception_is_exported_and_has_not_moved(lived: RealRun) -> None:
    assert lived.seen >= NOT_MOVED.keys()
    assert sorted(lived.moved & NOT_MOVED.keys()) == []


def test_every_number_of_the_model_is_exported(lived: RealRun) -> None:
    read: set[str] = set()

    class Gauges(dict[str, float]):
        def get(self, name: str, default: Any = None) -> Any:
            read.add(name)
            return super().get(name, default)

    numbers = PartitionTelemetry(gauges=Gauges())
    for metric in METRICS:
        if metric.scope == "model" and not metric.timed:
            metric.read(numbers)
    assert read == set(lived.world.telemetry.partitions[0].gauges)
