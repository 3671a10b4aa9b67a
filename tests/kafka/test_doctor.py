"""`detector doctor` on a real broker with TLS and an authorizer: each fault has its sentence."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ACLOperation, ResourceType

from detector.config.tree import Config
from detector.errors import EXIT_CONFIG, EXIT_NEEDS_OPERATOR
from detector.ports import Committed
from detector.shell.finding import Finding
from detector.wiring.doctor import diagnose, exit_code
from tests.kafka.broker import MTLS, PLAINTEXT, SASL_SSL
from tests.kafka.pki import KEY_PASSWORD, create_pki
from tests.kafka.place import Member, Place, poll_for, settled
from tests.kafka.topics import create_topic
from tests.kafka.waiting import poll_until

SECURITY = Path(__file__).parents[2] / "docs/how-to/security.md"
WITHIN_S = 10.0
MORE = ("feedback", "exchange", "case_updates", "receipts", "scores")
Grant = tuple[ResourceType, str, ACLOperation, bool]


def everything(place: Place) -> dict[str, str]:
    """Create the optional topics, too."""
    topics = {name: f"{place.name}.{name}" for name in MORE}
    for topic in topics.values():
        create_topic(place.broker.bootstrap, topic, 1)
    return topics


def least(config: Config) -> list[Grant]:
    """What docs/how-to/security.md says that a member needs, for this configuration."""
    [table] = re.findall(r"(?s)<!-- least permissions -->(.+?)<!-- /", SECURITY.read_text())
    rows = re.findall(r"\| (\w+) [\w ]*`(\w+)\.(\w+)`\s*\| (\w+)", table.replace("transactional id", "id"))
    kinds = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "id": ResourceType.TRANSACTIONAL_ID}
    return [
        (kinds[kind], str(getattr(getattr(config, section), key)), ACLOperation[word.upper()], kind == "id")
        for kind, section, key, word in rows
    ]


def look(place: Place, config: Config, password: str = "") -> list[Finding]:
    """What the doctor finds, and not later than promised."""
    began = time.monotonic()
    found = diagnose(config, {"UNUSED": password or place.password}, mend=False)
    assert time.monotonic() - began < WITHIN_S
    shown = "\n".join(f"{one.text} {one.remedy}" for one in found)
    assert place.password not in shown
    assert not password or password not in shown
    return found


def errors(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.verdict == "error"]


@pytest.fixture
def store(tmp_path: Path) -> dict[str, Any]:
    return {"checkpoints": {"url": f"file://{tmp_path}/checkpoints"}}


def test_each_of_the_least_permissions_is_needed_and_named(place: Place, store: dict[str, Any]) -> None:
    config = place.config(SASL_SSL, topics=everything(place), **store)
    grants = least(config)
    assert len(grants) == 11
    for kind, name, operation, prefixed in grants:
        place.broker.allow(SASL_SSL, kind, name, operation, prefixed=prefixed)
    assert poll_until(lambda: not errors(look(place, config)))
    found: list[Finding] = []

    def missed() -> bool:
        found[:] = look(place, config)
        return bool(errors(found))

    for kind, name, operation, prefixed in grants:
        place.broker.forbid(SASL_SSL, kind, name, operation)

        assert poll_until(missed)
        one = the(found, "permission")
        what = {ResourceType.TOPIC: "topic", ResourceType.GROUP: "group"}.get(kind, "transactional id")
        assert re.fullmatch(rf"Not allowed: {what} {re.escape(name)}\S* needs {operation.name}\.", one.text)
        assert one.remedy is not None
        assert f"--allow-principal User:detector --operation {operation.name.title()}" in one.remedy
        assert exit_code(found) == EXIT_CONFIG
        place.broker.allow(SASL_SSL, kind, name, operation, prefixed=prefixed)
    # With them a member reads, publishes and commits.
    member = Member(place.stream(SASL_SSL, place.password, topics=config.topics.model_dump()))
    poll_for(settled(member), member)
    member.commit([place.alert(b"allowed")], {0: Committed(offset=0, metadata="")})
    assert place.alerts_seen() == [b"allowed"]


def test_what_is_well_is_said(place: Place, store: dict[str, Any]) -> None:
    found = look(place, place.config(PLAINTEXT, **store))
    assert exit_code(found) == 0, errors(found)
    said = {one.subject: one for one in found}
    for subject in (
        "name",
        "connection",
        "brokers",
        "permissions",
        "offset metadata",
        "transaction timeout",
        "session timeout",
        "clock",
        "transactions",
        f"retention of {place.transactions}",
        f"message size of {place.alerts}",
        "memory",
    ):
        assert said[subject].verdict == "ok", said[subject]
    # A single broker, no encryption, a folder of this machine.
    for subject in ("TLS", f"topic {place.alerts}", "checkpoint store"):
        assert said[subject].verdict == "warning"
    assert "2 partitions" in said[f"topic {place.transactions}"].text


def the(found: list[Finding], subject: str) -> Finding:
    [one] = [one for one in found if one.subject == subject]
    return one


def login(place: Place, **security: Any) -> Config:
    return place.config(SASL_SSL, security=security)


def test_a_wrong_password_is_named(place: Place) -> None:
    found = look(place, login(place), "not-the-password")
    one = the(found, "login")
    assert "rejects user detector by SCRAM-SHA-512" in one.text
    assert "kafka.security" in str(one.remedy)
    assert exit_code(found) == EXIT_CONFIG


def test_a_mechanism_that_the_broker_does_not_offer_is_named(place: Place) -> None:
    found = look(place, login(place, sasl_mechanism="SCRAM-SHA-256"))
    assert "not SCRAM-SHA-256" in the(found, "login").text
    assert exit_code(found) == EXIT_CONFIG


def test_a_wrong_authority_is_named(place: Place, tmp_path: Path) -> None:
    found = look(place, login(place, ca_file=str(create_pki(tmp_path).ca)))
    one = the(found, "TLS")
    assert "certificate is not trusted" in one.text
    assert "kafka.security.ca_file" in str(one.remedy)
    assert exit_code(found) == EXIT_CONFIG


def test_a_wrong_name_is_named(place: Place) -> None:
    port = place.broker.bootstrap_for(MTLS).rpartition(":")[2]
    found = look(place, place.config(MTLS, kafka={"bootstrap_servers": [f"127.1:{port}"]}))
    one = the(found, "TLS")
    assert "mismatch" in one.text
    assert "advertised.listeners" in str(one.remedy)
    assert exit_code(found) == EXIT_CONFIG


def test_an_expired_client_certificate_is_named(place: Place) -> None:
    assert place.broker.pki is not None
    found = look(place, place.config(MTLS, security={"cert_file": str(place.broker.pki.client_expired)}))
    first, second = errors(found)
    assert first.subject == second.subject == "client certificate"
    assert "expired on" in first.text
    assert "rejects our client certificate" in second.text
    assert exit_code(found) == EXIT_CONFIG


@pytest.mark.parametrize(("password", "works"), [(KEY_PASSWORD, True), ("not-this-one", False)])
def test_an_encrypted_key_needs_its_password(place: Place, password: str, works: bool) -> None:
    assert place.broker.pki is not None
    locked = {"key_file": str(place.broker.pki.client_locked_key), "key_password": {"env": "UNUSED"}}
    found = look(place, place.config(MTLS, security=locked), password)
    said = [one for one in found if one.subject == "TLS"]
    assert [one.verdict for one in said] == ["ok" if works else "error"]
    if not works:
        assert "key's password" in str(said[0].remedy)
        assert exit_code(found) == EXIT_CONFIG


def test_topics_that_do_not_fit_are_named(place: Place) -> None:
    name, create = place.name, place.broker.bootstrap
    settings = {
        "transactions": {"retention.ms": "3600000"},
        "feedback": {},
        "exchange": {"cleanup.policy": "compact"},
        "alerts": {"max.message.bytes": "100000", "retention.ms": "60000"},
    }
    topics = {key: f"{name}.{key}.2" for key in settings}
    for key, one in settings.items():
        create_topic(create, topics[key], 2 if key == "feedback" else 1, one)
    topics |= {"scores": f"{name}.nowhere"}
    found = look(place, place.config(PLAINTEXT, topics=topics))
    said = {one.subject: one for one in errors(found)}
    for subject, text, remedy in (
        (
            f"retention of {topics['transactions']}",
            "is kept for 1.0 h, and recovery may need",
            "retention.ms=",
        ),
        (f"retention of {topics['exchange']}", "is compacted", "cleanup.policy=delete"),
        (f"topic {topics['feedback']}", "has 2 partitions, and must have exactly one", "another topic"),
        (f"message size of {topics['alerts']}", "accepts 100000 bytes", "max.message.bytes=1004096"),
        (
            f"topic {topics['scores']}",
            f"Topic {topics['scores']} does not exist.",
            "kafka-topics.sh --create",
        ),
    ):
        one = said.pop(subject)
        assert text in one.text
        assert remedy in str(one.remedy)
    assert not said
    assert the(found, f"retention of {topics['alerts']}").verdict == "warning"
    assert exit_code(found) == EXIT_NEEDS_OPERATOR


def test_a_server_that_is_away_matters_less_than_none_that_works(place: Place) -> None:
    found = look(place, place.config(kafka={"bootstrap_servers": ["127.0.0.1:1", place.broker.bootstrap]}))
    assert exit_code(found) == 0
    assert [one.text for one in found if one.subject == "connection" and one.verdict == "warning"] == [
        "127.0.0.1:1: connection refused."
    ]
