"""Connections: many clients on one thread, none of which can keep the others waiting.

Rules
    - Nothing here waits for a client. All sockets are non-blocking, and one thread serves them all.
    - A connection that is one too many is never refused: the oldest one that has no answer yet goes instead.
      A probe sends its request at once, so it is answered long before it is the oldest. First goes the oldest
      one of the same address, if that has more than its share.
    - A head must arrive within `HEAD_TIMEOUT_S`, whole, and an answer must be taken within `SEND_TIMEOUT_S`.
    - Quick answers are made on this thread. Slow ones are made on another one, and all who wait for the same
      slow page in the same format share one answer: scrapes cannot delay a probe, however many there are.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from detector.shell.http.request import Answer, Request, encode, is_whole, read_request

CONNECTIONS_MAX = 256
PEER_CONNECTIONS_MAX = 128  # of one address: half of them, so nobody alone can crowd out the others
HEAD_TIMEOUT_S = 2.0  # for the whole head, with the handshake of TLS; a probe sends it in one packet
SEND_TIMEOUT_S = 10.0  # from the request on; as long as Prometheus waits
STOP_S = 1.0  # for answers under way when the server stops
_TICK_S = 0.25  # how often time limits are checked
_BACKLOG = 1024  # connections that the kernel holds until they are accepted
_ACCEPTS_MAX = 64  # accepted before the others have their turn
_CHUNK_BYTES = 4096
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger(__name__)

Quick = Callable[[Request], "Answer | None"]
"""Answers a request at once; None: the answer is slow, see `Slow`."""

Slow = Callable[[bool], Answer]
"""Makes the slow page, on a thread of its own; True: as OpenMetrics."""


class Listener:
    """Listens at an address and answers, on daemon threads.

    Parameters
    ----------
    address
        ``host:port``, see `HttpServer`.
    quick, slow
        Make the answers.
    context
        Returns the TLS context for the next connection; None: no TLS.

    Raises
    ------
    OSError
        The address cannot be used, or is in use.
    """

    def __init__(
        self,
        address: str,
        quick: Quick,
        slow: Slow,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._quick, self._context = quick, context
        self._socket = _bound(address)
        self.name: tuple[Any, ...] = self._socket.getsockname()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._open: dict[int, _Connection] = {}  # by number, oldest first
        self._peers: Counter[str] = Counter()
        self._accepted = 0
        self._stopping = False
        self._slow_page = _SlowPage(slow, self._notify)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def start(self) -> None:
        """Serve; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Answers under way have `STOP_S` to be taken."""
        self._stopping = True
        self._notify()
        self._thread.join(STOP_S + 1.0)

    def _notify(self) -> None:
        with suppress(OSError):  # it is stopped, or has been woken already
            self._wake.send(b"\0")

    # --- the thread ---

    def _serve(self) -> None:
        checked_s = time.monotonic()
        while not self._stopping:
            ready = self._selector.select(_TICK_S)
            for key, _ in ready:
                if key.fileobj is self._socket:
                    continue  # those that are here first
                if key.fileobj is self._woken:
                    self._take_slow()
                elif key.data.number in self._open:  # else it went a moment ago
                    self._advance(key.data)
            if any(key.fileobj is self._socket for key, _ in ready):
                self._accept()
            now_s = time.monotonic()
            if now_s - checked_s >= _TICK_S:
                checked_s = now_s
                self._drop(one for one in self._open.values() if one.until_s <= now_s)
        self._finish()

    def _finish(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()
        self._slow_page.stop()
        self._drop(one for one in self._open.values() if one.unsent is None)
        until_s = time.monotonic() + STOP_S
        while self._open and time.monotonic() < until_s:
            for key, _ in self._selector.select(_TICK_S):
                if key.fileobj is not self._woken:
                    self._advance(key.data)
        self._drop(self._open.values())
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_MAX):
            try:
                client, name = self._socket.accept()
            except OSError as error:
                if error.errno in _FULL:  # it waits in the kernel until the oldest has made room
                    self._drop_oldest(None)
                return
            self._accepted += 1
            try:
                client.setblocking(False)
                if self._context is not None:
                    client = self._context().wrap_socket(
                        client, server_side=True, do_handshake_on_connect=False
                    )
            except OSError:
                client.close()
                continue
            peer = str(name[0])
            connection = _Connection(client, self._accepted, peer, time.monotonic() + HEAD_TIMEOUT_S)
            if self._peers[peer] >= PEER_CONNECTIONS_MAX:
                self._drop_oldest(peer)
            elif len(self._open) >= CONNECTIONS_MAX:
                self._drop_oldest(None)
            self._open[connection.number] = connection
            self._peers[peer] += 1
            self._selector.register(client, selectors.EVENT_READ, connection)
            self._advance(connection)

    def _advance(self, connection: _Connection) -> None:
        """Take a connection as far as it goes without waiting."""
        try:
            if connection.unsent is None and not connection.asked:
                self._read(connection)
            if connection.unsent is not None:
                self._send(connection)
        except (BlockingIOError, ssl.SSLWantReadError):
            # For a plain socket that cannot send, too: it waits for room.
            sending = connection.unsent is not None and self._context is None
            self._wait_for(connection, selectors.EVENT_WRITE if sending else selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._wait_for(connection, selectors.EVENT_WRITE)
        except (OSError, ValueError):  # the client went, or does not speak TLS
            self._drop([connection])

    def _read(self, connection: _Connection) -> None:
        if isinstance(connection.socket, ssl.SSLSocket) and not connection.greeted:
            connection.socket.do_handshake()
            connection.greeted = True
        while not is_whole(connection.received):
            chunk = connection.socket.recv(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionAbortedError
            connection.received += chunk
        connection.asked = True
        connection.until_s = time.monotonic() + SEND_TIMEOUT_S
        request = read_request(connection.received)
        connection.received.clear()
        if isinstance(request, Answer):
            connection.unsent = memoryview(encode(request))
            return
        connection.head_only = request.head_only
        answer = self._quick(request)
        if answer is not None:
            connection.unsent = memoryview(encode(answer, head_only=request.head_only))
            return
        self._selector.unregister(connection.socket)  # nothing more is read, so nothing wakes it
        connection.registered = False
        self._slow_page.ask(connection.number, openmetrics=request.openmetrics)

    def _send(self, connection: _Connection) -> None:
        assert connection.unsent is not None
        while connection.unsent:
            connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        self._drop([connection])

    def _take_slow(self) -> None:
        try:
            self._woken.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        for numbers, answer in self._slow_page.take():
            for number in numbers:
                connection = self._open.get(number)
                if connection is not None:
                    connection.unsent = memoryview(encode(answer, head_only=connection.head_only))
                    self._advance(connection)

    def _wait_for(self, connection: _Connection, events: int) -> None:
        if not connection.registered and connection.unsent is not None:
            self._selector.register(connection.socket, events, connection)
            connection.registered = True
        elif connection.registered:
            self._selector.modify(connection.socket, events, connection)

    def _drop_oldest(self, peer: str | None) -> None:
        oldest = (one for one in self._open.values() if peer in (None, one.peer) and one.unsent is None)
        any_ = (one for one in self._open.values() if peer in (None, one.peer))
        found = next(oldest, None) or next(any_, None)
        if found is not None:
            self._drop([found])

    def _drop(self, connections: Iterable[_Connection]) -> None:
        for connection in list(connections):
            del self._open[connection.number]
            self._peers[connection.peer] -= 1
            if not self._peers[connection.peer]:
                del self._peers[connection.peer]
            if connection.registered:
                self._selector.unregister(connection.socket)
            connection.close()


class _Connection:
    """One client."""

    __slots__ = (
        "asked",
        "greeted",
        "head_only",
        "number",
        "peer",
        "received",
        "registered",
        "socket",
        "unsent",
        "until_s",
    )

    def __init__(self, client: socket.socket, number: int, peer: str, until_s: float) -> None:
        self.socket, self.number, self.peer, self.until_s = client, number, peer, until_s
        self.received = bytearray()
        self.unsent: memoryview | None = None  # None: there is no answer yet
        self.asked = self.greeted = self.head_only = False
        self.registered = True

    def close(self) -> None:
        """Close it. What the client still sends would turn into a reset that overtakes the answer."""
        if self.unsent is not None and not isinstance(self.socket, ssl.SSLSocket):
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                self.socket.recv(_CHUNK_BYTES)
        self.socket.close()


class _SlowPage:
    """Makes one page on a thread of its own, once for all who wait for it in the same format.

    Parameters
    ----------
    make
        Makes the page.
    notify
        Called when there is something to `take`.
    """

    def __init__(self, make: Slow, notify: Callable[[], None]) -> None:
        self._make, self._notify = make, notify
        self._changed = threading.Condition()
        self._waiting: dict[bool, list[int]] = {}  # by whether it is OpenMetrics
        self._made: list[tuple[list[int], Answer]] = []
        self._stopped = False
        self._thread: threading.Thread | None = None

    def ask(self, number: int, *, openmetrics: bool) -> None:
        """Note who waits."""
        with self._changed:
            self._waiting.setdefault(openmetrics, []).append(number)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="http-slow", daemon=True)
                self._thread.start()
            self._changed.notify()

    def take(self) -> list[tuple[list[int], Answer]]:
        """Return what was made since, and for whom."""
        with self._changed:
            made, self._made = self._made, []
        return made

    def stop(self) -> None:
        """End the thread once it has made what it is at."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                waiting, self._waiting = self._waiting, {}
            for openmetrics, numbers in waiting.items():
                answer = self._make(openmetrics)
                with self._changed:
                    self._made.append((numbers, answer))
                self._notify()


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")
    if int(port) > 65535:
        raise OSError("there is no such port")  # getaddrinfo takes it modulo 65536
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    family, _, _, _, where = min(found)  # IPv4 first: the IPv6 of a name may not work
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # [::] also accepts IPv4, whatever the system's default is
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(where)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
