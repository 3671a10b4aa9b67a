"""Loading a configuration: the later source wins, all problems are reported at once in plain words, no
secret is ever shown, and what `effective` prints loads to the same."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from detector.config.load import effective, load
from detector.config.schema import json_schema
from detector.config.secrets import missing_here, resolve_secret, resolve_secrets
from detector.config.tree import Config, EntityField, Event, Http, Secret, TimeField, ValueField
from detector.config.words import redacted
from detector.errors import ConfigError, Problem

MINIMAL = """
event:
  id: id
  time: {path: at}
  entities: [{name: card, path: card}]
  fields: [{name: amount, path: amount, type: numeric}, {name: memo, path: memo, type: text}]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "detector.yaml"


def read(path: Path, text: str, *overrides: str, environ: Mapping[str, str] | None = None) -> Config:
    path.write_text(text)
    return load(path, overrides, environ)


def problems(path: Path, *overrides: str, environ: Mapping[str, str] | None = None) -> dict[str, Problem]:
    """Load what must not load; its problems by path."""
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, environ)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2
    assert len({p.path for p in caught.value.problems}) == len(caught.value.problems), (
        "one mistake, said twice"
    )
    return {problem.path: problem for problem in caught.value.problems}


def problems_in(
    path: Path, text: str, *overrides: str, environ: Mapping[str, str] | None = None
) -> dict[str, Problem]:
    path.write_text(text)
    return problems(path, *overrides, environ=environ)


# --- precedence ------------------------------------------------------------------------------------


def test_overrides_win_over_the_environment_and_that_over_the_file(path: Path) -> None:
    text = MINIMAL + "kafka: {group_id: file, session_timeout_ms: 20000, request_timeout_ms: 5000}"
    environ = {"DETECTOR__KAFKA__GROUP_ID": "environment", "DETECTOR__KAFKA__REQUEST_TIMEOUT_MS": "6000"}
    kafka = read(path, text, "kafka.group_id=override", environ=environ).kafka
    assert (kafka.group_id, kafka.request_timeout_ms, kafka.session_timeout_ms) == ("override", 6000, 20000)


def test_the_later_override_wins(path: Path) -> None:
    assert read(path, MINIMAL, "kafka.group_id=a", "kafka.group_id=b").kafka.group_id == "b"


def test_the_more_specific_variable_wins(path: Path) -> None:
    environ = {
        "DETECTOR__KAFKA__GROUP_ID": "inner",
        "DETECTOR__KAFKA": "{group_id: outer, request_timeout_ms: 2000}",
    }
    kafka = read(path, MINIMAL, environ=environ).kafka
    assert (kafka.group_id, kafka.request_timeout_ms) == ("inner", 2000)


def test_only_variables_with_our_prefix_are_read(path: Path) -> None:
    environ = {"DETECTOR_SERVICE_HOST": "10.0.0.1", "DETECTOR_PORT": "tcp://10.0.0.1:80", "PATH": "/bin"}
    assert read(path, MINIMAL, environ=environ) == read(path, MINIMAL)


@pytest.mark.parametrize("override", ["event.fields.0.type=text", "event.fields[0].type=text"])
def test_an_item_of_a_list_is_set_by_its_index(path: Path, override: str) -> None:
    fields = read(path, MINIMAL, override).event.fields
    assert [field.type for field in fields] == ["text", "text"]


def test_the_index_after_the_last_appends(path: Path) -> None:
    item = "event.fields.2={name: mcc, path: a.mcc, type: categorical}"
    apart = [f"event.fields.3.{key}" for key in ("name=x", "path=x", "type=text")]
    fields = read(path, MINIMAL, item, *apart).event.fields
    assert [(field.name, field.type) for field in fields[2:]] == [("mcc", "categorical"), ("x", "text")]


def test_values_are_yaml_and_texts_stay_texts(path: Path) -> None:
    config = read(
        path,
        MINIMAL,
        "model.features.half_lives=[1h, 2d]",
        "kafka.group_id=0012",
        "kafka.group_instance_id=true",
        "topics.feedback=labels",
        "alerts.budget={per_day: 50}",
        "require_key=true",
        "kafka.bootstrap_servers=a:1,b:2",
    )
    assert config.model.features.half_lives == (3600.0, 172800.0)
    assert (config.kafka.group_id, config.kafka.group_instance_id) == ("0012", "true")
    assert config.topics.feedback == "labels"
    assert (config.alerts.budget.share, config.alerts.budget.per_day) == (None, 50.0)
    assert config.require_key is True
    assert config.kafka.bootstrap_servers == ("a:1", "b:2")


@pytest.mark.parametrize("text", ["[::]:9464", "127.0.0.1:0", ":9464", "'[::1]:80'"])
def test_an_address_needs_no_quotes(path: Path, text: str) -> None:
    read_ = read(path, MINIMAL, f"http.address={text}", "http.unprotected=true")
    assert read_.http.address == text.strip("'")
    servers = read(path, MINIMAL, environ={"DETECTOR__KAFKA__BOOTSTRAP_SERVERS": "[::1]:9092,b:1"})
    assert servers.kafka.bootstrap_servers == ("[::1]:9092", "b:1")


