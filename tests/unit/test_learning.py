"""A shard with labels learns from them, and is as reproducible as one without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.labels.label_weight import WEIGHT_STEP
from detector.core.records import Record
from detector.core.recovery.checkpoint import encode, read_manifest, read_state
from detector.core.recovery.journal import Journal
from detector.core.shard.partition import Partition
from detector.core.shard.warm_start import Model, export_model, first_checkpoint, read_model
from tests.unit.test_shard import (
    BLOCK,
    IDENTITY,
    Run,
    after,
    drive,
    one_thread,
    part,
    partition,
    restored,
)

__all__ = ["one_thread"]  # a fixture for all tests here

PER_DAY, DAYS = 150, 20
DELAY = PER_DAY  # events until a fraud is reported
COMPROMISED = 3  # terminal, from day 4 on
START_S = 1_700_000_000.0
# Labels cause no barriers of their own, so that runs with other labels have the same ones.
BARRIERS = {"block_events": BLOCK, "every_events": 3 * BLOCK, "early_events_min": 3 * BLOCK}
LABELS = {"buffer_events_max": 2048, "maturity_delay": "2d", "per_barrier_max": 256}

Lines = Sequence[tuple[int, bytes]]


def settings_of(**changes: Any) -> ModelPart:
    model = {"barriers": BARRIERS, "labels": LABELS, "seed": 1, **changes.pop("model", {})}
    return part(model=model, **changes)


def seconds(number: int) -> float:
    return START_S + number * 86_400.0 / PER_DAY


@cache
def terminals() -> NDArray[np.int64]:
    return np.random.default_rng(2).integers(0, 20, PER_DAY * DAYS)


@cache
def payments() -> tuple[Record, ...]:
    """Payments; those at the compromised terminal look like all others."""
    rng = np.random.default_rng(3)
    records = []
    for number, terminal in enumerate(terminals().tolist()):
        value = {
            "tx": {"id": f"tx-{number}", "time": datetime.fromtimestamp(seconds(number), UTC).isoformat()},
            "customer": f"c-{rng.integers(60)}",
            "terminal": f"t-{terminal}",
            "amount": float(rng.lognormal(3, 0.5)),
            "channel": ("web", "shop")[int(rng.integers(2))],
            "memo": None,
        }
        records.append(Record(1000 + number, 0, str(value["customer"]).encode(), json.dumps(value).encode()))
    return tuple(records)


def fraudulent() -> list[int]:
    return [n for n in range(4 * PER_DAY, len(terminals())) if terminals()[n] == COMPROMISED]


def label(number: int, what: str, seen: int | None = None) -> tuple[int, bytes]:
    """A label of event `number`, visible from event `seen` on."""
    seen = number + DELAY if seen is None else seen
    line = {"time": seconds(seen), "label": what, "event_id": f"tx-{number}"}
    return 1000 + seen, json.dumps(line).encode()


@cache
def reports() -> Lines:
    return [label(number, "fraud") for number in fraudulent()]


@cache
def answers() -> Lines:
    """Reports, answers to some alerts of the run without labels, and retractions."""
    alerted = [alert.offset - 1000 for alert in unlabelled().alerts][::2]
    answered = [
        label(number, "fraud" if number in fraudulent() else "legitimate", number + PER_DAY // 4)
        for number in alerted
    ]
    retracted = [label(number, "retracted", number + 2 * DELAY) for number in fraudulent()[::9]]
    return sorted([*reports(), *answered, *retracted], key=lambda line: line[0])


def run(
    lines: Lines, wanted: ModelPart | None = None, count: int | None = None, pieces: Any = (), **more: Any
) -> Run:
    driven = partition(wanted or settings_of(), **more)
    return drive(driven, payments()[:count], pieces, labels=lines, snapshots=True)


@cache
def unlabelled() -> Run:
    return run(())


@cache
def labelled() -> Run:
    return run(answers())


def scores_of(made: Run) -> NDArray[np.float64]:
    return np.concatenate([scored.scores for scored in made.scored])


def checked(made: Run) -> None:
    """Check what holds whatever the labels are."""
    scores = scores_of(made)
    assert np.isfinite(scores).all()
    assert (scores >= 0.0).all()
    gauges = made.partition.gauges
    assert all(np.isfinite(value) for value in gauges.values())
    assert 0.0 <= gauges["label_weight"] <= 1.0
    weights = [snapshot.state["calibration"]["label_weight"] for snapshot in made.snapshots.values()]
    assert np.abs(np.diff([0.0, *weights])).max() <= WEIGHT_STEP + 1e-9


# --- what labels teach -------------------------------------------------------------------------------------


def outranked(made: Run) -> float:
    """Share of the last days' other events that score below an event at the compromised terminal."""
    late = np.arange(len(payments())) >= 16 * PER_DAY
    there = terminals() == COMPROMISED
    scores = scores_of(made)
    return float(np.mean(scores[late & there][:, None] > scores[late & ~there]))


