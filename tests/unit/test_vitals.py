"""What an operator sees on /metrics, /readyz and in the log when something stands still."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from math import isnan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from detector.config.tree import Alerts
from detector.core.alerts.policy import Policy
from detector.core.records import Outputs
from detector.core.reporting.counting import count
from detector.core.reporting.standing import LOOKS_MAX, LogEnd, Standing
from detector.core.reporting.telemetry import Telemetry
from detector.errors import StoreUnavailable
from detector.shell import store as stores
from detector.shell.kafka.ends import LOOK_S
from detector.shell.metrics import METRICS, TelemetryCollector, renderer
from detector.shell.runner.checkpointer import failure
from detector.shell.runner.loop import Runner
from detector.shell.space import SpaceWatch
from detector.shell.store import FsspecStore
from detector.testing import MemoryLog
from detector.wiring.common import job_lanes
from tests.unit.runner_world import World, config, until

pytestmark = pytest.mark.usefixtures("chain")

VISIBLE_S = 15.0  # within so many seconds a fault must be seen
PER_PARTITION = {
    metric.name for metric in METRICS if metric.scope == "model" and (metric.always or metric.label)
}


def scrape(world: World) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name and label values, at the world's time."""
    infos = {"version": "1", "python": "3"}, {"model": "0", "delivery": "exactly_once", "shadow": ""}
    clock = world.clock
    collector = TelemetryCollector(world.telemetry, *infos, monotonic=clock.monotonic, wall=clock.time)
    page, _ = renderer(collector)(False)
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def one(world: World, name: str) -> float:
    (value,) = scrape(world)[name].values()
    return value


def running(world: World, records: int = 200) -> Runner:
    """A runner that has processed everything there is, 20 s ago at most."""
    world.produce(records)
    runner = world.runner()
    until(lambda: runner.status().ready and _all_committed(world), runner)
    world.ends.look()
    runner.turn()
    return runner


def _fails(world: World) -> bool:
    world.produce(20)
    return "checkpoint_failed" in world.log.events()


def _all_committed(world: World) -> bool:
    committed = world.broker.committed
    return all(
        number in committed and committed[number].offset == world.broker.end(number)
        for number in range(world.partitions)
    )


def pass_time(world: World, seconds: float, *each: Callable[[], object]) -> None:
    """Let seconds pass, in which the watch looks and `each` is called once a second."""
    until_s = world.clock.now_s + seconds
    while world.clock.now_s < until_s:
        for call in each:
            call()
        world.ends.look()
        world.clock.sleep(1.0)


# --- faults ------------------------------------------------------------------------------------------------


def test_lag_grows_while_the_loop_stands_still() -> None:
    world = World()
    running(world)
    assert one(world, "detector_partition_lag_records") == 0
    assert one(world, "detector_partition_lag_seconds") == 0
    lags = []
    for _ in range(4):
        pass_time(world, VISIBLE_S, lambda: world.produce(10))
        lags.append(one(world, "detector_partition_lag_records"))
    assert 0 < lags[0] < lags[1] < lags[2] < lags[3]
    assert one(world, "detector_partition_lag_seconds") == pytest.approx(4 * VISIBLE_S, abs=LOOK_S + 1)


def test_a_loop_that_stands_still_is_seen_and_not_ready() -> None:
    world = World()
    runner = running(world)
    assert one(world, "detector_ready") == 1
    world.clock.sleep(VISIBLE_S)
    assert one(world, "detector_ready") == 0
    assert one(world, "detector_loop_heartbeat_age_seconds") == pytest.approx(VISIBLE_S, abs=0.5)
    status = runner.status()
    assert not status.ready
    assert status.reason == "the main loop has made no round for 15 s"
    runner.turn()
    assert runner.status().ready
    assert one(world, "detector_ready") == 1
    assert one(world, "detector_outages_total") == 1
    (line,) = [values for _, event, values in world.log.lines if event == "ready_again"]
    assert line["reason"] == "the main loop made no round"
    assert line["seconds"] == pytest.approx(VISIBLE_S, abs=0.5)