@pytest.mark.parametrize("address", ["0.0.0.0:9464", ":9464", "[::]:9464", "10.0.0.1:9464", "detector:9464"])
def test_pages_that_other_machines_reach_need_tls_and_a_token_or_a_word(path: Path, address: str) -> None:
    def http(text: str) -> str:
        return f"{MINIMAL}http: {{address: '{address}'{text}}}"

    tls, token = ", tls: {cert_file: a, key_file: b}", ", token: {env: TOKEN}"
    for missing in ("", tls, token):
        (problem,) = problems_in(path, http(missing)).values()
        assert problem.path == "http.unprotected"
        assert "http.tls and http.token" in problem.allowed
    assert read(path, http(tls + token)).http.unprotected is False
    assert read(path, http(", unprotected: true")).http.tls is None


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1"])
def test_pages_of_this_machine_need_neither(path: Path, address: str) -> None:
    assert read(path, MINIMAL, f"http.address={address}").http.token is None


def test_a_text_that_looks_like_a_number_needs_quotes_in_the_file(path: Path) -> None:
    found = problems_in(path, MINIMAL + "kafka: {group_id: 12}")["kafka.group_id"]
    assert str(found) == "kafka.group_id: got 12, expected a text of 1 to 200 characters, in quotes"


def test_null_takes_an_optional_setting_back(path: Path) -> None:
    assert read(path, MINIMAL + "topics: {feedback: labels}", "topics.feedback=null").topics.feedback is None


def test_the_exchange_has_a_topic_of_its_own_and_is_part_of_the_model(path: Path) -> None:
    off, on = read(path, MINIMAL), read(path, MINIMAL, "topics.exchange=exchange")
    assert (off.topics.exchange, on.topics.exchange) == (None, "exchange")
    assert (off.model_part(1).exchange, on.model_part(1).exchange) == (False, True)
    [found] = problems_in(path, MINIMAL, "topics.exchange=alerts").values()
    assert "a name that no other topic has (topics.alerts has it)" in str(found)


def test_the_setting_that_caused_a_problem_is_named(path: Path) -> None:
    found = problems_in(
        path,
        MINIMAL + "log: {level: loud}",
        "kafka.request_timeout_ms=1",
        "alerts.severity.high=2",
        "kafka.grup_id=x",
        environ={"DETECTOR__KAFKA__GROUP_ID": "''", "DETECTOR__DELIVERY": "twice"},
    )
    assert set(found) == {
        "log.level",
        "kafka.group_id (from DETECTOR__KAFKA__GROUP_ID)",
        "delivery (from DETECTOR__DELIVERY)",
        "kafka.request_timeout_ms (from --set kafka.request_timeout_ms)",
        "kafka.grup_id (from --set kafka.grup_id)",
        "alerts.severity.high (from --set alerts.severity.high)",
    }


@pytest.mark.parametrize(
    "override",
    ["kafka", "", "=x", "kafka..group_id=x", "event.fields.9.type=text", "event.fields.x=1", "event.id.x=1",
     "kafka.request_timeout_ms=[", "kafka={a: 1, a: 2}", "0=1", "event.fields.99999999999=1"],
)  # fmt: skip
def test_an_override_that_makes_no_sense_is_a_problem(path: Path, override: str) -> None:
    assert any("--set" in where for where in problems_in(path, MINIMAL, override))


def test_a_variable_that_makes_no_sense_is_a_problem(path: Path) -> None:
    for name in ("DETECTOR__", "DETECTOR__KAFKA__", "DETECTOR__KAFKA____GROUP_ID", "DETECTOR__EVENT__ID__X"):
        assert any(name in where for where in problems_in(path, MINIMAL, environ={name: "x"}))


# --- files that are none ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        (b"", "the file", "nothing"),
        (b"# only a comment\n", "the file", "nothing"),
        (b"- a\n", "the file", "a list"),
        (b"just text", "the file", "text"),
        (b"7", "the file", "a number"),
        (b"event: \xff\xfe", "the file", "UTF-8"),
        (b"a: 1\n" * (1 << 18), "the file", "1 MiB"),
        (b"event:\n  id: a\n time: b\n", "line 3, column 2", "YAML"),
        (b"event: [1, 2\n", "line 2, column 1", "YAML"),
        (b"a: 1\n\tb: 2\n", "line 2, column 1", "YAML"),
        (b"a: 1\nb: \x07\n", "line 2, column 4", "YAML"),
        (b"a: 1\n---\nb: 2\n", "line 2, column 1", "another document"),
        (b"a: &x 1\nb: *x\n", "line 2, column 4", "alias"),
        (b"a: !!python/object:os.system 1\n", "line 1, column 4", "tag"),
        (b"[" * 5000, "line 1, column 33", "32 levels of sections"),
        (b"a: [" + b"1, " * 6000 + b"]", "line 1, column 14996", "5000 keys, values"),
        (b"a: " + b"9" * 5000, "the text", "number"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_file_that_cannot_be_read_says_where_and_why(
    path: Path, content: bytes, where: str, words: str
) -> None:
    path.write_bytes(content)
    found = problems(path)
    assert list(found) == [where]
    assert words in str(found[where])


def test_missing_file_and_directory(tmp_path: Path) -> None:
    assert "got nothing" in str(problems(tmp_path / "none.yaml")["the file"])
    assert "a directory" in str(problems(tmp_path)["the file"])


def test_a_line_that_is_not_yaml_is_not_shown(path: Path) -> None:
    path.write_text('kafka:\n  password: "hunter2\n')
    with pytest.raises(ConfigError, match="line") as caught:
        load(path)
    assert "hunter2" not in str(caught.value)


def test_a_byte_order_mark_is_accepted(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(path).event.id == "id"


def test_aliases_are_refused(path: Path) -> None:
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 30))
    assert "alias" in str(problems_in(path, "l0: &l0 [x]\n" + levels))


