"""`python -m tests.kafka.proxied`: the service, with its connections through a proxy and a wrong clock.

`PROXIED_PORTS` maps ports, as in ``9092:40001,9093:40002``: what connects to the first of a pair connects to
the second. `PROXIED_CLOCK_S` is added to the wall clock.
"""

import os
import socket
import time

from detector.cli import main

PORTS, CLOCK = "PROXIED_PORTS", "PROXIED_CLOCK_S"


def redirect(ports: dict[int, int]) -> None:
    """Let sockets of this process connect to other ports."""
    for name in ("connect", "connect_ex"):
        real = getattr(socket.socket, name)

        def connect(self: socket.socket, address: object, _real: object = real) -> object:
            if isinstance(address, tuple) and address[1] in ports:
                address = (address[0], ports[address[1]], *address[2:])
            return _real(self, address)  # type: ignore[operator]

        setattr(socket.socket, name, connect)


def skew(seconds: float) -> None:
    """Let the wall clock of this process be wrong."""
    seconds_of, nanoseconds_of = time.time, time.time_ns
    time.time = lambda: seconds_of() + seconds
    time.time_ns = lambda: nanoseconds_of() + int(seconds * 1e9)


if __name__ == "__main__":
    pairs = [pair.split(":") for pair in os.environ.get(PORTS, "").split(",") if pair]
    redirect({int(here): int(there) for here, there in pairs})
    skew(float(os.environ.get(CLOCK, "0")))
    main()
