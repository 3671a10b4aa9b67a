"""Messages between the shards of one replay, kept in a file."""

from __future__ import annotations

import os
import struct
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from detector.errors import NeedsOperator
from detector.ports import TopicIds
from detector.shell.files.line_reader import readable_errors

EXCHANGE = "exchange.bin"
_FRAME = struct.Struct("<I")  # length of a message, in front of it


class FileExchange:
    """A `detector.ports.SideLog` that `FileStream` writes: the messages between the shards of one replay.

    Parameters
    ----------
    path
        None: a temporary file.
    size
        Bytes to keep of what an earlier process wrote; None: begin empty.
    read_only
        Do not change the file.

    Raises
    ------
    NeedsOperator
        It cannot be read or written, or has changed.
    """

    def __init__(self, path: Path | None, size: int | None = None, *, read_only: bool = False) -> None:
        self._path = path or Path("the exchange's temporary file")
        self._starts = array("Q")  # where each message begins in the file
        self.size = 0
        with readable_errors(self._path, "written"):
            if path is None:
                self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - `FileStream` closes it
            else:
                self.file = path.open("rb" if read_only else "w+b" if size is None else "r+b")
        if size is not None:
            self._continue(size)

    @classmethod
    def of(cls, folder: Path) -> FileExchange | None:
        """Open the messages of a replay for reading; None: the replay has none."""
        path = folder / EXCHANGE
        return cls(path, path.stat().st_size, read_only=True) if path.exists() else None

    def _continue(self, size: int) -> None:
        with readable_errors(self._path, "read"):
            while self.size < size and len(head := self.file.read(_FRAME.size)) == _FRAME.size:
                self._starts.append(self.size)
                self.size += _FRAME.size + _FRAME.unpack(head)[0]
                self.file.seek(self.size)
            whole = self.size == size <= os.fstat(self.file.fileno()).st_size
        if not whole:
            self.file.close()
            raise NeedsOperator(
                f"{self._path} has changed since the replay stopped: remove the checkpoint folder to "
                "start over"
            )
        if self.file.writable():
            with readable_errors(self._path, "written"):
                self.file.truncate(size)

    def append(self, values: Iterable[bytes]) -> None:
        """Write messages. They are visible from now on."""
        with readable_errors(self._path, "written"):
            self.file.seek(self.size)
            for value in values:
                self._starts.append(self.size)
                self.size += self.file.write(_FRAME.pack(len(value)) + value)
            self.file.flush()

    def ids(self) -> TopicIds:
        """Nothing: files are told apart by the progress file."""
        return TopicIds()

    def refresh(self) -> None:
        """Do nothing: what is written is visible at once."""

    def end(self, event_time: float) -> int:
        """Number of messages. All come from lines before those that are processed now."""
        return len(self._starts)

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Messages [start, stop)."""
        found: list[tuple[int, bytes]] = []
        with readable_errors(self._path, "read"):
            for position in range(start, min(stop, len(self._starts))):
                self.file.seek(self._starts[position])
                (size,) = _FRAME.unpack(self.file.read(_FRAME.size))
                found.append((position, self.file.read(size)))
        return found

    def beginning(self) -> int:
        """The first message."""
        return 0

    def log_end(self) -> int:
        """After the last message."""
        return len(self._starts)

    def close(self) -> None:
        """Do nothing: `FileStream` closes the file, perhaps right now on another thread."""