def test_a_broker_that_is_away_is_seen_and_keeps_every_series() -> None:
    world = World(partitions=3)
    runner = running(world)
    before = scrape(world)
    world.broker.down = True
    pass_time(world, VISIBLE_S, runner.turn)
    during = scrape(world)
    assert one(world, "detector_ready") == 0
    assert one(world, "detector_outages_total") == 1
    assert VISIBLE_S <= one(world, "detector_outage_seconds") <= 3 * VISIBLE_S
    for age in during["detector_partition_lag_age_seconds"].values():
        assert age >= VISIBLE_S
    assert {name: set(before[name]) for name in PER_PARTITION} == {
        name: set(during[name]) for name in PER_PARTITION
    }


def test_commits_that_fail_keep_every_series_while_shards_are_rebuilt() -> None:
    world = World(partitions=3)
    runner = running(world)
    world.produce(30)
    world.broker.fail_commits(1000)
    for _ in range(20):
        runner.turn()
        found = scrape(world)
        for name in PER_PARTITION:
            assert {labels[0] for labels in found[name]} == {"0", "1", "2"}, name
    assert world.telemetry.owned == {0, 1, 2}


def test_traffic_that_stops_is_seen() -> None:
    world = World()
    runner = running(world)
    pass_time(world, 30.0, lambda: world.produce(1), runner.turn)
    assert one(world, "detector_partition_newest_record_age_seconds") < LOOK_S + 1
    assert one(world, "detector_partition_event_age_seconds") < 3
    pass_time(world, VISIBLE_S, runner.turn)
    assert one(world, "detector_partition_newest_record_age_seconds") >= VISIBLE_S - LOOK_S
    assert one(world, "detector_partition_event_age_seconds") >= VISIBLE_S - 2
    assert one(world, "detector_partition_lag_records") == 0
    assert one(world, "detector_ready") == 1


