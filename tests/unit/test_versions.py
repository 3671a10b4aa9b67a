"""Which encoder serves: bad ones are refused, operators hold and go back, and a replay does the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from detector.config.load import load
from detector.core.labels.commands import Command, Malformed, read_command
from detector.core.model import versions as module
from detector.core.model.encoder import Learned
from detector.core.model.judgement import LEARNED, ORDER_MIN, Seen, compared, finite, objections
from detector.core.model.versions import Version, Versions
from detector.core.records import Record
from detector.core.shard.partition import Partition
from detector.core.state import copied
from detector.demo import simulation
from detector.testing import MemoryLog
from detector.wiring.file_replay import Replay, replay
from tests.unit.test_shard import Run, after, drive, log, one_thread, part, partition, restored

__all__ = ["one_thread"]  # a fixture for all tests here

Lines = Sequence[tuple[int, bytes]]
CONFIG = Path(__file__).parents[2] / "configs" / "simulate.yaml"
LAST = 1000 + 7000  # beyond the log's end


def command(at: int, wanted: str, version: int | None = None, **more: Any) -> tuple[int, bytes]:
    """A record about the model of partition 3, visible from an offset on."""
    document = {"kind": "model", "partition": 3, "action": wanted, "time": 1, "feedback_id": f"{wanted}-{at}"}
    if version is not None:
        document["version"] = version
    return at, json.dumps({**document, **more}).encode()


def versions_of(made: Partition) -> Versions:
    return made._shard._learning.versions


def served(made: Partition) -> np.ndarray[Any, Any]:
    """The weights that score."""
    return made._shard._scorer.served.learned.weights["out"]


def served_of(made: Partition) -> Learned:
    return made._shard._scorer.served.learned


def governed(lines: Lines, *, snapshots: bool = False) -> Run:
    return drive(partition(part(feedback=True)), labels=lines, snapshots=snapshots)


# --- commands ---------------------------------------------------------------------------------------------


def test_without_commands_every_new_encoder_serves() -> None:
    run = governed(())
    known = versions_of(run.partition)
    assert not known.held
    assert known.refused == 0
    assert known.count > 5
    assert known.number == run.partition._shard._scorer.served.version


def test_what_is_held_goes_on_serving_while_its_clusters_follow() -> None:
    run = governed([command(4000, "hold")])
    known, free = versions_of(run.partition), versions_of(governed(()).partition)
    assert known.held
    assert known.count < free.count
    later = [body["model"]["encoder_step"] for body in run.bodies() if body["source"]["offset"] > 5500]
    assert len(set(later)) == 1
    assert run.partition._shard._scorer.served.version > known.number


def test_a_rollback_lets_an_older_encoder_serve_and_keeps_profiles_and_budget() -> None:
    before = governed([command(LAST, "hold")], snapshots=True)
    at = max(position for position in before.snapshots if position < 5500)
    older = before.snapshots[at].state["versions"]["older"][-1]["number"]
    run = governed([command(at, "rollback")], snapshots=True)
    known = versions_of(run.partition)
    assert (known.number, known.held) == (older, True)
    weights = before.snapshots[at].state["versions"]["weights"][str(older)]["weights"]
    np.testing.assert_array_equal(served(run.partition), weights["out"])
    steps = [one.snapshots[at].state["served"]["step"] for one in (run, before)]
    assert steps[0] < steps[1]
    profiles = [one.gauges["profiles"] for one in (run.partition, before.partition)]
    assert profiles[0] == profiles[1]
    first, second = (after(one, 0)[0] for one in (before, run))
    same = [alert for alert in first if alert.offset < at]
    assert second[: len(same)] == same
    assert len(second) == pytest.approx(len(first), abs=0.3 * len(first))


def test_promote_lifts_a_hold_or_serves_a_newer_version() -> None:
    lifted = versions_of(governed([command(3500, "hold"), command(5000, "promote")]).partition)
    assert not lifted.held
    assert lifted.number > lifted.older[max(lifted.older)].number
    held = governed([command(4500, "rollback")])
    newer = max(versions_of(held.partition).older)
    assert newer > versions_of(held.partition).number
    run = governed([command(4500, "rollback"), command(6000, "promote", newer)])
    assert newer in {versions_of(run.partition).number, *versions_of(run.partition).older}
    assert not versions_of(run.partition).held


def test_a_version_that_is_not_kept_is_declined() -> None:
    run = governed([command(4000, "rollback", 77), command(4000, "promote", 78)])
    assert run.labels["unknown_version"] == 2
    assert not versions_of(run.partition).held


@cache
def commanded() -> Run:
    lines = [command(3000, "hold"), command(4200, "rollback"), command(5200, "promote")]
    return governed(lines, snapshots=True)


@pytest.mark.parametrize("number", [-1, -3, -5])
def test_a_restored_shard_replays_commands_to_the_same_bytes(number: int) -> None:
    run = commanded()
    at = sorted(run.snapshots)[number]
    loaded, journal = restored(run.snapshots[at])
    lines = [command(3000, "hold"), command(4200, "rollback"), command(5200, "promote")]
    wanted = part(feedback=True)
    again = drive(partition(wanted, journal, until=at, restored=loaded), labels=lines, snapshots=True)
    assert after(again, at) == after(run, at)
    assert again.partition.state_hash == run.partition.state_hash
    assert again.states() == {k: v for k, v in run.states().items() if k > at}


def test_a_replay_follows_the_journal_and_finds_the_same_states() -> None:
    run = commanded()
    lines = [command(3000, "hold"), command(4200, "rollback"), command(5200, "promote")]
    replayed = partition(part(feedback=True), run.partition.journal, until=run.partition.position)
    again = drive(replayed, labels=lines)
    assert again.partition.mismatches == 0
    assert again.partition.state_hash == run.partition.state_hash
    assert again.replayed > 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"partition": None}, "partition is missing"),
        ({"action": "pause"}, "expected one of hold, promote, rollback"),
        ({"version": 3}, "a hold holds what serves"),
        ({"version": "x"}, "version is 'x'"),
    ],
)
def test_a_command_that_cannot_be_understood_says_why(changed: dict[str, Any], why: str) -> None:
    read = read_command(command(0, "hold", **changed)[1])
    assert isinstance(read, Malformed)
    assert why in read.why


def test_a_command_forgives_case_as_labels_do() -> None:
    read = read_command(command(0, "Rollback", 3, kind="MODEL")[1])
    assert isinstance(read, Command)
    assert (read.action, read.partition, read.version) == ("rollback", 3, 3)


# --- refusal ----------------------------------------------------------------------------------------------


def spoil(made: Partition, factor: float = 100.0) -> None:
    """Let the plain learner's steps be far too large."""
    learner = made._shard._learning._trainer.learner
    rate = learner.config.learning_rate * factor
    learner.config = learner.config.model_copy(update={"learning_rate": rate})


