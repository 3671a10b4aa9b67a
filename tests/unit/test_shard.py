"""A partition's outputs are a function of its log and its journal, however they are read."""

from __future__ import annotations

import gc
import json
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import detector
from detector.config.tree import ModelPart
from detector.core.alerts.case_rows import AMOUNT_MAX, PLACES_MAX
from detector.core.codes import CODES
from detector.core.jobs import AT_ONCE, Lane, Lanes, Result
from detector.core.records import Alert, CaseUpdate, DeadLetter, Identity, Record, Scored
from detector.core.recovery.checkpoint import Manifest, Snapshot, encode, read_manifest, read_state
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SideRange
from detector.core.shard.partition import Partition
from detector.core.shard.publishing import Taken
from detector.core.shard.shard import Shard
from detector.core.state import pack
from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events
from detector.errors import NeedsOperator
from detector.shell.background import BackgroundThread
from tests.sides import named

T = TypeVar("T")

BLOCK = 64
IDENTITY = Identity(topic="payments", group="fraud", partition=3, entity_key=b"of the tests")
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SCHEMA: dict[str, Any] = {
    "id": "tx.id",
    "time": {"path": "tx.time", "late": {"action": "reject"}},
    "duplicates": {"horizon_events": 250},
    "reversals": {"path": "tx.kind", "values": ["reversal"], "original": "tx.of"},
    "entities": [
        {"name": "customer", "path": "customer"},
        {"name": "terminal", "path": "terminal", "optional": True},
    ],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric", "unit": "EUR", "display": "Amount"},
        {"name": "channel", "path": "channel", "type": "categorical"},
        {"name": "memo", "path": "memo", "type": "text"},
    ],
    "exposure": "amount",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the daemon: results are reproducible with BLAS on one thread only."""
    with threadpool_limits(1):
        yield


def part(event: Mapping[str, Any] | None = None, **changes: Any) -> ModelPart:
    """Settings small enough that a few thousand events pass many barriers."""
    model: dict[str, Any] = {
        "barriers": {"block_events": BLOCK, "every_events": 12 * BLOCK, "early_events_min": 8 * BLOCK},
        "calibration": {"warm_up_events": 1024, "memory_events": 4096},
        "clusters": {"core_events": 512, "memory_events": 2048, "count_max": 32, "members_min": 3},
        "encoder": {"hidden": 16, "dimension": 8, "hash_rows": 256},
        "index": {"exact_below": 16},
        "labels": {"buffer_events_max": 2048, "labels_max": 32, "per_barrier_max": 4},
        **changes.pop("model", {}),
    }
    tree = {
        "event": event or SCHEMA,
        "model": model,
        "alerts": {
            "budget": {"share": 0.01},
            "exploration_share": 0.2,
            "cooldown": "5d",
        },
        "partitions": 4,
    }
    return ModelPart.model_validate({**tree, **changes})


@cache
def days(count: int, seed: int = 5) -> tuple[dict[str, Any], ...]:
    config = SimulationConfig(seed=seed, customers=300, events=count, customer_share_per_day=0.01)
    return tuple(event for day in simulate(config) for event in to_events(day))


@cache
def log(count: int = 6000, seed: int = 5) -> tuple[Record, ...]:
    """Simulated payments, with gaps, tombstones, garbage and wrong keys."""
    records: list[Record] = []
    offset = 1000
    for number, event in enumerate(days(count, seed)):
        customer = f"cust-{event['CUSTOMER_ID']}"
        value: dict[str, Any] = {
            "tx": {"id": f"tx-{number}", "time": event["TX_DATETIME"]},
            "customer": customer,
            "terminal": f"term-{event['TERMINAL_ID']}" if number % 41 else None,
            "amount": event["TX_AMOUNT"] * (30 if number % 331 == 330 else 1),
            "channel": ("web", "shop", "shop", None)[number % 4] if number % 501 else "fax",
            "memo": f"thanks for order of cust-{event['CUSTOMER_ID']}" if number % 3 else None,
        }
        if number % 1500 == 1499:
            value["amount"] = 1.7e308
        if number % 701 == 700:
            del value["amount"]
        headers = (("traceparent", TRACE), ("x", b"y")) if number % 2 else ()
        key = b"other" if number % 997 == 996 else customer.encode()
        records.append(Record(offset, 1_522_540_800_000 + number, key, json.dumps(value).encode(), headers))
        offset += 1
        if number % 97 == 96:
            bad: list[bytes | None] = [
                None,
                b"garbage",
                b"{}",
                json.dumps({**value, "customer": 1.5}).encode(),
            ]
            records.append(Record(offset, 0, b"k", bad[number // 97 % 4], (("kept", b"1"),)))
            offset += 1
        if number % 200 == 199:  # a producer repeats A, B, A; one copy comes after the horizon
            for back in (2, 1, 2, 90, 320):
                old = records[max(0, len(records) - back)]
                records.append(old._replace(offset=offset))
                offset += 1
        if number % 450 == 449:
            late = {**value, "tx": {"id": f"late-{number}", "time": "2018-03-01T00:00:00Z"}}
            back = {**value, "tx": {"id": f"back-{number}", "kind": "reversal", "of": f"tx-{number - 3}"}}
            for body in (late, back):
                records.append(Record(offset, 0, key, json.dumps(body).encode()))
                offset += 1
        if number % 50 == 49:
            offset += 1 + number % 3  # transaction markers, compaction
    return tuple(records)


@cache
def feedback() -> tuple[tuple[int, bytes], ...]:
    """Labels, each with the offset from which on it is visible."""
    lines = [
        (
            1000 + 61 * n,
            json.dumps(
                {
                    "time": "2018-04-02T00:00:00Z",
                    "label": ("fraud", "legitimate", "retracted")[n % 3],
                    "event_id": f"tx-{max(0, 55 * n - 30)}" if n % 7 else "unknown",
                    "feedback_id": f"f-{n - n % 5}" if n % 2 else None,
                }
            ).encode(),
        )
        for n in range(1, 95)
    ]
    return tuple(lines)


@dataclass
class Run:
    """All outputs, journals and snapshots of a run."""

    partition: Partition
    alerts: list[Alert] = field(default_factory=list)
    updates: list[CaseUpdate] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)
    suppressed: dict[str, int] = field(default_factory=dict)
    key_mismatches: int = 0
    irregular: dict[str, int] = field(default_factory=dict)
    replayed: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    barriers: list[Barrier] = field(default_factory=list)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    journals: list[tuple[int, Journal]] = field(default_factory=list)  # after each piece

    def scores(self) -> tuple[bytes, bytes, list[str], list[int]]:
        """Offsets, scores, ids and versions, event by event."""
        return (
            np.concatenate([s.offsets for s in self.scored]).tobytes(),
            np.concatenate([s.scores for s in self.scored]).tobytes(),
            [id_ for s in self.scored for id_ in s.ids],
            [s.model_version for s in self.scored for _ in s.ids],
        )

    def outputs(self) -> tuple[Any, ...]:
        cases = self.updates, self.suppressed
        return self.alerts, self.dead, self.scores(), *cases, self.key_mismatches, self.irregular

    def states(self) -> dict[int, bytes]:
        return {position: pack(snapshot.state) for position, snapshot in self.snapshots.items()}

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(alert.body) for alert in self.alerts]


def partition(
    wanted: ModelPart | None = None,
    journal: Journal | None = None,
    *,
    identity: Identity = IDENTITY,
    until: int = 0,
    **more: Any,
) -> Partition:
    wanted = wanted or part()
    return Partition(identity, wanted, journal or Partition.begin(wanted, 1000), until=until, **more)


def drive(
    driven: Partition,
    records: Sequence[Record] | None = None,
    pieces: Iterable[int] = (),
    *,
    labels: bool | Sequence[tuple[int, bytes]] = True,
    snapshots: bool = False,
) -> Run:
    """Do what the runner does, with polls of the given sizes (then of 300); `labels` as of `feedback`."""
    records = log() if records is None else records
    lines = feedback() if labels is True else labels or ()
    run = Run(driven)
    at = next((i for i, record in enumerate(records) if record.offset >= driven.position), len(records))
    sizes: Iterator[int] = chain(pieces, repeat(300))
    while at < len(records):
        batch = records[at : at + next(sizes)]
        at += len(batch)
        while batch:
            step = driven.take(batch)
            assert step.consumed > 0
            collect(run, step)
            batch = batch[step.consumed :]
            visible = sum(first <= driven.position for first, _ in lines)
            available = {"feedback": SideRange(0, visible)}
            if step.block_ended and (barrier := driven.due(available)) is not None:
                live = driven.position > driven.until
                topic = [(position, line) for position, (_, line) in enumerate(lines)]
                outputs = driven.barrier(barrier, named(barrier, {"feedback": topic}))
                for outcome, number in outputs.side_outcomes["feedback"].items():
                    run.labels[outcome] = run.labels.get(outcome, 0) + number
                run.barriers.append(barrier)
                if snapshots and live:
                    run.snapshots[driven.position] = driven.snapshot()
        run.journals.append((driven.position, driven.journal))
    return run


def collect(run: Run, step: Any) -> None:
    outputs = step.outputs
    run.replayed += step.replayed
    run.alerts += outputs.alerts
    run.updates += outputs.case_updates
    run.dead += outputs.dead_letters
    run.scored += outputs.scored
    run.key_mismatches += outputs.key_mismatches
    for counts, more in ((run.suppressed, outputs.suppressed), (run.irregular, outputs.irregular)):
        for reason, number in more.items():
            counts[reason] = counts.get(reason, 0) + number


@cache
def undisturbed() -> Run:
    return drive(partition(), snapshots=True)


def after(run: Run, offset: int) -> tuple[list[Alert], list[DeadLetter], dict[int, float]]:
    """Alerts, dead letters and scores of a run, of records from `offset` on."""
    scores = {
        o: score
        for scored in run.scored
        for o, score in zip(scored.offsets.tolist(), scored.scores.tolist(), strict=True)
        if o >= offset
    }
    return (
        [alert for alert in run.alerts if alert.offset >= offset],
        [letter for letter in run.dead if letter.offset >= offset],
        scores,
    )


def restored(snapshot: Snapshot) -> tuple[tuple[Manifest, Mapping[str, Any]], Journal]:
    """A checkpoint, written and read, and the journal that begins there."""
    name, manifest_bytes, state_bytes = encode(snapshot)
    manifest = read_manifest(manifest_bytes)
    state = read_state(manifest, state_bytes)
    return (manifest, state), Journal.from_text(snapshot.since.rebased(name, snapshot.position).to_text())


# --- the run that the others are compared with --------------------------------------------------------------


def test_the_undisturbed_run_has_alerts_and_barriers_to_compare() -> None:
    run = undisturbed()
    assert 20 < len(run.alerts) < 200
    assert len(run.dead) > 50
    assert len(run.barriers) > 10
    assert {barrier.cause for barrier in run.barriers} == {"every", "side_input"}
    assert set(run.labels) >= {"read", "applied", "retracted", "duplicate"}
    assert run.suppressed.keys() == {"entity", "budget"}
    assert run.key_mismatches > 3
    assert len({body["case_id"] for body in run.bodies()}) < len(run.alerts)
    assert any(body["case"]["number"] > 1 for body in run.bodies())
    assert len(run.updates) > 10


def test_explored_alerts_are_marked_and_change_no_case() -> None:
    bodies = undisturbed().bodies()
    explored = [body for body in bodies if body["selection"] == "exploration"]
    others = [body for body in bodies if body["selection"] == "score"]
    assert len(explored) + len(others) == len(bodies)
    assert 3 <= len(explored) < len(others)
    for body in explored:
        assert body["case_id"] == body["alert_id"]
        alone = {"number": 1, "sum": body["exposure"], "largest": body["exposure"]}
        assert body["case"] == {**alone, "unlisted": {"number": 0, "sum": None}}
        assert not any(other["case_id"] == body["alert_id"] for other in others)
    assert np.median([body["score"]["raw"] for body in explored]) < 1.0
    assert all(body["score"]["raw"] >= body["score"]["threshold"] for body in others)


def test_updates_and_alerts_of_a_case_add_up() -> None:
    """Every candidate of an alerted entity is in one alert or update, and the totals are their sum."""
    run, last = undisturbed(), dict[str, dict[str, Any]]()
    scored = {offset for one in run.scored for offset in one.offsets.tolist()}
    exposures = {
        record.offset: json.loads(record.value).get("amount")
        for record in log()
        if record.value and record.offset in scored
    }
    seen: list[int] = []
    members: dict[str, list[int]] = {}
    messages = [(alert.offset, 1, json.loads(alert.body)) for alert in run.alerts]
    messages += [(update.offset, 0, json.loads(update.body)) for update in run.updates]
    for offset, _, body in sorted(messages, key=lambda message: message[:2]):
        if body.get("selection") == "exploration":
            continue
        case = members.setdefault(body["case_id"], [])
        new = [one["offset"] for one in body["held_back"]] if "held_back" in body else [offset]
        case += new
        seen += new
        last[body["case_id"]] = body["case"]
        if "held_back" in body:
            UPDATES.validate(body)
            assert body["update_id"] == f"{body['case_id']}#{body['number']}"
            assert body["alert_ids"][-1] == f"payments-3-{max(set(case) & alerted(run))}"
    assert len(seen) == len(set(seen))
    before = 0
    for case_id, totals in last.items():
        amounts = [exposures[offset] for offset in members[case_id] if exposures[offset] is not None]
        before += totals["number"] - len(members[case_id])  # held back by the budget before the case
        if totals["number"] == len(members[case_id]) and amounts and max(amounts) < AMOUNT_MAX:
            exact = sum((Decimal(repr(amount)) for amount in amounts), Decimal(0))
            assert totals["sum"] == float(round(exact, PLACES_MAX))
            assert totals["largest"] == max(amounts)
    held = {offset for one in run.scored for offset in one.held}
    assert set(seen) - alerted(run) <= held
    assert before + sum(map(len, members.values())) <= len(held) + len(alerted(run))


def alerted(run: Run) -> set[int]:
    return {alert.offset for alert in run.alerts}


# --- polls ----------------------------------------------------------------------------------------------

CUTS: dict[str, Callable[[], Iterable[int]]] = {
    "one by one": lambda: repeat(1, 400),
    "late one by one": lambda: chain([5000], repeat(1, 200)),
    "all at once": lambda: [100_000],
}


@pytest.mark.parametrize("cut", CUTS)
def test_outputs_do_not_depend_on_how_polls_cut_the_log(cut: str) -> None:
    run = drive(partition(), pieces=CUTS[cut](), snapshots=True)
    assert run.outputs() == undisturbed().outputs()
    assert run.barriers == undisturbed().barriers
    assert run.states() == undisturbed().states()


@given(pieces=st.lists(st.integers(1, 40) | st.integers(1, 900), min_size=1, max_size=60))
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_outputs_do_not_depend_on_any_cut(pieces: list[int]) -> None:
    run = drive(partition(), pieces=pieces)
    assert run.outputs() == undisturbed().outputs()


# --- lanes ------------------------------------------------------------------------------------------------


class LateLane:
    """Runs jobs only when one is awaited, and then all up to that one."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def __call__(self, job: Callable[[], T], /) -> Result[T]:
        done: list[T] = []
        self._waiting.append(lambda: done.append(job()))

        def wait() -> T:
            while not done:
                self._waiting.popleft()()
            return done[0]

        return Result(wait, lambda: bool(done))