def test_the_largest_sensible_file_is_within_the_bounds(path: Path) -> None:
    fields = [
        {"name": f"f{n}", "path": f"a.f{n}", "type": "numeric", "use": "encode", "optional": True}
        | {"display": "x", "unit": "EUR"}
        for n in range(128)
    ]
    entities = [{"name": f"e{n}", "path": f"e{n}", "optional": False} for n in range(8)]
    event = {"id": "id", "time": {"path": "at"}, "entities": entities, "fields": fields}
    whole = effective(Config.model_validate({"event": event}))
    assert len(read(path, whole).event.fields) == 128


def test_a_number_of_thousands_of_digits_is_described_in_words(path: Path) -> None:
    """Found by fuzzing: hexadecimal ones have no bound, and Python does not spell them."""
    for text in (b"0x" + b"f" * 5000, b"1:" * 3000 + b"1"):
        path.write_bytes(MINIMAL.encode() + b"delivery: " + text)
        assert "hundreds of digits" in problems(path)["delivery"].value


def test_more_mistakes_than_anyone_reads_are_counted(path: Path) -> None:
    text = MINIMAL + "".join(f"key{n}: 1\n" for n in range(2000))
    found = problems_in(path, text)
    assert len(found) == 101
    assert "and more" in found


def test_a_list_of_a_wrong_item_is_not_too_short_as_well(path: Path) -> None:
    found = problems_in(path, MINIMAL + "  reversals: {path: type, values: [0400]}")
    assert list(found) == ["event.reversals.values[0]"]
    assert "in quotes" in str(found["event.reversals.values[0]"]), "0400 is 256 in YAML"
    assert "1 to 64" in str(problems_in(path, MINIMAL + "  reversals: {path: type, values: []}"))


def test_dates_are_texts(path: Path) -> None:
    assert read(path, MINIMAL + "kafka: {group_id: 2026-01-01}").kafka.group_id == "2026-01-01"


def test_an_event_without_id_and_time_says_so(path: Path) -> None:
    text = MINIMAL.replace("  id: id", "  id: null").replace("path: at", "path: null, step: 1h")
    event = read(path, text).event
    assert (event.id, event.time.path, event.time.step) == (None, None, 3600.0)
    assert event.time.origin == "2000-01-01T00:00:00Z"
    found = problems_in(path, text.replace("  id: null", "").replace("path: null, ", ""))
    assert set(found) == {"event.id", "event.time.path"}, "forgotten is not null"


@pytest.mark.parametrize(
    "form",
    [
        "%d.%m.%Y %H:%M:%S",
        "%Y%m%d",
        "%m/%d/%y %I:%M %p",
        "%d %b %Y",
        "%Y-%jT%H",
        "%Y-%m-%dT%H:%M:%S.%f%z",
        "%Y-%m",
        "%d%m",
        "%b %d %H:%M:%S",
    ],
)
def test_patterns_of_times(path: Path, form: str) -> None:
    assert read(path, MINIMAL, f"event.time.format='{form}'").event.time.format == form


@pytest.mark.parametrize("form", ["%H:%M", "%Y", "%Y-%m-%d %Q", "%Y %Y-%m-%d", "%", "%c", "%Y%m%d%", "dd.mm"])
def test_patterns_that_say_no_day_or_are_none(path: Path, form: str) -> None:
    [where] = problems_in(path, MINIMAL, f"event.time.format='{form}'")
    assert where.startswith("event.time.format")


def test_how_numbers_are_written(path: Path) -> None:
    event = read(path, MINIMAL, "event.number={decimal: ',', thousands: .}", "event.missing=['', n.a.]").event
    assert (event.number.decimal, event.number.thousands) == (",", ".")
    assert event.missing == ("", "n.a.")
    [found] = problems_in(path, MINIMAL, "event.number={decimal: ',', thousands: ','}").values()
    assert "another sign for thousands" in str(found)


# --- problems --------------------------------------------------------------------------------------

