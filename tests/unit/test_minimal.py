"""Outputs hold what they must and no more, and nothing in them does anything where it is shown."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import canary
from detector.cli.common import InertConsole, inert
from detector.config.tree import Config, ModelPart, Topics
from detector.core.alerts.alert import plain_text
from detector.core.records import Identity, Record
from detector.core.reporting.outputs import publications
from detector.core.shard.partition import Partition
from detector.demo.demo import _table, _Tally
from detector.errors import ConfigError
from detector.shell.files.outputs import inert as inert_cell

EVENTS = 2400
IDENTITY = Identity(topic="t", group="g", partition=0, entity_key=b"k")
EVENT: dict[str, Any] = {
    "id": "id",
    "time": {"path": "time", "format": "epoch_s"},
    "entities": [{"name": "card", "path": "card"}, {"name": "shop", "path": "shop"}],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "country", "path": "country", "type": "categorical"},
        {"name": "memo", "path": "memo", "type": "text", "use": "context"},
    ],
    "exposure": "amount",
}
MODEL = {
    "barriers": {"block_events": 64, "every_events": 512, "early_events_min": 512},
    "calibration": {"warm_up_events": 512, "memory_events": 4096},
    "clusters": {"core_events": 512, "memory_events": 4096, "count_max": 16},
    "encoder": {"hidden": 16, "dimension": 8},
}


def events() -> list[dict[str, Any]]:
    """Payments with e-mail addresses in fields that the schema does not name."""
    rng = np.random.default_rng(3)
    made = []
    for n in range(EVENTS):
        odd = n > 1000 and n % 50 == 0
        mail = f"canary{n}@example.org"
        made.append(
            {
                "id": f"e{n}",
                "time": 1_760_000_000 + 60 * n,
                "card": f"C{rng.integers(40)}",
                "shop": f"S{rng.integers(20)}",
                "amount": round(float(rng.lognormal(3, 0.4)) * (30 if odd else 1), 2),
                "country": "XX" if odd else "FR",
                "memo": f"memo{n}",
                "mail": mail,
                "person": {"mail": mail, "list": [mail]},
                mail: 1,
            }
        )
    return made


def run(*, alerts: Mapping[str, Any] | None = None, event: Mapping[str, Any] | None = None) -> list[tuple]:  # type: ignore[type-arg]
    """Everything that is published about these events, and the gauges last."""
    wanted = ModelPart.model_validate(
        {
            "event": EVENT | dict(event or {}),
            "model": MODEL,
            "alerts": {"budget": {"share": 0.02}, **(alerts or {})},
        }
    )
    records = [
        Record(n, 0, f"canary{n}@example.org".encode(), json.dumps(one).encode(), (("x", b"canary@"),))
        for n, one in enumerate(events())
    ]
    driven = Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
    published: list[tuple[Any, ...]] = []
    while records:
        step = driven.take(records[:500])
        records = records[step.consumed :]
        published += publications(step.outputs, IDENTITY, Topics(scores="scores"))
        if step.block_ended and (barrier := driven.due({})) is not None:
            driven.barrier(barrier, {})
    return published


@cache
def usual() -> list[tuple]:  # type: ignore[type-arg]
    return run()


def bodies(published: list[tuple]) -> list[dict[str, Any]]:  # type: ignore[type-arg]
    return [json.loads(value) for topic, _, _, value, _ in published if topic == "alerts"]


def test_what_no_field_names_is_in_no_output() -> None:
    topics = [topic for topic, *_ in usual()]
    assert topics.count("alerts") > 10
    assert topics.count("scores") == EVENTS
    assert "canary" not in repr(usual())
    assert all(body["event"].keys() == {"amount", "country", "memo"} for body in bodies(usual()))


def test_what_no_field_names_is_in_no_output_log_line_metric_or_checkpoint() -> None:
    found = canary.run(3_000)
    places = {"alerts", "updates", "scores", "receipts", "log lines", "bytes of metrics", "journals"}
    assert places <= found.searched.keys()
    assert not found.hits.total(), found.hits


def test_scores_are_keyed_by_a_pseudonym_unless_said() -> None:
    keys = {key for topic, _, key, _, _ in usual() if topic == "scores"}
    assert len(keys) == 40
    assert all(len(key) == 16 for key in keys)
    published = run(alerts={"scores_key": "record"})
    assert [key for topic, _, key, _, _ in published if topic == "scores"] == [
        f"canary{n}@example.org".encode() for n in range(EVENTS)
    ]


@pytest.mark.parametrize("echo", ["all", "coordinates"])
def test_the_echo_may_be_the_whole_event_or_nothing_of_it(echo: str) -> None:
    sent = events()
    for body in bodies(run(alerts={"echo": echo})):
        if echo == "all":
            assert body["event"] == sent[body["source"]["offset"]]
        else:
            assert body["event"] is None
            assert body["context"] == {}


def test_a_field_may_be_left_out_and_an_entity_have_a_pseudonym() -> None:
    fields = [
        EVENT["fields"][0] | {"echo": False},
        EVENT["fields"][1] | {"pseudonym": True},
        EVENT["fields"][2] | {"echo": False},
    ]
    entities = [EVENT["entities"][0] | {"pseudonym": True}, EVENT["entities"][1]]
    published = run(event={"fields": fields, "entities": entities})
    assert len(bodies(published)) == len(bodies(usual()))
    sent = events()
    for topic, offset, key, value, headers in published:
        if topic != "alerts":
            continue
        body, event = json.loads(value), sent[offset]
        text = value.decode() + repr(headers) + repr(key)
        assert f'"{event["card"]}"' not in text
        assert f" {event['card']}" not in text
        assert str(event["amount"]) not in text
        assert event["memo"] not in text
        assert body["event"].keys() == {"country"}
        assert len(body["event"]["country"]) == len(body["entity"]["value"]) == 16
        assert key.decode() == body["entity"]["value"]
        assert body["exposure"] is None
        assert body["at_risk"] == {"event": None, "case": None, "with_earlier": None}
        for reason in body["reasons"]:
            if reason["field"] == "amount":
                assert reason["observed"] is reason["expected"] is reason["range"] is None


def test_the_whole_event_is_refused_where_something_in_it_is_not_to_be_shown() -> None:
    hidden = [EVENT["fields"][0] | {"echo": False}]
    with pytest.raises(ValueError, match="echo"):
        Config.model_validate({"event": EVENT | {"fields": hidden}, "alerts": {"echo": "all"}})
    with pytest.raises((ValueError, ConfigError), match="pseudonym"):
        Config.model_validate({"event": EVENT | {"fields": [EVENT["fields"][0] | {"pseudonym": True}]}})


# --- inert -----------------------------------------------------------------------------------------------

HOSTILE = ["[/nope]", "\x1b]0;title\x07", "\x1b[2J", "\u202eabc", "a\x00b", "\x9b31m"]


@given(st.text())
def test_a_header_has_no_control_characters(text: str) -> None:
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in plain_text(text))


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd()", "'=cmd()"),
        ("+1+1", "'+1+1"),
        ("@x", "'@x"),
        ("-a", "'-a"),
        ("\tx", "'\tx"),
        ("-12.5", "-12.5"),
        ("+49", "+49"),
        ("tx-1", "tx-1"),
        ("", ""),
    ],
)
def test_a_cell_is_no_formula(cell: str, written: str) -> None:
    assert inert_cell(cell) == written


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_obeys_nothing_that_is_printed(text: str) -> None:
    file = io.StringIO()
    InertConsole(file=file, force_terminal=False, markup=False).print(f"for example: {text}")
    assert not set(file.getvalue()) & set("\x1b\x07\x00\x9b\u202e")
    assert not set(inert(text)) & set("\x1b\x07\x00\x9b\u202e")


@pytest.mark.parametrize("text", HOSTILE)
def test_the_demos_table_shows_any_alert(text: str) -> None:
    tally = _Tally()
    body = {
        "event_id": "1",
        "event_time": "2026-01-01T00:00:00Z",
        "entity": {"name": "card", "value": text},
        "exposure": 1.0,
        "severity": "low",
        "score": {"raw": 3.0},
        "reasons": [{"detail": f"first time at shop {text}", "share": 0.9}],
    }
    tally.latest.append(body)
    file = io.StringIO()
    InertConsole(file=file, width=200).print(_table(tally))
    assert "first time" in file.getvalue()
    if text == "[/nope]":
        assert text in file.getvalue()
