"""Tokens are fetched in time and never shown; passwords and certificates are read again when they change."""

from __future__ import annotations

import base64
import shutil
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kafka.net.sasl import get_sasl_mechanism
from pydantic import ValidationError

from detector.config.tree import Oauth, Secret, Security
from detector.errors import BrokerUnavailable, CredentialsError, DetectorError
from detector.shell.kafka import fresh, tokens
from detector.shell.kafka.fresh import FreshContext, Password
from detector.shell.kafka.tokens import Token, Tokens, oidc
from tests.kafka.oidc import Issuer, TokenServer, serving
from tests.kafka.pki import Pki, create_pki

SECRET = "a+b secret: %"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return create_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    monkeypatch.setattr(tokens, "_PAUSE_S", 0.0)
    with serving(TokenServer(issuer, {"me": SECRET})) as server:
        yield server


def asking(server: TokenServer, secret: str = SECRET, **changes: Any) -> Callable[[], Token]:
    settings = Oauth.model_validate({"token_url": server.url, "timeout": 5.0} | changes)
    return oidc(settings, "me", Password(None, "kafka.security.password", secret))


class Source:
    """Gives tokens of 100 s, or raises."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0
        self.error: DetectorError | None = None

    def fetch(self) -> Token:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Token(f"token-{self.asked}", 100.0)


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_token_is_used_for_most_of_its_time(source: Source) -> None:
    provider = Tokens(source.fetch, {"logicalCluster": "lkc-1"}, lambda: source.now)
    for now, token in ((0.0, "token-1"), (79.0, "token-1"), (80.0, "token-2"), (159.0, "token-2")):
        source.now = now
        assert provider.token() == token
    mechanism = get_sasl_mechanism("OAUTHBEARER")(sasl_oauth_token_provider=provider)
    assert mechanism.auth_bytes() == b"n,,\x01auth=Bearer token-2\x01logicalCluster=lkc-1\x01\x01"


def test_a_valid_token_outlives_a_server_that_is_away(source: Source) -> None:
    provider = Tokens(source.fetch, now=lambda: source.now)
    assert provider.token() == "token-1"
    source.error = BrokerUnavailable("away")
    for now in (80.0, 80.5, 99.0):
        source.now = now
        assert provider.token() == "token-1"
    assert source.asked == 3  # not at 80.5: the last failure is less than a second ago
    source.now = 100.0
    for _ in range(3):
        with pytest.raises(BrokerUnavailable, match="away"):
            provider.token()
    assert source.asked == 4
    source.now, source.error = 101.0, None
    assert provider.token() == "token-5"


def test_a_token_is_asked_for_as_rfc_6749_says(server: TokenServer) -> None:
    found = asking(server, scope="kafka read")()
    assert found.life_s == 300.0
    assert found.text.count(".") == 2
    assert server.forms == [{"grant_type": ["client_credentials"], "scope": ["kafka read"]}]


def test_a_server_that_fails_is_asked_three_times(server: TokenServer) -> None:
    server.next = [(503, b""), (429, b"")]
    assert asking(server)().text
    server.next = [(500, b"secret things")] * 3
    with pytest.raises(BrokerUnavailable, match="gives no token: HTTP status 500") as caught:
        asking(server)()
    assert "secret things" not in str(caught.value)
    assert len(server.forms) == 6


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b'{"error": "invalid_client"}', "refuses me: HTTP status 401, invalid_client"),
        (400, b'{"error": "<script>"}', "refuses me: HTTP status 400."),
        (302, b"", "refuses me: HTTP status 302"),
        (200, b"<html>", "not JSON"),
        (200, b"[]", "no access_token"),
        (200, b'{"access_token": "a\\u0001b"}', "no access_token"),
        (200, b'{"access_token": "a", "expires_in": -1}', "expires_in"),
        (200, b'{"access_token": "a", "expires_in": true}', "expires_in"),
        (200, b'"' + b"a" * (1 << 16) + b'"', "too long"),
    ],
)
def test_an_answer_that_is_no_token(server: TokenServer, status: int, body: bytes, words: str) -> None:
    server.next = [(status, body)]
    with pytest.raises(CredentialsError) as caught:
        asking(server)()
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(server.forms) == 1


def test_a_server_whose_certificate_is_not_trusted(issuer: Issuer, pki: Pki, tmp_path: Path) -> None:
    with serving(TokenServer(issuer, {"me": SECRET}), pki.server_store) as server:
        assert asking(server, ca_file=str(pki.ca))().text
        with pytest.raises(CredentialsError, match="certificate is not trusted"):
            asking(server, ca_file=str(create_pki(tmp_path).ca))()
    with pytest.raises(BrokerUnavailable, match="gives no token"):
        asking(server, ca_file=str(pki.ca))()


def test_the_token_of_amazon_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aws_msk_iam_sasl_signer")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a real key")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = tokens.msk("eu-west-1", 10.0)()
    assert 800 < found.life_s <= 900
    url = urlsplit(base64.urlsafe_b64decode(found.text + "==").decode())
    query = {key: one for key, [one] in parse_qs(url.query).items()}
    assert url.netloc == "kafka.eu-west-1.amazonaws.com"
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Credential"].startswith("AKIDEXAMPLE/")
    assert query["X-Amz-Expires"] == "900"
    assert "not a real key" not in url.geturl()


def test_amazon_without_its_package_or_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    signs: list[Callable[[str], tuple[str, int]]] = [
        lambda region: (f"of {region}", int(time.time() * 1000) + 900_000),
        lambda region: (_ for _ in ()).throw(LookupError("Unable to locate credentials")),
        lambda region: (str(waiting.wait(10.0)), 0),
    ]
    signer = SimpleNamespace(generate_auth_token=lambda region: signs.pop(0)(region))
    package = SimpleNamespace(MSKAuthTokenProvider=signer)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", package)
    fetch = tokens.msk("eu-west-1", 0.2)
    token = fetch()
    assert token.text == "of eu-west-1"
    assert 890 < token.life_s <= 900
    with pytest.raises(CredentialsError, match="Unable to locate credentials"):
        fetch()
    with pytest.raises(BrokerUnavailable, match=r"no AWS credentials in 0\.2 s"):
        fetch()
    waiting.set()
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(CredentialsError, match=r"pip install 'stream-anomaly-detector\[msk\]'"):
        tokens.msk("eu-west-1", 1.0)


def test_a_password_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "password"
    file.write_text("one\n")
    password = Password(Secret(file=str(file)), "kafka.security.password", "zero")
    assert password() == "one"
    file.write_text("two")
    for name in fresh.WITH_PASSWORDS:
        mechanism = get_sasl_mechanism(name)(
            sasl_mechanism=name, sasl_plain_username="me", sasl_plain_password=password
        )
        assert mechanism.auth_bytes()
    plain = get_sasl_mechanism("PLAIN")(sasl_plain_username="me", sasl_plain_password=password)
    assert plain.auth_bytes() == b"me\0me\0two"
    file.unlink()
    assert password() == "two"
    assert "cannot be read again" in caplog.text
    assert Password(Secret(env="NAME"), "kafka.security.password", "three")() == "three"


def test_certificates_are_read_again(tmp_path: Path, pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    file, made = tmp_path / "ca.pem", []
    shutil.copy(pki.ca, file)

    def make() -> ssl.SSLContext:
        try:
            made.append(ssl.create_default_context(cafile=str(file)))
        except OSError as error:  # includes ssl.SSLError
            raise CredentialsError("no certificate") from error
        return made[-1]

    context = FreshContext([str(file), None], make)
    assert context.current() is context.current() is made[0]
    file.write_text("half a file")
    assert context.current() is made[0]
    assert caplog.text.count("cannot be used, the last ones are") == 1
    shutil.copy(create_pki(tmp_path).client_certificate, file)
    assert context.current() is made[1]
    file.unlink()
    assert context.current() is made[1]


OAUTH = {"token_url": "https://idp/token"}
LOGIN = {"protocol": "SASL_SSL", "username": "u", "password": {"env": "P"}}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"sasl_mechanism": "OAUTHBEARER"}, "oauth"),
        ({"sasl_mechanism": "PLAIN", "oauth": OAUTH}, "oauth"),
        ({"sasl_mechanism": "AWS_MSK_IAM", "aws_region": "eu-west-1"}, "username"),
        ({"sasl_mechanism": "AWS_MSK_IAM", "username": None, "password": None}, "aws_region"),
        ({"sasl_mechanism": "PLAIN", "aws_region": "eu-west-1"}, "aws_region"),
        ({"sasl_mechanism": "OAUTHBEARER", "oauth": {"token_url": "http://idp/token"}}, "token_url"),
        ({"sasl_mechanism": "OAUTHBEARER", "oauth": {"token_url": "https://u:p@idp/token"}}, "token_url"),
        ({"sasl_mechanism": "OAUTHBEARER", "oauth": OAUTH | {"extensions": ["a=b\x01c"]}}, "extensions"),
        ({"protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER", "oauth": OAUTH}, "sasl_mechanism"),
    ],
)
def test_logins_that_cannot_work(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Security.model_validate(LOGIN | changes)
    assert path in {part for one in caught.value.errors() for part in one["loc"]}