@pytest.mark.parametrize("at", [3200, 3400, 3600, 3800])
def test_a_change_of_barriers_does_not_depend_on_when_background_jobs_run(at: int) -> None:
    """Also while a refit is under way."""
    before = part()
    wanted = part(model={"barriers": {"block_events": 16, "every_events": 512, "early_events_min": 256}})
    runs = []
    for lanes in (AT_ONCE, Lanes(LateLane(), LateLane())):
        going = drive(partition(before, lanes=lanes), log()[:at], labels=False)
        going.partition.want(wanted)
        runs.append(drive(going.partition, log()[at:5600], labels=False))
    assert runs[0].outputs() == runs[1].outputs()
    assert "config" in {barrier.cause for barrier in runs[0].barriers}
    assert runs[0].partition.state_hash == runs[1].partition.state_hash


@pytest.mark.parametrize("lane", [LateLane, lambda: BackgroundThread("training").lane])
def test_outputs_do_not_depend_on_when_background_jobs_run(lane: Callable[[], Lane]) -> None:
    run = drive(partition(lanes=Lanes(lane(), lane())), snapshots=True)
    assert run.outputs() == undisturbed().outputs()
    assert run.states() == undisturbed().states()


def test_errors_of_background_jobs_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("detector.core.model.training.Trainer.learn", learn)
    with pytest.raises(ZeroDivisionError):
        drive(partition(lanes=Lanes(LateLane(), LateLane())))


