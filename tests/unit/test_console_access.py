"""Who gets into the console: tokens, sessions, forms, origins, and tokens of an OpenID provider."""

from __future__ import annotations

import base64
import hmac
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from detector.config.tree import Console, ConsoleProxy
from detector.console.access import TRIES_MAX, TRIES_S, Access
from detector.console.oidc import REFETCH_S, Oidc
from detector.console.tokens import TokenFile, make_token, private_file
from detector.console.views import Person
from detector.errors import NeedsOperator, OutsideError
from detector.testing import FakeClock

KEY = b"k" * 32
NOW_S = 1_800_000_000.0


class Lines:
    """A log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **values: object) -> None:
        self.lines.append((event, values))

    debug = warning = error = exception = info


def access(tmp_path: Path, clock: FakeClock, *, ended: Path | None = None, **settings: Any) -> Access:
    settings = {"mode": "token", "tokens": str(tmp_path / "tokens"), **settings}
    return Access(Console(**settings), KEY, clock, ended=ended)


# --- tokens and sessions -----------------------------------------------------------------------------------


def test_a_token_opens_a_session_of_its_name_and_role(tmp_path: Path) -> None:
    clock = FakeClock(NOW_S)
    token = make_token(tmp_path / "tokens", "ann", "analyst")
    make_token(tmp_path / "tokens", "lea", "lead")
    here = access(tmp_path, clock)
    cookie = here.login(token, "1.2.3.4")
    assert cookie is not None
    assert here.authenticate({}, {here.cookie: cookie}) == Person(name="ann", role="analyst")
    assert token not in (tmp_path / "tokens").read_text() + cookie
    assert stat.S_IMODE((tmp_path / "tokens").stat().st_mode) == 0o600


@pytest.mark.parametrize("cookie", ["", "x", "a.b.c", "W10.aaaaaa.bbbb", "é", "A" * 10_000])
def test_a_forged_session_is_nobody(tmp_path: Path, cookie: str) -> None:
    make_token(tmp_path / "tokens", "ann", "analyst")
    here = access(tmp_path, FakeClock(NOW_S))
    assert here.authenticate({}, {here.cookie: cookie}) is None
    assert here.authenticate({}, {}) is None


def test_a_session_of_another_key_or_a_form_is_none(tmp_path: Path) -> None:
    clock, token = FakeClock(NOW_S), make_token(tmp_path / "tokens", "ann", "analyst")
    here = access(tmp_path, clock)
    other = Access(Console(mode="token", tokens=str(tmp_path / "tokens")), b"o" * 32, clock)
    foreign = other.login(token, "a")
    form = here.new_form(Person(name="ann", role="analyst"))
    for cookie in (foreign, form):
        assert here.authenticate({}, {here.cookie: str(cookie)}) is None


def test_a_session_ends_with_its_time_a_log_out_and_its_token(tmp_path: Path) -> None:
    clock, path = FakeClock(NOW_S), tmp_path / "tokens"
    token = make_token(path, "ann", "analyst")
    here = access(tmp_path, clock, session=3600)
    first, second = ({here.cookie: str(here.login(token, "a"))} for _ in range(2))
    here.logout(first)
    assert here.authenticate({}, first) is None
    assert here.authenticate({}, second) is not None
    clock.sleep(3602)
    assert here.authenticate({}, second) is None
    third = {here.cookie: str(here.login(token, "a"))}
    make_token(path, "ann", "viewer")  # the token before it ends
    assert here.authenticate({}, third) is None
    assert here.login(token, "a") is None


def test_a_session_that_was_logged_out_stays_so_after_a_restart(tmp_path: Path) -> None:
    clock, file = FakeClock(NOW_S), tmp_path / "console.db.ended"
    token = make_token(tmp_path / "tokens", "ann", "analyst")
    here = access(tmp_path, clock, session=3600, ended=file)
    first, second = ({here.cookie: str(here.login(token, "a"))} for _ in range(2))
    here.logout(first)
    again = access(tmp_path, clock, session=3600, ended=file)
    assert again.authenticate({}, first) is None
    assert again.authenticate({}, second) is not None
    clock.sleep(3602)
    again.logout({again.cookie: str(again.login(token, "a"))})
    assert len(file.read_text().splitlines()) == 1  # what has ended by itself is forgotten
    file.write_bytes(b"\xff\nhalf a line\n")
    assert access(tmp_path, clock, session=3600, ended=file).authenticate({}, second) is None


def test_wrong_tokens_of_one_address_are_limited_and_others_are_not(tmp_path: Path) -> None:
    clock, token = FakeClock(NOW_S), make_token(tmp_path / "tokens", "ann", "analyst")
    here = access(tmp_path, clock)
    for _ in range(TRIES_MAX):
        assert here.login("wrong", "1.1.1.1") is None
    assert not here.may_try("1.1.1.1")
    assert here.login(token, "1.1.1.1") is None  # also the right one
    assert here.login(token, "2.2.2.2") is not None
    clock.sleep(TRIES_S + 1)
    assert here.login(token, "1.1.1.1") is not None


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "x" * 65, "a\nb", "ann;", "é"])
def test_a_name_that_would_break_the_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NeedsOperator, match="expected a letter"):
        make_token(tmp_path / "tokens", name, "lead")


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("# tokens\n\nann boss 00\n")
    with pytest.raises(NeedsOperator, match="line 3"):
        TokenFile(path).count()


def test_files_that_cannot_be_used_end_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="cannot be written"):
        make_token(tmp_path / "no" / "tokens", "ann", "lead")
    with pytest.raises(NeedsOperator, match="cannot be used"):
        private_file(tmp_path / "no" / "key", b"x")
    assert private_file(tmp_path / "key", b"x") == private_file(tmp_path / "key", b"y") == b"x"


# --- forms and origins -------------------------------------------------------------------------------------


def test_a_form_is_read_for_whom_it_was_made_and_for_a_day(tmp_path: Path) -> None:
    clock = FakeClock(NOW_S)
    here, ann = access(tmp_path, clock), Person(name="ann", role="analyst")
    form, other = here.new_form(ann), here.new_form(ann)
    assert here.read_form(ann, form) == here.read_form(ann, form) != here.read_form(ann, other)
    assert here.read_form(Person(name="bob", role="lead"), form) is None
    assert here.read_form(ann, form[:-2]) is None
    clock.sleep(24 * 3600 + 2)
    assert here.read_form(ann, form) is None


@pytest.mark.parametrize(
    ("settings", "host", "fine"),
    [
        ({"mode": "none"}, "127.0.0.1:9470", True),
        ({"mode": "none"}, "localhost:9470", True),
        ({"mode": "none"}, "rebound.example:9470", False),
        ({"mode": "none"}, "", False),
        ({"mode": "token", "address": "10.0.0.1:9470"}, "10.0.0.1:9470", True),
        ({"mode": "token", "address": "10.0.0.1:9470"}, "rebound.example", False),
        ({"mode": "token", "address": "0.0.0.0:9470"}, "console.internal", True),
        ({"mode": "token", "origin": "https://console.example.com"}, "console.example.com", True),
        ({"mode": "none"}, "[::1", False),
    ],
)
def test_a_foreign_host_is_refused(tmp_path: Path, settings: dict[str, Any], host: str, fine: bool) -> None:
    assert access(tmp_path, FakeClock(), **settings).host_ok({"host": host}) is fine


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({"origin": "http://here:1", "host": "here:1"}, True),
        ({"origin": "https://console.example.com", "host": "behind:1"}, True),
        ({"origin": "http://evil.example", "host": "here:1"}, False),
        ({"origin": "null", "host": "here:1"}, False),
        ({"origin": "http://here:1", "host": "here:1", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://here:1", "host": "here:1", "sec-fetch-site": "same-origin"}, True),
        ({"referer": "http://evil.example/here:1", "host": "here:1"}, False),
        ({"referer": "http://here:1/cases", "host": "here:1"}, True),
        ({"origin": "http://[", "host": "here:1"}, False),
    ],
)
def test_a_request_of_another_site_is_seen(tmp_path: Path, headers: dict[str, str], fine: bool) -> None:
    here = access(tmp_path, FakeClock(), origin="https://console.example.com")
    assert here.origin_ok(headers) is fine


# --- OpenID Connect ----------------------------------------------------------------------------------------

RSA, OTHER = (RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}) for kid in ("one", "two"))
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
PROXY = ConsoleProxy(
    issuer="https://idp", audience="console", jwks="https://idp/keys", role_claim="app.roles"
)
CLAIMS: dict[str, Any] = {
    "iss": "https://idp", "aud": ["other", "console"], "exp": NOW_S + 300, "nbf": NOW_S - 5, "iat": NOW_S - 5,
    "preferred_username": "ann", "app": {"roles": ["viewer", "analyst", "admin"]},
}  # fmt: skip


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "one", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    header = {"alg": algorithm} if kid is None else {"alg": algorithm, "kid": kid}
    return jwt.encode(header, claims, key, algorithms=[algorithm])


def confused(named: bool) -> str:
    """A token whose HMAC has the provider's public key as its secret."""
    header = {"alg": "HS256", **({"kid": "one"} if named else {})}
    parts = [base64.urlsafe_b64encode(msgspec.json.encode(one)).rstrip(b"=") for one in (header, CLAIMS)]
    signed = b".".join(parts)
    digest = hmac.digest(RSA.as_pem(private=False), signed, "sha256")
    return b".".join((signed, base64.urlsafe_b64encode(digest).rstrip(b"="))).decode()


