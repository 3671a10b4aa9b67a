"""Tells systemd that the service is ready, lives, and stops (`Type=notify`, `WatchdogSec`).

Without `NOTIFY_SOCKET` in the environment nobody listens, and nothing is sent. See sd_notify(3).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from detector.core.reporting.telemetry import STALLED_S
from detector.ports import Log, Status
from detector.shell.watch import Watch

LOOK_S = 1.0  # between two looks, or a third of the time that the watchdog gives, if that is less
STATUS_CHARS_MAX = 200


class SystemdWatch(Watch):
    """The background thread. Its watchdog message says that the main loop makes rounds.

    Parameters
    ----------
    environ
        `NOTIFY_SOCKET`: where systemd listens. `WATCHDOG_USEC`: it kills the service after so many
        microseconds without a message, if set.
    status
        What /readyz says of this moment.
    heartbeat_age_s
        Seconds since the loop's last round; None: it has not begun, as kernels are compiled first.
    log
        Told of bugs.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        status: Callable[[], Status],
        heartbeat_age_s: Callable[[], float | None],
        log: Log,
    ) -> None:
        super().__init__("systemd", log)
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        watchdog = environ.get("WATCHDOG_USEC", "")
        self._watched = watchdog.isdecimal() and int(watchdog) > 0
        self._look_s = min(LOOK_S, int(watchdog) / 3e6) if self._watched else LOOK_S
        self._status, self._heartbeat_age_s = status, heartbeat_age_s
        self._ready = False
        self._said = ""

    def look(self) -> float | None:
        """Look once; see `Watch`."""
        if not self._address:
            return None
        status, age_s = self._status(), self._heartbeat_age_s()
        lines = []
        if status.ready and not self._ready:
            self._ready = True
            lines.append("READY=1")
        if self._watched and (age_s is None or age_s < STALLED_S):
            lines.append("WATCHDOG=1")
        if status.reason != self._said:
            self._said = status.reason
            lines.append("STATUS=" + " ".join(status.reason.split())[:STATUS_CHARS_MAX])
        self._send(lines)
        return self._look_s

    def stop(self) -> None:
        """Say that the service stops, and watch no more."""
        super().stop()
        if self._address:
            self._send(["STOPPING=1"])

    def _send(self, lines: list[str]) -> None:
        """Send one message; a manager that does not listen is no reason to fail."""
        if not lines:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            try:
                channel.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                self.log.warning("systemd_not_told", reason=str(error))