ALL_WRONG = """
event:
  id: ""
  time: {path: at, format: unix, zone: Mars/Olympus}
  entities:
    - {name: my card, path: card}
  fields:
    - {name: amount, path: amount, type: numeric}
    - {name: memo, path: memo, type: text}
    - {name: amount2, path: amount2, type: money}
    - {path: x, type: text, usage: context}
  exposure: memo
kafka:
  grup_id: x
  group_id: ""
  request_timeout_ms: 1.5
  leave_on_stop: maybe
  bootstrap_servers: [localhost, "b:99999"]
  api_version: [2]
alerts:
  cooldown: a while
  budget: {share: 0.9}
  severity: {high: 1}
model: {features: {half_lives: [2d, 1d]}, index: {ef: 10}}
topics: {alerts: transactions, transactions: "a b"}
http: []
log:
delivery: twice
start: earliest
start: latest
"""


def test_all_problems_are_reported_at_once(path: Path) -> None:
    found = {where: (p.value, p.allowed) for where, p in problems_in(path, ALL_WRONG).items()}
    name = "a name of letters, digits and _ that does not begin with a digit, at most 64 characters"
    assert found.pop("event.fields[3].usage") == (
        "'context'",
        "a known key (name, type, path, use, optional, display, unit, currency, labels, echo, "
        "pseudonym, missing, number); did you mean use?",
    )
    assert found.pop("kafka.grup_id")[1].endswith("; did you mean group_id?")
    assert found == {
        "event.id": ("''", "a text of 1 to 256 characters, or null"),
        "event.time.format": (
            "'unix'",
            "one of: auto, iso8601, epoch_s, epoch_ms, epoch_us, epoch_ns, date, steps, apart; or a pattern "
            "like %d.%m.%Y %H:%M:%S",
        ),
        "event.time.zone": ("'Mars/Olympus'", "an IANA time zone like UTC or Europe/Paris"),
        "event.entities[0].name": ("'my card'", name),
        "event.exposure": ("'memo'", "the name of a numeric field (amount), or null"),
        "event.fields[2].type": ("'money'", "one of: numeric, categorical, text, geo"),
        "event.fields[3].name": ("nothing", name),
        "kafka.group_id": ("''", "a text of 1 to 200 characters"),
        "kafka.request_timeout_ms": ("1.5", "a whole number >= 1000 and <= 600000"),
        "kafka.leave_on_stop": ("'maybe'", "true or false"),
        "kafka.bootstrap_servers[0]": ("'localhost'", "host:port"),
        "kafka.bootstrap_servers[1]": ("'b:99999'", "a port of at most 65535"),
        "kafka.api_version[1]": ("nothing", "a whole number"),
        "alerts.cooldown": (
            "'a while'", "a duration like 500ms, 30s, 15m, 12h or 7d, or seconds > 0 and <= 315360000",
        ),
        "alerts.budget.share": ("0.9", "a number > 0 and <= 0.5, or null"),
        "alerts.severity.high": ("1", "a number > 0 and < 1"),
        "model.features.half_lives": ("['2d', '1d']", "different durations in ascending order"),
        "model.index.ef": ("10", "a whole number >= 16 and <= 1000"),
        "topics.transactions": ("'a b'", "a topic name: letters, digits and . _ -, at most 249 characters"),
        "http": ("[]", "a mapping with the keys address, tls, token, unprotected"),
        "log": ("null", "a mapping with the keys level, format"),
        "delivery": ("'twice'", "one of: exactly_once, at_least_once"),
        "start": ("the key again in line 30", "it only in line 29"),
    }  # fmt: skip


def test_no_jargon(path: Path) -> None:
    path.write_text(ALL_WRONG)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert not re.search(
        r"Input should|valid (integer|string)|Value error|pydantic|\\d|\[A-Z", str(caught.value)
    )


def test_a_key_given_twice_is_a_problem_with_its_lines(path: Path) -> None:
    found = problems_in(path, MINIMAL + "kafka: {group_id: a}\nlog: {level: info, level: debug}\nkafka: {}\n")
    assert str(found["kafka"]) == "kafka: got the key again in line 9, expected it only in line 7"
    assert set(found) == {"kafka", "log.level"}


def test_a_key_in_the_wrong_place_is_recognised(path: Path) -> None:
    assert "did you mean kafka.group_id?" in problems_in(path, MINIMAL + "group_id: x")["group_id"].allowed


def test_keys_need_not_be_texts(path: Path) -> None:
    assert set(problems_in(path, MINIMAL + "7: a\non: b\nnull: c\n")) == {"7", "on", "null"}


def test_what_was_found_is_shortened_and_printable(path: Path) -> None:
    text = f'delivery: "\\e[31m{"x" * 10_000}"\n{"k" * 100}: 1\nlog: [[[[{[7] * 999}]]]]'
    found = problems_in(path, MINIMAL + text)
    assert len(found) == 3
    assert all(
        len(where) <= 100 and len(p.value) <= 80 and p.value.isprintable() for where, p in found.items()
    )


