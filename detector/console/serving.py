"""Serves the pages over HTTP until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from detector.errors import NeedsOperator

BACKLOG = 128
AT_ONCE_MAX = 256  # connections; a browser has six. What comes beyond gets status 503
IDLE_S = 15  # of a connection between two requests
REQUEST_S = 30.0  # until a request is there as a whole: silent connections would keep everybody else out
END_S = 3  # for requests under way
HEADER_BYTES_MAX = 32 << 10

App = Callable[..., Any]  # an ASGI application


class _Timely(H11Protocol):
    """A connection that ends if a request does not come within `REQUEST_S`; uvicorn would wait for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_watching()  # it is there
        elif self._late is None:
            self._late = self.loop.call_later(REQUEST_S, self.transport.close)

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Server:
    """A server in a thread of its own.

    Parameters
    ----------
    address
        host:port; without a host all interfaces of IPv4.
    tls
        The context of connections; None: plain HTTP.

    Raises
    ------
    NeedsOperator
        The address cannot be listened on.
    """

    def __init__(self, app: App, address: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._socket = _listen(address)
        settings = uvicorn.Config(
            app,
            http=_Timely,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # whoever connects is who asks, whatever a header says
            server_header=False,
            date_header=True,
            backlog=BACKLOG,
            limit_concurrency=AT_ONCE_MAX,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=END_S,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        )
        settings.load()
        settings.ssl = tls
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self.failed: BaseException | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{'http' if self._tls is None else 'https'}://{host}:{port}"

    def start(self, ended: Callable[[], object] = lambda: None) -> None:
        """Begin to serve; `ended` is called when it no longer does."""
        self._ended = ended
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests under way, for `END_S` at most."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(END_S + 1)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            self.failed = error
        finally:
            self._ended()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host.strip("[]"), int(port)))
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise NeedsOperator(
            f"console.address: cannot listen on {address}: {error.strerror or error}"
        ) from None
    found.setblocking(False)
    return found