def test_a_full_disk_is_seen_before_and_when_a_checkpoint_fails(tmp_path: Path) -> None:
    folder = FsspecStore(f"file://{tmp_path}/a/b")
    world = World(config=config(checkpoints={"interval": 0.001}))
    full: list[int] = []

    class Disk:
        put = staticmethod(lambda name, data: folder.put(name, data))
        get, list, delete = folder.get, folder.list, folder.delete

    def write(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    watch = SpaceWatch(lambda: 0 if full else folder.free_bytes(), world.telemetry, world.log)
    world.produce(200)
    runner = world.runner(store=Disk(), warning_sources=(watch.warnings,))
    until(lambda: runner.status().ready, runner)
    assert watch.look()
    assert one(world, "detector_checkpoint_store_free_bytes") > 0
    assert watch.warnings() == ()
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(stores, "_write_durably", write)
        full.append(1)
        began_s = world.clock.now_s

        def failed() -> bool:
            world.produce(20)
            return scrape(world)["detector_checkpoint_failures_total"][("full", "0")] > 0

        until(failed, runner)
        assert world.clock.now_s - began_s < VISIBLE_S
    watch.look()
    runner.turn()
    (warning,) = runner.status().warnings
    assert warning.startswith("the checkpoint store has 0 bytes free")


# --- outages -----------------------------------------------------------------------------------------------


def test_the_end_of_an_outage_is_logged_and_measured() -> None:
    world = World()
    runner = running(world)
    world.broker.down = True
    pass_time(world, 41.0, runner.turn)
    assert "ready_again" not in world.log.events()
    world.broker.down = False
    until(lambda: runner.status().ready, runner)
    (line,) = [values for _, event, values in world.log.lines if event == "ready_again"]
    assert line["reason"] == "the broker is away"
    assert line["seconds"] == pytest.approx(41.0, abs=7.0)
    found = scrape(world)
    assert found["detector_outage_duration_seconds_count"] == {(): 1}
    assert found["detector_outage_duration_seconds_sum"][()] == pytest.approx(line["seconds"], abs=0.1)
    assert found["detector_outage_seconds"] == {(): 0}
    runner.turn()
    assert world.log.events().count("ready_again") == 1


def test_changes_of_the_group_are_counted() -> None:
    world = World(partitions=2)
    runner = running(world)
    world.broker.evict(world.stream)
    until(lambda: scrape(world)["detector_rebalances_total"][("lost",)] == 1, runner)
    assert scrape(world)["detector_rebalances_total"][("assigned",)] == 2


def test_a_partition_that_leaves_takes_its_gauges_along() -> None:
    world = World(partitions=2)
    first = running(world)
    second = world.runner()
    until(lambda: len(first.status().partitions) == 1, first, second)
    assert scrape(world)["detector_rebalances_total"][("revoked",)] == 1
    world.telemetry.owned = frozenset()  # both share the telemetry: only the first one is looked at
    first.turn()
    assert {labels[0] for labels in scrape(world)["detector_partition_state"]} == {
        str(line.partition) for line in first.status().partitions
    }


# --- restores ----------------------------------------------------------------------------------------------


def test_readyz_names_the_store_that_hangs() -> None:
    world = World(config=config(checkpoints={"interval": 0.001}))
    world.produce(600)
    world.finish()
    runner, seen = world.runner(), []

    def hang(step: str) -> None:
        if step in ("get", "list", "put:before"):
            world.clock.sleep(35.0)
            seen.append(runner.status())
            world.hook = lambda step: None

    world.hook = hang
    until(lambda: runner.status().ready, runner)
    (status,) = seen
    assert not status.ready
    assert "checkpoint store, no answer for 35 s" in status.reason
    assert status.partitions[0].reason == status.reason.removeprefix("partition 0 is restoring: ")


def test_the_lag_is_known_while_the_store_hangs() -> None:
    world = World(config=config(checkpoints={"interval": 0.001}))
    world.produce(600)
    world.finish()
    world.broker.closed = False
    world.produce(70)
    runner, lags = world.runner(), []

    def hang(step: str) -> None:
        if step == "get":
            world.clock.sleep(10.0)
            world.ends.look()
            lags.append(one(world, "detector_partition_lag_records"))
            world.hook = lambda step: None

    world.hook = hang
    until(lambda: runner.status().ready, runner)
    assert lags[0] >= 70


def test_before_anything_is_known_there_are_series_without_a_number() -> None:
    world = World(partitions=2)
    world.produce(50)
    runner = world.runner()
    world.store.fail = 10**9
    for _ in range(5):
        runner.turn()
    found = scrape(world)
    assert [isnan(lag) for lag in found["detector_partition_lag_records"].values()] == [True, True]
    assert all(age > 0 for age in found["detector_checkpoint_age_seconds"].values())
    assert all(age > 0 for age in found["detector_partition_lag_age_seconds"].values())
    assert found["detector_partition_state"][("1", "restoring")] == 1
    assert found["detector_restore_progress_ratio"] == {("0",): 0, ("1",): 0}


# --- checkpoints -------------------------------------------------------------------------------------------


def test_the_age_of_checkpoints_counts_from_the_assignment_and_through_failures() -> None:
    world = World(config=config(checkpoints={"interval": 3600}))
    world.produce(100)
    runner = world.runner()
    until(lambda: runner.status().ready, runner)
    world.clock.sleep(50.0)
    world.broker.fail_commits()  # a rebuild does not make it young again
    world.produce(20)
    until(lambda: "commit_failed" in world.log.events() and runner.status().ready, runner)
    assert one(world, "detector_checkpoint_age_seconds") >= 50.0
    world.store.fail = 10**9
    world.clock.sleep(3600.0)
    until(lambda: _fails(world), runner)
    assert one(world, "detector_checkpoint_age_seconds") >= 3650.0
    failures = scrape(world)["detector_checkpoint_failures_total"]
    assert failures[("unavailable", "0")] > 0
    world.store.fail = 0

    def written() -> bool:
        world.produce(20)
        return one(world, "detector_checkpoint_age_seconds") < 1

    until(written, runner)
    found = scrape(world)
    newest = world.telemetry.partitions[0].checkpoints.bytes
    sizes = {name: len(data) for name, data in world.store.objects.items() if "/config/" not in name}
    by_checkpoint: dict[str, int] = {}
    for name, size in sizes.items():
        stem = name.rpartition("/")[2].split(".")[0]
        by_checkpoint[stem] = by_checkpoint.get(stem, 0) + size
    assert newest in by_checkpoint.values()
    assert found["detector_checkpoint_duration_seconds_count"][()] > 0


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (OSError(errno.ENOSPC, "full"), "full"),
        (OSError(errno.EDQUOT, "full"), "full"),
        (PermissionError(errno.EACCES, "no"), "denied"),
        (OSError(errno.EROFS, "no"), "denied"),
        (OSError(errno.EIO, "broken"), "unavailable"),
        (RuntimeError("403"), "unavailable"),
        (None, "unavailable"),
    ],
)
def test_failures_have_a_kind(cause: Exception | None, kind: str) -> None:
    error = StoreUnavailable("not written")
    error.__cause__ = cause
    assert failure(error) == kind


