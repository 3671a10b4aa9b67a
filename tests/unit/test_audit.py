"""Audit: verify, explain and rollback; and recovery from a log that lost events."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.config.tree import Checkpoints, Event
from detector.core.recovery.checkpoint import FORMAT, Manifest, Snapshot, read_manifest
from detector.core.recovery.generations import move_checkpoint, read_checkpoint, write
from detector.core.recovery.journal import Journal
from detector.core.shard.warm_start import export_model, read_model
from detector.core.state import copied, differing, digest
from detector.errors import NeedsOperator
from detector.ports import Committed, TopicIds
from detector.shell.auditor import Auditor
from detector.testing import MemoryArchive
from tests.unit.runner_world import World, in_order, model_config, until

DATA = Path(__file__).parents[1] / "data" / "checkpoints"


def events(count: int, seed: int = 7) -> list[bytes]:
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(size=(count, 2)) + 4 * (rng.random((count, 1)) < 0.01))
    made = [
        {"id": str(n), "t": 1_600_000_000 + 60 * n, "card": f"c{n % 40}", "x": float(x), "y": float(y)}
        for n, (x, y) in enumerate(values)
    ]
    return [b"{" if n % 97 == 13 else json.dumps(event).encode() for n, event in enumerate(made)]


def world(count: int = 1500, **changes: Any) -> World:
    made = World(partitions=2, poll_records_max=64, config=model_config().model_copy(update=changes))
    for n, value in enumerate(events(count)):
        made.broker.append(n % 2, value, key=b"c%d" % (n % 40))
    return made


def auditor(world: World) -> Auditor:
    return Auditor(
        config=world.config,
        topic="transactions",
        group="group/1",
        entity_key=b"secret",
        archive=MemoryArchive(world.broker),
        store=world.store,
        sides={"feedback": world.feedback},
    )


def quiet(done: int, of: int) -> None:
    assert done <= of


@pytest.fixture(scope="module")
def lived() -> World:
    """A group that ran to the end of its log, with one label; no checkpoint was deleted."""
    made = world(checkpoints=Checkpoints(interval=0.002, keep=1000))
    runner = made.runner()
    until(lambda: made.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 300, runner)
    made.feedback.append(b'{"time": 1, "label": "fraud", "event_id": "70"}')
    runner.stop()
    runner.run()
    made.finish()
    return made


# --- verify -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generations", [0, 1, 1000])
def test_every_barrier_has_its_recorded_hash(lived: World, generations: int) -> None:
    for partition in (0, 1):
        verified = auditor(lived).verify(partition, generations=generations, progress=quiet)
        assert verified.equal
        assert not verified.differing
        assert verified.stop == 750
        assert all(barrier.equal is not None for barrier in verified.barriers)
        if generations == 1000:
            assert verified.start == 0
            assert len(verified.barriers) > 3
            assert lived.journal(partition).end("feedback") == 1


def test_the_runner_reports_the_hash_of_its_state(lived: World) -> None:
    numbers = lived.telemetry.partitions[0]
    name = lived.journal(0).checkpoint
    manifest = read_manifest(lived.store.objects[lived.path(f"{name}.json")])
    _, state = stored(lived, name)
    assert manifest.state_hash == f"{FORMAT}:{digest(state)}"
    last = lived.journal(0).barriers[-1].state if lived.journal(0).barriers else manifest.state_hash
    position, hashed = numbers.barrier
    assert hashed == int(last.split(":")[1], 16)
    assert position is not None
    assert numbers.state_mismatches == 0


def test_a_different_state_is_found_and_its_parts_are_named() -> None:
    """A checkpoint with a valid seal and name, but other numbers."""
    made = world()
    made.finish()
    journal = made.journal(0)
    manifest, read = stored(made, journal.checkpoint)
    state = copied(read)
    state["calibration"]["accepted"][0] += 1.0
    snapshot = move_checkpoint(manifest, state, manifest.position)
    name = write(noted(snapshot, manifest.since), lambda name, data: made.store.put(made.path(name), data))
    forged = replace(journal, checkpoint=name)
    made.broker.committed[0] = Committed(offset=made.broker.committed[0].offset, metadata=forged.to_text())
    verified = auditor(made).verify(0, generations=1, progress=quiet)
    assert not verified.equal
    assert [part for part in verified.differing if part.startswith("calibration")]


def stored(made: World, name: str) -> tuple[Manifest, Mapping[str, Any]]:
    return read_checkpoint(name, lambda place: made.store.get(made.path(place)))


def noted(snapshot: Snapshot, since: Journal) -> Snapshot:
    """As if its state had been hashed when it was taken."""
    state_hash = f"{FORMAT}:{digest(snapshot.state)}"
    return replace(snapshot, since=since.with_states([*since.states[:-1], state_hash]))


def test_a_replay_with_another_result_is_logged_and_counted() -> None:
    made = world(checkpoints=Checkpoints(interval=1e6))
    with made.without_checkpoints():
        made.finish()
    committed = made.broker.committed[0]
    barriers = Journal.from_text(committed.metadata).barriers
    runner = made.runner()
    wrong = committed.metadata.replace(barriers[-1].state, f"{FORMAT}:000000000000")
    made.broker.committed[0] = Committed(offset=committed.offset, metadata=wrong)
    runner.run()
    assert made.log.events().count("state_mismatch") == 1
    assert made.telemetry.partitions[0].state_mismatches == 1


def test_two_processes_agree() -> None:
    """With different hash seeds of Python."""
    program = (
        "from tests.unit.test_audit import world; w = world(800); w.finish();"
        "print(*(w.telemetry.partitions[p].barrier[1] for p in (0, 1)), len(w.alerts()))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "PATH": "", "NUMBA_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert b"None" not in printed.pop()


# --- explain ----------------------------------------------------------------------------------------------


def test_every_alert_is_reproduced_byte_for_byte(lived: World) -> None:
    published = [message for message in in_order(lived) if message.topic == "alerts"]
    assert len(published) > 5
    for message in published:
        explained = auditor(lived).explain(message.partition, message.offset, quiet)
        assert explained.fate == "alert"
        assert explained.alert is not None
        assert (explained.alert.body, explained.alert.headers) == (message.value, message.headers)


def test_an_event_without_an_alert_is_explained(lived: World) -> None:
    alerted = {(m.partition, m.offset) for m in in_order(lived) if m.topic == "alerts"}
    fates = set()
    for offset in range(0, 750, 37):
        if (0, offset) in alerted:
            continue
        explained = auditor(lived).explain(0, offset, quiet)
        fates.add(explained.fate)
        if explained.fate == "below the threshold":
            assert explained.alert is not None
            assert explained.score is not None
            assert explained.threshold is not None
            assert explained.score < explained.threshold
            assert json.loads(explained.alert.body)["source"]["offset"] == offset
    assert fates >= {"below the threshold", "there is no threshold yet"}
    rejected = auditor(lived).explain(1, 6, quiet)  # event 13
    assert rejected.fate == "rejected: malformed"


def test_events_that_cannot_be_explained_are_refused(lived: World) -> None:
    with pytest.raises(NeedsOperator, match="not processed yet, the group is at 750"):
        auditor(lived).explain(0, 750, quiet)
    with pytest.raises(NeedsOperator, match="has committed nothing"):
        auditor(World()).explain(0, 1, quiet)


def test_without_ids_and_times_of_their_own_events_are_known_by_their_place_in_the_log() -> None:
    """Times are the records'; alerts, labels, duplicates, verify and explain go by partition and offset."""
    config = model_config()
    event = Event.model_validate(config.event.model_dump() | {"id": None, "time": {"path": None}})
    topics = config.topics.model_copy(update={"scores": "scores"})
    kept = Checkpoints(interval=0.002, keep=1000)
    made = World(
        partitions=2,
        poll_records_max=64,
        config=config.model_copy(update={"event": event, "topics": topics, "checkpoints": kept}),
    )
    for n, value in enumerate(events(1500)):
        stamp = -1 if n == 11 else 1_600_000_000_000 + 60_000 * n
        made.broker.append(n % 2, value, key=b"c%d" % (n % 40), timestamp_ms=stamp)
    runner = made.runner()
    until(lambda: made.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 300, runner)
    made.feedback.append(
        b'{"time": "2020-09-13 13:00:00 UTC", "label": "fraud", "event_id": "transactions-0-35"}'
    )
    made.feedback.append(b'{"time": 1600000000, "label": "fraud", "partition": 1, "offset": 36}')
    runner.stop()
    runner.run()
    made.finish()
    published = in_order(made)
    alerts = [message for message in published if message.topic == "alerts"]
    assert len(alerts) > 5
    for message in alerts:
        body = json.loads(message.value or b"")
        assert body["event_id"] == f"transactions-{message.partition}-{message.offset}"
        at = 1_600_000_000 + 60 * (2 * message.offset + message.partition)
        assert datetime.fromisoformat(body["event_time"]).timestamp() == at
        explained = auditor(made).explain(message.partition, message.offset, quiet)
        assert explained.alert is not None
        assert (explained.alert.body, explained.alert.headers) == (message.value, message.headers)
    dead = {
        (m.partition, m.offset): dict(m.headers)["detector_reason"]
        for m in published
        if m.topic == "dead_letter"
    }
    assert dead.pop((1, 5)) == b"missing", "Kafka's record without a timestamp"
    assert set(dead.values()) == {b"malformed"}
    totals = made.telemetry.totals()
    assert totals.labels["applied"] >= 2
    assert totals.irregular["duplicate"] == 0
    for partition in (0, 1):
        assert auditor(made).verify(partition, generations=1000, progress=quiet).equal


