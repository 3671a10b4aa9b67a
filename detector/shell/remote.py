"""Files behind a URL, through fsspec, with a limit on the time of every call.

The clients of object stores repeat what fails, some of them for minutes, and print what they repeat. Here
each call is given up after a stated time. The error says which server gave no answer, and whether it can be
reached at all.
"""

from __future__ import annotations

import io
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from detector.shell import calls

T = TypeVar("T")

ANSWER_S = 30.0  # to connect, and for what a server says of one file
READ_S = 60.0  # for a listing, or for one block of a file
BLOCK_BYTES = 4 << 20  # asked for at once; some clients' own blocks take minutes over a slow line
_REACH_S = 3.0
_PORTS = {"http": 80, "https": 443}
_CLIENTS = ("adlfs", "azure", "fsspec", "gcsfs", "s3fs")  # their loggers


class NoAnswer(TimeoutError):
    """A server gave no answer in time."""


class Remote:
    """The file system of a URL.

    Parameters
    ----------
    url
        Any that fsspec understands.

    Attributes
    ----------
    path
        What the URL names, without its protocol.

    Raises
    ------
    NoAnswer
        In time, by this and by every method. Each client has other exceptions of its own.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        prepare()
        for name in _CLIENTS:
            logging.getLogger(name).setLevel(logging.CRITICAL)  # their errors are raised as well
        self._url = url
        self._fs: Any = None
        self.path: str
        self._fs, self.path = self._ask(ANSWER_S, lambda: url_to_fs(url))

    def find(self) -> list[str]:
        """The paths that fit the URL's pattern, sorted."""
        return sorted(self._ask(READ_S, lambda: self._fs.glob(self.path)))

    def url_of(self, path: str) -> str:
        """A path with its protocol."""
        return str(self._fs.unstrip_protocol(path))

    def size(self, path: str) -> int | None:
        """Bytes of a file; None: unknown."""
        found = self._ask(ANSWER_S, lambda: self._fs.size(path))
        return None if found is None else int(found)

    def open(self, path: str, errors: Callable[[], AbstractContextManager[None]]) -> io.RawIOBase:
        """Open a file for reading.

        Parameters
        ----------
        errors
            Around every read: what its errors become.
        """
        file = self._ask(ANSWER_S, lambda: self._fs.open(path, "rb", block_size=BLOCK_BYTES))
        return _File(file, lambda call: self._ask(READ_S, call), errors)

    def _ask(self, seconds: float, call: Callable[[], T]) -> T:
        try:
            return calls.within(seconds, call, name="remote file")
        except calls.CallTimeout:
            server = server_of(self._fs, self._url)
            from_it = f" from {server}, {_reached(server)}" if server else ""
            raise NoAnswer(f"no answer in {seconds:g} s{from_it}") from None


class _File(io.RawIOBase):
    """An open file, each read of which has a limit."""

    def __init__(
        self,
        file: Any,
        ask: Callable[[Callable[[], Any]], Any],
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._file, self._ask, self._errors = file, ask, errors

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        with self._errors():
            data = self._ask(lambda: self._file.read(size))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            super().close()
            with suppress(Exception):  # nothing was written
                calls.within(1.0, self._file.close, name="remote file")


def prepare() -> None:
    """Set what clients take from the environment only, before one of them is loaded."""
    # Else gcsfs asks by gRPC what kind a bucket is, and waits for a minute where only HTTP passes.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def server_of(fs: Any, url: str) -> str | None:
    """Host and port that a client talks to, as far as it says so; None: unknown.

    >>> server_of(None, "https://example.org/a.csv")
    'example.org:443'
    """
    fs = getattr(fs, "fs", fs)  # of a cache around it
    for address in (
        getattr(getattr(getattr(fs, "_s3", None), "meta", None), "endpoint_url", None),  # s3fs
        getattr(fs, "_location", None),  # gcsfs
        getattr(getattr(fs, "service_client", None), "primary_endpoint", None),  # adlfs
        url,
    ):
        parts = urlsplit(address) if isinstance(address, str) else None
        if parts is not None and parts.scheme in _PORTS and parts.hostname:
            with suppress(ValueError):  # of a port
                return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    return None


def _reached(server: str) -> str:
    """Whether a connection to a server can be made, in words."""
    if {"http", "https", "all"} & set(getproxies()):
        return "asked through a proxy"
    host, _, port = server.rpartition(":")
    try:
        calls.within(_REACH_S, lambda: socket.create_connection((host, int(port)), _REACH_S).close())
    except TimeoutError:
        return "which cannot be reached"
    except socket.gaierror:
        return "whose name is not known here"
    except OSError as error:
        return f"which cannot be reached ({error.strerror or error})"
    return "which takes connections"
