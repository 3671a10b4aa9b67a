"""Connections that send no request, or half of one, end: they would keep everybody else out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn

from detector.console import serving
from detector.console.serving import AT_ONCE_MAX, REQUEST_S, Server

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose timers a test calls."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_later(self, delay: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
        assert delay == REQUEST_S
        self.timers.append(super().call_later(delay, callback, *args, **more))
        return self.timers[-1]


class Transport(asyncio.Transport):
    """A connection of which a test knows whether it is closed."""

    closed = False

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Nothing is read."""


@pytest.mark.parametrize(
    ("sent", "ends"),
    [
        ([], True),
        ([b"GET / HT"], True),
        ([HEAD, b"12"], True),
        ([HEAD, b"12", b"34"], False),
        ([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], False),
    ],
)
def test_a_request_must_come_in_time(sent: list[bytes], ends: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    loop = Loop()
    config = uvicorn.Config(app, http=serving._Timely, lifespan="off", log_config=None)
    config.load()
    protocol = serving._Timely(config, uvicorn.server.ServerState(), {}, loop)
    transport = Transport()
    try:
        protocol.connection_made(transport)
        for part in sent:
            protocol.data_received(part)
        (timer,) = loop.timers
        assert timer.cancelled() != ends
        if ends:
            timer._run()
        assert transport.closed == ends
        protocol.connection_lost(None)
        assert all(one.cancelled() or ends for one in loop.timers)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_the_server_watches_its_connections() -> None:
    server = Server(lambda *_: None, "127.0.0.1:0")
    try:
        settings = server._server.config
        assert settings.http_protocol_class is serving._Timely
        assert settings.limit_concurrency == AT_ONCE_MAX
    finally:
        server.stop()