# --- checkpoints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 5, -3])
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(number: int) -> None:
    whole = undisturbed()
    position, snapshot = list(whole.snapshots.items())[number]
    checkpoint, journal = restored(snapshot)
    assert journal.barriers == ()
    assert journal.position == checkpoint[0].position == position
    again = partition(journal=journal, until=position, restored=checkpoint)
    seen = [t for s in whole.scored for o, t in zip(s.offsets, s.times, strict=True) if o < position]
    assert again.event_time == np.median(seen[-14:])
    going = drive(again, snapshots=True)
    assert going.replayed == 0
    assert after(going, position) == after(whole, position)
    assert going.states() == {at: state for at, state in whole.states().items() if at > position}
    assert going.partition.gauges == whole.partition.gauges


def test_a_snapshot_does_not_change_with_its_shard() -> None:
    driven = partition()
    run = drive(driven, log()[:1500], snapshots=True)
    saved = run.states()
    drive(driven, log()[1500:3000])
    assert run.states() == saved


def test_taking_a_snapshot_changes_nothing() -> None:
    assert drive(partition()).outputs() == undisturbed().outputs()


def test_the_arrays_of_a_partition_that_is_given_up_are_freed_at_once() -> None:
    """In a circle of references they would wait for Python's collector, perhaps for hours: it counts objects,
    not bytes. Meanwhile the partitions that come need the memory."""
    driven = partition(part(exchange=True))
    drive(driven, log()[:1500], snapshots=True)
    shard = driven._shard
    held = [weakref.ref(one) for one in (driven, shard, *vars(shard).values()) if not_shared(one)]
    del shard
    gc.collect()
    gc.disable()
    try:
        del driven
        assert [type(one()).__name__ for one in held if one() is not None] == []
    finally:
        gc.enable()


def not_shared(one: object) -> bool:
    return type(one).__module__.startswith("detector.core") and hasattr(one, "__weakref__")