def rest(made: Partition) -> list[Record]:
    return [record for record in log() if record.offset >= made.position]


def until_refused(made: Partition) -> None:
    """The first promotion may have been prepared before."""
    spoil(made)
    while not made.refused:
        drive(made, rest(made)[:64], labels=False)


@pytest.fixture
def halfway() -> Partition:
    made = partition()
    drive(made, log()[:3500], labels=False)
    return made


def test_a_bad_encoder_is_refused_and_the_one_before_goes_on(halfway: Partition) -> None:
    until_refused(halfway)
    weights, number = served(halfway).copy(), versions_of(halfway).number
    assert "contrast of changed events falls from" in halfway.refused
    run = drive(halfway, rest(halfway), labels=False)
    known = versions_of(halfway)
    assert known.refused > 1
    assert halfway.gauges["promotions_refused"] == known.refused
    assert known.number == number
    np.testing.assert_array_equal(served(halfway), weights)
    assert halfway._shard._scorer.served.version > number  # all else is refitted
    assert len(run.alerts) > 3


def test_after_a_refusal_the_learner_goes_on_from_what_serves(halfway: Partition) -> None:
    until_refused(halfway)
    spoil(halfway, 0.01)
    refused = versions_of(halfway).refused
    drive(halfway, rest(halfway), labels=False)
    assert versions_of(halfway).refused == refused
    assert not halfway.refused


def test_an_encoder_that_is_not_a_number_is_refused(halfway: Partition) -> None:
    halfway._shard._learning._trainer.learner.weights["out"][:] = np.nan
    drive(halfway, rest(halfway), labels=False)
    assert versions_of(halfway).refused > 0
    assert finite(halfway._shard._scorer.served.learned)


def seen(
    points: np.ndarray[Any, Any], frauds: float = 9.0, count: int = 64, told: float | None = None
) -> Seen:
    """`told`: by how much farther changed events are."""
    points = points.astype(np.float32)
    distances = np.linalg.norm(points, axis=1).astype(np.float32)
    changed = points[:0] if told is None else points * np.float32(told)
    return Seen(points, changed, distances, np.full(count, frauds, dtype=np.float32))


def test_figures_of_an_encoder_against_the_one_before() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((128, 4))
    same = compared(seen(points), seen(points))
    assert same["order"] == 1.0
    assert "contrast" not in same
    assert same["precision"] == same["precision_before"] == 1.0
    assert not objections(same, {})
    others = compared(seen(points), seen(rng.standard_normal((128, 4))))
    assert abs(others["order"]) < 0.1
    assert len(objections(others, {})) == 1
    assert "order" not in compared(seen(points[:9]), seen(points[:9]))
    assert "precision" not in compared(seen(points, count=3), seen(points, count=3))
    nothing = compared(seen(points), seen(np.zeros((128, 4)), frauds=0.0))
    assert nothing["precision"] == pytest.approx(64 / 192)
    assert len(objections(nothing, {})) == 3


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            {"contrast_before": 0.7, "contrast": 0.59},
            "falls from 0.700 to 0.590, at least 0.600 must be left",
        ),
        ({"contrast_before": 0.51, "contrast": 0.5, "order": 0.1}, "correlate with those before by 0.10"),
        ({"order": 0.1}, "correlate with those before by 0.10"),
        ({"order": 0.36, "directions": 2.9, "directions_before": 8.3}, "of 8.3 directions in use 2.9"),
        ({"order": 0.9, "beyond": 0.3}, "would not be accepted"),
        ({"order": 0.9, "alerts": 0.06}, "would give alerts"),
        ({"precision": 0.4, "precision_before": 0.8, "frauds": 100.0}, "precision on confirmed frauds falls"),
    ],
)
def test_an_objection_says_what_is_wrong(figures: dict[str, float], said: str) -> None:
    [found] = objections(figures, {"beyond": 0.01, "alerts": 0.001})
    assert said in found