# --- rollback ---------------------------------------------------------------------------------------------


def test_a_rollback_restores_the_old_model_and_repeats_no_event() -> None:
    made = world(checkpoints=Checkpoints(interval=0.002, keep=1000))
    made.finish()
    before = len(made.broker.published)
    names = [name for name in made.store.list(made.path("00000/")) if name.endswith(".state")]
    old = names[0].removeprefix(made.path("")).removesuffix(".state")
    made.broker.committed[0] = auditor(made).rolled_back(0, old)
    (manifest, state), (theirs, older) = stored(made, made.newest()), stored(made, old)
    assert differing(state, older) == []
    assert (manifest.position, theirs.position < manifest.position) == (750, True)
    for number, value in enumerate(events(600, seed=8)):
        made.broker.append(0, value, key=b"c%d" % (number % 40))
    made.finish()
    offsets = [m.offset for m in made.broker.published if m.topic == "scores" and m.partition == 0]
    assert len(offsets) == len(set(offsets))
    assert len(made.broker.published) > before
    verified = auditor(made).verify(0, generations=1000, progress=quiet)
    assert verified.equal
    assert verified.start == 750
    with pytest.raises(NeedsOperator, match=r"the model that processed offset 740 is gone, .* at 750"):
        auditor(made).explain(0, 740, quiet)
    assert auditor(made).explain(0, 760, quiet).origin


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("metadata", ["", "not a journal", '{"v":1,"k":"","p":900,"c":"ab","s":[],"b":[]}'])
def test_a_new_model_begins_at_a_committed_offset_whatever_was_committed_with_it(
    metadata: str, warm: bool
) -> None:
    made = world(checkpoints=Checkpoints(interval=0.002, keep=1000))
    made.finish()
    newest = made.newest()
    manifest, state = read_checkpoint(newest, lambda place: made.store.objects[made.path(place)])
    model = read_model(export_model(manifest, state)) if warm else None
    published = len(made.broker.published)
    made.broker.committed[0] = Committed(offset=700, metadata=metadata)  # as a mirroring tool does
    with pytest.raises(NeedsOperator):
        made.finish()
    assert len(made.broker.published) == published

    begun = auditor(made).begun(0, made.config.model_part(made.partitions), model)
    assert begun is not None
    assert begun.offset == 700
    assert bool(Journal.from_text(begun.metadata).checkpoint) == warm
    made.broker.committed[0] = begun
    made.finish()
    new = [m for m in made.broker.published[published:] if m.partition == 0 and m.topic != "alerts"]
    assert sorted(message.offset for message in new) == list(range(700, 750))
    assert auditor(made).verify(0, generations=1000, progress=quiet).equal


