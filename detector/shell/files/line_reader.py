"""Lines of a file, plain or gzip, and what can go wrong with files."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from detector.errors import NeedsOperator

GROUP_LINES = 4096  # lines that are read, processed and written together
# Above the largest event.limits.bytes_max (1 MiB): of a longer line only the first part is kept, and that
# part is rejected as too large.
LINE_BYTES_MAX = 2 << 20
POLL_BYTES_MAX = 32 << 20  # a poll ends here even within a group: memory stays bounded
BUFFER_BYTES = 1 << 20


class LineReader:
    """Lines of a file, plain or gzip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        self.line = 0  # number of the next line
        self.at_end = False
        with readable_errors(self.path, "read"):
            self._raw = io.BufferedReader(io.FileIO(self.path), BUFFER_BYTES)
            zipped = self._raw.peek(2)[:2] == b"\x1f\x8b"
        self._file: IO[bytes] = self._raw
        if zipped:
            unzipped = gzip.GzipFile(fileobj=self._raw, mode="rb")
            self._file = io.BufferedReader(unzipped, BUFFER_BYTES)
        elif self.path.suffix == ".gz":
            self._raw.close()
            raise NeedsOperator(f"{self.path} ends in .gz but is not a gzip file")

    @property
    def bytes_read(self) -> int:
        """Bytes read of the file on disk, before unpacking; approximate."""
        return self._raw.tell()

    def go_to(self, line: int) -> None:
        """Continue at `line`, or at the end of a shorter file."""
        if line < self.line:
            self.close()
            self._open()
        while self.line < line and not self.at_end:
            self.read(min(line - self.line, GROUP_LINES))

    def read(self, count: int) -> list[bytes]:
        """Read up to `count` lines without line ends; fewer at the end of the file or if they are long."""
        lines: list[bytes] = []
        room = POLL_BYTES_MAX
        readline = self._file.readline
        try:
            while len(lines) < count and room > 0:
                line = readline(LINE_BYTES_MAX)
                if not line:
                    self.at_end = True
                    break
                if len(line) == LINE_BYTES_MAX:
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = readline(LINE_BYTES_MAX)
                room -= len(line)
                lines.append(line.rstrip(b"\r\n"))
        except (OSError, EOFError, zlib.error) as error:
            raise NeedsOperator(
                f"{self.path} is damaged or truncated after line {self.line + len(lines)}: {error}"
            ) from error
        self.line += len(lines)
        return lines

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()


def partition_of(key: bytes | None, partitions: int) -> int:
    """Partition of a record key; 0 without a key."""
    return 0 if key is None else zlib.crc32(key) % partitions


def fingerprint(path: Path) -> dict[str, int | str]:
    """Size and beginning of a file, to detect a change without reading all of it."""
    with readable_errors(path, "read"), path.open("rb") as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256_of_first_mib": hashlib.sha256(file.read(1 << 20)).hexdigest(),
        }


@contextmanager
def readable_errors(path: Path, done: str) -> Iterator[None]:
    """Turn an error of the operating system into a sentence."""
    try:
        yield
    except OSError as error:
        raise NeedsOperator(f"{path} cannot be {done}: {error.strerror or error}") from error
