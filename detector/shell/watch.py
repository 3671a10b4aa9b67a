"""A background thread that looks at something again and again, beside the loop."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

from detector.ports import Log

AGAIN_S = 1.0  # from a look that failed to the next one


class Watch:
    """The thread. What it looks at is said by the class derived from it.

    A look that raises does not end the watch. It does not delay the end of the process.

    Parameters
    ----------
    name
        Name of the thread, and of the log record of a look that raised: NAME_failed.
    log
        Told of bugs.
    wake
        Others set it when the next look is due at once, and `look` clears it; None: nobody does.
    """

    def __init__(self, name: str, log: Log, wake: threading.Event | None = None) -> None:
        self.log = log
        self._stopping = threading.Event()
        self._wake = self._stopping if wake is None else wake
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; does not wait for a call under way."""
        self._stopping.set()
        self._wake.set()

    def look(self) -> float | None:
        """Look once; returns when to look again, s. None: never."""
        raise NotImplementedError

    def session(self) -> AbstractContextManager[object]:
        """What all looks until one that raises have in common, such as a connection."""
        return nullcontext()

    def failed(self, error: Exception) -> None:
        """Tell of a look that raised."""
        name = self._thread.name.replace("-", "_")
        self.log.error(f"{name}_failed", exc_info=error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self.session():
                    while not self._stopping.is_set():
                        wait_s = self.look()
                        if wait_s is None:
                            return
                        self._wake.wait(wait_s)
            except Exception as error:  # noqa: BLE001 - a bug in a look must not end the watch
                self.failed(error)
                self._stopping.wait(AGAIN_S)
