"""The pages /livez, /readyz, /status and /metrics.

The answers come from what the loop has left in memory. Nothing here calls the broker, the store or the loop:
if a probe waited for Kafka, an outage of the broker would kill every replica.

With a token, /metrics, /status and the details of /readyz need it. Whether the loop lives and whether the
service is ready is told to everybody: a kubelet has no token.
"""

from __future__ import annotations

import hmac
import logging
import os
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus

import msgspec

from detector.config.tree import HttpTls
from detector.errors import ConfigError, Problem
from detector.ports import Status
from detector.shell.http.listener import Listener
from detector.shell.http.request import Answer, Request, refusal

_log = logging.getLogger(__name__)

_RENEWED_S = 60.0  # how often the certificate's files are looked at
_JSON = "application/json"
_INDEX = (
    b"/livez    whether the loop runs\n/readyz   partitions and warnings, as JSON\n"
    b"/status   the same, and what drifts\n/metrics  for Prometheus\n"
)


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
        Returns one scrape: body and content type. True: as OpenMetrics.
    heartbeat_limit_s
        With an older heartbeat ``/livez`` fails. Longer than any single call of the loop may take.
    tls
        The server's certificate; None: plain HTTP.
    token
        Bearer token of ``/metrics`` and of the details of ``/readyz``; None: everybody sees them.

    Notes
    -----
    The callables run on the server's threads. They must neither wait nor change anything.
    """

    def __init__(
        self,
        address: str,
        status: Callable[[], Status],
        heartbeat_age_s: Callable[[], float | None],
        metrics: Callable[[bool], tuple[bytes, str]],
        heartbeat_limit_s: float = 60.0,
        *,
        tls: HttpTls | None = None,
        token: str | None = None,
    ) -> None:
        self._address = address
        self._status = status
        self._heartbeat_age_s = heartbeat_age_s
        self._metrics = metrics
        self._heartbeat_limit_s = heartbeat_limit_s
        self._tls, self._token = tls, token
        self._listener: Listener | None = None
        self._started_s = 0.0

    @property
    def url(self) -> str:
        """The real address, e.g. ``http://127.0.0.1:9464``; only while the server runs."""
        if self._listener is None:
            raise RuntimeError("not started")
        host, port = self._listener.name[:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host!s}]:{port}" if ":" in str(host) else f"{scheme}://{host!s}:{port}"

    def start(self) -> None:
        """Listen and serve. Returns at once.

        Raises
        ------
        ConfigError
            The address cannot be used, or is in use; or the certificate cannot be used.
        """
        certificate = None if self._tls is None else Certificate(self._tls)
        context = None if certificate is None else certificate.context
        try:
            self._listener = Listener(self._address, self._quick, self._scrape, context)
        except OSError as error:
            problem = Problem(
                path="http.address",
                value=self._address,
                allowed=f"a free address of this machine, host:port ({error})",
            )
            raise ConfigError("configuration", [problem]) from error
        self._started_s = time.monotonic()
        self._listener.start()

    def stop(self) -> None:
        """Stop listening. Answers under way may finish. May be called again."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    def _quick(self, request: Request) -> Answer | None:
        """Answer at once; None: it is the scrape, which takes longer."""
        try:
            match request.path:
                case "/":
                    return Answer(HTTPStatus.OK, _INDEX)
                case "/livez":
                    return self._livez()
                case "/readyz":
                    return self._readyz(details=self._may_see(request))
                case "/status" if self._may_see(request):
                    return Answer(HTTPStatus.OK, msgspec.json.encode(self._status()), _JSON)
                case "/metrics" if self._may_see(request):
                    return None
                case "/status" | "/metrics":
                    return refusal(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
            return Answer(HTTPStatus.NOT_FOUND, b"not found\n" + _INDEX)
        except Exception:  # noqa: BLE001 - a page must not stop the service; it is logged
            return _failed(request.path)

    def _scrape(self, openmetrics: bool) -> Answer:
        try:
            return Answer(HTTPStatus.OK, *self._metrics(openmetrics))
        except Exception:  # noqa: BLE001 - a page must not stop the service; it is logged
            return _failed("/metrics")

    def _may_see(self, request: Request) -> bool:
        return self._token is None or hmac.compare_digest(request.token.encode(), self._token.encode())

    def _readyz(self, *, details: bool) -> Answer:
        status = self._status()
        code = HTTPStatus.OK if status.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(code, msgspec.json.encode(status if details else {"ready": status.ready}), _JSON)

    def _livez(self) -> Answer:
        age = self._heartbeat_age_s()
        if age is None:
            age = time.monotonic() - self._started_s
        if age < self._heartbeat_limit_s:
            return Answer(HTTPStatus.OK, b"ok\n")
        reason = f"the main loop made no round for {age:.0f} s; the limit is {self._heartbeat_limit_s:g} s\n"
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, reason.encode())


def _failed(path: str) -> Answer:
    _log.exception("cannot serve %s", path)
    return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"see the log\n")


class Certificate:
    """The server's certificate, read again when its files have changed.

    Raises
    ------
    ConfigError
        It cannot be used.
    """

    def __init__(self, tls: HttpTls) -> None:
        self._tls = tls
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._looked_s, self._stamp = time.monotonic(), self._stamps()
        try:
            self._load()
        except OSError as error:  # includes ssl.SSLError
            raise ConfigError(
                "configuration",
                [
                    Problem(
                        path="http.tls",
                        value=f"{tls.cert_file}, {tls.key_file}",
                        allowed=f"a certificate and its key, without a password, as PEM files ({error})",
                    )
                ],
            ) from error

    def context(self) -> ssl.SSLContext:
        """Return the context for the next connection."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= _RENEWED_S:
            self._looked_s = now_s
            stamp = self._stamps()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._load()
                except OSError as error:
                    _log.error("http.tls: the new certificate cannot be used, the old one is: %s", error)
        return self._context

    def _load(self) -> None:
        # Without a password OpenSSL would ask for one on the terminal.
        self._context.load_cert_chain(self._tls.cert_file, self._tls.key_file, password="")

    def _stamps(self) -> list[int]:
        try:
            return [os.stat(path).st_mtime_ns for path in (self._tls.cert_file, self._tls.key_file)]
        except OSError:
            return []
