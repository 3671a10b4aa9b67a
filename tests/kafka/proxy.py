"""A TCP proxy that can stop or delay what it forwards, as a broken network does."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

CHUNK_BYTES = 65_536
LOOK_S = 0.02


class Proxy:
    """Forwards connections to a local port.

    Parameters
    ----------
    port
        Where connections go. They are accepted at `self.port`.
    """

    def __init__(self, port: int) -> None:
        self.cut = False  # nothing is forwarded in either direction; connections stay open
        self.delay_s = 0.0  # of each piece
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        for one in (self._listener, *tuple(self._open)):
            one.close()

    def reset(self) -> None:
        """End all connections; new ones are accepted."""
        for one in tuple(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        self._wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            self._open.discard(client)
            return
        server.settimeout(None)
        self._open.add(server)
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        for one in (client, server):
            self._open.discard(one)
            one.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._wait()
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _wait(self) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        while self.cut and not self._closed:
            time.sleep(LOOK_S)