class Provider:
    """Serves keys."""

    def __init__(self, *keys: Any) -> None:
        self.keys, self.asked, self.down = list(keys), 0, False

    def __call__(self) -> bytes:
        self.asked += 1
        if self.down:
            raise OutsideError("no answer")
        return msgspec.json.encode({"keys": [key.as_dict(private=False) for key in self.keys]})


def oidc(provider: Provider, clock: FakeClock | None = None) -> Oidc:
    return Oidc(PROXY, provider, clock or FakeClock(NOW_S), Lines())


def test_a_good_token_is_a_person_with_the_highest_of_their_roles() -> None:
    checks = oidc(Provider(RSA, EC))
    assert checks.person(token()) == Person(name="ann", role="analyst")
    assert checks.person(token(EC, "ES256", "ec", app={"roles": "lead"})) == Person(name="ann", role="lead")


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://idp/"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"aud": ["consolex"]},
        {"exp": NOW_S - 60}, {"exp": None}, {"exp": "never"}, {"exp": True}, {"nbf": NOW_S + 60},
        {"iat": NOW_S + 600}, {"nbf": "x"}, {"preferred_username": None}, {"preferred_username": ""},
        {"preferred_username": 5}, {"app": None}, {"app": {"roles": ["admin"]}}, {"app": []}, {"app": "lead"},
    ],
)  # fmt: skip
def test_a_token_with_a_wrong_claim_is_nobody(wrong: dict[str, Any]) -> None:
    assert oidc(Provider(RSA)).person(token(**wrong)) is None


