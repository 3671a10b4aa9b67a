"""Log-ins that were ended before their time, kept in a file: a restart must not open them again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from detector.console.tokens import replace_file
from detector.errors import NeedsOperator
from detector.ports import Clock

ENDED_MAX = 10_000  # log-ins that are remembered; the oldest go first
BYTES_MAX = 1 << 20


class Ended:
    """Remembers ids of log-ins until they would have ended by themselves. Safe to use from several threads.

    Parameters
    ----------
    path
        The file, which is made if there is none; None: only this process remembers.

    Raises
    ------
    NeedsOperator
        The file cannot be read or written.
    """

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._until_s: dict[str, float] = {}  # by id, the one that was ended first in front
        if path is not None:
            self._until_s = self._read(path)
            self._replace(path)

    def __contains__(self, id_: str) -> bool:
        with self._lock:
            return id_ in self._until_s

    def add(self, id_: str, until_s: float) -> None:
        """End a log-in. It has ended also after an error, until the process does.

        Raises
        ------
        NeedsOperator
            The file cannot be written.
        """
        with self._lock:
            self._until_s[id_] = until_s
            now_s = self._clock.time()
            kept = [one for one in self._until_s.items() if one[1] > now_s][-ENDED_MAX:]
            self._until_s = dict(kept)
            if self._path is not None:
                self._replace(self._path)

    def _read(self, path: Path) -> dict[str, float]:
        try:
            with path.open("rb") as stream:
                lines = stream.read(BYTES_MAX).decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise NeedsOperator(f"{path} cannot be read: {error.strerror}") from None
        found = {}
        for line in lines:
            id_, _, until = line.partition(" ")
            if until.isdecimal() and len(until) < 16:
                found[id_] = float(until)
        return found

    def _replace(self, path: Path) -> None:
        text = "".join(f"{id_} {int(until_s) + 1}\n" for id_, until_s in self._until_s.items())
        try:
            replace_file(path, text.encode())
        except OSError as error:
            raise NeedsOperator(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from None
