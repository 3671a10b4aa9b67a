"""An issuer of tokens: the keys that a broker checks them by, and a server of OIDC client credentials."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE, ISSUER, KEY_ID = "kafka", "https://issuer.invalid", "one"
_PACKAGE = "org.apache.kafka.common.security.oauthbearer"


def oauth_properties(keys_file: Path) -> dict[str, str]:
    """Settings of a broker whose SASL_SSL listener accepts the tokens of an `Issuer`."""
    listener = "listener.name.sasl_ssl.oauthbearer.sasl"
    return {
        f"{listener}.jaas.config": f"{_PACKAGE}.OAuthBearerLoginModule required;",
        f"{listener}.server.callback.handler.class": f"{_PACKAGE}.OAuthBearerValidatorCallbackHandler",
        "sasl.oauthbearer.jwks.endpoint.url": keys_file.as_uri(),
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
    }


class Issuer:
    """Signs tokens."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)

    def keys(self) -> str:
        """Return the public key as a JWK set."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": KEY_ID, "alg": "RS256", "use": "sig"}
        return json.dumps({"keys": [key | {"n": _number(numbers.n), "e": _number(numbers.e)}]})

    def token(self, subject: str, life_s: float, **claims: Any) -> str:
        """Return a JWT for `subject`."""
        now = time.time()
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now - 1, "exp": now + life_s} | claims
        parts = [_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": KEY_ID}, body)]
        signature = self._key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, _encoded(signature)])


class TokenServer:
    """A token endpoint. `answers` may be changed while it runs.

    Parameters
    ----------
    issuer
        Signs the tokens; the client's id is their subject.
    secrets
        By client.
    """

    def __init__(self, issuer: Issuer, secrets: dict[str, str]) -> None:
        self.issuer, self.secrets = issuer, secrets
        self.life_s = 300.0
        self.url = ""
        self.forms: list[dict[str, list[str]]] = []
        self.next: list[tuple[int, bytes]] = []  # statuses and bodies to give before tokens

    def answer(self, login: str, form: dict[str, list[str]]) -> tuple[int, bytes]:
        """Return status and body of one request."""
        self.forms.append(form)
        if self.next:
            return self.next.pop(0)
        name, _, secret = base64.b64decode(login.removeprefix("Basic ")).decode().partition(":")
        client = unquote_plus(name)
        if self.secrets.get(client) != unquote_plus(secret):
            return 401, b'{"error": "invalid_client", "error_description": "the secret was wrong"}'
        token = self.issuer.token(client, self.life_s)
        body = {"access_token": token, "token_type": "Bearer", "expires_in": self.life_s}
        return 200, json.dumps(body).encode()


@contextmanager
def serving(server: TokenServer, store: Path | None = None) -> Iterator[TokenServer]:
    """Serve it on loopback; `store`: with TLS, by this key and certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, body = server.answer(self.headers.get("Authorization", ""), form)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        if store is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(store)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        server.url = f"http{'' if store is None else 's'}://127.0.0.1:{http.server_address[1]}/token"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
