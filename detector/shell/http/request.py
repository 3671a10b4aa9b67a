"""One request and its answer, as bytes: a small part of HTTP/1.1 (RFC 9112), one request per connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

HEAD_BYTES_MAX = 16_384  # probes send some hundred bytes
HEADERS_MAX = 100
TEXT = "text/plain; charset=utf-8"

_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/(\d{1,4})\.(\d{1,4})\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*\Z", re.DOTALL)
_NO_HEADERS: Mapping[str, str] = {}


class Answer(NamedTuple):
    """One page."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = _NO_HEADERS


class Request(NamedTuple):
    """What a client asks for."""

    method: str
    path: str  # without the query
    token: str  # bearer token; empty: none was sent
    accept: str = ""  # media types that the client takes

    @property
    def head_only(self) -> bool:
        """Whether the answer's body is left out."""
        return self.method == "HEAD"

    @property
    def openmetrics(self) -> bool:
        """Whether the client takes OpenMetrics 1.x, as Prometheus does."""
        for media in self.accept.lower().split(","):
            kind, *given = (part.strip() for part in media.split(";"))
            parameters = dict(part.partition("=")[::2] for part in given)
            if kind == "application/openmetrics-text" and parameters.get("version", "1.0").startswith("1."):
                return parameters.get("q", "1").strip("0.") != ""  # q=0: not wanted
        return False


def is_whole(received: bytes | bytearray) -> bool:
    """Whether a request's head has ended, or is longer than any that is read."""
    return b"\r\n\r\n" in received or b"\n\n" in received or len(received) > HEAD_BYTES_MAX


def read_request(received: bytes | bytearray) -> Request | Answer:
    """Read a head for which `is_whole` holds; an answer if it is refused.

    A request with a body is refused with its method: the body is not read.
    """
    if len(received) > HEAD_BYTES_MAX:
        return refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    line, *lines = bytes(received).partition(b"\n\n")[0].partition(b"\r\n\r\n")[0].splitlines()
    match = _LINE.match(line)
    if match is None:
        return refusal(HTTPStatus.BAD_REQUEST)
    method, target, major, _ = match.groups()
    if int(major) != 1:
        return refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if len(lines) > HEADERS_MAX:
        return refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    token = accept = ""
    for text in lines:
        header = _HEADER.match(text)
        if header is None:
            return refusal(HTTPStatus.BAD_REQUEST)
        if header[1].lower() == b"authorization":
            scheme, _, value = header[2].decode("latin-1").partition(" ")
            token = value.strip() if scheme.lower() == "bearer" else ""
        elif header[1].lower() == b"accept":
            accept += ("," if accept else "") + header[2].decode("latin-1")
    if method not in (b"GET", b"HEAD"):
        allowed = {"Allow": "GET, HEAD"}
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n", headers=allowed)
    return Request(method.decode(), target.decode().partition("?")[0], token, accept)


def refusal(status: HTTPStatus, headers: Mapping[str, str] = _NO_HEADERS) -> Answer:
    """Return the answer that says only its status."""
    return Answer(status, f"{status.value} {status.phrase}\n".encode(), headers=headers)


def encode(answer: Answer, *, head_only: bool = False) -> bytes:
    """Write an answer as bytes, after which the connection closes."""
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        "Server: detector",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head if head_only else head + answer.body