def test_a_wrong_value_does_not_make_others_look_wrong(path: Path) -> None:
    text = MINIMAL.replace("type: numeric", "type: numerc") + "exposure: x".replace("exposure: x", "")
    assert set(problems_in(path, text.rstrip() + "\n  exposure: amount\n")) == {"event.fields[0].type"}
    assert set(problems_in(path, "event: {id: a, time: {path: b}, fields: oops, exposure: c}")) == {
        "event.fields"
    }
    assert set(problems_in(path, "event: {id: a, time: {path: b}, fields: [7], exposure: c}")) == {
        "event.fields[0]"
    }
    assert set(problems_in(path, MINIMAL + "kafka: {security: {protocol: SASL, username: me}}")) == {
        "kafka.security.protocol"
    }
    assert set(problems_in(path, "kafka: {}")) == {"event"}


# --- what the types do not say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("event.time.zone=Europe/Atlantis", "event.time.zone"),
        ("event.time.zone=../../etc/passwd", "event.time.zone"),
        ("event.time.zone=Europe", "event.time.zone"),
        ("event.exposure=memo", "event.exposure"),
        ("event.fields.0.name=card", "event.fields[0].name"),
        ("event.id=a..b", "event.id"),
        ("event.time.path=.", "event.time.path"),
        ("event.entities.0.path=.a", "event.entities[0].path"),
        ("event.fields.0.path=a.", "event.fields[0].path"),
        ("event.fields.0.path=card.number", "event.entities[0].path"),
        ('event.id="a\\nb"', "event.id"),
        ("event.fields.1.path='a\\b'", "event.fields[1].path"),
        ("kafka.group_id=''", "kafka.group_id"),
        ("kafka.bootstrap_servers=a:70000", "kafka.bootstrap_servers[0]"),
        ("http.address=:70000", "http.address"),
        ("kafka.security.username=me", "kafka.security.username"),
        ("kafka.security.ca_file=/ca.pem", "kafka.security.ca_file"),
        ("kafka.security={protocol: SASL_PLAINTEXT, sasl_mechanism: PLAIN, username: u, password: {env: P}, "
         "ca_file: c}", "kafka.security.ca_file"),
        ("kafka.security={protocol: SASL_SSL, username: u, password: {env: P}}",
         "kafka.security.sasl_mechanism"),
        ("kafka.security={protocol: SSL, cert_file: c}", "kafka.security.key_file"),
        ("event={id: a, time: {path: b}, fields: [{name: c, path: c, type: text}]}", None),
    ],
)  # fmt: skip
def test_cross_checks(path: Path, override: str, where: str | None) -> None:
    if where is None:
        assert read(path, MINIMAL, override)
    else:
        assert [found.split(" (from")[0] for found in problems_in(path, MINIMAL, override)] == [where]


def test_names_used_twice_and_a_wrong_exposure_are_reported_together(path: Path) -> None:
    more = ("event.fields.2={name: amount, path: b, type: text}", "event.fields.1.name=card")
    found = problems_in(path, MINIMAL, *more, "event.exposure=amuont")
    assert {where.split(" (from")[0]: (p.value, p.allowed) for where, p in found.items()} == {
        "event.fields[1].name": ("'card'", "a name that is used once (event.entities[0].name has it)"),
        "event.fields[2].name": ("'amount'", "a name that is used once (event.fields[0].name has it)"),
        "event.exposure": ("'amuont'", "the name of a numeric field (amount), or null"),
    }


def test_a_required_key_needs_an_entity(path: Path) -> None:
    text = "event: {id: a, time: {path: b}, fields: [{name: c, path: c, type: text}]}\nrequire_key: true"
    assert set(problems_in(path, text)) == {"require_key"}