def test_a_store_that_never_answers_is_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = threading.Event()
    monkeypatch.setattr(stores, "_write_durably", lambda path, data: event.wait(60.0))
    with pytest.raises(StoreUnavailable) as caught:
        FsspecStore(f"file://{tmp_path}", timeout_s=0.01).put("a", b"")
    event.set()
    assert failure(caught.value) == "timeout"


def test_only_a_folder_tells_its_free_space(tmp_path: Path) -> None:
    assert (FsspecStore(f"file://{tmp_path}/not/there").free_bytes() or 0) > 0
    assert FsspecStore("memory://free").free_bytes() is None
    telemetry = Telemetry()
    assert not SpaceWatch(FsspecStore("memory://free").free_bytes, telemetry, MemoryLog()).look()


def test_checkpoints_that_do_not_fit_any_more_are_a_warning() -> None:
    telemetry = Telemetry()
    telemetry.partitions[0].checkpoints.largest = telemetry.partitions[1].checkpoints.largest = 1000
    telemetry.owned = frozenset({0, 1})
    watch = SpaceWatch(lambda: 4001, telemetry, MemoryLog())
    watch.look()
    assert watch.warnings() == ()
    watch = SpaceWatch(lambda: 4000, telemetry, MemoryLog())
    watch.look()
    assert len(watch.warnings()) == 1


# --- the log's end -----------------------------------------------------------------------------------------


def test_what_is_not_known_is_none() -> None:
    log, standing = LogEnd(), Standing()
    assert (log.end, log.lag(5), log.grown_s()) == (None, None, None)
    assert standing.lag_seconds(log, 10.0, 0.0) is None
    log.note(1.0, 7, None)
    assert log.lag(None) is None
    assert standing.lag_seconds(log, 10.0, 0.0) is None


def test_a_backlog_of_the_start_is_as_old_as_the_log_says() -> None:
    log = LogEnd()
    log.note(100.0, 500, 0)
    assert Standing(processed=10).lag_seconds(log, 160.0, 1000.0) == 60.0
    assert Standing(processed=10, newest_ms=400_000).lag_seconds(log, 160.0, 1000.0) == 600.0
    log.note(105.0, 600, 10)
    # The look before did not see record 550: it came 55 s ago, whatever its producer's clock says.
    assert Standing(processed=550, newest_ms=1).lag_seconds(log, 160.0, 1000.0) == 55.0