# --- recovery -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("committed", "barriers_back"), [(3, None), (15, None), (9, 1), (13, 4)])
def test_recovery_goes_on_with_the_outputs_of_an_undisturbed_run(
    committed: int, barriers_back: int | None
) -> None:
    """Restore a checkpoint (or start without one), replay silently to the committed offset, go on."""
    whole = undisturbed()
    until, journal = whole.journals[committed]
    checkpoint = None
    if barriers_back is not None:
        if len(journal.barriers) < barriers_back:
            barriers_back = len(journal.barriers)
        snapshot = whole.snapshots[journal.barriers[-barriers_back].position]
        checkpoint, origin = restored(snapshot)
        journal = journal.rebased(origin.checkpoint, origin.position)
        assert len(journal.barriers) == barriers_back - 1
    recovered = partition(journal=Journal.from_text(journal.to_text()), until=until, restored=checkpoint)
    assert recovered.replaying == (journal.position < until)
    going = drive(recovered, pieces=repeat(113), snapshots=True)
    assert going.replayed == sum(journal.position <= record.offset < until for record in log())
    assert after(going, 0) == after(whole, until)
    live = {at: state for at, state in whole.states().items() if at > until}
    assert going.states() == live
    assert len(live) > 1
    assert going.partition.journal.barriers[-len(live) :] == whole.partition.journal.barriers[-len(live) :]


def test_a_silent_replay_gives_nothing() -> None:
    whole = undisturbed()
    end = log()[-1].offset + 1
    silent = drive(partition(journal=whole.partition.journal, until=end))
    assert silent.replayed == len(log())
    assert not any([silent.alerts, silent.dead, silent.scored, silent.suppressed, silent.key_mismatches])
    assert silent.partition.gauges == whole.partition.gauges
    assert silent.barriers == whole.barriers
    assert not silent.partition.replaying


def test_a_committed_position_may_lie_in_a_gap() -> None:
    whole = undisturbed()
    offsets = {record.offset for record in log()}
    until, journal = next(
        (p + 1, j) for p, j in whole.journals[8:] if p not in offsets and p + 1 not in offsets
    )
    going = drive(partition(journal=journal, until=until))
    assert after(going, 0) == after(whole, until)


def test_a_barrier_for_age_may_come_within_a_block() -> None:
    first = partition()
    taken = log()[:2030]
    while taken and not (len(taken) <= 30 and first.position > taken[0].offset - 5):
        step = first.take(taken)
        taken = taken[step.consumed :]
        if step.block_ended and (barrier := first.due({})) is not None:
            first.barrier(barrier, {})
    assert first.due({}) is None
    barrier = first.due({}, aged=True)
    assert barrier is not None
    assert barrier.cause == "age"
    first.barrier(barrier, {})
    assert first.due({}, aged=True) is None
    at, checkpoint, journal = first.position, *restored(first.snapshot())
    going = drive(first, labels=False, snapshots=True)
    assert len(going.alerts) > 5

    again = drive(partition(journal=journal, until=at, restored=checkpoint), labels=False, snapshots=True)
    assert after(again, at) == after(going, at)
    assert again.states() == going.states()
    end = going.partition.position
    silent = drive(partition(journal=going.partition.journal, until=end), labels=False)
    assert silent.partition.gauges == going.partition.gauges


def test_labels_that_expired_before_they_were_read_are_skipped() -> None:
    fresh = partition()
    records = log()
    while records:
        step = fresh.take(records)
        records = records[step.consumed :]
        if step.block_ended and (barrier := fresh.due({"feedback": SideRange(40, 50)})) is not None:
            break
    assert barrier is not None
    assert barrier.sides == {"feedback": SideRange(40, 44)}
    fresh.barrier(barrier, {"feedback": [(position, b"{}") for position in range(40, 44)]})
    again = partition(journal=Journal.from_text(fresh.journal.to_text()), until=fresh.position)
    planned, records = None, log()
    while planned is None:
        step = again.take(records)
        records = records[step.consumed :]
        planned = again.due({}) if step.block_ended else None
    assert planned.sides == {"feedback": SideRange(40, 44)}


@pytest.mark.parametrize("offset", [3000, 1000])
def test_a_log_that_lost_events_of_the_journal_needs_an_operator(offset: int) -> None:
    until, journal = undisturbed().journals[-1]
    holed = [record for record in log() if not offset <= record.offset < offset + 20]
    with pytest.raises(NeedsOperator, match="retention"):
        drive(partition(journal=journal, until=until), holed)


# --- accounts --------------------------------------------------------------------------------------------


def test_every_record_received_is_scored_or_rejected_once() -> None:
    run = undisturbed()
    scored = np.concatenate([s.offsets for s in run.scored]).tolist()
    rejected = [letter.offset for letter in run.dead]
    assert sorted(scored + rejected) == [record.offset for record in log()]
    assert scored == sorted(scored)
    assert rejected == sorted(rejected)
    alerted = [
        o for s in run.scored for o, a in zip(s.offsets.tolist(), s.alerted.tolist(), strict=True) if a
    ]
    assert alerted == [alert.offset for alert in run.alerts]


def test_dead_letters_have_the_original_and_the_reason() -> None:
    records = {record.offset: record for record in log()}
    reasons = set()
    for letter in undisturbed().dead:
        record = records[letter.offset]
        assert (letter.key, letter.value) == (record.key, record.value)
        headers = dict(letter.headers)
        assert letter.headers[: len(record.headers)] == record.headers
        assert headers["detector_reason"] == letter.reason.encode()
        assert headers["detector_topic"] == b"payments"
        assert headers["detector_partition"] == b"3"
        assert headers["detector_offset"] == str(letter.offset).encode()
        reasons.add(letter.reason)
    assert reasons == {
        "tombstone",
        "malformed",
        "missing",
        "wrong_type",
        "duplicate",
        "late",
        "reversal",
    }


def test_a_log_of_malformed_records_makes_no_block() -> None:
    garbage = [Record(1000 + n, 0, None, b"{}") for n in range(500)]
    run = drive(partition(), garbage)
    assert len(run.dead) == 500
    assert not any([run.barriers, run.scored, run.alerts])
    assert run.partition.position == 1500


def test_event_time_follows_the_blocks() -> None:
    assert partition().event_time == -np.inf
    times = [t for s in undisturbed().scored for t in s.times]
    assert times[-512] < undisturbed().partition.event_time < max(times)