WHOLE = {
    "event": {
        "id": "id",
        "time": {"path": "at"},
        "entities": [{"name": "card", "path": "card"}],
        "fields": [{"name": "amount", "path": "amount", "type": "numeric"}],
    }
}
SASL = {"sasl_mechanism": "PLAIN", "username": "u", "password": {"env": "P"}}
NOT_WHOLE: list[tuple[str, object]] = [
    ("event.id", "a..b"),
    ("event.id", ".a"),
    ("event.id", 'a"b'),
    ("event.id", "a\nb"),
    ("event.id", "card.x"),
    ("event.time.path", "a."),
    ("event.time.zone", "Mars/Phobos"),
    ("event.time.zone", "../../etc/passwd"),
    ("event.entities", [{"name": "amount", "path": "x"}]),
    ("event.entities", [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]),
    ("event.entities", [{"name": "a", "path": "x"}, {"name": "b", "path": "x.y"}]),
    ("event.fields", [{"name": "a\n", "path": "x", "type": "text"}]),
    ("event.fields", [{"name": "a", "path": "x\\", "type": "text"}]),
    ("event.reversals", {"path": "a..b", "values": ["0400"]}),
    ("event.reversals", {"path": "a", "values": ["0400"], "original": "b."}),
    ("event.reversals", {"path": "a", "values": ["0400"], "original": "id.x"}),
    ("event.exposure", "card"),
    ("event.exposure", "other"),
    ("event", {"id": "id", "time": {"path": "at"}}),
    ("kafka.bootstrap_servers", ["a:70000"]),
    ("kafka.bootstrap_servers", "a:1,b:65536"),
    ("http.address", ":70000"),
    ("http.address", "[::1]:65536"),
    ("checkpoints.url", "s3://key:password@bucket/"),
    ("checkpoints.url", "abfs://c@account/x?sig=abc"),
    ("entity_key", {}),
    ("entity_key", {"env": "A", "file": "b"}),
    ("kafka.security", {"username": "u"}),
    ("kafka.security", {"ca_file": "c"}),
    ("kafka.security", {"key_password": {"env": "P"}}),
    ("kafka.security", {"protocol": "SASL_SSL"}),
    ("kafka.security", {"protocol": "SASL_PLAINTEXT", **SASL, "ca_file": "c"}),
    ("kafka.security", {"protocol": "SSL", "cert_file": "c"}),
    ("kafka.security", {"protocol": "SSL", "key_file": "k"}),
    ("kafka.security", {"protocol": "SSL", **SASL}),
    ("topics", {"exchange": "alerts"}),
    ("topics", {"transactions": "a b"}),
    ("alerts.budget", {}),
    ("alerts.budget", {"share": 0.1, "per_day": 5}),
    ("alerts.severity", {"high": 1}),
    ("alerts.severity", {"medium": 0.7}),
    ("alerts.severity", {"critical": 0.5}),
    ("model.features.half_lives", ["2d", "1d"]),
    ("model.barriers.block_events", 300),
    ("model.barriers.every_events", 1000),
    ("require_key", True),
]


def whole_but(key: str, value: object) -> dict[str, Any]:
    data: dict[str, Any] = copy.deepcopy(WHOLE)
    if key == "require_key":
        data["event"]["entities"] = []
    node = data
    *above, last = key.split(".")
    for step in above:
        node = node.setdefault(step, {})
    node[last] = value
    return data


@pytest.mark.parametrize(("key", "value"), NOT_WHOLE)
def test_an_object_that_exists_is_valid(path: Path, key: str, value: object) -> None:
    assert Config.model_validate(WHOLE)
    data = whole_but(key, value)
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data)
    assert not re.search("password@|sig=abc", str(caught.value)), "a secret is shown"
    found = problems_in(path, yaml.safe_dump(data))
    assert all(where.startswith((key, "event.")) for where in found)


def test_a_section_is_valid_by_itself() -> None:
    fine = EntityField(name="card", path="card")
    with pytest.raises(ValidationError, match="used once"):
        Event(id="id", time=TimeField(path="at"), entities=(fine, fine))
    with pytest.raises(ValidationError, match="a port of at most 65535"):
        Http(address=":70000")
    with pytest.raises(ValidationError, match="time zone"):
        TimeField(path="at", zone="Mars/Phobos")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/Argentina/Ushuaia"])
def test_zones(path: Path, zone: str) -> None:
    assert read(path, MINIMAL, f"event.time.zone={zone}").event.time.zone == zone


