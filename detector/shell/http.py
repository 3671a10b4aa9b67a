"""/livez, /readyz and /metrics: what a cluster asks, answered from what the loop left to be read.

Nothing here asks the broker, the store or the loop: a probe that waits for Kafka would let a broker's outage
kill every replica. So any answer takes microseconds, and a thread per connection with hard bounds is enough:
the head of a request must have come whole within its deadline, one request is served per connection, and
connections above the bound are turned away.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, NamedTuple

import msgspec

from detector.errors import ConfigError, Problem
from detector.ports import Status

_log = logging.getLogger(__name__)

_WORKERS_MAX = 16  # probes and scrapers are few; more is a mistake or an attack
_HEAD_BYTES_MAX = 16_384  # probes send some hundred
_HEAD_DEADLINE_S = 5.0  # for the whole head, not per read: a sender of one byte a second is cut off too
_SEND_TIMEOUT_S = 5.0
_STOP_POLL_S = 0.05  # how soon `stop` is noticed

_TEXT = "text/plain; charset=utf-8"
_INDEX = b"/livez    the loop turns\n/readyz   partitions and warnings, as JSON\n/metrics  for Prometheus\n"


class Answer(NamedTuple):
    """One page."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


class HttpServer:
    """Serves the pages on threads of its own, all daemons.

    Parameters
    ----------
    address
        ``host:port`` to listen on; an IPv6 host stands in brackets, no host means all interfaces of both
        families, port 0 any free one.
    status
        What ``/readyz`` tells.
    heartbeat_age_s
        Seconds since the loop's last turn; None before the first one, which then counts from `start`.
    metrics
        One scrape: body and content type.
    heartbeat_limit_s
        An older heartbeat makes ``/livez`` fail. Longer than any single call of the loop may take.

    Notes
    -----
    The callables are called on the server's threads and must neither wait nor change anything.
    """

    def __init__(
        self,
        address: str,
        status: Callable[[], Status],
        heartbeat_age_s: Callable[[], float | None],
        metrics: Callable[[], tuple[bytes, str]],
        heartbeat_limit_s: float = 60.0,
    ) -> None:
        self._address = address
        self._status = status
        self._heartbeat_age_s = heartbeat_age_s
        self._metrics = metrics
        self._heartbeat_limit_s = heartbeat_limit_s
        self._server: _Server | None = None
        self._started_s = 0.0

    @property
    def url(self) -> str:
        """Where it really listens, e.g. ``http://127.0.0.1:9464``; only while it runs."""
        if self._server is None:
            raise RuntimeError("not started")
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def start(self) -> None:
        """Listen and serve; returns at once.

        Raises
        ------
        ConfigError
            Nobody can listen on this address, or somebody already does.
        """
        try:
            self._server = _Server(self._address, self._answer)
        except OSError as error:
            problem = Problem(
                path="http.address",
                value=self._address,
                allowed=f"a free address of this machine, host:port ({error})",
            )
            raise ConfigError("configuration", [problem]) from error
        self._started_s = time.monotonic()
        threading.Thread(
            target=self._server.serve_forever, args=(_STOP_POLL_S,), name="http", daemon=True
        ).start()

    def stop(self) -> None:
        """Listen no more; what is being answered may end by itself. May be repeated."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def _answer(self, path: str) -> Answer:
        match path.partition("?")[0]:
            case "/":
                return Answer(HTTPStatus.OK, _INDEX)
            case "/livez":
                return self._livez()
            case "/readyz":
                status = self._status()
                code = HTTPStatus.OK if status.ready else HTTPStatus.SERVICE_UNAVAILABLE
                return Answer(code, msgspec.json.encode(status), "application/json")
            case "/metrics":
                return Answer(HTTPStatus.OK, *self._metrics())
        return Answer(HTTPStatus.NOT_FOUND, b"not found\n" + _INDEX)

    def _livez(self) -> Answer:
        age = self._heartbeat_age_s()
        if age is None:
            age = time.monotonic() - self._started_s
        if age < self._heartbeat_limit_s:
            return Answer(HTTPStatus.OK, b"ok\n")
        reason = f"the loop has not turned for {age:.0f} s; limit {self._heartbeat_limit_s:g} s\n"
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, reason.encode())


class _Server(ThreadingMixIn, TCPServer):
    """Listens, and gives each connection a thread while there are fewer than the bound.

    Not `http.server.HTTPServer`, which looks up its own name in the DNS before it listens.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        self._workers = threading.BoundedSemaphore(_WORKERS_MAX)
        host, _, port = address.rpartition(":")
        host = host.strip("[]") or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")
        if int(port) > 65535:
            raise OSError("there is no such port")  # getaddrinfo would take it modulo 65536
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        self.address_family, _, _, _, where = min(found)  # IPv4 first: a name may have an IPv6 that is off
        super().__init__(where, _Handler)  # type: ignore[arg-type]  # IPv6 has four parts

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:  # [::] takes IPv4 too, whatever the system's default is
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._workers.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._workers.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._workers.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # clients go away as they like; that is no news
            _log.exception("a request could not be served")


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server: _Server
    timeout = _SEND_TIMEOUT_S
    default_request_version = "HTTP/1.0"  # so that even an unreadable request is told its status
    server_version = "detector"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = _TEXT

    def handle(self) -> None:
        self.requestline = self.request_version = self.command = ""  # for send_error before they are known
        head = _read_head(self.connection)
        if len(head) > _HEAD_BYTES_MAX:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.raw_requestline = self.rfile.readline()
        if not self.parse_request():
            return  # it has told why
        if self.command not in ("GET", "HEAD"):
            self._send(Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n"))
            return
        try:
            answer = self.server.answer(self.path)
        except Exception:  # noqa: BLE001 - a page must not take the daemon with it; it is logged
            _log.exception("a page could not be made: %s", self.path)
            answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"see the log\n")
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """No access log: probes come every few seconds."""


def _read_head(connection: socket.socket) -> bytes:
    """Read up to the empty line that ends a request's head, or just past the bound.

    Raises
    ------
    TimeoutError
        It has not come whole within the deadline.
    ConnectionError
        The client has gone before.
    """
    deadline = time.monotonic() + _HEAD_DEADLINE_S
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) <= _HEAD_BYTES_MAX:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        chunk = connection.recv(4096)
        if not chunk:
            raise ConnectionAbortedError
        head += chunk
    connection.settimeout(_SEND_TIMEOUT_S)
    return head
