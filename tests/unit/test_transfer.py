"""A model may begin with the encoder of one with other fields: they are matched by name and type."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from detector.config.tree import Config, ModelPart
from detector.core.features import Features, Layout
from detector.core.model.versions import Origin
from detector.core.records import Identity
from detector.core.recovery.generations import read_checkpoint
from detector.core.shard import partition as partition_module
from detector.core.shard.partition import Partition
from detector.core.shard.shard import Shard
from detector.core.shard.sizing import fitted
from detector.core.shard.transfer import obstacles, taken
from detector.core.shard.warm_start import Model, export_model, first_checkpoint, origin_of, read_model
from detector.core.state import pack
from tests.unit.runner_world import World, crash_in_a_warm_start, in_order, model_config

KINDS = {"x": "numeric", "y": "numeric", "z": "numeric", "colour": "categorical", "shape": "categorical"}


@pytest.fixture(autouse=True)
def real_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "Shard", Shard)


def config_of(*names: str, entities: tuple[str, ...] = ("card",), **encoder: Any) -> Config:
    """Configuration of a stream with these fields."""
    tree = model_config().model_dump(mode="json")
    tree["event"]["fields"] = [{"name": name, "path": name, "type": KINDS[name]} for name in names]
    tree["event"]["entities"] = [{"name": name, "path": name} for name in entities]
    tree["model"]["encoder"].update(encoder)
    return Config.model_validate(tree)


def part(*names: str, **more: Any) -> ModelPart:
    return config_of(*names, **more).model_part(1)


def world(config: Config, seed: int, count: int = 1600, factor: float = 1.0) -> World:
    """Cards with a few strange payments."""
    made = World(partitions=2, poll_records_max=120, config=config)
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(size=(count, 3)) + 4 * (rng.random((count, 1)) < 0.02)) * factor
    words = rng.integers(0, 4, (count, 2))
    for n, (numbers, said) in enumerate(zip(values.tolist(), words.tolist(), strict=True)):
        card = f"{seed}-{n % 40}"
        event = {"id": str(n), "t": 1_600_000_000 + 60 * n, "card": card, "shop": f"s{n % 7}"}
        event |= dict(zip("xyz", numbers, strict=True)) | dict(
            zip(("colour", "shape"), map(str, said), strict=True)
        )
        made.broker.append(n % 2, json.dumps(event).encode(), key=card.encode())
    return made


THERE = ("x", "y", "colour")


@cache
def model() -> Model:
    """A model file of a stream with the fields x, y and colour."""
    elsewhere = world(config_of(*THERE), 1)
    elsewhere.finish()
    found = read_checkpoint(elsewhere.newest(), lambda place: elsewhere.store.objects[elsewhere.path(place)])
    return read_model(export_model(*found))


def start(wanted: ModelPart, of: Model) -> dict[str, Any]:
    """State of a new shard."""
    identity = Identity(topic="transactions", group="g", partition=1, entity_key=b"secret")
    return dict(first_checkpoint(of, wanted, identity, Partition.begin(wanted, 70)).state)


def cold(wanted: ModelPart) -> dict[str, Any]:
    identity = Identity(topic="transactions", group="g", partition=1, entity_key=b"secret")
    return dict(Shard(wanted, identity, position=70).to_state())


def rows_of(wanted: ModelPart) -> dict[str, slice]:
    """Rows of the hidden layer of each numeric input."""
    features = Features(Layout(wanted.event, fitted(wanted).features))
    bins = wanted.model.encoder.bins
    return {
        column.name: slice(n * bins, (n + 1) * bins)
        for n, column in enumerate(features.columns[: features.plain_count])
    }


def test_fields_are_matched_by_name() -> None:
    found = taken(part("x", "y", "colour", entities=("card", "shop")), part("z", "colour", "x"))
    assert found.taken == ["colour", "x", "card"]
    assert found.fresh == ["z"]
    assert found.dropped == ["y", "shop"]


def test_weights_of_shared_fields_are_taken_and_those_of_new_ones_are_fresh() -> None:
    wanted = part("z", "shape", "x", "colour", entities=("card", "shop"))
    there = model().population["learner"]["weights"]
    here, fresh = (state["learner"]["weights"] for state in (start(wanted, model()), cold(wanted)))
    ours, theirs = rows_of(wanted), rows_of(model().config)
    shared = ours.keys() & theirs.keys()
    assert {"x", "x missing", "card gap", "sin of 1d"} < shared
    assert any(name.startswith("x against card") for name in shared)
    assert not any(name.startswith(("z", "y", "shop")) for name in shared)
    for name, rows in ours.items():
        wanted_rows = there["hidden"][theirs[name]] if name in shared else fresh["hidden"][rows]
        assert np.array_equal(here["hidden"][rows], wanted_rows), name
    width = wanted.model.encoder.hash_width
    assert np.array_equal(here["hidden"][-width:], there["hidden"][-width:])  # colour
    assert np.array_equal(here["hidden"][-2 * width : -width], fresh["hidden"][-2 * width : -width])  # shape
    for name in ("hidden_bias", "out", "out_bias", "rows"):
        assert np.array_equal(here[name], there[name])


def test_nothing_else_is_taken() -> None:
    wanted = part("x", "z")
    here, fresh = start(wanted, model()), cold(wanted)
    for name in fresh:
        if name not in ("learner", "versions"):
            assert pack({"of": here[name]}) == pack({"of": fresh[name]}), name
    learner = {name: of for name, of in here["learner"].items() if name != "weights"}
    assert pack(learner) == pack({name: of for name, of in fresh["learner"].items() if name != "weights"})


def test_the_same_fields_bring_all_or_the_encoder_alone() -> None:
    wanted = part(*THERE)
    assert origin_of(model(), wanted).whole
    assert start(wanted, model())["served"]
    alone = replace(model(), encoder_only=True)
    assert not origin_of(alone, wanted).whole
    state = start(wanted, alone)
    assert not state["served"]
    there = model().population["learner"]["weights"]
    assert all(np.array_equal(state["learner"]["weights"][name], there[name]) for name in there)


def test_the_state_says_what_was_taken() -> None:
    wanted = part("x", "z", "colour")
    origin = Origin(
        model=model().name, whole=False, taken=["x", "colour", "card"], fresh=["z"], dropped=["y"]
    )
    assert origin_of(model(), wanted) == origin
    assert start(wanted, model())["versions"]["origin"] == origin.to_state()
    assert "origin" not in cold(wanted)["versions"]


@pytest.mark.parametrize("names", [("z",), ("shape",), ()])
def test_no_field_in_common_is_an_obstacle(names: tuple[str, ...]) -> None:
    [found] = obstacles(part(*THERE), part(*names) if names else part("z", "shape"))
    assert found.path == "event.fields"
    assert found.allowed == "at least one name of a field in the model file (x, y, colour)"


def test_a_name_of_another_type_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    there = part("x", "y")
    monkeypatch.setitem(KINDS, "y", "categorical")
    [found] = obstacles(there, part("x", "y"))
    assert str(found.path) == "type of y"
    assert (found.value, found.allowed) == ("categorical", "numeric, as in the model file; or another name")
    [found] = obstacles(there, part("x", entities=("y",)))
    assert (found.path, found.value) == ("type of y", "entity")


def test_an_encoder_of_another_form_is_an_obstacle() -> None:
    [found] = obstacles(part("x"), part("x", "z", hidden=16))
    assert (found.path, found.value) == ("model.encoder.hidden", "16")
    assert found.allowed == "8, as in the model file"


def test_other_settings_are_none() -> None:
    assert obstacles(part("x"), part("x", learning_rate=0.01)) == []


def test_crashes_right_after_such_a_start_change_nothing() -> None:
    config = config_of("x", "z", "colour")
    undisturbed = world(config, 2)
    undisturbed.broker.closed = True
    undisturbed.runner(warm_start=model()).run()
    [said, *_] = [record for record in undisturbed.log.lines if record[1] == "warm_start"]
    assert said[2]["taken"] == ["x", "colour", "card"]
    assert (said[2]["fresh"], said[2]["dropped"], said[2]["whole"]) == (["z"], ["y"], False)
    assert len(undisturbed.alerts()) > 5
    for steps in range(1, 41, 13):
        disturbed = world(config, 2)
        crash_in_a_warm_start(disturbed, steps, model)
        assert in_order(disturbed) == in_order(undisturbed)


def test_units_are_those_of_the_new_stream() -> None:
    """Scores are the same whether amounts are euros or hundredths of them."""
    config, scores = config_of("x", "z"), []
    for factor in (1.0, 128.0):
        made = world(config, 2, factor=factor)
        made.broker.closed = True
        made.runner(warm_start=model()).run()
        scores.append(
            [json.loads(m.value)["score"] for m in in_order(made) if m.topic == "scores" and m.value]
        )
    assert np.allclose(*scores, rtol=1e-4)
