"""Tokens for SASL OAUTHBEARER: by OIDC client credentials (RFC 6749, 4.4), or signed for Amazon MSK.

A token is asked for again when most of its time is over; if that fails, the last one is used as long as it is
valid. A request has a timeout and few attempts, and after a failure there is none for a second: connections
are tried again all the time while a server of tokens is away.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

from kafka.net.sasl.oauth import AbstractTokenProvider

from detector.config.extras import install
from detector.config.tree import Oauth
from detector.errors import BrokerUnavailable, CredentialsError, DetectorError
from detector.shell import calls, web
from detector.shell.kafka.fresh import Password

ANSWER_BYTES_MAX = 1 << 16
ATTEMPTS = 3  # of one request, within its timeout
_PAUSE_S = 0.2  # between attempts
_SILENCE_S = 1.0  # no request so soon after one that failed
_FRESH_SHARE = 0.8  # of a token's time after which the next one is asked for, as Kafka's own client does
_LIFE_S = 60.0  # of a token whose server does not say
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,32768}")  # RFC 6750: what a bearer token may be
_CODE = re.compile(r"[a-z_]{1,64}")  # RFC 6749: error codes


class Token(NamedTuple):
    """What a server gave."""

    text: str
    life_s: float


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """Gives a valid token, the same one for all connections.

    Parameters
    ----------
    fetch
        Asks for another one; raises CredentialsError or BrokerUnavailable.
    extensions
        Sent along with each token.
    now
        Seconds of any clock.
    """

    def __init__(
        self,
        fetch: Callable[[], Token],
        extensions: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._fetch, self._extensions, self._now = fetch, dict(extensions or {}), now
        self._lock = threading.Lock()
        self._token = ""
        self._ends = self._stale = float("-inf")
        self._failed: tuple[float, DetectorError] | None = None

    def token(self) -> str:
        """Return a token; the only call of the client.

        Raises
        ------
        CredentialsError
            The server of tokens refuses us.
        BrokerUnavailable
            It does not answer.
        """
        with self._lock:
            if self._now() >= self._stale:
                self._renew()
            return self._token

    def extensions(self) -> dict[str, str]:
        """Return what is sent along."""
        return self._extensions

    def _renew(self) -> None:
        valid = self._now() < self._ends
        if self._failed is not None and self._now() < self._failed[0] + _SILENCE_S:
            if valid:
                return
            raise self._failed[1]
        try:
            began = self._now()
            found = self._fetch()
        except (CredentialsError, BrokerUnavailable) as error:
            self._failed = self._now(), error
            if valid:
                return
            raise
        self._token, self._failed = found.text, None
        self._ends, self._stale = began + found.life_s, began + found.life_s * _FRESH_SHARE


def oidc(settings: Oauth, client_id: str, secret: Password) -> Callable[[], Token]:
    """Make what asks a server for a token.

    Raises
    ------
    CredentialsError
        `kafka.security.oauth.ca_file` cannot be used.
    """
    opener = web.opener(web.tls_context("kafka.security.oauth", settings.ca_file))
    where = settings.token_url

    def attempt() -> Token:
        form = {"grant_type": "client_credentials"} | ({"scope": settings.scope} if settings.scope else {})
        both = f"{quote_plus(client_id)}:{quote_plus(secret() or '')}"
        headers = {
            "Authorization": f"Basic {base64.b64encode(both.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        request = urllib.request.Request(where, urlencode(form).encode(), headers)
        with opener.open(request, timeout=settings.timeout) as answer:
            return _read(answer.read(ANSWER_BYTES_MAX + 1))

    def attempts() -> Token:
        for left in reversed(range(ATTEMPTS)):
            try:
                return attempt()
            except urllib.error.HTTPError as error:
                with error:
                    if error.code < 500 and error.code != 429:
                        raise CredentialsError(f"{where}: refuses {client_id}: {_why(error)}.") from None
                    text = f"HTTP status {error.code}"
            except (OSError, http.client.HTTPException) as error:
                text = str(getattr(error, "reason", None) or error) or type(error).__name__
                if "CERTIFICATE_VERIFY_FAILED" in text:
                    raise CredentialsError(f"{where}: its certificate is not trusted: {text}.") from None
            except ValueError as error:
                raise CredentialsError(f"{where}: {error}.") from None
            if left:
                time.sleep(_PAUSE_S)
        raise BrokerUnavailable(f"{where}: gives no token: {text}.")

    def fetch() -> Token:
        try:
            return calls.within(settings.timeout, attempts, name="kafka-token")
        except calls.CallTimeout:
            raise BrokerUnavailable(f"{where}: no answer in {settings.timeout:g} s.") from None

    return fetch


def msk(region: str, timeout_s: float) -> Callable[[], Token]:
    """Make what signs tokens for Amazon MSK by the AWS credentials of this machine.

    Raises
    ------
    CredentialsError
        The extra is not installed.
    """
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
    except ImportError as error:
        raise CredentialsError(
            f"kafka.security.sasl_mechanism: AWS_MSK_IAM needs a package; {install('msk')}."
        ) from error

    def sign() -> Token:
        text, ends_ms = MSKAuthTokenProvider.generate_auth_token(region)
        return Token(text, ends_ms / 1000 - time.time())

    def fetch() -> Token:
        try:
            return calls.within(timeout_s, sign, name="kafka-token")
        except calls.CallTimeout:
            raise BrokerUnavailable(f"no AWS credentials in {timeout_s:g} s.") from None
        except Exception as error:  # noqa: BLE001 - of botocore, which has no common base for them
            raise CredentialsError(f"no token for AWS_MSK_IAM: {type(error).__name__}: {error}.") from None

    return fetch


def _read(answer: bytes) -> Token:
    """Check an answer; errors do not show it."""
    if len(answer) > ANSWER_BYTES_MAX:
        raise ValueError("the answer is too long")
    try:
        found = json.loads(answer)
    except ValueError:
        raise ValueError("the answer is not JSON") from None
    token = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError("the answer has no access_token")
    life = found.get("expires_in", _LIFE_S)
    if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < 1e9:
        raise ValueError("expires_in is not a number of seconds")
    return Token(token, float(life))


def _why(error: urllib.error.HTTPError) -> str:
    """Return the status, and RFC 6749's error code if there is one; nothing else that the server says."""
    try:
        code = json.loads(error.read(ANSWER_BYTES_MAX)).get("error")
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        code = None
    named = isinstance(code, str) and _CODE.fullmatch(code)
    return f"HTTP status {error.code}" + (f", {code}" if named else "")
