"""OpenID Connect tokens that a proxy passes on: signature, issuer, audience, times, and the roles in them.

Keys come from the provider's JWKS. They are fetched when a token names a key that is not known, at most once
in `REFETCH_S`, and again once they are `FRESH_S` old; while they cannot be fetched, those that are known go
on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from detector.config.tree import ConsoleProxy
from detector.console.tokens import ROLES
from detector.console.views import Person
from detector.errors import OutsideError
from detector.ports import Clock, Log

ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]
LEEWAY_S = 30.0  # clocks of the provider and of this machine may differ by so much
FRESH_S = 3600.0
REFETCH_S = 30.0
TOKEN_CHARS_MAX = 16_384
NAME_CHARS_MAX = 256


class Oidc:
    """Checks tokens of one provider. Safe to use from several threads.

    Parameters
    ----------
    fetch
        Reads the JWKS; raises `OutsideError` where it cannot.
    """

    def __init__(self, proxy: ConsoleProxy, fetch: Callable[[], bytes], clock: Clock, log: Log) -> None:
        self._proxy, self._fetch, self._clock, self._log = proxy, fetch, clock, log
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_s = self._tried_s = float("-inf")

    def person(self, token: str) -> Person | None:
        """Whose token it is; None: it is not valid, or has none of our roles."""
        if len(token) > TOKEN_CHARS_MAX:
            return None
        claims = self._claims(token, self._known(FRESH_S)) or self._claims(token, self._known(REFETCH_S))
        if claims is None or not self._holds(claims):
            return None
        name, role = claims.get(self._proxy.name_claim), self._role(claims)
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or role is None:
            return None
        return Person(name=name, role=role)  # type: ignore[arg-type]

    def _claims(self, token: str, keys: KeySet | None) -> Mapping[str, Any] | None:
        """What a token says, if one of the keys has signed it."""
        if keys is None:
            return None
        try:
            return jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None  # whatever a stranger may have written

    def _holds(self, claims: Mapping[str, Any]) -> bool:
        now_s = self._clock.time()
        expires, begins, issued = (claims.get(name) for name in ("exp", "nbf", "iat"))
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        return (
            claims.get("iss") == self._proxy.issuer
            and self._proxy.audience in named
            and _number(expires)
            and expires > now_s - LEEWAY_S
            and (begins is None or (_number(begins) and begins <= now_s + LEEWAY_S))
            and (issued is None or (_number(issued) and issued <= now_s + LEEWAY_S))
        )

    def _role(self, claims: Mapping[str, Any]) -> str | None:
        """The highest of our roles that a token names."""
        found: Any = claims.get(self._proxy.role_claim)
        if found is None:
            found = claims
            for part in self._proxy.role_claim.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
        named = found if isinstance(found, list) else [found]
        return max((role for role in ROLES if role in named), key=ROLES.index, default=None)

    def _known(self, age_max_s: float) -> KeySet | None:
        """The keys, fetched anew if they are older than this and were not just asked for."""
        with self._lock:
            now_s = self._clock.monotonic()
            if now_s - self._fetched_s > age_max_s and now_s - self._tried_s > REFETCH_S:
                self._tried_s = now_s
                try:
                    self._keys = _key_set(self._fetch())
                    self._fetched_s = now_s
                except (
                    OutsideError,
                    JoseError,
                    msgspec.DecodeError,
                    ValueError,
                    TypeError,
                    KeyError,
                ) as error:
                    self._log.warning(
                        "keys_not_read", jwks=self._proxy.jwks, reason=str(error) or "not a JWKS"
                    )
            return self._keys


def _key_set(raw: bytes) -> KeySet:
    document = msgspec.json.decode(raw)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWKS: expected an object with a list of keys")
    return KeySet.import_key_set({"keys": [key for key in document["keys"] if _for_signatures(key)]})


def _for_signatures(key: Any) -> bool:
    return isinstance(key, dict) and key.get("use", "sig") == "sig" and key.get("kty") in ("RSA", "EC", "OKP")


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
