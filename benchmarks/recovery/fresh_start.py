"""Time from the start of a fresh process to its first scored event, on a part of a core and a real Kafka.

    python -m benchmarks.recovery.fresh_start --cores 0.5 --runs 3

Each run has a kernel cache of its own. It is empty, or with `--shipped FOLDER` begins with the kernels there
(`DETECTOR_KERNELS`), as in an image; `detector compile` makes them if the folder is not there. The package's
byte code is there, too, as pip makes it: without it a start takes another .5 s of CPU time. Events wait in
the topic. From its first answer on `/livez` is asked every quarter of a second. Prints the seconds until it
answers, until `/readyz` is 200 and until the first events are committed, the CPU time until then, and how
many probes failed. Exit code 1 if a run takes more than `FIRST_EVENT_S` or a probe fails.

The part of the core is a CPU quota of a control group inside this process's own: that needs root. With
`--nice -15` other work of the machine does not take it away. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import msgspec

import detector
from benchmarks.control_group import ControlGroup
from detector.demo.simulation.handbook import SimulationConfig, simulate, to_events
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.distribution import KAFKA_VERSION
from tests.kafka.waiting import poll_until

FIRST_EVENT_S = 10.0
PROBE_S, PROBE_TIMEOUT_S = 0.25, 1.0
GIVE_UP_S = 300.0
EVENTS = 2_000


class Times(NamedTuple):
    """Seconds from the start of the process, and what the probes saw."""

    alive: float
    ready: float
    first_event: float
    cpu: float
    probes: int
    failed: int


class Probes(threading.Thread):
    """Asks `/livez` until it is stopped."""

    def __init__(self, daemon: Daemon, began_s: float) -> None:
        super().__init__(daemon=True)
        self._url, self._began_s = f"{daemon.url}/livez", began_s
        self._finished = threading.Event()
        self.alive_s, self.asked, self.failed = 0.0, 0, 0

    def run(self) -> None:
        """Ask until `finish`; failures count from the first answer on."""
        while not self._finished.wait(PROBE_S):
            answered = self._answers()
            if answered and not self.alive_s:
                self.alive_s = time.monotonic() - self._began_s
            if self.alive_s:
                self.asked += 1
                self.failed += not answered

    def finish(self) -> None:
        """Stop asking."""
        self._finished.set()
        self.join()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self._url, timeout=PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cores", type=float, default=0.5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shipped", type=Path, help="folder of kernels as an image has them")
    parser.add_argument("--nice", type=int, default=0, help="priority of broker and daemon")
    arguments = parser.parse_args()
    os.setpriority(os.PRIO_PROCESS, 0, arguments.nice)
    versions = f"Python {platform.python_version()}, Kafka {KAFKA_VERSION}"
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {versions}, {arguments.cores:g} of a core", flush=True
    )
    slow = False
    compileall.compile_dir(Path(detector.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory(prefix="detector-fresh-") as name, KafkaBroker() as broker:
        folder = Path(name)
        if arguments.shipped is not None:
            _ship(arguments.shipped)
        for run in range(arguments.runs):
            os.environ["NUMBA_CACHE_DIR"] = str(folder / f"kernels-{run}")
            at = folder / str(run)
            at.mkdir()
            with Deployment(broker.bootstrap, at, f"fresh-{run}", partitions=2) as group:
                group.produce(_events())
                times = _start(group, arguments.cores)
            slow |= times.first_event > FIRST_EVENT_S or times.failed > 0
            print(
                f"alive after {times.alive:.1f} s, ready after {times.ready:.1f} s, first events committed "
                f"after {times.first_event:.1f} s with {times.cpu:.1f} s of CPU time; /livez failed "
                f"{times.failed} of {times.probes} times; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    return int(slow)


def _ship(kernels: Path) -> None:
    """Let daemons begin with these kernels; make them as deploy/Dockerfile does if they are missing."""
    if not kernels.exists():
        made = {**os.environ, "NUMBA_CACHE_DIR": str(kernels)}
        subprocess.run([sys.executable, "-m", "detector", "compile"], env=made, check=True)
    os.environ["DETECTOR_KERNELS"] = str(kernels)


def _events() -> Iterator[tuple[bytes, bytes]]:
    days = simulate(SimulationConfig(seed=1, customers=500))
    for event in islice(chain.from_iterable(map(to_events, days)), EVENTS):
        yield str(event["CUSTOMER_ID"]).encode(), msgspec.json.encode(event)


def _start(group: Deployment, cores: float) -> Times:
    with ControlGroup(cores=cores) as limited:
        began_s = time.monotonic()
        daemon = group.start("topics.scores=null")
        limited.add(daemon.process.pid)
        probes = Probes(daemon, began_s)
        probes.start()
        ready_s = 0.0
        while group.committed() == 0 and time.monotonic() - began_s < GIVE_UP_S:
            if not ready_s and probes.alive_s and daemon.ready():
                ready_s = time.monotonic() - began_s
            time.sleep(0.05)
        first_s, cpu_s = time.monotonic() - began_s, _cpu_s(daemon.process.pid)
        poll_until(daemon.ready, timeout_s=GIVE_UP_S)
        ready_s = ready_s or time.monotonic() - began_s
        time.sleep(2.0)  # probes while the rest of the events is scored
        probes.finish()
        daemon.kill()
    return Times(probes.alive_s, ready_s, first_s, cpu_s, probes.asked, probes.failed)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
