"""An event enters once; not late if the configuration refuses that; not if it is a reversal."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.tree import ModelPart
from detector.core.events.admission import RecentIds
from detector.core.records import DeadLetter, Identity, Outputs, Record
from detector.core.reporting import counting
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.model_shape import shape
from detector.core.shard.shard import Shard
from detector.core.state import pack, unpack
from tests.unit.test_shard import days, drive, log, part, partition, undisturbed

START_S = 1_700_000_000
OFF: dict[str, Any] = {"duplicates": None, "limits": {"members_max": None, "name_chars_max": None}}


def schema(**changes: Any) -> dict[str, Any]:
    return {
        "id": "id",
        "time": {"path": "time", "late": changes.pop("late", {})},
        "entities": [{"name": "card", "path": "card"}],
        "fields": [{"name": "amount", "path": "amount", "type": "numeric"}],
        **changes,
    }


def shard(**changes: Any) -> Shard:
    identity = Identity(topic="t", group="g", partition=0, entity_key=b"k")
    return Shard(part(schema(**changes)), identity, position=0)


def record(offset: int, id_: Any, minute: float = 0.0, **more: Any) -> Record:
    body = {"id": id_, "time": START_S + 60 * minute, "card": "c", "amount": 1.0, **more}
    return Record(offset, 0, None, json.dumps(body).encode())


def take(taker: Shard, records: list[Record]) -> tuple[list[int], dict[int, DeadLetter], dict[str, int]]:
    """Offsets that were scored, dead letters by offset, irregular events."""
    scored: list[int] = []
    dead: dict[int, DeadLetter] = {}
    irregular: dict[str, int] = {}
    while records:
        taken = taker.take(records, silent=False)
        consumed, outputs = taken.consumed, taken.outputs
        assert isinstance(outputs, Outputs)
        records = records[consumed:]
        scored += [offset for s in outputs.scored for offset in s.offsets.tolist()]
        dead |= {letter.offset: letter for letter in outputs.dead_letters}
        for kind, count in outputs.irregular.items():
            irregular[kind] = irregular.get(kind, 0) + count
    return scored, dead, irregular


# --- repeated events ----------------------------------------------------------------------------------------


def test_a_repeated_event_is_applied_once() -> None:
    ids = ["a", "b", "a", "b", "c", "a"]
    scored, dead, irregular = take(shard(), [record(n, id_) for n, id_ in enumerate(ids)])
    assert scored == [0, 1, 4]
    assert {offset: letter.reason for offset, letter in dead.items()} == dict.fromkeys([2, 3, 5], "duplicate")
    assert "offset 0" in dead[5].detail
    assert irregular == {"duplicate": 3}


def test_whole_numbers_and_their_text_are_one_id() -> None:
    assert take(shard(), [record(0, 7), record(1, "7")])[0] == [0]


def test_an_id_beyond_the_horizon_may_come_again() -> None:
    ids = [*range(10), 0, 9]
    scored, _, _ = take(shard(duplicates={"horizon_events": 9}), [record(n, i) for n, i in enumerate(ids)])
    assert scored == [*range(10), 10]


@pytest.mark.parametrize(
    ("duplicates", "irregular"), [(None, {}), ({"action": "score"}, {"duplicate": 1})], ids=["off", "score"]
)
def test_duplicates_can_be_scored(duplicates: Any, irregular: dict[str, int]) -> None:
    scored, dead, counted = take(shard(duplicates=duplicates), [record(0, "a"), record(1, "a")])
    assert (scored, dead, counted) == ([0, 1], {}, irregular)


def test_a_rejected_event_may_come_again_corrected() -> None:
    scored, dead, _ = take(shard(), [record(0, "a", card=1.5), record(1, "a")])
    assert (scored, list(dead)) == ([1], [0])


def test_values_that_cannot_be_read_are_counted_once_by_field_where_the_event_is_scored() -> None:
    """Blocks end within polls, and records beyond them are read again."""
    sent = [record(n, n // 2, amount="many" if n % 3 == 0 else 1.0) for n in range(900)]
    scored, telemetry, taker = 0, Telemetry(), shard()
    while sent:
        taken = taker.take(sent, silent=False)
        counting.count(telemetry, 0, [taken.outputs], 0.0)
        scored += sum(len(part.ids) for part in taken.outputs.scored)
        sent = sent[taken.consumed :]
    totals = telemetry.totals()
    assert (scored, totals.irregular["duplicate"]) == (450, 450)
    assert dict(totals.unreadable) == {"amount": 150}


def test_a_stream_with_one_id_for_all_is_counted_as_duplicates() -> None:
    scored, dead, irregular = take(shard(), [record(n, "same") for n in range(50)])
    assert (len(scored), len(dead), irregular) == (1, 49, {"duplicate": 49})


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(0, 14), st.integers(0, 3)), max_size=80),
    st.integers(1, 12),
)
def test_the_ring_is_the_last_distinct_ids(capacity: int, steps: list[tuple[int, int]], later: int) -> None:
    ids = RecentIds(capacity)
    model: deque[tuple[int, int]] = deque(maxlen=capacity)
    for offset, (id_, save) in enumerate(steps):
        assert ids.find(id_) == dict(model).get(id_)
        if id_ not in dict(model):
            ids.remember(id_, offset)
            model.append((id_, offset))
        if save == 0:
            state = unpack(pack(ids.to_state()))
            assert list(zip(state["hashes"].tolist(), state["offsets"].tolist(), strict=True)) == list(model)
            ids = RecentIds(capacity)
            ids.load(state)
    other = RecentIds(later)
    other.load(ids.to_state())
    kept = list(model)[-later:]
    assert {id_: other.find(id_) for id_, _ in model} == {id_: dict(kept).get(id_) for id_, _ in model}
    other.remember(99, 99)
    assert len(other.to_state()["hashes"]) == min(len(kept) + 1, later)


def test_the_undisturbed_run_has_irregular_events_of_all_kinds() -> None:
    """So that what test_shard.py holds of polls, checkpoints and recovery holds for them."""
    run = undisturbed()
    reasons = [letter.reason for letter in run.dead]
    for reason in ("duplicate", "late", "reversal"):
        assert reasons.count(reason) > 10
    assert set(run.irregular) == {"duplicate", "late", "out_of_order"}
    ids = [id_ for scored in run.scored for id_ in scored.ids]
    assert len(set(ids)) < len(ids), "some came again beyond the horizon"


def test_duplicates_change_no_other_result() -> None:
    """A stream with repeats gives the scores of the stream without them."""
    clean = [r._replace(offset=n) for n, r in enumerate(log()[:1500]) if r.value and b"late-" not in r.value]
    seen: set[str] = set()
    once = []
    for one in clean:
        id_ = one.value[:60].decode() if one.value else ""
        if id_ not in seen:
            once.append(one._replace(offset=2 * len(once)))
            seen.add(id_)
    twice = [copy for one in once for copy in (one, one._replace(offset=one.offset + 1))]
    first, second = (drive(partition(), records, labels=False) for records in (once, twice))
    assert first.scores() == second.scores()
    assert len(once) > 1000


def test_ids_are_kept_under_another_configuration() -> None:
    taker = shard()
    take(taker, [record(n, n) for n in range(64)])
    taker.reconfigure(part(schema(fields=[{"name": "other", "path": "other", "type": "numeric"}])))
    scored, dead, _ = take(taker, [record(64, 5), record(65, "new")])
    assert (scored, list(dead)) == ([65], [64])


# --- late events --------------------------------------------------------------------------------------------


def minutes(*late: tuple[int, float]) -> list[Record]:
    """100 events a minute apart, and at some places one with a time of its own."""
    strays = dict(late)
    return [record(n, n, strays.get(n, float(n))) for n in range(100)]


def test_late_events_are_scored_and_counted() -> None:
    scored, dead, irregular = take(shard(), minutes((50, -2000), (60, 59.5), (70, 50)))
    assert (len(scored), dead) == (100, {})
    assert irregular == {"late": 1, "out_of_order": 2}


def test_late_events_can_be_rejected() -> None:
    late = {"after": "10m", "action": "reject"}
    scored, dead, irregular = take(shard(late=late), minutes((50, 30), (70, 65)))
    assert len(scored) == 99
    assert {offset: letter.reason for offset, letter in dead.items()} == {50: "late"}
    assert irregular == {"late": 1, "out_of_order": 1}


def test_one_event_from_the_future_makes_no_other_event_late() -> None:
    late = {"after": "10m", "action": "reject"}
    assert len(take(shard(late=late), minutes((50, 5000)))[0]) == 100


def test_a_late_rejected_event_leaves_no_trace() -> None:
    late = {"after": "10m", "action": "reject"}
    taker = shard(late=late)
    take(taker, minutes())
    before = pack(taker._intake._admission.to_state()), taker.event_time
    take(taker, [record(200 + n, f"late-{n}", 5) for n in range(30)])
    assert (pack(taker._intake._admission.to_state()), taker.event_time) == before


# --- reversals ----------------------------------------------------------------------------------------------

REVERSALS = {"path": "type", "values": ["0400", "0420"], "original": "of.id"}


@pytest.mark.parametrize(
    ("more", "detail"),
    [
        ({"of": {"id": "a"}}, "'a', at offset 0"),
        ({"of": {"id": "x"}}, "'x', not among"),
        ({"of": {"id": None}}, "does not name"),
        ({"of": {"id": "x" * 10_000}}, "does not name"),
        ({}, "does not name"),
        ({"amount": "?", "time": "?", "card": None}, "does not name"),
    ],
)
def test_a_reversal_is_counted_and_not_learned_from(more: dict[str, Any], detail: str) -> None:
    taker = shard(reversals=REVERSALS)
    take(taker, [record(0, "a")])
    before = pack(taker._intake._admission.to_state()), taker.event_time, taker.gauges()
    scored, dead, irregular = take(taker, [record(1, "b", 9, type="0400", **more)])
    assert (scored, irregular) == ([], {})
    assert dead[1].reason == "reversal"
    assert detail in dead[1].detail
    assert (pack(taker._intake._admission.to_state()), taker.event_time, taker.gauges()) == before


@pytest.mark.parametrize("kind", ["0100", None, 400, "", True, 4.5])
def test_other_events_are_not_reversals(kind: Any) -> None:
    assert take(shard(reversals=REVERSALS), [record(0, "a", type=kind)])[0] == [0]


def test_a_reversal_may_have_the_id_of_what_it_takes_back() -> None:
    _, dead, _ = take(shard(reversals=REVERSALS), [record(0, "a"), record(1, "a", type="0420")])
    assert dead[1].reason == "reversal"


# --- changed configurations ---------------------------------------------------------------------------------


def test_settings_of_admission_are_not_part_of_the_models_shape() -> None:
    everything = schema(
        duplicates={"horizon_events": 5}, reversals=REVERSALS, late={"after": "1m", "action": "reject"}
    )
    assert shape(part(everything)) == shape(part(schema(**OFF)))
    text = json.dumps(shape(part(schema())), default=str)
    for word in ("duplicates", "reversals", "members_max", "late"):
        assert word not in text


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "1", '{"event": 1}', '{"event": {"limits": 3}}', "[" * 9999]
)
def test_an_invalid_configuration_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ModelPart.from_canonical(text)


def test_duplicates_can_be_switched_on_later() -> None:
    before, after = shard(**OFF), shard()
    take(before, [record(n, n) for n in range(64)])
    state = before.to_state()
    assert len(state["admission"]["hashes"]) == 0
    after.load(unpack(pack(state)))
    scored, dead, _ = take(after, [record(64, 1), record(65, 1)])
    assert (scored, list(dead)) == ([64], [65])


def test_event_schemas_of_the_simulation_have_unique_ids() -> None:
    ids = [event["TRANSACTION_ID"] for event in days(6000)]
    assert len(set(ids)) == len(ids)


# --- changes of rows ---------------------------------------------------------------------------------------


def change(offset: int, operation: str, id_: int, **row: Any) -> Record:
    after = {"id": id_, "time": START_S, "card": "c", "amount": 1.0, "unread": 0, **row}
    body = {"before": None, "after": None if operation == "d" else after, "op": operation, "ts_ms": offset}
    return Record(offset, 0, None, json.dumps(body).encode())


def test_an_update_of_a_row_is_an_event_and_a_change_that_says_nothing_new_is_skipped() -> None:
    sent = [
        change(0, "c", 1),
        change(1, "u", 1, amount=2.0),
        change(2, "u", 1, amount=2.0),  # written again
        change(3, "u", 1, amount=2.0, unread=5),
        change(4, "r", 1),  # the row in a snapshot, as it was at first
        change(5, "d", 1),
        change(6, "c", 2),
        change(7, "u", 1, card="d"),
        change(8, "u", 2, time=START_S + 60),
    ]
    for cut in range(1, len(sent)):
        taker = shard(envelope={"type": "debezium"})
        parts = [take(taker, sent[:cut]), take(taker, sent[cut:])]
        assert [offset for scored, _, _ in parts for offset in scored] == [0, 1, 6, 7, 8]
        assert [dead for _, dead, _ in parts] == [{}, {}]
        assert sum(irregular.get("skipped", 0) for _, _, irregular in parts) == 4
        assert sum(irregular.get("duplicate", 0) for _, _, irregular in parts) == 0


def test_updates_can_be_left_out() -> None:
    taker = shard(envelope={"type": "debezium", "operations": ["c", "r"]})
    scored, dead, irregular = take(taker, [change(0, "c", 1), change(1, "u", 1, amount=2.0)])
    assert (scored, dead, irregular["skipped"]) == ([0], {}, 1)


@given(
    amounts=st.lists(st.sampled_from([None, 0.0, -0.0, 1.0, 2.0]), min_size=1, max_size=20),
    ids=st.lists(st.integers(1, 2), min_size=20, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_each_pair_of_row_and_values_is_an_event_once(amounts: list[float | None], ids: list[int]) -> None:
    taker = shard(envelope={"type": "debezium"})
    sent = [change(n, "u", ids[n], amount=amount) for n, amount in enumerate(amounts)]
    scored, dead, _ = take(taker, sent)
    seen: dict[tuple[int, float | None], int] = {}
    for n, amount in enumerate(amounts):
        seen.setdefault((ids[n], amount), n)
    assert (scored, dead) == (sorted(seen.values()), {})