def test_an_event_from_the_far_future_moves_no_other_events_time() -> None:
    records = list(log())
    late = json.loads(next(r.value for r in records if r.value and r.value[:3] == b'{"t'))
    late["tx"]["time"] = "2199-01-01T00:00:00Z"
    strayed = [r._replace(value=json.dumps(late).encode()) if r.offset == 3001 else r for r in records]
    run, plain = drive(partition(), strayed), undisturbed()
    assert run.partition.event_time == pytest.approx(plain.partition.event_time, abs=3600)
    name = "events_per_day"
    assert run.partition.gauges[name] == pytest.approx(plain.partition.gauges[name], rel=0.02)


# --- configuration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "keeps"),
    [
        ({"alerts": {"budget": {"share": 0.002}}}, True),
        ({"require_key": True}, True),
        ({"memory_bytes_max": 1 << 20}, True),
        ({"model": {"barriers": {"block_events": 16, "every_events": 512, "early_events_min": 256}}}, True),
        ({"model": {"seed": 7}}, False),
        ({"event": {**SCHEMA, "fields": SCHEMA["fields"][:1]}}, False),
    ],
    ids=["alerts", "require_key", "memory", "barriers", "seed", "schema"],
)
def test_another_configuration_takes_effect_at_a_barrier(changed: dict[str, Any], keeps: bool) -> None:
    before, wanted = part(), part(**changed)
    configs = {before.hash(): before}
    whole, records = undisturbed(), log()[:3400]
    until, journal = whole.journals[4]
    going = drive(partition(wanted, journal, until=until, configs=configs), records, snapshots=True)
    barrier = next(b for b in going.barriers if b.position > until)
    assert (barrier.cause, barrier.config) == ("config", wanted.hash())
    assert sum(b.cause == "config" for b in going.barriers) == 1
    for here, there in zip(after(going, 0)[:2], after(whole, until)[:2], strict=True):
        assert [x for x in here if x.offset < barrier.position] == [
            x for x in there if x.offset < barrier.position
        ]
    versions = {o: s.model_version for s in going.scored for o in s.offsets.tolist()}
    later = [o for o in versions if o >= barrier.position]
    young = [body for body in going.bodies() if body["source"]["offset"] >= barrier.position]
    assert {body["model"]["config"] for body in young} == {wanted.hash()}
    if keeps:
        assert versions[later[0]] > 3
        assert going.partition.gauges["events"] > len(later) + 1000
    else:
        assert versions[later[0]] == 0
        assert going.partition.gauges["events"] == len(later)
        assert all(alert.offset not in later[:512] for alert in going.alerts)
        assert any(body["score"]["warm_up"] for body in young)
    # The journal says which configuration was in force, and so does a checkpoint.
    end = going.partition.position
    again = drive(partition(wanted, going.partition.journal, until=end, configs=configs), records)
    assert again.partition.gauges == going.partition.gauges
    checkpoint, origin = restored([s for p, s in going.snapshots.items() if p > barrier.position][-2])
    assert checkpoint[0].config == wanted.hash()
    resumed = drive(partition(wanted, origin, until=origin.position, restored=checkpoint), records)
    assert after(resumed, 0) == after(going, origin.position)


def test_fewer_alerts_are_allowed_from_the_barrier_on() -> None:
    before, wanted = part(), part(alerts={"budget": {"share": 0.001}})
    until, journal = undisturbed().journals[4]
    run = drive(partition(wanted, journal, until=until, configs={before.hash(): before}))
    assert len(run.alerts) < 0.5 * len(after(undisturbed(), until)[0])


def test_a_configuration_that_the_store_lost_needs_an_operator() -> None:
    _, journal = undisturbed().journals[5]
    with pytest.raises(NeedsOperator, match=r"configurations .* checkpoints\.url"):
        partition(part(partitions=9), journal)


# --- keys ------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_entity_key_needs_an_operator() -> None:
    checkpoint, journal = restored(next(iter(undisturbed().snapshots.values())))
    other = replace(IDENTITY, entity_key=b"another")
    with pytest.raises(NeedsOperator, match="entity_key"):
        partition(journal=journal, restored=checkpoint, identity=other)


def test_partitions_differ_in_their_seed_only() -> None:
    """And in the place of the first barrier after an interval of full length."""
    records = log()[:1000]
    one, same, other = (
        drive(partition(identity=replace(IDENTITY, partition=n)), records, snapshots=True) for n in (0, 0, 1)
    )
    assert one.outputs() == same.outputs()
    assert one.barriers == other.barriers
    assert one.scores()[0] == other.scores()[0]
    assert one.scores()[1] != other.scores()[1]
    assert one.dead[0].value == other.dead[0].value
    positions = list(one.snapshots)
    left, right = (run.snapshots[positions[0]].state for run in (one, other))
    assert pack(left["profiles"]) == pack(right["profiles"])
    assert pack(left["book"]) == pack(right["book"])
    assert pack(left["units"] if isinstance(left["units"], dict) else {"units": left["units"]}) == pack(
        {"units": right["units"]}
    )


def test_group_and_entity_key_change_no_score() -> None:
    records = log()[:1600]
    here = drive(partition(), records)
    there = drive(partition(identity=replace(IDENTITY, group="other")), records)
    assert here.scores() == there.scores()


# --- alerts ----------------------------------------------------------------------------------------------

ALERT_SCHEMA = json.loads((Path(detector.__file__).parent / "schemas" / "alert.v1.json").read_text())
UPDATE_SCHEMA = json.loads((Path(detector.__file__).parent / "schemas" / "case.updated.v1.json").read_text())
UPDATES = jsonschema.Draft202012Validator(UPDATE_SCHEMA, format_checker=jsonschema.FormatChecker())
VALIDATOR = jsonschema.Draft202012Validator(ALERT_SCHEMA, format_checker=jsonschema.FormatChecker())


def test_every_alert_keeps_to_the_published_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(ALERT_SCHEMA)
    for body in undisturbed().bodies():
        VALIDATOR.validate(body)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", body["event_time"])
    broken = undisturbed().bodies()[0]
    broken["score"]["quantile"] = 1.5
    assert not VALIDATOR.is_valid(broken)