# --- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "entity_key: hunter2",
        "entity_key: {env: [hunter2]}",
        "entity_key: {value: hunter2}",
        "kafka: {security: {password: hunter2}}",
        "kafka: {security: {pasword: hunter2}}",
        "kafka: {security: {key_password: {file: f, text: hunter2}}}",
        "kafka: {security: {protocol: SASL_SSL, password: {env: hunter2, file: hunter2}}}",
        "kafka: {security: {protocol: SASL_SSL, username: me, password: {env: hunter2}}}",
        "kafka: [{password: hunter2}]",
        "checkpoints: {url: 's3://key:hunter2@bucket/'}",
        "checkpoints: {url: 's3://key:hunter2/or@so@bucket/'}",
        "checkpoints: {url: 'sftp://me:my hunter2@host/'}",
        "checkpoints: {url: 'abfs://c@account/x?sig=hunter2'}",
        "checkpoints: {ulr: 'abfs://c@account/x?sig=hunter2'}",
        "checkpoints: ['ftp://me:hunter2@host/']",
        "checkpoints: 'ftp://me:hunter2@host/'",
        "api_token: hunter2",
        "http: {token: hunter2}",
        "http: {bearer: hunter2}",
        "http: {auth: hunter2}",
        "http: {tls: {key_file: f, cert_file: '-----BEGIN PRIVATE KEY----- hunter2', x: 1}}",
        "kafka: {security: {pass: hunter2}}",
        "kafka: {security: {pwd: hunter2}}",
        "kafka: {security: {sasl_jaas_config: 'password=hunter2'}}",
        "registry: {url: 'http://a', client-key: hunter2}",
        "signing_key: {value: hunter2}",
        "encryption-key: [hunter2]",
    ],
)
def test_a_secret_is_never_shown(path: Path, text: str) -> None:
    path.write_text(MINIMAL + text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "hunter2" not in str(caught.value)


def test_a_secret_in_a_setting_is_never_shown(path: Path) -> None:
    environ = {"DETECTOR__ENTITY_KEY": "hunter2", "DETECTOR__KAFKA__SECURITY__KEY_PASSWORD": "[hunter2"}
    found = problems_in(path, MINIMAL, "kafka.security.password=hunter2", environ=environ)
    assert len(found) == 3
    assert not any("hunter2" in str(problem) for problem in found.values())


@pytest.mark.parametrize("url", ["abfs://c@account/x", "sftp://me@host:22/a@b", "file:///a:b@c", "a b"])
def test_a_url_without_a_secret_is_taken_and_shown(path: Path, url: str) -> None:
    config = read(path, MINIMAL, f"checkpoints.url={url}")
    assert config.checkpoints.url == url
    assert url in effective(config)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ftp://me:pw@host/x", "ftp://***@host/x"),
        ("ftp://me:p@w/d@host/x", "ftp://***@host/x"),
        ("see s3://a/b?key=k, 'az://c/d?k=v' and e@f", "see s3://a/b?*** 'az://c/d?***' and e@f"),
        ("http://127.0.0.1:9464/metrics", "http://127.0.0.1:9464/metrics"),
        ("abfs://c@account/x, what? no", "abfs://c@account/x, what? no"),
    ],
)
def test_urls_are_shown_without_their_secrets(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_all_missing_secrets_are_reported_at_once(path: Path, tmp_path: Path) -> None:
    sasl = "{protocol: SASL_SSL, sasl_mechanism: PLAIN, username: u, password: {env: A}, ca_file: /no/ca.pem}"
    config = read(path, MINIMAL, f"kafka.security={sasl}", "entity_key={file: /no/key}")
    with pytest.raises(ConfigError) as caught:
        resolve_secrets(config, {})
    assert [p.path for p in caught.value.problems] == ["kafka.security.password", "entity_key"]
    assert [p.path for p in missing_here(config, {"A": "x"})] == ["entity_key", "kafka.security.ca_file"]
    (tmp_path / "key").write_text("k")
    config = read(path, MINIMAL, f"entity_key={{file: {tmp_path / 'key'}}}")
    assert resolve_secrets(config, {}) == (None, None, "k", None, None, None)
    assert missing_here(config, {}) == []


def test_where_a_secret_should_be_kept_is_said(path: Path) -> None:
    allowed = problems_in(path, MINIMAL + "entity_key: hunter2")["entity_key"].allowed
    assert allowed == "where the secret is kept: {env: NAME} or {file: PATH}, or null"


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for content, secret in (("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a\n\n", " a\n"), ("s", "s")):
        file.write_bytes(content.encode())
        assert resolve_secret(Secret(file=str(file)), "entity_key", {}) == secret
        assert resolve_secret(Secret(env="KEY"), "entity_key", {"KEY": content}) == secret
    assert resolve_secret(None, "entity_key", {}) is None


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": "\n"}])
def test_a_missing_variable_names_itself_and_the_key(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.security\.password: got .* variable KEY"):
        resolve_secret(Secret(env="KEY"), "kafka.security.password", environ)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"hunter2\xff", b"hunter2" * 10_000])
def test_an_unusable_file_names_itself_and_the_key_but_no_content(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve_secret(Secret(file=str(file)), "entity_key", {})
    assert str(file) in str(caught.value)
    assert "entity_key: got" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("secret", ["hunter2!", "p@ss/w0rd#", "-----BEGIN PRIVATE KEY-----\nabc", "a b c=="])
def test_a_secret_in_the_place_of_its_name_is_not_shown(secret: str) -> None:
    for place in (Secret(env=secret), Secret(file=secret)):
        with pytest.raises(ConfigError) as caught:
            resolve_secret(place, "entity_key", {})
        assert secret not in str(caught.value)
        assert "entity_key" in str(caught.value)


def test_names_that_only_look_like_those_of_secrets_are_shown(path: Path) -> None:
    found = problems_in(
        path, MINIMAL + "kafka: {security: {protocol: SSL, key_file: [x]}}\nrequire_key: maybe"
    )
    assert "maybe" in str(found["require_key"])
    assert "x" in found["kafka.security.key_file"].value


def test_a_directory_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="entity_key"):
        resolve_secret(Secret(file=str(tmp_path)), "entity_key", {})


# --- what is printed ---------------------------------------------------------------------------------


def test_effective_shows_everything_and_only_the_place_of_secrets(path: Path) -> None:
    security = "kafka.security={protocol: SASL_SSL, sasl_mechanism: PLAIN, username: é, password: {env: PW}}"
    config = read(path, MINIMAL, security, "entity_key={file: /run/key}", "alerts.cooldown=90m")
    tree = yaml.safe_load(effective(config))
    assert tree["kafka"]["security"]["password"] == {"env": "PW"}
    assert tree["entity_key"] == {"file": "/run/key"}
    assert tree["alerts"]["cooldown"] == 5400
    assert set(tree) == set(Config.model_fields)
    assert read(path, effective(config)) == config


names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,10}\Z")
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
steps = st.text(st.characters(exclude_categories=["C"], exclude_characters='"\\.'), min_size=1, max_size=9)
paths = st.lists(steps, min_size=1, max_size=3).map(".".join)


