"""Erasing an entity: nothing of it is left in the state, and a replay erases it in the same way."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from detector.core.features.pairs import owner, owners, pair_keys
from detector.core.labels.peers import Message, Peers
from detector.core.records import Record
from detector.core.recovery.checkpoint import Snapshot
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SideRange
from detector.core.shard.partition import Partition
from detector.core.state import pack, unpack
from tests.sides import named
from tests.unit.test_shard import IDENTITY, log, part, restored

BASE = 1 << 40  # of the canary's offsets: nothing else in a state is so large
EVENTS = 2600
CANARY, OTHER = "cust-canary", "cust-2"
LATE = 0.5  # part of the log after which the canary no longer comes


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


LABELS = {"buffer_events_max": 2048, "labels_max": 64, "per_barrier_max": 64}
SETTINGS: dict[str, Any] = {"receipts": True, "exchange": True, "partitions": 1, "model": {"labels": LABELS}}


@cache
def canary_log() -> tuple[Record, ...]:
    """The log of `test_shard`, with a customer who comes in the first part only, with amounts of its own."""
    records: list[Record] = []
    for place, record in enumerate(log(EVENTS)):
        records.append(record._replace(offset=BASE + 2 * record.offset))
        if place % 9 or place > LATE * len(log(EVENTS)):
            continue
        time = json.loads(record.value)["tx"]["time"] if _is_event(record) else None
        if time is None:
            continue
        value = {
            "tx": {"id": f"canary-{place}", "time": time},
            "customer": CANARY,
            "terminal": f"term-{place % 50}" if place % 5 else "term-of-canary",
            "amount": 7.31 + place / 7 if place % 90 else 9_000.13 + place,
            "channel": "web",
            "memo": "canary sings",
        }
        records.append(
            Record(
                BASE + 2 * record.offset + 1, record.timestamp_ms, CANARY.encode(), json.dumps(value).encode()
            )
        )
    return tuple(records)


def _is_event(record: Record) -> bool:
    try:
        return bool(json.loads(record.value or b"")["tx"]["id"].startswith("tx-"))
    except (ValueError, LookupError, TypeError):
        return False


def canary_offsets(records: Sequence[Record] | None = None) -> list[int]:
    return [record.offset for record in records or canary_log() if record.key == CANARY.encode()]


def line(**fields: Any) -> bytes:
    return json.dumps({"time": "2018-04-02T00:00:00Z", "actor": "ann", **fields}).encode()


def place_of(offset: int) -> dict[str, Any]:
    return {"partition": IDENTITY.partition, "offset": offset}


class Desk:
    """A partition that is driven as the runner does, with feedback lines visible from an offset on."""

    def __init__(
        self,
        lines: Sequence[tuple[int, bytes]],
        records: Sequence[Record] | None = None,
        driven: Partition | None = None,
        **changes: Any,
    ) -> None:
        self.records = canary_log() if records is None else records
        self.lines = lines
        wanted = part(**SETTINGS | changes)
        self.partition = driven or Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
        self.receipts: list[dict[str, Any]] = []
        self.messages: list[Any] = []
        self.updates: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.hashes: list[str] = []
        self.snapshot: Snapshot | None = None  # right after the last barrier

    def run(self, until: int | None = None) -> Desk:
        """Process records before the offset `until`."""
        while self.step(until):
            pass
        return self

    def step(self, until: int | None = None) -> bool:
        """Process records up to the end of a block; False: there are none before `until`."""
        at = bisect_left(self.records, self.partition.position, key=lambda record: record.offset)
        records = self.records[at : at + 300]
        if not records or (until is not None and records[0].offset >= until):
            return False
        step = self.partition.take(records)
        self.alerts += [json.loads(alert.body) for alert in step.outputs.alerts]
        if step.block_ended:
            self.settle()
        return True

    def run_to_erasure(self) -> None:
        """Process records up to the barrier that erases."""
        while not self.partition.journal.erases:
            assert self.step()

    def settle(self) -> None:
        visible = sum(first <= self.partition.position for first, _ in self.lines)
        barrier = self.partition.due({"feedback": SideRange(0, visible)})
        if barrier is not None:
            self.barrier(barrier)

    def barrier(self, barrier: Barrier) -> None:
        topic = [(position, raw) for position, (_, raw) in enumerate(self.lines)]
        outputs = self.partition.barrier(barrier, named(barrier, {"feedback": topic}))
        self.receipts += [json.loads(receipt.body) for receipt in outputs.receipts]
        self.updates += [json.loads(update.body) for update in outputs.case_updates]
        self.messages += outputs.peer_messages
        self.hashes.append(self.partition.state_hash)
        if not self.partition.follows:
            self.snapshot = self.partition.snapshot()

    def quiet(self) -> Desk:
        """Apply what is visible at once."""
        barrier = self.partition.due({"feedback": SideRange(0, len(self.lines))}, quiet=True)
        assert barrier is not None
        self.barrier(barrier)
        return self

    @property
    def state(self) -> Mapping[str, Any]:
        """As of the last barrier."""
        assert self.snapshot is not None
        return unpack(pack(self.snapshot.state))


@cache
def alerted() -> tuple[list[int], list[str]]:
    """Offsets of the canary's alerts, and the other alerts' ids."""
    run = Desk(()).run()
    own = [alert["source"]["offset"] for alert in run.alerts if alert["entity"]["value"] == CANARY]
    return own, [alert["alert_id"] for alert in run.alerts if alert["entity"]["value"] != CANARY]


ERASE_AT = BASE + 2 * 2650  # offset from which on the erasing record is visible


def pay(number: int, customer: str = CANARY, **changes: Any) -> Record:
    """An event after all others."""
    value = {
        "tx": {"id": f"later-{number}", "time": "2018-06-01T00:00:00Z"},
        "customer": customer,
        "terminal": "term-1",
        "amount": 20.0 + number / 8,
        "channel": "web",
        **changes,
    }
    offset = BASE + 40_000 + number
    return Record(offset, 0, customer.encode(), json.dumps(value).encode())


@cache
def lines_before() -> tuple[tuple[int, bytes], ...]:
    """Answers to alerts and other events, of the canary and of others; a snooze, and a case that goes on."""
    own, others = alerted()
    frauds = canary_offsets()[5:20:3]
    return (
        *((BASE, line(label="fraud", **place_of(offset))) for offset in frauds),
        *((BASE, line(label="fraud", event_id=f"tx-{n}")) for n in range(300, 900, 50)),
        *((BASE, line(label="legitimate", **place_of(offset))) for offset in own[:1]),
        *((BASE, line(label="legitimate", alert_id=alert)) for alert in others[:8]),
        (ERASE_AT - 1200, line(kind="snooze", until="2018-05-30T00:00:00Z", **place_of(own[1]))),
    )


ERASE = line(kind="erase", entity=CANARY, feedback_id="e-1")


@cache
def erased() -> Desk:
    return Desk((*lines_before(), (ERASE_AT, ERASE))).run()


def arrays(state: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """All values of a state with their paths."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from arrays(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value


