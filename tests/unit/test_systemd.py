"""What systemd is told, on a real socket."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.ports import Status
from detector.shell.systemd import LOOK_S, SystemdWatch
from detector.testing.clock import MemoryLog

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "detector.service"


class Manager:
    """systemd's end of the socket, and a service that it is told of."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.path = path
        self.status = Status()
        self.heartbeat_age_s: float | None = None

    def watch(self, **environ: str) -> SystemdWatch:
        return SystemdWatch(
            {"NOTIFY_SOCKET": str(self.path), **environ},
            lambda: self.status,
            lambda: self.heartbeat_age_s,
            MemoryLog(),
        )

    def told(self) -> list[str]:
        """Return the lines of all messages since the last call."""
        lines = list[str]()
        while True:
            try:
                lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.chdir(tmp_path)  # a socket's path has at most 108 bytes
    manager = Manager(Path("notify"))
    yield manager
    manager.close()


def test_it_is_told_once_that_the_service_is_ready(manager: Manager) -> None:
    watch = manager.watch()
    assert watch.look() == LOOK_S
    assert manager.told() == ["STATUS=starting"]
    manager.status = Status(ready=True, reason="running")
    watch.look()
    assert manager.told() == ["READY=1", "STATUS=running"]
    manager.status = Status(ready=False, reason="the broker\nis away")
    watch.look()
    manager.status = Status(ready=True, reason="running")
    watch.look()
    assert manager.told() == ["STATUS=the broker is away", "STATUS=running"]


def test_a_loop_that_stands_still_is_no_longer_reported_alive(manager: Manager) -> None:
    watch = manager.watch(WATCHDOG_USEC="600000")
    assert watch.look() == pytest.approx(0.2)  # several times within the time that is given
    assert "WATCHDOG=1" in manager.told()  # it compiles
    manager.heartbeat_age_s = 0.1
    watch.look()
    assert manager.told() == ["WATCHDOG=1"]
    manager.heartbeat_age_s = 60.0
    watch.look()
    assert manager.told() == []


def test_it_is_told_when_the_service_stops(manager: Manager) -> None:
    manager.watch().stop()
    assert manager.told() == ["STOPPING=1"]


def test_without_systemd_nothing_is_sent(manager: Manager) -> None:
    watch = SystemdWatch({}, Status, lambda: None, MemoryLog())
    assert watch.look() is None
    watch.stop()
    assert manager.told() == []


def test_a_manager_that_does_not_listen_is_no_reason_to_fail(manager: Manager) -> None:
    watch = manager.watch()
    manager.close()
    manager.path.unlink()
    assert watch.look() == LOOK_S


def test_the_unit_is_of_the_kind_that_the_service_speaks() -> None:
    text = UNIT.read_text()
    for setting in ("Type=notify", "NoNewPrivileges=yes", "DynamicUser=yes", "RestartPreventExitStatus=2 3"):
        assert setting in text.splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_the_unit_in_order_and_closed(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/detector/bin/detector", "/bin/true"))
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert unit.name not in checked.stderr, checked.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert found
    assert float(found[1]) <= 2.0
