"""The proxy that stands for a broken network in benchmarks.chaos.hindered."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.kafka.proxy import Proxy


@pytest.fixture
def ends() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, and both ends of a connection through it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(listener.getsockname()[1])
        with closing(proxy), socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            server, _ = listener.accept()
            server.settimeout(10)
            with server:
                yield proxy, client, server


def test_both_directions_are_forwarded(ends: tuple[Proxy, socket.socket, socket.socket]) -> None:
    _, client, server = ends
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


def test_what_was_sent_while_it_is_cut_arrives_later(
    ends: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, server = ends
    proxy.cut = True
    client.sendall(b"late")
    server.settimeout(0.05)
    with pytest.raises(TimeoutError):
        server.recv(100)
    server.settimeout(10)
    proxy.cut = False
    assert server.recv(100) == b"late"


def test_a_reset_ends_the_connection(ends: tuple[Proxy, socket.socket, socket.socket]) -> None:
    proxy, client, server = ends
    client.sendall(b"x")
    assert server.recv(100) == b"x"
    proxy.reset()
    assert client.recv(100) == b""
    assert server.recv(100) == b""