def frauds_found(made: Run) -> int:
    """Number of correct alerts of the last days that were given for their score."""
    offsets = {
        alert.offset
        for alert, body in zip(made.alerts, made.bodies(), strict=True)
        if body["selection"] == "score"
    }
    return len(offsets & {1000 + number for number in fraudulent() if number >= 15 * PER_DAY})


def test_reports_about_a_terminal_raise_the_scores_of_its_next_events() -> None:
    made = run(reports())
    checked(made)
    assert 0.3 < outranked(unlabelled()) < 0.7
    assert outranked(made) > 0.9
    assert frauds_found(made) > frauds_found(unlabelled()) + 1
    assert made.partition.gauges["label_weight"] >= 0.5


def test_a_run_with_labels_has_all_its_stages() -> None:
    made = labelled()
    checked(made)
    assert set(made.labels) >= {"applied", "retracted"}
    whole = [snapshot.state for snapshot in made.snapshots.values()]
    states = [state["supervision"] for state in whole]
    assert any(len(state["buffer"]["alerted"]["numbers"]) for state in whole)
    assert any(len(state["answers"]["numbers"]) for state in states)
    assert 0 < sum(state["learner"]["steps"] == 0 for state in states) < len(states)
    assert states[-1]["maturity"]["end"] > 0
    held = whole[-1]["buffer"]
    assert held["events"] > len(held["ids"])  # the oldest have gone


def _without_answers(alert: dict[str, Any]) -> dict[str, Any]:
    """An alert without what answers alone change: what it says of them, and its place in the queue."""
    facts = [fact for fact in alert["facts"] if fact["code"] != "answered"]
    summary = alert["summary"] | {"sentences": None}  # made of reasons and facts
    return alert | {"facts": facts, "priority": None, "summary": summary}


def test_labels_without_any_fraud_change_nothing() -> None:
    """Unalerted events count as legitimate without a label, too."""
    alerted = {alert.offset - 1000 for alert in unlabelled().alerts}
    legitimate = [label(n, "legitimate") for n in range(0, 2500, 7) if n not in alerted]
    garbage = [(1000 + 50 * n, (b"{}", b"garbage", b"\xff")[n % 3]) for n in range(50)]
    of_no_event = [(1000 + 50 * n, label(10**9, "fraud", 50 * n)[1]) for n in range(50)]
    not_given = [label(50 * n, "retracted", 50 * n + 20) for n in range(50)]
    useless = [*legitimate, *garbage, *of_no_event, *not_given]
    made = run(sorted(useless, key=lambda line: line[0]))
    assert made.labels["applied"] > 300
    assert set(made.labels) == {"read", "applied", "retracted"}  # what no shard knows, partition 0 counts
    assert made.outputs()[1:] == unlabelled().outputs()[1:]
    assert list(map(_without_answers, made.bodies())) == list(map(_without_answers, unlabelled().bodies()))
    assert made.partition.gauges["fraud_keys"] == 0


def test_when_all_labels_are_retracted_they_have_no_weight() -> None:
    frauds = [number for number in fraudulent() if number < 14 * PER_DAY]
    lines = [label(number, "fraud") for number in frauds]
    lines += [label(number, "retracted", 15 * PER_DAY) for number in frauds]
    wanted = settings_of(model={"labels": {**LABELS, "buffer_events_max": 4096}})
    made = run(sorted(lines, key=lambda line: line[0]), wanted)
    weights = [snapshot.state["calibration"]["label_weight"] for snapshot in made.snapshots.values()]
    assert max(weights) >= 0.3
    assert weights[-1] == 0.0
    # Scores are again shares of events at least as far.
    last = np.arange(len(payments())) >= 17 * PER_DAY
    shares = 1.0 - 10.0 ** -scores_of(made)[last]
    assert 0.3 < np.median(shares) < 0.7
    assert np.median(shares[terminals()[last] == COMPROMISED]) < 0.85  # of eleven events


# --- promises ----------------------------------------------------------------------------------------------


def test_what_labels_teach_does_not_depend_on_polls() -> None:
    made = run(answers(), pieces=chain([900], repeat(1, 200), [1300], repeat(77)))
    assert made.outputs() == labelled().outputs()
    assert made.barriers == labelled().barriers
    assert made.states() == labelled().states()


@pytest.mark.parametrize("stage", [0.1, 0.35, 0.6, 0.9])
def test_a_checkpoint_with_labels_goes_on_as_if_nothing_had_happened(stage: float) -> None:
    whole = labelled()
    position, snapshot = list(whole.snapshots.items())[int(stage * len(whole.snapshots))]
    checkpoint, journal = restored(snapshot)
    going = run(answers(), journal=journal, until=position, restored=checkpoint)
    assert after(going, position) == after(whole, position)
    assert going.states() == {at: state for at, state in whole.states().items() if at > position}
    assert going.partition.gauges == whole.partition.gauges