def test_a_token_that_is_not_signed_by_the_provider_is_nobody() -> None:
    checks = oidc(Provider(RSA, EC))
    head, body, signature = token().split(".")
    forged = [
        token(OTHER), token(OTHER, kid="two"), confused(True), confused(False),
        f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}.{signature[:-4]}AAAA", "", ".", "..", "é.é.é",
        "eyJhbGciOiJub25lIn0." + body + ".", "A" * 20_000, "[" * 5000,
    ]  # fmt: skip
    assert [checks.person(one) for one in forged] == [None] * len(forged)


def test_keys_that_change_are_fetched_again_but_not_for_every_forged_token() -> None:
    clock, provider = FakeClock(NOW_S), Provider(RSA)
    checks = oidc(provider, clock)
    assert checks.person(token()) is not None
    for _ in range(20):
        assert checks.person(token(OTHER, kid="two", exp=NOW_S + 9e5)) is None
    assert provider.asked == 1
    provider.keys = [OTHER]
    clock.sleep(REFETCH_S + 1)
    assert checks.person(token(OTHER, kid="two", exp=NOW_S + 9e5)) is not None
    assert provider.asked == 2


def test_while_keys_cannot_be_fetched_those_that_are_known_go_on() -> None:
    clock, provider = FakeClock(NOW_S), Provider(RSA)
    checks = oidc(provider, clock)
    provider.down = True
    assert checks.person(token()) is None
    provider.down = False
    clock.sleep(REFETCH_S + 1)
    assert checks.person(token(exp=NOW_S + 9e5)) is not None
    provider.down = True
    clock.sleep(7200)
    assert checks.person(token(exp=NOW_S + 9e5)) is not None


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"keys": 5}', b'{"keys": [5, {"kty": "oct", "k": "a"}]}']
)
def test_what_is_no_jwks_lets_nobody_in(raw: bytes) -> None:
    log = Lines()
    checks = Oidc(PROXY, lambda: raw, FakeClock(NOW_S), log)
    assert checks.person(token()) is None


def test_a_proxy_passes_the_token_in_its_header(tmp_path: Path) -> None:
    proxy = PROXY.model_copy(update={"header": "X-Forwarded-Access-Token"})
    here = Access(Console(proxy=proxy, mode="proxy"), KEY, FakeClock(NOW_S), tokens=oidc(Provider(RSA)))
    for value in (token(), f"Bearer {token()}"):
        person = here.authenticate({"x-forwarded-access-token": value}, {})
        assert person == Person(name="ann", role="analyst")
    for headers in ({}, {"authorization": f"Bearer {token()}"}, {"x-forwarded-user": "lea"}):
        assert here.authenticate(headers, {}) is None
    assert here.login(token(), "a") is None
