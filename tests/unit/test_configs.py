"""The shipped configurations: they load, `default.yaml` states every key with its default and explains it,
and the presets read the events that they are made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from detector.config.load import effective, load
from detector.config.schema import json_schema
from detector.config.tree import Config, Duplicates, EntityField, Late, ValueField
from detector.core.events.parser import ParsedEvent, Parser
from detector.core.records import Record

CONFIGS = Path(__file__).parents[2] / "configs"
ALL = sorted(CONFIGS.glob("*.yaml"))
PRESETS = [path for path in ALL if path.stem != "default"]


def keys(part: type[BaseModel]) -> set[str]:
    return set(part.model_fields)


def same_keys(stated: Any, part: BaseModel) -> None:
    assert set(stated) == keys(type(part))
    for name in stated:
        if isinstance(value := getattr(part, name), BaseModel):
            same_keys(stated[name], value)


def has(event: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(event, dict) or key not in event:
            return False
        event = event[key]
    return True


def test_there_is_a_default_and_a_preset_for_each_kind_of_stream() -> None:
    assert [path.stem for path in ALL] == ["card", "default", "generic", "handbook", "simulate"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_each_file_loads(path: Path) -> None:
    assert isinstance(load(path), Config)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_each_file_satisfies_the_schema_that_editors_get(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema())


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_effective_configuration_loads_to_the_same(path: Path, tmp_path: Path) -> None:
    config = load(path)
    (tmp_path / "effective.yaml").write_text(effective(config))
    assert load(tmp_path / "effective.yaml") == config


def test_default_states_exactly_the_defaults() -> None:
    config = load(CONFIGS / "default.yaml")
    assert config == Config(event=config.event)


def test_default_states_every_key() -> None:
    config = load(CONFIGS / "default.yaml")
    stated = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    same_keys(stated, config)
    assert set(stated["event"]["entities"][0]) == keys(EntityField)
    assert set(stated["event"]["fields"][0]) == keys(ValueField)


def test_default_shows_the_defaults_of_an_event_schema() -> None:
    stated = yaml.safe_load((CONFIGS / "default.yaml").read_text())["event"]
    event = load(CONFIGS / "default.yaml").event
    assert event.limits == type(event.limits)()
    assert event.duplicates == Duplicates()
    assert event.time.late == Late()
    for part, item, required in (
        (event.time, stated["time"], {"path", "late"}),
        (event.entities[0], stated["entities"][0], {"name", "path"}),
        (event.fields[0], stated["fields"][0], {"name", "path", "type"}),
    ):
        assert part == type(part)(**{key: item[key] for key in required})


def test_default_explains_every_key() -> None:
    lines = (CONFIGS / "default.yaml").read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.strip() and not line.startswith("#"):
            assert " # " in f"{line} " or before.startswith("#") or line.strip().startswith("#"), line


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_state_only_what_differs(path: Path) -> None:
    assert set(yaml.safe_load(path.read_text())) == {"event"}
    config = load(path)
    assert config == Config(event=config.event)


EXAMPLES = {
    "handbook": '{"TRANSACTION_ID":"0","TX_DATETIME":"2018-04-01T00:00:31Z","CUSTOMER_ID":"596",'
    '"TERMINAL_ID":"3156","TX_AMOUNT":57.16}',
    "generic": '{"event_id":"thyroid-0","event_time":"2020-01-01T00:00:00Z","f0":0.7,"f1":0.0,"f2":0.2,'
    '"f3":0.1,"f4":0.4,"f5":0.1}',
}


def example(path: Path) -> dict[str, Any]:
    """The event that the preset's own comment shows, or one of the stream it is made for."""
    text = EXAMPLES.get(path.stem) or "".join(
        line.removeprefix("#") for line in path.read_text().splitlines() if line.startswith("#  ")
    )
    event: dict[str, Any] = json.loads(text)
    return event


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_read_the_events_they_are_made_for(path: Path) -> None:
    schema, event = load(path).event, example(path)
    record = Record(0, 0, None, json.dumps(event).encode())
    assert isinstance(Parser(schema, b"key").parse(record), ParsedEvent)
    paths = [
        schema.id,
        schema.time.path,
        *(e.path for e in schema.entities),
        *(path for f in schema.fields for path in f.path.split(", ")),
    ]
    assert [wanted for wanted in paths if not has(event, wanted)] == []


def test_main_entities_and_exposure() -> None:
    handbook, card = load(CONFIGS / "handbook.yaml").event, load(CONFIGS / "card.yaml").event
    assert [entity.name for entity in handbook.entities] == ["customer", "terminal"]
    assert [entity.name for entity in card.entities] == ["card", "merchant", "terminal", "device"]
    assert handbook.exposure == card.exposure == "amount"


def test_what_is_known_after_the_decision_is_not_encoded() -> None:
    uses = {field.name: field.use for field in load(CONFIGS / "card.yaml").event.fields}
    assert uses["response_code"] == "context"
    assert uses["channel"] == "segment"


def test_generic_reads_narrower_streams() -> None:
    event = load(CONFIGS / "generic.yaml").event
    assert not event.entities
    assert [(field.name, field.type, field.optional) for field in event.fields] == [
        (f"f{i}", "numeric", True) for i in range(6)
    ]