def test_a_silent_replay_learns_the_same() -> None:
    whole = labelled()
    until, journal = whole.journals[6]
    going = run(answers(), journal=Journal.from_text(journal.to_text()), until=until)
    assert after(going, 0) == after(whole, until)
    assert going.states() == {at: state for at, state in whole.states().items() if at > until}


@given(
    said=st.lists(
        st.tuples(
            st.integers(0, 1000),
            st.integers(0, 1000),
            st.sampled_from(["fraud", "fraud", "legitimate", "retracted"]),
        ),
        max_size=150,
    ),
    pieces=st.lists(st.integers(1, 400), min_size=1, max_size=9),
)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_any_labels_keep_the_run_reproducible(said: list[tuple[int, int, str]], pieces: list[int]) -> None:
    hasty = settings_of(
        model={"calibration": {"warm_up_events": 256}, "labels": {**LABELS, "maturity_delay": "1h"}},
    )
    lines = sorted((label(number, what, seen) for number, seen, what in said), key=lambda line: line[0])
    made = run(lines, hasty, count=1000)
    checked(made)
    assert run(lines, hasty, count=1000, pieces=pieces).outputs() == made.outputs()
    position, snapshot = list(made.snapshots.items())[len(made.snapshots) // 2]
    checkpoint, journal = restored(snapshot)
    going = run(lines, hasty, count=1000, journal=journal, until=position, restored=checkpoint)
    assert after(going, position) == after(made, position)


# --- other configurations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [
        ({"alerts": {"budget": {"share": 0.002}}}, True),
        ({"model": {"labels": {**LABELS, "buffer_events_max": 1024, "labels_max": 16}}}, True),
        ({"model": {"labels": {**LABELS, "buffer_events_max": 8192, "maturity_delay": "5d"}}}, True),
        ({"model": {"seed": 7}}, False),
    ],
    ids=["alerts", "smaller memory", "larger memory", "seed"],
)
def test_what_was_learned_from_labels_outlives_another_configuration(
    changes: dict[str, Any], keeps: bool
) -> None:
    before, wanted = settings_of(), settings_of(**changes)
    until, snapshot = next((p, s) for p, s in labelled().snapshots.items() if p > 1000 + 14 * PER_DAY)
    checkpoint, journal = restored(snapshot)
    configs = {before.hash(): before}
    going = run(answers(), wanted, journal=journal, until=until, restored=checkpoint, configs=configs)
    assert np.isfinite(scores_of(going)).all()
    barrier = next(b for b in going.barriers if b.cause == "config")
    at = going.snapshots[barrier.position].state
    assert len(at["book"]["labels"])
    if keeps:
        assert at["calibration"]["label_weight"] > 0.2
        assert at["supervision"]["learner"]["steps"] > 0
        assert going.partition.gauges["fraud_keys"] > 0
        held = at["buffer"]
        assert len(held["ids"]) == min(2048, wanted.model.labels.buffer_events_max)
        assert (held["offsets"] >= 1000).all()
    else:
        assert at["calibration"]["label_weight"] == 0.0
        assert at["supervision"]["learner"]["steps"] == 0
    position, snapshot = [(p, s) for p, s in going.snapshots.items() if p >= barrier.position][1]
    checkpoint, origin = restored(snapshot)
    resumed = run(answers(), wanted, journal=origin, until=position, restored=checkpoint)
    assert after(resumed, position) == after(going, position)
    assert resumed.states() == {at: state for at, state in going.states().items() if at > position}


@cache
def exported() -> Model:
    """A model file of the labelled run."""
    _, manifest, state = encode(list(labelled().snapshots.values())[-1])
    read = read_manifest(manifest)
    return read_model(export_model(read, read_state(read, state)))


def test_a_warm_start_brings_no_labels_and_learns_its_own() -> None:
    wanted = settings_of()
    snapshot = first_checkpoint(exported(), wanted, IDENTITY, Partition.begin(wanted, 1000))
    assert len(snapshot.state["buffer"]["ids"]) == 0
    runs = []
    for pieces in ((), [1] * 50):
        _, manifest, state = encode(snapshot)
        read = read_manifest(manifest)
        checkpoint = read, read_state(read, state)
        made = run(reports(), wanted, pieces=pieces, journal=snapshot.since, restored=checkpoint)
        runs.append(made)
        assert np.isfinite(scores_of(made)).all()
    assert runs[0].outputs() == runs[1].outputs()
    weights = [s.state["calibration"]["label_weight"] for s in runs[0].snapshots.values()]
    assert weights[0] == 0.0
    assert weights[-1] >= 0.5
    assert outranked(runs[0]) > 0.9