def test_an_alert_says_which_event_it_is_about() -> None:
    records = {record.offset: record for record in log()}
    run = undisturbed()
    by_offset = after(run, 0)[2]
    times = {o: t for s in run.scored for o, t in zip(s.offsets.tolist(), s.times.tolist(), strict=True)}
    cases: dict[str, str] = {}
    for alert, body in zip(run.alerts, run.bodies(), strict=True):
        record = records[alert.offset]
        assert record.value is not None
        event = json.loads(record.value)
        assert body["event"] == {field["name"]: event.get(field["path"]) for field in SCHEMA["fields"]}
        assert body["source"] == {"topic": "payments", "partition": 3, "offset": alert.offset}
        assert body["alert_id"] == f"payments-3-{alert.offset}"
        assert body["event_id"] == event["tx"]["id"]
        assert body["entity"] == {"name": "customer", "value": event["customer"]}
        assert body["entities"] == {"customer": event["customer"], "terminal": event["terminal"]}
        assert body["exposure"] == event.get("amount")
        assert datetime.fromisoformat(body["event_time"]).timestamp() == times[alert.offset]
        assert body["score"]["raw"] == by_offset[alert.offset]
        assert body["score"]["quantile"] == 1 - 10 ** -body["score"]["raw"]
        assert body["score"]["severity"] == body["severity"] == alert.severity
        assert alert.key == event["customer"].encode()  # the main entity's value, whatever the record's key
        assert cases.setdefault(body["case_id"], event["customer"]) == event["customer"]


def test_headers_are_those_of_a_cloud_event_and_carry_the_trace() -> None:
    records = {record.offset: record for record in log()}
    traced = 0
    for alert, body in zip(undisturbed().alerts, undisturbed().bodies(), strict=True):
        names = [name for name, _ in alert.headers]
        assert len(set(names)) == len(names)
        headers = dict(alert.headers)
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_id"].decode() == body["alert_id"]
        assert headers["ce_source"] == b"/detector/fraud"
        assert headers["ce_type"] == b"detector.alert.v1"
        assert headers["ce_subject"].decode() == body["entity"]["value"]
        assert headers["ce_time"].decode() == body["event_time"]
        assert headers["ce_dataschema"].decode() == ALERT_SCHEMA["$id"]
        assert headers["content-type"] == b"application/json"
        expected = dict(records[alert.offset].headers).get("traceparent")
        assert headers.get("traceparent") == expected
        assert "x" not in headers
        traced += expected is not None
    assert 0 < traced < len(undisturbed().alerts)


def test_no_alert_names_another_customer() -> None:
    for alert, body in zip(undisturbed().alerts, undisturbed().bodies(), strict=True):
        text = alert.body + b" ".join(value for _, value in alert.headers)
        assert set(re.findall(rb"cust-\d+", text)) == {body["entity"]["value"].encode()}
        assert set(re.findall(rb"tx-\d+", text)) == {body["event_id"].encode()}
        terminals = {body["entities"]["terminal"].encode()} if body["entities"]["terminal"] else set()
        assert set(re.findall(rb"term-\d+", text)) == terminals
        assert all(exemplar["events"] >= 10 for exemplar in body["exemplars"])  # at least 10 people
    assert any(body["exemplars"] for body in undisturbed().bodies())


def test_expected_values_of_a_new_customer_are_not_those_of_one_other() -> None:
    """Each customer's amounts form a cluster of their own, so only medians over all may be shown."""

    def make(rng: np.random.Generator, n: int) -> dict[str, Any]:
        customer = int(rng.integers(8))
        if n > 1000 and n % 40 == 0:
            return {"e": f"new-{n}", "x": float(rng.lognormal(4, 4))}
        return {"e": f"old-{customer}", "x": 10.0 * 3.0**customer * float(rng.normal(1, 0.01))}

    shape = {
        "fields": [{"name": "x", "path": "x", "type": "numeric"}],
        "entities": [{"name": "e", "path": "e"}],
    }
    wanted = part({"id": "id", "time": TIME, **shape}, alerts={"budget": {"share": 0.1}})
    run = drive(partition(wanted, Partition.begin(wanted, 0)), stream(make, 2500), labels=False)
    shown: dict[int, set[float]] = {}
    for body in run.bodies():
        assert body["exemplars"] == []
        for reason in body["reasons"]:
            if reason["field"] == "x" and reason["basis"] == "cluster":
                shown.setdefault(body["model"]["version"], set()).add(reason["expected"])
    assert len(shown) > 1
    assert all(len(values) == 1 for values in shown.values())