def test_after_a_failover_a_model_begins_in_the_folder_of_the_new_cluster() -> None:
    made = world(checkpoints=Checkpoints(interval=0.002, keep=1000))
    made.finish()
    manifest, state = read_checkpoint(made.newest(), lambda place: made.store.objects[made.path(place)])
    model = read_model(export_model(manifest, state))
    made.broker.ids = TopicIds("mirror", "another")
    for number in range(made.partitions):
        begun = auditor(made).begun(number, made.config.model_part(made.partitions), model)
        assert begun is not None
        made.broker.committed[number] = begun
    published = len(made.broker.published)
    for number, value in enumerate(events(40, seed=9)):
        made.broker.append(number % made.partitions, value, key=b"c%d" % number)
    made.finish()
    new = [m for m in made.broker.published[published:] if m.topic in ("scores", "dead_letter")]
    assert len(new) == 40


def test_a_partition_without_a_committed_offset_begins_by_itself() -> None:
    made = world()
    assert auditor(made).begun(0, made.config.model_part(made.partitions), None) is None


def test_a_rollback_with_a_damaged_checkpoint_gives_the_same_outputs() -> None:
    outputs = []
    for damaged in (False, True):
        made = world(700)
        made.finish()
        old = Journal.from_text(made.broker.committed[0].metadata).checkpoint
        made.broker.committed[0] = auditor(made).rolled_back(0, old)
        if damaged:
            made.store.corrupt(made.path(f"{made.newest()}.state"), 1000)
        for number, value in enumerate(events(600, seed=8)):
            made.broker.append(0, value, key=b"c%d" % (number % 40))
        made.finish()
        outputs.append(in_order(made))
    assert outputs[0] == outputs[1]


