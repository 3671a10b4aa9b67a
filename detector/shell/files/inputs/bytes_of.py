"""Bytes of a file, a pipe or a URL: seekable, unpacked, as UTF-8."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import sys
import tempfile
import zlib
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import zstandard

BUFFER_BYTES = 1 << 20
HEAD_BYTES = 1 << 18  # what a file is decided from
_PACKED_BYTES = 1 << 11  # unpacked at once: at most 64 MiB come out of so few bytes
_TEXT_BYTES = 1 << 16
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file."""

    data: bytes
    whole: bool  # it is all of the file
    error: str | None  # what ended it; no exception: its traceback would hold the file's buffers


class Damaged(OSError):
    """What was unpacked ends at a damaged place."""


class Spool:
    """A pipe that can be read again: what was read is kept in a temporary file, not in memory."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._kept: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._size = 0
        self._whole = False

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from a position; empty at the end."""
        while position >= self._size and not self._whole:
            data = getattr(self._pipe, "read1", self._pipe.read)(BUFFER_BYTES)
            self._whole = not data
            self._kept.seek(self._size)
            self._kept.write(data or b"")
            self._size += len(data or b"")
        self._kept.seek(position)
        return self._kept.read(min(size, max(self._size - position, 0)))

    def end(self) -> int:
        """Read the pipe to its end. Returns its number of bytes."""
        while not self._whole:
            self.read_at(self._size, 1)
        return self._size

    def close(self) -> None:
        """Close the pipe, and drop what was kept."""
        self._kept.close()
        if self._pipe is not getattr(sys.stdin, "buffer", None):
            self._pipe.close()


class SpoolView(io.RawIOBase):
    """A spool from its beginning."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._spool.read_at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}
        self._at = offset + (base[whence] if whence in base else self._spool.end())
        return self._at

    def tell(self) -> int:
        return self._at


class _Zstd(io.RawIOBase):
    """The content of a zstd file of any number of frames; EOFError if it is cut off."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame: Any = None
        self._packed = self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            self._packed = self._packed or self._file.read(_PACKED_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("compressed file ended before its end was reached")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._plain = self._frame.decompress(self._packed)
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        data, self._plain = self._plain[: len(buffer)], self._plain[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Joined(io.RawIOBase):
    """Bytes that were read already, then the rest of a file. Bytes of another encoding become UTF-8."""

    def __init__(self, head: Head, rest: IO[bytes], encoding: str) -> None:
        self._head, self._rest, self._error = head.data, rest, head.error
        self._decoder = None
        if encoding != "utf-8":
            self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._decoder is None and not self._head and not self._ready:
            self._check()
            return self._rest.readinto(buffer)  # type: ignore[attr-defined, no-any-return]
        while not self._ready:
            if not self._head:
                self._check()
            data = self._head or self._rest.read(_TEXT_BYTES)
            self._head = b""
            if self._decoder is not None:
                self._ready = self._decoder.decode(data, final=not data).encode(errors="replace")
            else:
                self._ready = data
            if not data and not self._ready:
                return 0
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def _check(self) -> None:
        if self._error is not None:
            raise Damaged(self._error)


def unpacked(raw: io.BufferedReader) -> IO[bytes]:
    """The content of a file, which may be gzip or zstd."""
    start = raw.peek(4)[:4]
    if start[:2] == GZIP:
        return io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb"), BUFFER_BYTES)
    return io.BufferedReader(_Zstd(raw), BUFFER_BYTES) if start == ZSTD else raw


def read_head(file: IO[bytes]) -> Head:
    """Read the first `HEAD_BYTES`, or a shorter file. What is in front of a damaged place still counts."""
    parts: list[bytes] = []
    room = HEAD_BYTES
    error: str | None = None
    try:
        while room and (part := file.read1(room)):  # type: ignore[attr-defined]
            parts.append(part)
            room -= len(part)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as found:
        error = str(found)
    return Head(b"".join(parts), whole=room > 0, error=error)


def as_utf8(head: Head, rest: IO[bytes], encoding: str) -> io.BufferedReader:
    """The whole text, whose byte-order mark is not in the head any more, as UTF-8."""
    return io.BufferedReader(_Joined(head, rest, encoding), BUFFER_BYTES)


def on_disk(head: Head, rest: IO[bytes]) -> BinaryIO:
    """A temporary file with the content, for formats that are not read from the front."""
    if head.error is not None:
        raise Damaged(head.error)
    file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(head.data)
    while data := rest.read(BUFFER_BYTES):
        file.write(data)
    file.seek(0)
    return file
