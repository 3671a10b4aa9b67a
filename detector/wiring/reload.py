"""SIGHUP: the service reads its configuration again, and takes what it can without a restart.

- The log's settings take effect at once.
- `alerts`, and the settings of events and model that keep the model, take effect at each partition's next
  block. The change is a barrier of the journal, as after a restart, so a replay repeats it.
- Everything else needs a restart. The log and /readyz name it.

A file that is invalid changes nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from detector.config.tree import Config
from detector.config.words import first_of
from detector.core.shard.model_shape import differing, shape
from detector.early_stop import HANGUP
from detector.errors import OperatorError
from detector.ports import Log

TAKEN = (
    "log",
    "alerts",
    "require_key",
    "model.labels",
    "model.barriers",
    "event.exposure",
    "event.limits",
    "event.duplicates",
    "event.reversals",
    "event.time.late",
)
_NAMED_MAX = 32  # settings that a line names


@dataclass(frozen=True, kw_only=True, slots=True)
class Reloaded:
    """A running configuration with what could be taken from another one."""

    config: Config
    taken: tuple[str, ...]  # settings that changed: key: before -> after
    left: tuple[str, ...]  # keys that differ and need a restart


def reloaded(running: Config, read: Config) -> Reloaded:
    """Take from a configuration that was read what needs no restart.

    Raises
    ------
    ValueError
        What would be taken does not fit to what would be left.
    """
    before, wanted = running.model_dump(), read.model_dump()
    merged = running.model_dump()
    for path in TAKEN:
        _copy(wanted, merged, path.split("."))
    if shape(running.model_part(1))["event"]["fields"] == shape(read.model_part(1))["event"]["fields"]:
        _copy(wanted, merged, ["event", "fields"])  # only how they are worded differs
    return Reloaded(
        config=Config.model_validate(merged),
        taken=tuple(f"{key}: {there} -> {here}" for key, there, here in differing("", before, merged)),
        left=tuple(key for key, _, _ in differing("", merged, wanted)),
    )


def _copy(source: dict[str, Any], target: dict[str, Any], path: Sequence[str]) -> None:
    *folders, name = path
    for folder in folders:
        source, target = source[folder], target[folder]
    target[name] = source[name]


class Reloader:
    """Reads the configuration again when it is told to.

    Parameters
    ----------
    config
        The running one.
    read
        Reads the file again; raises `OperatorError` if it is invalid.
    apply
        Called with what is to run from now on.
    log
        Told what was taken and what needs a restart.
    """

    def __init__(
        self, config: Config, read: Callable[[], Config], apply: Callable[[Config], None], log: Log
    ) -> None:
        self._config, self._read, self._apply, self._log = config, read, apply, log
        self._left: tuple[str, ...] = ()
        self._asked = threading.Event()

    def reload(self) -> None:
        """Read, compare, apply, and tell."""
        try:
            found = reloaded(self._config, self._read())
        except (OperatorError, ValidationError) as error:
            self._log.error("configuration_not_reloaded", reason=str(error))
            return
        self._config, self._left = found.config, found.left
        self._apply(found.config)
        self._log.warning(
            "configuration_reloaded", taken=found.taken[:_NAMED_MAX], needs_restart=found.left[:_NAMED_MAX]
        )

    def warnings(self) -> list[str]:
        """What /readyz must say."""
        if not self._left:
            return []
        return [f"changed settings need a restart: {first_of(self._left, _NAMED_MAX)}"]

    @contextmanager
    def at_hangup(self) -> Iterator[None]:
        """Reload at each SIGHUP, in a thread of its own: the signal's handler only asks for it.

        A SIGHUP that came earlier in the start counts.
        """
        if not hasattr(signal, "SIGHUP"):
            yield
            return
        threading.Thread(target=self._run, name="reload", daemon=True).start()
        before = signal.signal(signal.SIGHUP, lambda *_: self._asked.set())
        if HANGUP.is_set():
            HANGUP.clear()
            self._asked.set()
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            try:
                self.reload()
            except Exception:  # noqa: BLE001 - a bug here must not end the service, nor later reloads
                self._log.exception("configuration_not_reloaded")
