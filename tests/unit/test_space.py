"""What an event is near to: what the index finds, what is left out, and whether the reasons are true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from detector.core.events import id_hash
from detector.core.features import Features, Layout
from detector.core.features.subjects import TIME, subjects_of
from detector.core.records import Record
from detector.core.shard.embedded import Embedded
from detector.core.shard.sizing import fitted
from detector.core.shard.space import AMONG, Among, SearchedSpace
from tests.unit.test_shard import IDENTITY, log, part, partition, restored, undisturbed


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@cache
def space() -> SearchedSpace:
    """Of the last checkpoint of a run with labels."""
    _, state = newest()
    return SearchedSpace(Embedded.of_state(part(), state))


@cache
def newest() -> tuple[Any, Any]:
    snapshots = undisturbed().snapshots
    (manifest, state), journal = restored(snapshots[max(snapshots)])
    return (manifest, journal), state


def remembered() -> list[int]:
    """Offsets of events that the shard remembers, the newest last."""
    end = max(undisturbed().snapshots)
    known = [record.offset for record in log() if record.offset < end and space().event(offset=record.offset)]
    return known


@pytest.mark.parametrize("among", AMONG)
def test_neighbours_are_those_of_an_exact_search(among: Among) -> None:
    """Distances do not fall, and no other is nearer than the last one."""
    for offset in remembered()[-40::10]:
        found = space().event(offset=offset)
        assert found is not None
        near = space().similar(found[1], among, count=5, without=offset)
        distances = [one.distance for one in near]
        assert len(near) == 5
        assert distances == sorted(distances)
        every = space().similar(found[1], among, count=100_000, without=offset)
        assert [one.distance for one in every[:5]] == pytest.approx(distances)


def test_the_event_itself_is_left_out() -> None:
    offset = remembered()[-1]
    found = space().event(offset=offset)
    assert found is not None
    every = space().similar(found[1], "recent", count=100_000, without=offset)
    assert offset not in {one.offset for one in every}
    assert offset in {one.offset for one in space().similar(found[1], "recent", count=100_000)}


def test_an_event_is_found_by_its_id() -> None:
    offset = remembered()[-1]
    (record,) = [one for one in log() if one.offset == offset]
    assert record.value is not None
    name = json.loads(record.value)["tx"]["id"]
    found = space().event(id_hash=id_hash(name, IDENTITY.entity_key))
    assert found is not None
    assert found[0] == offset


def test_an_event_that_is_not_remembered_is_not_found() -> None:
    assert space().event(offset=10**9) is None
    assert space().event(id_hash=1) is None


def test_known_frauds_are_said_to_be_frauds() -> None:
    found = space().event(offset=remembered()[-1])
    assert found is not None
    frauds = space().similar(found[1], "frauds", count=1000)
    assert frauds
    assert all("fraud" in one.said for one in frauds)


@pytest.mark.parametrize(("field", "value"), [("channel", "fax"), ("amount", 900.0), ("memo", "bitcoin")])
def test_what_sets_two_events_apart_is_the_field_in_which_they_differ(field: str, value: Any) -> None:
    """Two events of the same card at the same time, looked at as the next one each."""
    (manifest, journal), state = newest()
    shard = partition(journal=journal, until=journal.position, restored=(manifest, state), wanted=part())
    base = {
        "tx": {"id": "new", "time": "2018-06-01 10:00:00"},
        "customer": "cust-1",
        "terminal": "term-1",
        "amount": 20.0,
        "channel": "shop",
        "memo": "thanks for order of cust-1",
    }
    offset = shard.position
    records = [
        Record(offset, 0, b"cust-1", json.dumps(document).encode())
        for document in (base, {**base, field: value})
    ]
    looked = shard.look(records)
    assert not looked.rejected
    assert looked.examples is not None
    first, second = looked.examples.take(slice(0, 1)), looked.examples.take(slice(1, 2))
    at = space().embed(second)[0]
    assert np.linalg.norm(space().embed(first)[0] - at) > 0.0
    _, apart = space()._why(space()._asked(first), second, at)
    # What amounts are in a channel differs with it, too.
    assert apart[0] == field or (field == "channel" and set(apart) == {"amount", "channel"})


def test_clusters_show_ranges_only_where_enough_people_share_them() -> None:
    found = space().event(offset=remembered()[-1])
    assert found is not None
    clusters = space().similar(found[1], "normal", count=1000)
    assert any(one.ranges for one in clusters)
    assert all(one.cluster is not None and one.events > 0 for one in clusters)
    for one in clusters:
        if one.ranges:
            low, high = one.ranges["amount"]
            assert low <= high


def test_each_input_is_about_something_people_can_name() -> None:
    layout = Layout(part().event, fitted(part()).features)
    columns = Features(layout).columns
    about = dict(zip((column.name for column in columns), subjects_of(layout, columns), strict=True))
    assert set(about.values()) <= {"amount", "channel", "customer", "terminal", TIME}
    assert about["amount"] == "amount"
    assert about["channel surprise"] == "channel"
    assert {about[name] for name in about if name.startswith("amount against")} == {"amount"}
    assert {about[name] for name in about if " heat " in name} <= {"customer", "terminal"}


def test_a_model_that_keeps_nothing_has_clusters_only() -> None:
    _, state = newest()
    empty = SearchedSpace(Embedded.of_state(part(), state))
    empty._buffer = type(empty._buffer)(part().model.labels, empty._layout, len(empty._features))
    found = space().event(offset=remembered()[-1])
    assert found is not None
    assert empty.similar(found[1], "recent", count=5) == []
    assert empty.similar(found[1], "normal", count=5)


def test_neighbours_are_plain_values() -> None:
    """They are written as JSON."""
    found = space().event(offset=remembered()[-1])
    assert found is not None
    for among in AMONG:
        for one in space().similar(found[1], among, count=3):
            assert replace(one) == one
            json.dumps([one.distance, one.offset, one.time, one.events])
