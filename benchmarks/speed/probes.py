"""Time of a probe of /livez while hostile clients hold and open connections.

    python -m benchmarks.speed.probes
    python -m benchmarks.speed.probes --seconds 120 --connects 2000 --idle 256

The pages run in a process of their own, with a thread beside them that computes without a pause, as the
service's loop does. From other processes come

1. sockets that are connected and say nothing,
2. as many that send a byte of a head every 50 ms,
3. connections that are opened at a rate and left open.

What the server closes is opened again at once. All clients have one address, so the limits per address help
nobody here. A probe comes every 100 ms, with a connection of its own, and has failed after a second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import time
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import numpy as np

from benchmarks.speed.common import about, show
from detector.ports import Status
from detector.shell.http import HttpServer

PROBE_S, PROBE_MAX_S = 0.1, 1.0
LEFT_OPEN = 400  # connections of the flood that are open at a time; more than the server allows
SLOW_S = 0.05


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--idle", type=int, default=64, help="sockets that say nothing, and slow heads")
    parser.add_argument("--connects", type=int, default=1000, help="connections opened per second")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    processes = [context.Process(target=_serve, args=(theirs,), daemon=True)]
    processes[0].start()
    port = ours.recv()
    quiet = _probe(port, min(arguments.seconds, 5.0))
    counts = [context.Value("q", 0) for _ in range(2)]
    processes += [
        context.Process(target=_hold, args=(port, arguments.idle, counts[0]), daemon=True),
        context.Process(target=_flood, args=(port, arguments.connects, counts[1]), daemon=True),
    ]
    for process in processes[1:]:
        process.start()
    while not all(count.value for count in counts):
        time.sleep(0.1)
    before, began_s = counts[1].value, time.monotonic()
    attacked = _probe(port, arguments.seconds)
    rate = (counts[1].value - before) / (time.monotonic() - began_s)
    for process in processes:
        process.kill()
    print(about(f"{arguments.idle} idle and {arguments.idle} slow, {rate:.0f} connects/s reached"))
    show(
        f"/livez, {arguments.seconds:g} s",
        ["clients", "probes", "failed", "median ms", "p99 ms", "max ms"],
        [_row("probes alone", quiet), _row("all", attacked)],
    )


def _row(name: str, seconds: list[float]) -> list[str]:
    answered = 1000.0 * np.array([one for one in seconds if one < PROBE_MAX_S] or [np.nan])
    figures = [np.median(answered), np.quantile(answered, 0.99), answered.max()]
    failed = sum(one >= PROBE_MAX_S for one in seconds)
    return [name, str(len(seconds)), str(failed), *(f"{figure:.1f}" for figure in figures)]


def _serve(parent: Connection) -> None:
    server = HttpServer("127.0.0.1:0", Status, lambda: 0.0, lambda _: (b"a 1\n" * 50_000, "text/plain"))
    server.start()
    parent.send(int(server.url.rpartition(":")[2]))
    total = 0
    while True:
        total += 1


def _connect(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except OSError:
            time.sleep(0.01)


def _hold(port: int, count: int, opened: Any) -> None:
    """Keep `count` silent sockets and as many slow ones, for good."""
    idle = [_connect(port) for _ in range(count)]
    slow = [_connect(port) for _ in range(count)]
    opened.value = 2 * count

    def renew(clients: list[socket.socket], data: bytes) -> None:
        for index, client in enumerate(clients):
            gone = False
            client.setblocking(False)
            try:
                if data:
                    client.send(data)
                gone = client.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                gone = True
            if gone:
                client.close()
                clients[index] = _connect(port)

    Thread(target=lambda: [(renew(idle, b""), time.sleep(SLOW_S)) for _ in iter(int, 1)], daemon=True).start()
    while True:
        renew(slow, b"G")
        time.sleep(SLOW_S)


def _flood(port: int, rate: int, opened: Any) -> None:
    """Open connections at a rate."""
    clients: deque[socket.socket] = deque()
    began_s, count = time.monotonic(), 0
    while True:
        planned = int((time.monotonic() - began_s) * rate)
        for _ in range(min(planned - count, rate // 20 + 1)):
            with suppress(OSError):
                clients.append(socket.create_connection(("127.0.0.1", port), timeout=1))
                opened.value += 1
            count += 1
            if len(clients) > LEFT_OPEN:
                clients.popleft().close()
        time.sleep(0.002)


def _probe(port: int, seconds: float) -> list[float]:
    """Seconds of each probe; `PROBE_MAX_S` for one that failed."""
    found = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        answered = False
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PROBE_MAX_S) as probe:
            probe.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            answered = probe.makefile("rb").read().endswith(b"ok\n")
        took_s = time.monotonic() - began_s
        found.append(took_s if answered and took_s < PROBE_MAX_S else PROBE_MAX_S)
        time.sleep(max(0.0, PROBE_S - took_s))
    return found


if __name__ == "__main__":
    main()
