"""Tokens, and passwords and certificates that change, on a real broker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACLOperation, ResourceType, ScramMechanism, UserScramCredentialUpsertion

from detector.config.tree import Config
from detector.errors import EXIT_CONFIG, EXIT_NEEDS_OPERATOR
from detector.shell.finding import Finding
from detector.shell.kafka import KafkaStream
from detector.wiring.doctor import diagnose, exit_code
from tests.kafka.broker import MTLS, REAUTHENTICATION_MS, SASL_SSL, SCRAM_USER
from tests.kafka.oidc import TokenServer, serving
from tests.kafka.pki import create_pki
from tests.kafka.place import Member, Place, poll_for, settled

SECRET = "secret of a client"


@pytest.fixture
def tokens(place: Place) -> Iterator[TokenServer]:
    place.broker.bootstrap_for(SASL_SSL)
    assert place.broker.pki is not None
    with serving(
        TokenServer(place.broker.issuer, {SCRAM_USER: SECRET}), place.broker.pki.server_store
    ) as server:
        yield server


def by_token(
    place: Place, tokens: TokenServer, tmp_path: Path, secret: str = SECRET, **changes: Any
) -> Config:
    (tmp_path / "secret").write_text(secret + "\n")
    assert place.broker.pki is not None
    oauth = {"token_url": tokens.url, "ca_file": str(place.broker.pki.ca), "timeout": 2.0} | changes
    login = {"sasl_mechanism": "OAUTHBEARER", "oauth": oauth, "password": {"file": str(tmp_path / "secret")}}
    return place.config(SASL_SSL, security=login)


def looked(config: Config) -> tuple[list[Finding], int]:
    found = diagnose(config, {}, mend=False)
    assert not any(SECRET in f"{one.text} {one.remedy}" for one in found)
    return [one for one in found if one.subject == "login"], exit_code(found)


def allow_all(place: Place) -> None:
    allow, name = place.broker.allow, place.name
    for topic in (place.transactions, place.alerts, place.rejected):
        allow(SASL_SSL, ResourceType.TOPIC, topic, ACLOperation.READ, ACLOperation.WRITE)
    allow(SASL_SSL, ResourceType.GROUP, name, ACLOperation.READ)
    allow(SASL_SSL, ResourceType.TRANSACTIONAL_ID, name, ACLOperation.WRITE, prefixed=True)


def test_a_member_logs_in_again_by_new_tokens(place: Place, tokens: TokenServer, tmp_path: Path) -> None:
    allow_all(place)
    tokens.life_s = 3.0  # the broker ends the login with the token
    [login], code = looked(by_token(place, tokens, tmp_path))
    assert (login.verdict, code) == ("ok", 0)
    assert "user detector by OAUTHBEARER" in login.text
    before = len(tokens.forms)
    stream = KafkaStream(by_token(place, tokens, tmp_path), SECRET)
    with closing(stream):
        member = Member(stream)
        poll_for(settled(member), member)
        place.produce(b"1")
        poll_for(lambda: len(tokens.forms) > before + 1, member)
        place.produce(b"2")
        poll_for(lambda: len(member.records) == 2, member)
        assert member.values() == [b"1", b"2"]
    assert tokens.forms[0]["grant_type"] == ["client_credentials"]


def test_tokens_that_nobody_gives_or_accepts_are_named(
    place: Place, tokens: TokenServer, tmp_path: Path
) -> None:
    [login], code = looked(by_token(place, tokens, tmp_path, secret="another"))
    assert "refuses detector: HTTP status 401, invalid_client" in login.text
    assert code == EXIT_CONFIG
    tokens.life_s = -100.0
    tokens.next = [(200, b'{"access_token": "%s"}' % tokens.issuer.token(SCRAM_USER, -100.0).encode())]
    [login], code = looked(by_token(place, tokens, tmp_path))
    assert "rejects user detector by OAUTHBEARER" in login.text
    assert code == EXIT_CONFIG
    tokens.next = [(503, b"")] * 3
    [login], code = looked(by_token(place, tokens, tmp_path))
    assert "gives no token: HTTP status 503" in login.text
    assert code == EXIT_NEEDS_OPERATOR
    [login], code = looked(by_token(place, tokens, tmp_path, ca_file=str(create_pki(tmp_path).ca)))
    assert "its certificate is not trusted" in login.text
    assert code == EXIT_CONFIG


def test_a_new_password_is_used_without_a_lost_event(place: Place, tmp_path: Path) -> None:
    allow_all(place)
    file, first, second = tmp_path / "password", place.password, "the next password"
    file.write_text(first)

    def change(password: str) -> None:
        new = UserScramCredentialUpsertion(
            user=SCRAM_USER, mechanism=ScramMechanism.SCRAM_SHA_512, password=password
        )
        with closing(KafkaAdminClient(**place.broker.client_settings())) as admin:
            admin.alter_user_scram_credentials([new])

    stream = KafkaStream(place.config(SASL_SSL, security={"password": {"file": str(file)}}), first)
    try:
        with closing(stream):
            member = Member(stream)
            poll_for(settled(member), member)
            place.produce(b"1")
            poll_for(lambda: len(member.records) == 1, member)
            change(second)
            file.write_text(second)
            # Each connection logs in again in this time, and the broker ends those that do not.
            until = time.monotonic() + 1.25 * REAUTHENTICATION_MS / 1000
            poll_for(lambda: time.monotonic() > until, member)
            place.produce(b"2")
            poll_for(lambda: len(member.records) == 2, member)
            assert member.values() == [b"1", b"2"]
            assert [change.kind for change in member.changes] == ["assigned"]
    finally:
        change(first)


def test_a_new_certificate_is_used_by_the_next_connection(place: Place, tmp_path: Path) -> None:
    pki = place.broker.pki
    assert pki is not None
    certificate = tmp_path / "client.pem"
    shutil.copy(pki.client_expired, certificate)
    stream = KafkaStream(place.config(MTLS, security={"cert_file": str(certificate)}))
    with closing(stream), pytest.raises(Exception, match="client certificate"):
        stream.open()
    shutil.copy(pki.client_certificate, certificate)
    with closing(stream), pytest.raises(Exception, match="Not allowed to"):  # it is known now
        stream.open()
