"""Events of files by number, and what can go wrong with files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from detector.errors import NeedsOperator
from detector.shell.files.inputs import EventFile, Source

GROUP_LINES = 4096  # lines that are read, processed and written together
# Above the largest event.limits.bytes_max (1 MiB): of a longer line only the first part is kept, and that
# part is rejected as too large.
LINE_BYTES_MAX = 2 << 20
POLL_BYTES_MAX = 32 << 20  # a poll ends here even within a group: memory stays bounded


class LineReader:
    """The events of a source by number, over all its files, whatever they are.

    A record is a line, or what stands for one: an element of an array, a row of a table.

    Raises
    ------
    NeedsOperator
        A file cannot be read, or is of a kind that is not read.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._open()

    def _open(self) -> None:
        self.line = 0  # number of the next record
        self.at_end = False
        self._index = 0
        self._bytes_before = 0  # of the files before this one
        self._file = EventFile(self.source, 0, LINE_BYTES_MAX)

    @property
    def bytes_read(self) -> int:
        """Bytes read of the files, before unpacking; approximate."""
        return self._bytes_before + self._file.bytes_read

    def go_to(self, line: int) -> None:
        """Continue at `line`, or at the end of shorter files."""
        if line < self.line:
            self._file.close()
            self._open()
        while self.line < line and not self.at_end:
            self.read(min(line - self.line, GROUP_LINES))

    def read(self, count: int) -> list[bytes]:
        """Read up to `count` records without line ends; fewer at the end of the files or if they are long."""
        lines: list[bytes] = []
        room = POLL_BYTES_MAX
        while len(lines) < count and room > 0:
            found = self._file.read(count - len(lines), room)
            if found:
                lines += found
                room -= sum(map(len, found))
            elif self._index + 1 < len(self.source.names):
                self._bytes_before += self._file.bytes_read
                self._file.close()
                self._index += 1
                self._file = EventFile(self.source, self._index, LINE_BYTES_MAX)
            else:
                self.at_end = True
                break
        self.line += len(lines)
        return lines

    def close(self) -> None:
        """Close the file and the source."""
        self._file.close()
        self.source.close()


def describe(source: Source) -> str:
    """What a source is, in one line; empty: one file of JSON lines.

    Raises
    ------
    NeedsOperator
        Its first file cannot be read, or is of a kind that is not read.
    """
    file = EventFile(source, 0, LINE_BYTES_MAX)
    file.close()
    count = len(source.names)
    if count > 1:
        parts = [f"{count} files, {source.name(0)} to {source.name(count - 1)}", file.note or "JSON lines"]
        return f"{source}: {'; '.join(parts)}"
    return f"{source}: {file.note}" if file.note else ""


def read_events(source: Source) -> Generator[bytes]:
    """Events from the first one on; the source is closed at the end.

    Raises
    ------
    NeedsOperator
        A file cannot be read, or is of a kind that is not read.
    """
    with closing(LineReader(source)) as lines:
        while not lines.at_end:
            yield from lines.read(GROUP_LINES)


def partition_of(key: bytes | None, partitions: int) -> int:
    """Partition of a record key; 0 without a key."""
    return 0 if key is None else zlib.crc32(key) % partitions


@contextmanager
def readable_errors(path: Path, done: str) -> Iterator[None]:
    """Turn an error of the operating system into a sentence."""
    try:
        yield
    except OSError as error:
        raise NeedsOperator(f"{path} cannot be {done}: {error.strerror or error}") from error


@contextmanager
def open_lines(path: Path) -> Iterator[Iterable[bytes]]:
    """Open a file of lines, packed by gzip where its name ends in .gz.

    Raises
    ------
    NeedsOperator
        It cannot be read.
    """
    with readable_errors(path, "read"), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
        yield lines