def test_an_encoder_that_has_collapsed_is_refused_unless_the_one_that_serves_is_as_flat() -> None:
    """A line keeps more neighbours than chance: one served, and then all that followed had to be like it."""
    rng = np.random.default_rng(1)
    points = rng.standard_normal((128, 4))
    line = np.outer(points[:, 0], np.ones(4))
    figures = compared(seen(points), seen(line))
    assert figures["order"] > ORDER_MIN
    [found] = objections(figures, {})
    assert "directions in use 1.0 are left" in found
    assert not objections(compared(seen(line), seen(line)), {})


def test_a_stream_that_stays_different_keeps_no_candidate_away_for_long() -> None:
    other = {"order": 0.9, "alerts": 0.3}
    refused = [bool(objections(other, {}, again)) for again in range(8)]
    assert refused == [True] * 4 + [False] * 4
    assert objections({"order": ORDER_MIN / 2.0}, {}, again=100)  # another space


def test_an_encoder_that_lays_out_its_space_anew_and_tells_as_much_is_not_refused() -> None:
    """Found on streams of twenty fields: what is near to what stayed no more than by chance."""
    rng = np.random.default_rng(1)
    points, others = rng.standard_normal((2, 128, 4))
    assert compared(seen(points), seen(others))["order"] < ORDER_MIN
    figures = compared(seen(points, told=1.5), seen(others, told=1.4))
    assert figures["contrast_before"] > LEARNED
    assert not objections(figures, {})
    [found] = objections(compared(seen(points, told=1.5), seen(points, told=1.0)), {})
    assert "contrast of changed events falls" in found


def test_a_learner_that_goes_on_from_what_serves_takes_steps_of_the_usual_size(halfway: Partition) -> None:
    """Found on streams of twenty fields: steps three times as large lost all that was learned."""
    trainer = halfway._shard._learning._trainer
    rate, size = trainer.learner.config.learning_rate, trainer.barriers.step_events
    for _ in range(2):  # also of a state that was saved
        trainer.resume(served_of(halfway))
        trainer.load(copied(trainer.to_state()))
        before = trainer.learner.weights["out"].copy()
        rows = halfway._shard._learning.core.sample().rows.take(np.arange(size))
        trainer.learn(rows, trainer._features.compute(rows), np.ones(size, dtype=bool))
        moved = np.abs(trainer.learner.weights["out"] - before)
        assert moved.max() == pytest.approx(rate, rel=0.01)


def test_a_fall_in_precision_that_may_be_chance_is_no_objection() -> None:
    assert not objections({"precision": 0.5, "precision_before": 0.7, "frauds": 32.0}, {})


def test_a_refusal_is_logged(tmp_path: Path) -> None:
    made = simulation.traffic("cards", seed=3, customers=80)
    rows = islice(chain.from_iterable(map(made.to_events, made.days)), 2_000)
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(row) + "\n" for row in rows))
    early = ("model.barriers.every_events=512", "model.calibration.warm_up_events=256")
    written = MemoryLog()
    plan = Replay(events=events, alerts=tmp_path / "alerts.jsonl")
    with patch("detector.core.shard.learning.objections", return_value=["it is worse"]):
        replay(load(CONFIG, early), {}, plan, written, lambda size: None)
    refused = [fields for _, event, fields in written.lines if event == "promotion_refused"]
    assert refused
    assert refused[0]["partition"] == 0
    assert "it is worse" in refused[0]["meaning"]


# --- which versions are kept ------------------------------------------------------------------------------


def version(number: int) -> tuple[Version, Learned]:
    made = Version(
        number=number, count=number, step=number, combines=True, first_time=0.0, last_time=1.0, events=1
    )
    return made, Learned(np.full((1, 2), number, dtype=np.float32), {}, number)


def test_few_versions_are_kept_and_they_reach_far_back() -> None:
    known, before = Versions(), None
    for number in range(1, 400):
        made, learned = version(number)
        known.promoted(made, before)
        before = learned
        assert len(known.older) <= module.KEPT_MAX
        assert number < 2 or number - 1 in known.older
        assert number < 100 or min(known.older) < number - 16
    state = known.to_state()
    again = Versions()
    again.load(state, learned)
    assert again.to_state() == state
    with pytest.raises(ValueError, match="another form"):
        again.load(state, learned._replace(edges=np.zeros((2, 2), dtype=np.float32)))