def hash_of(value: str = CANARY) -> int:
    return erased().partition._shard._intake.parser.main_hash(value)


def traces(state: Mapping[str, Any], rows: Sequence[bytes] = ()) -> set[str]:
    """Where a state has something of the canary: its value, hash, pairs, offsets, or one of these rows."""
    found = set()
    key, text = hash_of(), CANARY
    offsets = np.array(canary_offsets())
    for path, value in arrays(state):
        if not isinstance(value, np.ndarray):
            said = json.dumps(value, default=str)
            if text in said or str(key) in said or any(str(offset) in said for offset in offsets):
                found.add(path)
            continue
        if value.dtype == np.uint64 and (value == key).any():
            found.add(path)
        if value.dtype == np.uint64 and (owners(value.reshape(-1)) == np.uint64(key >> 28)).any():
            found.add(path)
        if value.dtype.kind in "if" and np.isin(value, offsets).any():
            found.add(path)
        raw = value.tobytes()
        if any(row in raw for row in rows):
            found.add(path)
    return found


@cache
def before() -> Desk:
    return Desk(lines_before()).run(until=ERASE_AT)


def vectors(state: Mapping[str, Any]) -> list[bytes]:
    """Bytes of what the canary's events look like, wherever a state has rows of single events."""
    key, rows = np.uint64(hash_of()), []
    buffer, core, sample = state["buffer"], state["core"]["rows"], state["served"]["parts"]["habits"]
    for keys, columns in (
        (buffer["keys"][:, 0], [buffer[name] for name in ("inputs", "grams")]),
        (core["entities"][:, 0], [core[name] for name in ("context", "numerics")]),
        (sample["sampled"], [sample["sample"]]),
        (state["supervision"]["frauds"]["entities"], [state["supervision"]["frauds"]["inputs"]]),
    ):
        mine, others = np.flatnonzero(keys == key), np.flatnonzero(keys != key)
        mine = mine[:: max(1, len(mine) // 20)]  # some of them, evenly spread: comparing takes long
        for column in columns:
            known = {column[row].tobytes() for row in others}
            rows += [raw for row in mine if (raw := column[row].tobytes()) not in known and any(raw)]
    return rows


@cache
def at_erasure() -> Desk:
    run = Desk((*lines_before(), (ERASE_AT, ERASE)))
    run.run_to_erasure()
    return run


IDS = {"admission/offsets"}
"""Event ids stay for a while, so that a duplicate does not bring back what was erased: hash and offset."""


def test_before_the_erasure_the_entity_is_all_over_the_state() -> None:
    state = before().state
    found, rows = traces(state), vectors(state)
    parts = {path.split("/")[0] for path in found}
    assert parts >= {"profiles", "core", "alerting", "buffer", "book", "supervision", "heat"}
    alerting = {path.split("/")[1] for path in found if path.startswith("alerting/")}
    assert alerting >= {"cases", "links", "priority", "snoozes", "exploration", "recent"}
    assert len(rows) > 50
    assert "served" in {path.split("/")[0] for path in traces(state, rows) - found}


def test_nothing_of_an_erased_entity_is_left_in_the_state() -> None:
    rows = vectors(before().state)
    assert traces(at_erasure().state, rows) <= IDS
    assert traces(erased().state, rows) == set()  # the horizon of duplicates is over


def test_the_receipt_says_what_was_dropped_and_does_not_name_it() -> None:
    (receipt,) = [one for one in erased().receipts if one["feedback"]["kind"] == "erase"]
    assert (receipt["status"], receipt["outcome"]) == ("applied", "erased")
    dropped = receipt["dropped"]
    names = {
        "profiles",
        "contacts",
        "events",
        "normal_events",
        "recent_events",
        "examples",
        "labels",
        "cases",
    }
    assert names <= dropped.keys()
    assert dropped["snoozes"] == 1
    assert dropped["events"] >= dropped["normal_events"]
    assert receipt["text"].startswith("What was known of the entity is dropped: ")
    assert CANARY not in json.dumps(erased().receipts)


def test_every_record_has_one_receipt() -> None:
    positions = [receipt["feedback"]["position"] for receipt in erased().receipts]
    assert sorted(positions) == list(range(len(lines_before()) + 1))


def test_other_entities_keep_their_rows() -> None:
    """A run in which the canary was never there differs, but what is stored of others has their hashes."""
    state, key = erased().state, np.uint64(hash_of(OTHER))
    assert (state["buffer"]["keys"][:, 0] == key).any()
    tables = state["profiles"]["tables"]
    assert any((table["keys"] == key).any() for table in tables.values())


def test_a_replay_erases_in_the_same_way() -> None:
    whole = erased()
    journal = Journal.from_text(whole.partition.journal.to_text())
    wanted = part(**SETTINGS)
    replayed = Partition(IDENTITY, wanted, journal, until=whole.partition.position)
    silent = Desk(whole.lines, driven=replayed).run()
    assert (replayed.mismatches, replayed.state_hash) == (0, whole.partition.state_hash)
    assert [b.erases for b in replayed.journal.barriers] == [
        b.erases for b in whole.partition.journal.barriers
    ]
    assert sum(b.erases for b in replayed.journal.barriers) == 1
    assert not silent.alerts


def test_a_checkpoint_after_it_goes_on_as_if_nothing_had_happened() -> None:
    run = at_erasure()
    snapshot = run.snapshot
    assert snapshot is not None
    loaded, journal = restored(snapshot)
    assert loaded[0].erases
    assert loaded[0].before == ""
    wanted = part(**SETTINGS)
    partition = Partition(IDENTITY, wanted, journal, until=snapshot.position, restored=loaded)
    going = Desk(run.lines, driven=partition).run()
    assert partition.state_hash == erased().partition.state_hash
    assert [alert["alert_id"] for alert in going.alerts] == [
        alert["alert_id"] for alert in erased().alerts if alert["source"]["offset"] >= snapshot.position
    ]


def test_an_entity_that_comes_back_begins_as_new() -> None:
    records = [*canary_log(), *(pay(n) for n in range(3)), *(pay(n, "cust-new") for n in range(3, 6))]
    late = line(label="fraud", **place_of(alerted()[0][-1]))
    run = Desk((*lines_before(), (ERASE_AT, ERASE), (BASE + 40_000, late), (BASE + 40_000, ERASE)), records)
    run.run().quiet()
    shard = run.partition._shard
    keys = np.sort(np.array([hash_of(), hash_of("cust-new")], dtype=np.uint64))
    profiles, contacts = shard._scorer.profiles.held(keys).values()
    assert profiles[0] == profiles[1] > 0
    assert contacts[0] == contacts[1] > 0
    answered, again = outcomes(run.receipts[-2:])
    assert answered in {"unknown_event", "forgotten"}  # nothing says whose event it was
    assert again == "duplicate"


def quiet_run(*raw: bytes, **changes: Any) -> list[dict[str, Any]]:
    """Receipts of lines that come after the whole log, at one barrier."""
    run = Desk((*lines_before(), *((BASE + 30_000, one) for one in raw)), **changes).run()
    run.quiet()
    return run.receipts[len(lines_before()) :]


def outcomes(receipts: Sequence[Mapping[str, Any]]) -> list[str]:
    return [receipt["outcome"] for receipt in receipts]


def test_what_comes_after_an_erasure_in_the_same_barrier_finds_nothing() -> None:
    alerts = Desk(lines_before()).run().alerts
    own = [alert["source"]["offset"] for alert in alerts if alert["entity"]["value"] == CANARY]
    found = quiet_run(
        line(label="fraud", **place_of(own[-1])),
        line(kind="erase", alert_id=f"payments-3-{own[-1]}"),
        line(label="legitimate", **place_of(own[-1])),
        line(kind="snooze", until="2019-01-01T00:00:00Z", **place_of(own[-1])),
        line(kind="erase", entity=CANARY),
        line(kind="erase", entity="cust-nobody"),
        line(kind="erase", entity=OTHER),
        line(kind="erase", entity=True),
        line(kind="erase"),
    )
    assert outcomes(found) == [
        "applied",
        "erased",
        "forgotten",
        "forgotten",
        "unknown_entity",
        "unknown_entity",
        "erased",
        "malformed",
        "malformed",
    ]
    assert found[2]["text"] == "The entity of the event was erased."
    assert "or entity" in found[8]["text"]


def test_peers_are_told_to_drop_its_frauds(monkeypatch: pytest.MonkeyPatch) -> None:
    told, publish = [], Peers.publish

    def noted(self: Peers) -> list[Message]:
        told.append(set(self._supervision._unpublished.retracted))
        return publish(self)

    monkeypatch.setattr(Peers, "publish", noted)
    run = Desk((*lines_before(), (ERASE_AT, ERASE)))
    run.run_to_erasure()
    last = told[-1]
    held = before().state["supervision"]["frauds"]
    mine = held["numbers"][held["entities"] == np.uint64(hash_of())].tolist()
    assert mine
    assert set(mine) <= last
    assert run.messages


def test_a_shard_of_one_entity_begins_anew() -> None:
    records = [record for record in canary_log() if record.key == CANARY.encode()]
    many = [record._replace(offset=BASE + 5 * n, value=record.value) for n, record in enumerate(records * 20)]
    many = [
        record._replace(
            value=json.dumps(
                {
                    **json.loads(record.value),
                    "tx": {"id": f"m-{n}", "time": f"2018-04-{1 + n // 100:02}T00:00:00Z"},
                }
            ).encode()
        )
        for n, record in enumerate(many[:1800])
    ]
    run = Desk(((BASE + 5 * 1500, ERASE), (BASE + 9 * 10**6, ERASE)), many).run()
    assert outcomes(run.receipts) == ["erased"]
    shard = run.partition._shard
    assert 0 < shard.events < 1800
    again = Desk(((BASE + 5 * 1500, ERASE), (BASE + 9 * 10**6, ERASE)), many).run()
    assert again.hashes == run.hashes


hashes = st.integers(1, (1 << 64) - 1)


@given(st.lists(st.tuples(hashes, hashes), min_size=1, max_size=20))
def test_the_owner_of_a_pair_is_known_again(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array(column, dtype=np.uint64) for column in zip(*pairs, strict=True))
    keys = pair_keys(left, right)
    assert (keys != 0).all()
    known = keys != 1  # a pair that is mixed to 0 has the key 1
    assert (owners(keys)[known] == owner(left)[known]).all()


def test_a_pair_without_one_of_its_keys_is_none() -> None:
    nothing, some = np.zeros(1, dtype=np.uint64), np.ones(1, dtype=np.uint64) << np.uint64(50)
    assert pair_keys(nothing, some)[0] == pair_keys(some, nothing)[0] == 0


def test_keys_of_pairs_are_spread_over_a_table() -> None:
    rng = np.random.default_rng(1)
    left = np.repeat(rng.integers(1, 1 << 63, 400, dtype=np.uint64), 100)
    right = np.tile(rng.integers(1, 1 << 63, 100, dtype=np.uint64), 400)
    keys = pair_keys(left, right)
    assert len(np.unique(keys)) == len(keys)
    counts = np.bincount(((keys >> np.uint64(7)) % np.uint64(1024)).astype(np.int64), minlength=1024)
    assert counts.var() < 1.3 * counts.mean()  # as at random (Poisson)