def test_recovery_never_goes_back_behind_a_rollback() -> None:
    made = world(700)
    made.finish()
    old = made.newest()
    made.broker.committed[0] = auditor(made).rolled_back(0, old)
    for name in (made.newest(), old):
        made.store.corrupt(made.path(f"{name}.state"), 1000)
    with pytest.raises(NeedsOperator, match="holds no usable checkpoint"):
        made.runner().run()


def test_only_a_whole_checkpoint_of_the_same_partition_can_be_rolled_back_to(lived: World) -> None:
    name = lived.journal(1).checkpoint
    with pytest.raises(NeedsOperator, match="is of partition 1"):
        auditor(lived).rolled_back(0, name)
    with pytest.raises(NeedsOperator, match="it is missing"):
        auditor(lived).rolled_back(0, "00000/1-abc")


# --- a log that lost too many events ------------------------------------------------------------------------


def outcomes(world: World) -> list[int]:
    """Offsets in partition 0 that were scored or rejected."""
    published = [m for m in world.broker.published if m.topic in ("scores", "dead_letter")]
    return sorted(m.offset for m in published if m.partition == 0)


def test_with_skip_only_the_lost_events_are_missing() -> None:
    made = world(1200, on_data_loss="skip")
    runner = made.runner()
    until(lambda: made.broker.committed.get(0, Committed(offset=0, metadata="")).offset > 300, runner)
    runner.stop()
    runner.run()
    stood = made.broker.committed[0].offset
    model = made.newest()
    made.broker.trim(0, stood + 50)
    made.finish()
    numbers = made.telemetry.partitions[0]
    assert numbers.lost == 50
    assert numbers.received + numbers.lost == 600
    offsets = [
        m.offset for m in made.broker.published if m.topic in ("scores", "dead_letter") and m.partition == 0
    ]
    assert sorted(offsets) == [*range(stood), *range(stood + 50, 600)]
    [line] = [values for _, event, values in made.log.lines if event == "data_lost"]
    assert line["lost"] == 50
    position = read_manifest(made.store.objects[made.path(f"{line['model']}.json")]).since
    assert (position.checkpoint, position.position) == (model, stood + 50)
    made.finish()  # the next restart finds everything
    assert made.log.events().count("data_lost") == 1


def test_with_skip_and_no_checkpoint_a_new_model_starts() -> None:
    made = world(400, on_data_loss="skip")
    made.finish()
    for name in made.store.list(made.path("")):
        if "00000/" in name:
            made.store.lose(name)
    made.broker.trim(0, 200)
    made.broker.closed = False
    for number, value in enumerate(events(100, seed=8)):
        made.broker.append(0, value, key=b"c%d" % number)
    made.finish()
    offsets = [
        m.offset for m in made.broker.published if m.topic in ("scores", "dead_letter") and m.partition == 0
    ]
    assert sorted(offsets) == list(range(300))
    assert made.telemetry.partitions[0].lost == 0


def test_with_skip_lost_feedback_is_skipped_too() -> None:
    made = world(400, on_data_loss="skip", checkpoints=Checkpoints(interval=1e6))
    made.feedback.append(b'{"time": 1, "label": "fraud", "event_id": "70"}')
    with made.without_checkpoints():
        made.finish()
    made.feedback.trim(1)
    made.finish()
    assert "data_lost" in made.log.events()
