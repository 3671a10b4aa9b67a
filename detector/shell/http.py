"""The pages /livez, /readyz and /metrics.

The answers come from what the loop has left in memory. Nothing here calls the broker, the store or the loop:
if a probe waited for Kafka, an outage of the broker would kill every replica. Any answer takes microseconds,
so a thread per connection with fixed limits is enough. The whole head of a request must arrive within a time
limit, one request is served per connection, and further connections are refused.
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

_WORKERS_MAX = 16  # connections; probes and scrapers are few, so more is a mistake or an attack
_HEAD_BYTES_MAX = 16_384  # probes send some hundred bytes
_HEAD_TIMEOUT_S = (
    5.0  # for the whole head, not per read: this also stops a client that sends one byte a second
)
_SEND_TIMEOUT_S = 5.0
_STOP_POLL_S = 0.05  # how often `stop` is checked

_TEXT = "text/plain; charset=utf-8"
_INDEX = (
    b"/livez    whether the loop runs\n/readyz   partitions and warnings, as JSON\n/metrics  for Prometheus\n"
)


class Answer(NamedTuple):
    """One page."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


class HttpServer:
    """Serves the pages on daemon threads.

    Parameters
    ----------
    address
        ``host:port`` to listen on. An IPv6 host is in brackets; without a host, all interfaces of IPv4 and
        IPv6; port 0: any free port.
    status
        Returns what ``/readyz`` reports.
    heartbeat_age_s
        Returns the seconds since the loop's last round; None before the first one, then the age counts from
        `start`.
    metrics
        Returns one scrape: body and content type.
    heartbeat_limit_s
        With an older heartbeat ``/livez`` fails. Longer than any single call of the loop may take.

    Notes
    -----
    The callables run on the server's threads. They must neither wait nor change anything.
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
        """The real address, e.g. ``http://127.0.0.1:9464``; only while the server runs."""
        if self._server is None:
            raise RuntimeError("not started")
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def start(self) -> None:
        """Listen and serve. Returns at once.

        Raises
        ------
        ConfigError
            The address cannot be used, or is in use.
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
        """Stop listening. Answers under way may finish. May be called again."""
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
        reason = f"the main loop made no round for {age:.0f} s; the limit is {self._heartbeat_limit_s:g} s\n"
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, reason.encode())


class _Server(ThreadingMixIn, TCPServer):
    """Listens, and serves each connection on a thread, up to the limit.

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
            raise OSError("there is no such port")  # getaddrinfo takes it modulo 65536
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        self.address_family, _, _, _, where = min(found)  # IPv4 first: the IPv6 of a name may not work
        super().__init__(where, _Handler)  # type: ignore[arg-type]  # IPv6 has four parts

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:  # [::] also accepts IPv4, whatever the system's default is
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
        if not isinstance(sys.exception(), OSError):  # a client that disconnects is not worth a log line
            _log.exception("cannot serve a request")


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server: _Server
    timeout = _SEND_TIMEOUT_S
    default_request_version = "HTTP/1.0"  # an unreadable request gets a status line too
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
            return  # the error is sent already
        if self.command not in ("GET", "HEAD"):
            self._send(Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n"))
            return
        try:
            answer = self.server.answer(self.path)
        except Exception:  # noqa: BLE001 - a page must not stop the service; it is logged
            _log.exception("cannot serve %s", self.path)
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
        """Write no access log: probes come every few seconds."""


def _read_head(connection: socket.socket) -> bytes:
    """Read up to the empty line that ends a request's head, or just past the size limit.

    Raises
    ------
    TimeoutError
        It did not arrive within the time limit.
    ConnectionError
        The client disconnected.
    """
    deadline = time.monotonic() + _HEAD_TIMEOUT_S
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