def test_what_was_alerted_of_a_young_customer_is_not_expected_until_it_is_answered() -> None:
    def make(rng: np.random.Generator, n: int) -> dict[str, Any]:
        amount = float(rng.normal(50.0, 2.0))
        if n % 60 or n < 1200:
            return {"e": f"old-{int(rng.integers(8))}", "x": amount}
        # The young one's third event is strange, as is its last one.
        return {"e": f"new-{n // 600}", "x": 5000.0 if n // 60 % 10 in (2, 9) else amount}

    shape = {
        "fields": [{"name": "x", "path": "x", "type": "numeric"}],
        "entities": [{"name": "e", "path": "e"}],
        "exposure": "x",
    }
    wanted = part({"id": "id", "time": TIME, **shape}, alerts={"budget": {"share": 0.1}, "cooldown": "1s"})
    run = drive(partition(wanted, Partition.begin(wanted, 0)), stream(make, 6000), labels=False)
    expected = [
        reason["expected"]
        for body in run.bodies()
        if body["source"]["offset"] // 60 % 10 == 9
        for reason in body["reasons"]
        if reason["field"] == "x" and reason["basis"] == "entity"
    ]
    assert len(expected) > 4
    assert all(40.0 < value < 60.0 for value in expected)


def test_a_snooze_by_code_holds_back_the_alerts_that_have_it_as_a_reason_or_a_fact() -> None:
    ranks = ("low", "medium", "high", "critical")
    alerts = {"budget": {"share": 0.03}, "exploration_share": 0.2, "cooldown": "2d"}
    wanted = part(alerts=alerts)
    alone = drive(partition(wanted)).bodies()
    bodies = [body for body in alone if body["selection"] == "score" and body["entity"]]

    def until(body: dict[str, Any]) -> datetime:
        return datetime.fromisoformat(body["event_time"]) + timedelta(days=7)

    pairs = (
        (first, later)
        for later in bodies
        for first in bodies
        if first["entity"] == later["entity"]
        and later["source"]["offset"] > first["source"]["offset"] + 12 * BLOCK
        and datetime.fromisoformat(later["event_time"]) < until(first)
        and not any(
            one["entity"] == first["entity"]
            and first["source"]["offset"] < one["source"]["offset"] <= later["source"]["offset"]
            and ranks.index(one["severity"]) > ranks.index(first["severity"])  # it would end the snooze
            for one in bodies
        )
    )

    def held(first: dict[str, Any], later: dict[str, Any], code: str) -> bool:
        record = {"kind": "snooze", "alert_id": first["alert_id"], "time": first["event_time"], "code": code}
        record["until"] = until(first).isoformat()
        lines = [*feedback(), (first["source"]["offset"] + 1, json.dumps(record).encode())]
        run = drive(partition(wanted), log(), labels=sorted(lines))
        return later["alert_id"] not in {body["alert_id"] for body in run.bodies()}

    codes = {one["code"] for body in bodies for one in (*body["reasons"], *body["facts"])}
    other = next(code for code in CODES if code not in codes)
    # One more record may put off a label to the next barrier, which may change what is an alert.
    first, later = next(pair for pair in pairs if not held(*pair, other))
    assert held(first, later, later["reasons"][0]["code"])
    assert held(first, later, later["facts"][-1]["code"])


def test_an_amount_beyond_all_others_scores_high_and_stops_nothing() -> None:
    scores = after(undisturbed(), 0)[2]
    huge = [r.offset for r in log() if r.value and b"e+308" in r.value and r.value.endswith(b"}")]
    found = [scores[offset] for offset in huge if offset in scores]
    assert len(found) == 4
    assert min(found[1:]) > 3


def taken(records: Sequence[Record], *, silent: bool = False, explain: int | None = None) -> list[Taken]:
    """Every call of a shard that takes the records, without labels."""
    shard, calls = Shard(part(), IDENTITY, position=1000), []
    while records:
        calls.append(shard.take(records, silent=silent, explain=explain))
        records = records[calls[-1].consumed :]
        if calls[-1].block_ended and shard.since_barrier >= shard.interval:
            shard.barrier({})
    return calls


@cache
def unalerted() -> dict[str, int]:
    """Offset of an event without an alert, for each reason."""
    found = {"there is no threshold yet": 1000}
    for call in taken(log()[:3000]):
        for scored in call.outputs.scored:
            scores = np.where(scored.alerted, -1.0, scored.scores)
            if call.outputs.suppressed:
                found["held back"] = int(scored.offsets[scores.argmax()])
            elif call.outputs.alerts:
                found["below the threshold"] = int(scored.offsets[scores.argmax()])
    return found


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("fate", ["there is no threshold yet", "held back", "below the threshold"])
def test_an_event_without_an_alert_is_explained_on_request(fate: str, silent: bool) -> None:
    offset = unalerted()[fate]
    end = next(number for number, record in enumerate(log()) if record.offset > offset + BLOCK)
    [inquired] = [
        call.inquired
        for call in taken(log()[:end], silent=silent, explain=offset)
        if call.inquired is not None
    ]
    assert inquired.fate.startswith(fate)
    if inquired.alert is None:
        assert inquired.threshold == np.inf
        return
    body = json.loads(inquired.alert.body)
    assert body["source"]["offset"] == offset
    assert body["score"]["threshold"] == inquired.threshold
    assert (body["score"]["raw"] < inquired.threshold) == (fate == "below the threshold")


def test_explaining_an_event_changes_no_output() -> None:
    records = log()[:3000]
    plain = taken(records)
    alerted = next(call.outputs.alerts[0].offset for call in plain if call.outputs.alerts)
    for offset in (alerted, unalerted()["below the threshold"]):
        calls = taken(records, explain=offset)
        assert [call.outputs.alerts for call in calls] == [call.outputs.alerts for call in plain]
        assert any(call.inquired is not None for call in calls) == (offset != alerted)


# --- other streams ---------------------------------------------------------------------------------------

TIME = {"path": "t"}


def stream(make: Callable[[np.random.Generator, int], dict[str, Any]], count: int = 1500) -> list[Record]:
    rng = np.random.default_rng(11)
    return [
        Record(n, 0, None, json.dumps({"id": n, "t": 1.7e9 + n, **make(rng, n)}).encode())
        for n in range(count)
    ]


STREAMS: dict[str, tuple[dict[str, Any], Callable[[np.random.Generator, int], dict[str, Any]]]] = {
    "numbers without entities": (
        {"fields": [{"name": f"x{i}", "path": f"x{i}", "type": "numeric"} for i in range(3)]},
        lambda rng, n: {
            f"x{i}": v for i, v in enumerate((rng.normal(0, 1, 3) * (50 if n % 200 == 199 else 1)).tolist())
        },
    ),
    "only categories": (
        {"fields": [{"name": c, "path": c, "type": "categorical"} for c in "ab"]},
        lambda rng, n: {"a": "xyz"[k := int(rng.integers(3))], "b": "XYZ"[k if n % 200 < 199 else k - 1]},
    ),
    "only a text": (
        {"fields": [{"name": "s", "path": "s", "type": "text"}]},
        lambda rng, n: {"s": f"GET /page/{rng.integers(9)}" if n % 200 < 199 else "'; DROP TABLE users --"},
    ),
    "only entities": (
        {"entities": [{"name": "e", "path": "e"}, {"name": "f", "path": "f"}]},
        lambda rng, n: {"e": int(rng.integers(40)), "f": int(rng.integers(9))},
    ),
    "mostly missing": (
        {
            "entities": [{"name": "e", "path": "e", "optional": True}],
            "fields": [
                {"name": "x", "path": "x", "type": "numeric"},
                {"name": "c", "path": "c", "type": "categorical"},
                {"name": "s", "path": "s", "type": "text"},
            ],
        },
        lambda rng, n: {
            k: v for k, v in {"e": "e1", "x": 1.5, "c": "c", "s": "text"}.items() if rng.random() < 0.2
        },
    ),
    "constants": (
        {
            "fields": [
                {"name": "x", "path": "x", "type": "numeric"},
                {"name": "c", "path": "c", "type": "categorical"},
            ]
        },
        lambda rng, n: {"x": 7, "c": "c"},
    ),
    "numbers of any size": (
        {"fields": [{"name": "x", "path": "x", "type": "numeric"}], "entities": [{"name": "e", "path": "e"}]},
        lambda rng, n: {
            "e": int(rng.integers(9)),
            "x": [1e-300, -1e308, 1.7e308, 0.0, 5e-324, -3.0][int(rng.integers(6))],
        },
    ),
    "times in no order": (
        {"fields": [{"name": "x", "path": "x", "type": "numeric"}], "entities": [{"name": "e", "path": "e"}]},
        lambda rng, n: {"e": int(rng.integers(9)), "x": rng.normal(), "t": float(rng.uniform(0, 7.2e9))},
    ),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_other_kinds_of_streams_are_scored(kind: str) -> None:
    shape, make = STREAMS[kind]
    wanted = part({"id": "id", "time": TIME, **shape})
    records = stream(make)
    run = drive(partition(wanted, Partition.begin(wanted, 0)), records, labels=False, snapshots=True)
    scores = np.concatenate([s.scores for s in run.scored])
    assert len(scores) == len(records)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert len(np.unique(scores[BLOCK:])) > 20 or kind == "constants"
    for body in run.bodies():
        VALIDATOR.validate(body)
    position, snapshot = list(run.snapshots.items())[1]
    checkpoint, journal = restored(snapshot)
    going = drive(
        partition(wanted, journal, until=position, restored=checkpoint), records, [1] * 99, labels=False
    )
    assert after(going, 0) == after(run, position)


@pytest.mark.parametrize("kind", ["numbers without entities", "only categories", "only a text"])
def test_anomalies_of_other_streams_score_higher(kind: str) -> None:
    shape, make = STREAMS[kind]
    wanted = part({"id": "id", "time": TIME, **shape}, model={"features": {"cycles": []}})
    run = drive(partition(wanted, Partition.begin(wanted, 0)), stream(make, 2600), labels=False)
    scores = np.concatenate([s.scores for s in run.scored])
    strange = np.arange(len(scores)) % 200 == 199
    late = np.arange(len(scores)) > 1200
    assert np.median(scores[strange & late]) > 3 * np.median(scores[~strange & late])


def test_alerts_are_marked_up_to_the_last_event_of_warm_up_though_it_ends_within_a_block() -> None:
    warm_up = 20 * BLOCK + 7
    wanted = part(
        model={"calibration": {"warm_up_events": warm_up}},
        alerts={"budget": {"share": 0.3}, "cooldown": "1s"},
    )
    run = drive(partition(wanted, Partition.begin(wanted, 1000)), log()[:2000], labels=False)
    offsets = np.concatenate([scored.offsets for scored in run.scored]).tolist()
    marked = {body["source"]["offset"]: body["score"]["warm_up"] for body in run.bodies()}
    assert any(warm_up <= offsets.index(offset) < 21 * BLOCK for offset in marked)
    assert all(mark == (offsets.index(offset) < warm_up) for offset, mark in marked.items())


def test_the_first_barrier_comes_after_256_events_though_blocks_are_larger() -> None:
    wanted = part(model={"barriers": {"block_events": 512, "every_events": 2048, "early_events_min": 512}})
    run = drive(partition(wanted, Partition.begin(wanted, 1000)), log(), labels=False)
    offsets = np.concatenate([scored.offsets for scored in run.scored])
    events = [int(np.sum(offsets < barrier.position)) for barrier in run.barriers]
    assert events[:3] == [256, 768, 1792]


def test_equally_busy_partitions_have_their_barriers_at_other_times() -> None:
    wanted = part(model={"barriers": {"block_events": 16, "every_events": 256, "early_events_min": 256}})
    found = []
    for number in range(16):
        identity = replace(IDENTITY, partition=number)
        run = drive(partition(wanted, identity=identity), log()[:900], labels=False)
        counts = [barrier.position for barrier in run.barriers]
        offsets = np.concatenate([scored.offsets for scored in run.scored])
        found.append([int(np.sum(offsets < position)) for position in counts])
    assert {tuple(counts[:4]) for counts in found} == {(16, 48, 112, 240)}
    first = [counts[4] - 240 for counts in found]
    assert first[0] == 256
    assert len(set(first)) >= 15
    assert all(np.diff(counts[4:]).tolist() == [256] * (len(counts) - 5) for counts in found)


def test_large_blocks_pass_their_first_barrier_after_warm_up() -> None:
    barriers = {"block_events": 512, "every_events": 512, "early_events_min": 512}
    wanted = part(model={"barriers": barriers, "calibration": {"warm_up_events": 256}})
    run = drive(partition(wanted, Partition.begin(wanted, 1000)), log()[:3000], labels=False)
    scores = np.concatenate([s.scores for s in run.scored])
    assert np.isfinite(scores).all()
    assert 0.2 < np.median(scores[512:1024]) < 1.0
    assert len(run.alerts) > 3


EXTREMES: dict[str, dict[str, Any]] = {
    "large blocks, small core": {
        "barriers": {"block_events": 1024, "every_events": 1024, "early_events_min": 16},
        "clusters": {"core_events": 512, "memory_events": 1024, "count_max": 8, "members_min": 64},
    },
    "small blocks, many barriers": {
        "barriers": {"block_events": 16, "every_events": 32, "early_events_min": 16},
        "clusters": {"core_events": 512, "members_min": 64, "neighbours": 32},
        "index": {"exact_below": 0},
    },
    "late and thin tail, tight trim": {
        "calibration": {"trim": 0.51, "tail_from": 0.99999, "memory_events": 1024}
    },
    "early tail, no trim": {"calibration": {"trim": 0.9999, "tail_from": 0.9, "memory_events": 1024}},
    "hasty learner": {
        "encoder": {"learning_rate": 1.0, "objectives": {"contrastive": 10, "reconstructive": 10}}
    },
    "one short memory": {
        "features": {"half_lives": ["1s"], "cycles": [], "entities_max": 1024, "pairs_max": 1024}
    },
}


@pytest.mark.parametrize("kind", EXTREMES)
def test_any_settings_that_are_allowed_work(kind: str) -> None:
    run = drive(partition(part(model=EXTREMES[kind])), log()[:1300], snapshots=True)
    scores = np.concatenate([s.scores for s in run.scored])
    assert np.isfinite(scores).all()
    for body in run.bodies():
        VALIDATOR.validate(body)
    position, snapshot = list(run.snapshots.items())[len(run.snapshots) // 2]
    checkpoint, journal = restored(snapshot)
    wanted = part(model=EXTREMES[kind])
    going = drive(partition(wanted, journal, until=position, restored=checkpoint), log()[:1300], repeat(41))
    assert after(going, 0) == after(run, position)