def test_a_log_that_was_cut_begins_anew() -> None:
    log = LogEnd()
    log.note(0.0, 500, 500)
    log.note(5.0, 20, 500)
    assert (log.end, log.lag(500), log.lag(5)) == (20, 0, 15)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_oldest_waiting_record_is_at_most_one_look_older_than_said(steps: list[tuple[int, int]]) -> None:
    """Law: with arrivals between looks, its real age is in [said, said + one look]."""
    log, standing, arrived = LogEnd(), Standing(processed=0), []
    log.note(0.0, 0, 0)
    for number, (arriving, done) in enumerate(steps, start=1):
        now_s = number * LOOK_S
        arrived += [now_s - 0.5 * LOOK_S] * arriving
        log.note(now_s, len(arrived), standing.processed)
        assert standing.processed is not None
        standing.processed = min(standing.processed + done, len(arrived))
        said = standing.lag_seconds(log, now_s, 0.0)
        assert said is not None
        if standing.processed == len(arrived):
            assert said == 0.0
        else:
            real = now_s - arrived[standing.processed]
            assert said <= real <= said + LOOK_S


def test_looks_are_bounded_and_still_tell_the_age() -> None:
    log = LogEnd()
    for number in range(10 * LOOKS_MAX):
        log.note(number * LOOK_S, number, 0)
        assert len(log._looks) <= LOOKS_MAX + 1
    last_s = (10 * LOOKS_MAX - 1) * LOOK_S
    said = Standing(processed=0).lag_seconds(log, last_s, 0.0)
    assert said == last_s - LOOK_S


def test_new_partitions_are_asked_for_at_once_and_others_every_few_seconds() -> None:
    world, asked = World(partitions=2), []
    ends = world.ends._ends
    ask = ends.ask

    def note(partitions: list[int]) -> object:
        asked.append((world.clock.now_s, partitions))
        return ask(partitions)

    ends.ask = note  # type: ignore[method-assign, assignment]
    began_s = world.clock.now_s
    for owned in ([], [0], [0], [0, 1], [0, 1], [0, 1], [0, 1], [0, 1], [0, 1], [0]):
        world.telemetry.owned = frozenset(owned)
        world.ends.look()
        world.clock.sleep(1.0)
    assert [(at - began_s, numbers) for at, numbers in asked] == [(1, [0]), (3, [0, 1]), (8, [0, 1])]


# --- counters ----------------------------------------------------------------------------------------------


def test_each_label_counts_once_whatever_the_number_of_shards() -> None:
    telemetry = Telemetry()
    first = {"unknown_kind": 1, "malformed": 2}
    for number in range(4):
        mine = {"applied": 1} if number < 3 else {}
        outcomes = {"read": 8, **mine, **({} if number else first)}
        outputs = Outputs(side_outcomes={"feedback": outcomes})
        count(telemetry, number, [outputs], now_s=0.0)
    totals = telemetry.totals().labels
    assert {name: number for name, number in totals.items() if number} == {
        "read": 8,
        "applied": 3,
        "unknown_kind": 1,
        "malformed": 2,
    }
    assert telemetry.label_outcomes()["unknown_event"] == 2


def test_the_budget_is_exported() -> None:
    policy = Policy(Alerts.model_validate({"budget": {"per_day": 40}}), partitions=4)
    assert policy.budget(10_000.0) == (pytest.approx(10.0), 0.5)
    for number in range(20):
        policy.decide(None, 0, cold=None, event=number, time=1.0, now=1.0, events_per_day=10_000.0)
    earned, used = policy.budget(10_000.0)
    assert earned == pytest.approx(10.0)
    assert used > 1.0


def test_each_refit_in_the_background_is_timed() -> None:
    telemetry = Telemetry()
    with job_lanes(10.0, telemetry.refits) as lanes:
        results = [lanes.promotion(lambda number=number: number) for number in range(3)]
        assert [lanes.training(lambda: 7)(), *(result() for result in results)] == [7, 0, 1, 2]
    assert telemetry.refits.counts.sum() == 3
