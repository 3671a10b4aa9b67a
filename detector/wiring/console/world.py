"""What acts and pages need of the world: answers sent, states of services, keys."""

from __future__ import annotations

import getpass
import secrets
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.config.tree import Config, ConsoleProxy
from detector.console.reading import Told
from detector.console.tokens import private_file
from detector.errors import (
    DetectorError,
    NeedsOperator,
    OutsideError,
)
from detector.shell.kafka import RecordWriter
from detector.shell.web import opener, tls_context
from detector.wiring.status import service_figures, service_status

if TYPE_CHECKING:
    pass

JWKS_BYTES_MAX = 1 << 20
JWKS_S = 5.0
ASKED_AT_ONCE = 16  # replicas


def sender(writer: RecordWriter, topic: str) -> Callable[[Sequence[tuple[bytes, bytes]]], list[Told]]:
    def send(records: Sequence[tuple[bytes, bytes]]) -> list[Told]:
        now_s = time.time()
        written = writer.send(records, partition=0)  # that which the service reads
        return [
            Told("feedback", topic, at.partition, at.offset, now_s, value)
            for at, (_, value) in zip(written, records, strict=True)
            if at.offset >= 0  # else the topic will say it
        ]

    return send


def replicas(config: Config, environ: Mapping[str, str]) -> Callable[[], Sequence[Any]]:
    """Asks the services for their state."""
    from detector.console.web.visit import Replica

    def one(url: str | None) -> Replica:
        shown = url or config.http.address
        try:
            status = service_status(config, environ, url)
            return Replica(url=shown, status=status, figures=service_figures(config, environ, url))
        except DetectorError as error:
            return Replica(url=shown, status=None, why=str(error))

    def all_() -> Sequence[Replica]:
        urls = config.console.replicas or (None,)
        with ThreadPoolExecutor(max_workers=min(len(urls), ASKED_AT_ONCE)) as threads:
            return list(threads.map(one, urls))

    return all_


def jwks(proxy: ConsoleProxy) -> Callable[[], bytes]:
    """Reads the provider's keys."""
    context: ssl.SSLContext | None = None
    if proxy.jwks.startswith("https:"):
        context = tls_context("console.proxy", proxy.ca_file)
    get = opener(context)

    def fetch() -> bytes:
        try:
            if "://" not in proxy.jwks:
                return Path(proxy.jwks).read_bytes()[: JWKS_BYTES_MAX + 1]
            with get.open(proxy.jwks, timeout=JWKS_S) as answer:
                return bytes(answer.read(JWKS_BYTES_MAX + 1))
        except (OSError, HTTPException, ValueError) as error:  # of which urllib.error.URLError is one
            raise OutsideError(f"{proxy.jwks} cannot be read: {error}") from None

    return fetch


def signing_key(key: str | None, database: Path) -> bytes:
    """The key that signs log-ins and forms: as configured, or in a file beside the database."""
    if key is not None:
        return key.encode()
    path = database.with_name(f"{database.name}.key")
    found = private_file(path, secrets.token_hex(32).encode())
    if len(found) < 32:
        raise NeedsOperator(
            f"{path} has {len(found)} bytes, expected 32 or more: delete it, a new one is made"
        )
    return found


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # of a container without names
        return "local"