@example(id="é", group="\x85\u2028", unit="\n ", name="on", once=1.0, seed=0, rate=1e-5)
@given(
    id=paths,
    group=texts,
    unit=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=16),
    name=names,
    once=st.floats(0.001, 1e8),
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(1e-300, 1.0),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_effective_loads_to_the_same(
    path: Path, id: str, group: str, unit: str | None, name: str, once: float, seed: int, rate: float
) -> None:
    config = Config.model_validate(
        {
            "event": {
                "id": id,
                "time": {"path": id},
                "fields": [{"name": name, "path": id, "type": "text", "unit": unit}],
            },
            "kafka": {"group_id": group},
            "alerts": {"cooldown": once},
            "model": {"seed": seed, "encoder": {"learning_rate": rate}},
        }
    )
    path.write_bytes(effective(config).encode())
    assert load(path) == config


def refusal(path: Path, *overrides: str) -> tuple[Problem, ...]:
    """What is wrong, nothing if nothing is; every other outcome is an error."""
    try:
        load(path, overrides)
    except ConfigError as error:
        return error.problems or (Problem(path="", value="", allowed="no reason given"),)
    return ()


def in_words(problem: Problem) -> bool:
    return (
        bool(problem.path and problem.value and problem.allowed) and "something else" not in problem.allowed
    )


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    | st.text("{}[]:,-*&!<a1\n \"'|>#?%", max_size=30)
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_loads_or_is_refused_with_words(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
    assert all(map(in_words, refusal(path)))
    path.write_text(MINIMAL)
    assert all(map(in_words, refusal(path, f"kafka={text}", f"{text}=1")))


values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "path", "env", "x"]), inner)
    ),
    max_leaves=5,
)
SOME_KEYS = (
    "event", "event.id", "event.time", "event.entities", "event.entities.0", "event.fields.1.name",
    "event.limits", "kafka.security", "kafka.bootstrap_servers", "entity_key", "topics", "http.address",
    "checkpoints.url", "model.features.half_lives", "alerts.budget", "require_key",
)  # fmt: skip


@given(key=st.sampled_from(SOME_KEYS), value=values)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_loads_or_is_refused_with_words(path: Path, key: str, value: object) -> None:
    path.write_text(MINIMAL)
    assert all(map(in_words, refusal(path, f"{key}={yaml.safe_dump(value, default_flow_style=True)}")))


@given(key=st.sampled_from([key for key in SOME_KEYS if ".0" not in key and ".1" not in key]), value=values)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_tree_refuses_what_load_refuses(path: Path, key: str, value: object) -> None:
    text = yaml.safe_dump(whole_but(key, value))
    path.write_text(text)
    refused = bool(refusal(path))
    try:
        Config.model_validate(yaml.safe_load(text))
    except ValidationError:
        assert refused
    else:
        assert not refused


# --- the schema for editors --------------------------------------------------------------------------


def test_the_schema_is_one_and_says_which() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "detector configuration"


@pytest.mark.parametrize(
    ("addition", "valid"),
    [
        ("alerts: {cooldown: 1h}", True),
        ("alerts: {cooldown: 3600}", True),
        ("alerts: {cooldown: -1}", False),
        ("alerts: {cooldown: 1.0e+12}", False),
        (
            "kafka: {bootstrap_servers: 'a:1,b:2,a-long-host-name-of-a-broker.example.com:9092,c:3,d:4,e:5'}",
            True,
        ),
        ("kafka: {bootstrap_servers: []}", False),
        ("kafka: {grup_id: x}", False),
        ("log: {level: loud}", False),
    ],
)
def test_the_schema_agrees_with_the_loader(path: Path, addition: str, valid: bool) -> None:
    text = MINIMAL + addition
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text)) == valid
    if valid:
        assert read(path, text)
    else:
        assert problems_in(path, text)


def undescribed(part: type[BaseModel], above: str = "") -> Iterator[str]:
    """Keys without a description. A section has that of its class."""
    for name, field in part.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        sections = [kind for kind in kinds if issubclass(kind, BaseModel)]
        if not (field.description or any(section.__doc__ for section in sections)):
            yield f"{above}{name}"
        for section in sections:
            yield from undescribed(section, f"{above}{name}.")


def test_every_key_has_a_description() -> None:
    for part in (Config, EntityField, ValueField):
        assert list(undescribed(part)) == []
    for key, node in json_schema()["properties"].items():
        node = json_schema()["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        assert node["description"], key


def test_changing_a_schema_changes_no_other() -> None:
    json_schema()["properties"].clear()
    assert json_schema()["properties"]


def test_a_key_of_too_many_steps_is_refused() -> None:
    key = ".".join(["event.time.late.after"] * 200)
    with pytest.raises(ConfigError, match="800 steps, expected at most 32"):
        load("configs/default.yaml", [f"{key}=1"])
    with pytest.raises(ConfigError, match="800 steps, expected at most 32"):
        load("configs/default.yaml", [], {"DETECTOR__" + key.upper().replace(".", "__"): "1"})
