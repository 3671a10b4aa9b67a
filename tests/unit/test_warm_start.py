"""A shard may begin with what another learned, and is as safe as any other from its first event on."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from benchmarks.embedding.runs import through
from benchmarks.embedding.transfer import Traffic, model_of, opened
from detector.config.tree import ModelPart
from detector.core.records import Identity
from detector.core.recovery.checkpoint import Manifest, encode, read_manifest, read_state
from detector.core.recovery.generations import read_checkpoint
from detector.core.shard import partition as partition_module
from detector.core.shard.partition import Partition
from detector.core.shard.shard import Shard
from detector.core.shard.warm_start import (
    POPULATION,
    Model,
    differences,
    export_model,
    first_checkpoint,
    read_model,
)
from detector.core.state import pack, unpack
from detector.errors import CheckpointDamaged, NeedsOperator
from tests.unit.runner_world import World, crash_in_a_warm_start, in_order, model_config, until


@pytest.fixture(autouse=True)
def real_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "Shard", Shard)


def world(seed: int, count: int = 1600, **changes: Any) -> World:
    """Cards of its own for each seed."""
    made = World(partitions=2, poll_records_max=120, config=model_config(), **changes)
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(size=(count, 2)) + 4 * (rng.random((count, 1)) < 0.02))
    for n, (x, y) in enumerate(values.tolist()):
        card = f"{seed}-{n % 40}"
        event = {"id": str(n), "t": 1_600_000_000 + 60 * n, "card": card, "x": x, "y": y}
        made.broker.append(n % 2, json.dumps(event).encode(), key=card.encode())
    return made


@cache
def learned() -> tuple[Manifest, dict[str, Any]]:
    """A checkpoint of another stream."""
    elsewhere = world(1, 3000)
    elsewhere.finish()
    manifest, state = read_checkpoint(
        elsewhere.newest(), lambda place: elsewhere.store.objects[elsewhere.path(place)]
    )
    return manifest, dict(state)


@cache
def model() -> Model:
    return read_model(export_model(*learned()))


def start(wanted: ModelPart) -> dict[str, Any]:
    """State of a new shard."""
    identity = Identity(topic="transactions", group="g", partition=1, entity_key=b"secret")
    snapshot = first_checkpoint(model(), wanted, identity, Partition.begin(wanted, 70, {"feedback": 5}))
    name, manifest_bytes, state = encode(snapshot)
    manifest = read_manifest(manifest_bytes)
    assert (manifest.position, manifest.since.sides, name) == (70, {"feedback": 5}, manifest.name)
    return read_state(manifest, state)


def test_a_new_shard_has_the_population_part_and_nothing_else() -> None:
    there, here = learned()[1], start(model_config().model_part(1))
    for part in POPULATION:
        assert pack({"of": here[part]}) == pack({"of": there[part]})
    assert np.array_equal(here["profiles"]["priors"], there["profiles"]["priors"])
    assert all(len(table["used"]) == 0 for table in here["profiles"]["tables"].values())
    assert here["events"] == here["accepted"] == here["alerting"]["policy"]["events"] == 0
    assert len(here["alerting"]["cases"]["open"]["entity"]) == 0
    assert len(here["book"]["labels"]) == 0
    assert here["buffer"]["events"] == 0


def test_scores_are_published_from_the_first_event_on() -> None:
    cold, warm = world(2), world(2)
    for each, more in ((cold, {}), (warm, {"warm_start": model()})):
        each.broker.closed = True
        each.runner(**more).run()
    scores = {
        name: [json.loads(m.value)["score"] for m in in_order(each) if m.topic == "scores" and m.value]
        for name, each in (("cold", cold), ("warm", warm))
    }
    assert not any(scores["cold"][:60])
    assert all(score > 0 for score in scores["warm"][:10] if score is not None)
    assert json.loads(warm.alerts()[0])["model"]["version"] >= learned()[1]["served"]["version"]


def test_crashes_right_after_a_warm_start_change_nothing() -> None:
    undisturbed = world(2)
    undisturbed.broker.closed = True
    undisturbed.runner(warm_start=model()).run()
    assert len(undisturbed.alerts()) > 5
    for steps in range(1, 41, 8):
        disturbed = world(2)
        crash_in_a_warm_start(disturbed, steps, model)
        assert in_order(disturbed) == in_order(undisturbed)


def test_a_damaged_warm_start_does_not_become_a_cold_start() -> None:
    begun = world(2)
    runner = begun.runner(warm_start=model())
    until(lambda: len(begun.broker.committed) == 2, runner)
    name = begun.newest()
    assert begun.journal().barriers == ()
    begun.store.corrupt(begun.path(f"{name}.state"), 1000)
    begun.broker.evict(begun.stream)
    with pytest.raises(NeedsOperator, match=f"model-{model().name}"):
        begun.finish()


@pytest.mark.parametrize("place", [3, 20, 500, -1])
def test_a_damaged_file_is_refused(place: int) -> None:
    data = bytearray(export_model(*learned()))
    data[place] ^= 0x10
    with pytest.raises(CheckpointDamaged):
        read_model(bytes(data))
    with pytest.raises(CheckpointDamaged):
        read_model(bytes(data[: len(data) // 2]))
    with pytest.raises(CheckpointDamaged):
        read_model(b"")


@pytest.mark.parametrize("lost", ["about", "population", "priors", "format", "config"])
def test_a_file_without_one_of_its_parts_is_refused(lost: str) -> None:
    """Found by fuzzing."""
    data = export_model(*learned())
    magic = data[: data.index(b"\n") + 1]
    tree = unpack(data[len(magic) + 32 :])
    (tree if lost in tree else tree["about"]).pop(lost)
    body = pack(tree)
    with pytest.raises(CheckpointDamaged, match=lost):
        read_model(magic + hashlib.sha256(body).digest() + body)


def test_a_file_of_another_format_is_refused() -> None:
    data = export_model(*learned())
    magic = data[: data.index(b"\n") + 1]
    tree = unpack(data[len(magic) + 32 :])
    tree["about"]["format"] += 1
    body = pack(tree)
    with pytest.raises(NeedsOperator, match="has format 2, this version reads format 1: export it again"):
        read_model(magic + hashlib.sha256(body).digest() + body)


def test_a_checkpoint_without_a_model_is_not_exported() -> None:
    manifest, state = learned()
    with pytest.raises(NeedsOperator, match="later"):
        export_model(manifest, {**state, "served": {}})


def test_equal_models_are_equal_files() -> None:
    assert export_model(*learned()) == export_model(*learned())
    assert model().config == model_config().model_part(1)


def test_differing_settings_are_named() -> None:
    tree = model_config().model_part(1).model_dump(mode="json")
    assert differences(model(), ModelPart.model_validate(tree)) == []
    tree["alerts"]["cooldown"] = 5.0
    tree["model"]["seed"] = 7
    tree["event"]["fields"][0]["unit"] = "EUR"
    assert differences(model(), ModelPart.model_validate(tree)) == []
    tree["model"]["encoder"]["hidden"] = 16
    tree["event"]["fields"][1]["type"] = "categorical"
    assert differences(model(), ModelPart.model_validate(tree)) == [
        ("event.fields.1.type", "numeric", "categorical"),
        ("model.encoder.hidden", "8", "16"),
    ]
    tree["event"]["entities"] = []
    assert ("event.entities", "[card]", "[]") in differences(model(), ModelPart.model_validate(tree))


# --- other units -------------------------------------------------------------------------------------------


def blocks_of_256() -> ModelPart:
    wanted = model_config().model_part(1)
    barriers = wanted.model.barriers.model_copy(update={"block_events": 256, "every_events": 512})
    return wanted.model_copy(update={"model": wanted.model.model_copy(update={"barriers": barriers})})


def amounts(seed: int, count: int, factor: float) -> list[bytes]:
    """Events at the times of any other seed's."""
    values = factor * np.exp(np.random.default_rng(seed).normal(size=(count, 2)))
    events = [
        {"id": str(n), "t": 1_600_000_000 + 60 * n, "card": f"{n % 40}", "x": x, "y": y / factor}
        for n, (x, y) in enumerate(values.tolist())
    ]
    return [json.dumps(event).encode() for event in events]


@pytest.mark.parametrize("days_later", [0, 30])
@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_a_stream_of_other_units_is_told_by_its_first_block(factor: float, days_later: int) -> None:
    """Found by measuring: the file's units stayed, which cost half of the first day's precision."""
    wanted = blocks_of_256()
    source = Traffic(config=wanted, lines=amounts(1, 1536, 1.0), days=(), frauds=np.zeros(0, dtype=bool))
    learned = model_of([source])
    here = opened(wanted, learned)
    later = [line.replace(b"1600", b"1602") if days_later else line for line in amounts(2, 512, factor)]
    through(later, here)
    ratio = here._shard._scorer.units.units / learned.population["units"]
    assert ratio.tolist() == pytest.approx([factor, 1.0], rel=0.25)
    cold = opened(wanted, None)
    through(later, cold)
    x = [
        np.median(each._shard._scorer.units.restore(each._shard._learning.core.filled().numerics)[:, 0])
        for each in (here, cold)
    ]
    assert x[0] == pytest.approx(x[1], rel=0.3)
