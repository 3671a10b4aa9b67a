"""Schemas from a schema registry (the API of Confluent's, which Apicurio and others also speak).

Schemas never change under their id, so each is fetched once. What the answer of the registry means:

    a schema              kept; at most `SCHEMAS_MAX`, those that records named last
    404, or no schema     the id is unknown: records that name it are rejected; asked again after `UNKNOWN_S`
    401, 403              our credentials are refused: an operator must act
    anything else         the registry is unavailable: the caller waits and asks again, and rejects nothing
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from detector.config.tree import Registry
from detector.core.events.formats.schemas import Schema, schema_ids
from detector.core.records import Record
from detector.errors import CredentialsError, RegistryUnavailable
from detector.ports import Clock
from detector.shell.registry.protoc import Uncompilable, compile_protobuf
from detector.shell.web import opener, tls_context

SCHEMAS_MAX = 1024
SCHEMA_BYTES_MAX = 1 << 20  # of an answer
REFERENCES_MAX = 64  # of one schema, all levels together
UNKNOWN_S = 10.0


class _Unknown(Exception):
    """The registry has no such schema."""


class RegistryClient:
    """Fetches the schemas that records name; `table` is the resource of the formats.

    Parameters
    ----------
    password, key_password
        The secrets that `settings` names.
    compiles
        Compile Protobuf schemas; other formats refuse them by their kind.
    """

    def __init__(
        self,
        settings: Registry,
        password: str | None,
        key_password: str | None,
        clock: Clock,
        *,
        compiles: bool = False,
    ) -> None:
        self.table: dict[int, Schema | str] = {}
        self._compiles = compiles
        self._settings, self._clock = settings, clock
        self._unknown: dict[int, float] = {}  # when it was found out, monotonic s
        context = None
        if settings.url.startswith("https:"):
            files = settings.ca_file, settings.cert_file, settings.key_file
            context = tls_context("registry", *files, key_password, check_hostname=settings.check_hostname)
        self._opener = opener(context)
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if settings.username is not None:
            login = base64.b64encode(f"{settings.username}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"

    def missing(self, records: Sequence[Record]) -> Collection[int]:
        """Ids that records name and `table` lacks, or holds as unknown for too long. Does no IO."""
        wanted = schema_ids(records)
        for number in wanted & self.table.keys():
            self.table[number] = self.table.pop(number)  # the last ones used are the last ones dropped
        now_s = self._clock.monotonic()
        return {
            number
            for number in wanted
            if number not in self.table or now_s - self._unknown.get(number, now_s) > UNKNOWN_S
        }

    def fetch(self, ids: Collection[int]) -> None:
        """Fetch schemas into `table`.

        Raises
        ------
        RegistryUnavailable
        CredentialsError
        """
        found: dict[int, Schema | str] = {}
        for number in sorted(ids):
            try:
                found[number] = self._schema(number)
                self._unknown.pop(number, None)
            except _Unknown as error:
                found[number] = str(error)
                self._unknown[number] = self._clock.monotonic()
        self.table.update(found)
        for number in list(self.table)[: max(len(self.table) - SCHEMAS_MAX, 0)]:
            if number not in found:
                del self.table[number]
                self._unknown.pop(number, None)

    def _schema(self, number: int) -> Schema:
        answer = self._get(f"/schemas/ids/{number}")
        references: dict[str, str] = {}
        self._follow(answer, references, ())
        kind, text, named = answer.get("schemaType") or "AVRO", answer["schema"], tuple(references.items())
        if kind != "PROTOBUF" or not self._compiles:
            return Schema(kind, text, named)
        try:
            return Schema(kind, text, named, compile_protobuf(text, named))
        except Uncompilable as error:
            raise _Unknown(str(error)) from None
        except (OSError, subprocess.SubprocessError) as error:
            raise RegistryUnavailable(f"schema {number} could not be compiled: {error}") from None

    def _follow(
        self, answer: Mapping[str, Any], found: dict[str, str], within: tuple[tuple[str, str], ...]
    ) -> None:
        """Fetch what a schema refers to, each after what it refers to itself."""
        for reference in answer.get("references") or ():
            try:
                name, subject, version = (str(reference[key]) for key in ("name", "subject", "version"))
            except (TypeError, KeyError):
                raise _Unknown("a reference of it is not readable") from None
            if name in found:
                continue
            if (subject, version) in within or len(found) >= REFERENCES_MAX:
                raise _Unknown("its references go in a circle, or are too many")
            target = self._get(f"/subjects/{quote(subject, safe='')}/versions/{quote(version, safe='')}")
            self._follow(target, found, (*within, (subject, version)))
            found[name] = target["schema"]

    def _get(self, path: str) -> dict[str, Any]:
        """One answer that has a schema; tries again at once, at most `retries` times."""
        problem = ""
        for _ in range(self._settings.retries + 1):
            request = urllib.request.Request(self._settings.url.rstrip("/") + path, headers=self._headers)
            try:
                with self._opener.open(request, timeout=self._settings.timeout) as response:
                    body = response.read(SCHEMA_BYTES_MAX + 1)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 404:
                        raise _Unknown("the registry does not know it") from None
                    if error.code in (401, 403):
                        raise CredentialsError(
                            f"the schema registry refuses us (HTTP {error.code}): check registry.username "
                            "and registry.password"
                        ) from None
                    problem = f"HTTP {error.code}"
                continue
            except (OSError, HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                if isinstance(reason, ssl.SSLCertVerificationError):
                    raise CredentialsError(
                        f"the schema registry's certificate is not trusted ({reason.verify_message}): check "
                        "registry.ca_file"
                    ) from None
                problem = str(reason) or type(reason).__name__
                continue
            if len(body) > SCHEMA_BYTES_MAX:
                raise _Unknown(f"it has more than {SCHEMA_BYTES_MAX} bytes")
            try:
                answer = json.loads(body)
            except (ValueError, RecursionError):
                problem = "the answer is not JSON"
                continue
            if isinstance(answer, dict) and isinstance(answer.get("schema"), str):
                return answer
            problem = "the answer has no schema"
        raise RegistryUnavailable(f"the schema registry at {self._settings.url} is unavailable: {problem}")
