"""Where events come from: a path, a pattern, a pipe, a URL."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detector.config.extras import install_client
from detector.config.words import redacted
from detector.errors import NeedsOperator
from detector.shell.files.inputs.bytes_of import BUFFER_BYTES, Spool, SpoolView
from detector.shell.remote import Remote

STDIN = "-"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(:|//)")


class Source:
    """One or more files that are read in order, as one stream.

    Parameters
    ----------
    given
        A path; `-` for standard input; a pattern with `*`, `?` or `[...]`, whose files are read in the order
        of their names (numbers by value: part-2 before part-10); a URL that fsspec understands, also with
        `*`. A pipe or a FIFO is kept in a temporary file as it is read, so that it can be read again.

    Raises
    ------
    NeedsOperator
        Nothing is there.
    """

    def __init__(self, given: Path | str) -> None:
        self.given = str(given)
        self._remote: Remote | None = None  # of a URL
        self._spools: dict[str, Spool] = {}
        self.names: list[str] = []
        if _URL.match(self.given):
            self.names = self._find()
        elif self.given != STDIN and not os.path.exists(self.given) and glob.has_magic(self.given):
            self.names = [name for name in glob.glob(self.given, recursive=True) if not os.path.isdir(name)]
        else:
            self.names = [self.given]
        if not self.names:
            raise NeedsOperator(f"no file fits {redacted(self.given)}")
        self.names.sort(key=_natural)

    def __str__(self) -> str:
        return "standard input" if self.given == STDIN else redacted(self.given)

    def name(self, index: int) -> str:
        """A file as people should see it."""
        name = self.names[index]
        if self._remote is not None:
            return str(self) if name == self._remote.path else redacted(self._remote.url_of(name))
        return str(self) if name == self.given else redacted(name)

    def open(self, index: int) -> io.BufferedReader:
        """Open a file from its beginning.

        Raises
        ------
        NeedsOperator
            It cannot be read.
        """
        name = self.names[index]
        with self._errors(index):
            if name in self._spools:
                return io.BufferedReader(SpoolView(self._spools[name]), BUFFER_BYTES)
            if self._remote is not None:
                file: Any = self._remote.open(name, lambda: self._errors(index))
            elif name == STDIN:
                file = sys.stdin.buffer
            else:
                file = io.FileIO(name)
            if name == STDIN or not file.seekable():
                self._spools[name] = Spool(file)
                return io.BufferedReader(SpoolView(self._spools[name]), BUFFER_BYTES)
            return io.BufferedReader(file, BUFFER_BYTES)

    @property
    def size_bytes(self) -> int | None:
        """Bytes of all files before unpacking; None: unknown, as of a pipe."""
        sizes = [self._size(index) for index in range(len(self.names))]
        return None if None in sizes else sum(filter(None, sizes))

    def _size(self, index: int) -> int | None:
        name = self.names[index]
        with self._errors(index):
            if self._remote is not None:
                return self._remote.size(name)
            return os.path.getsize(name) if os.path.isfile(name) else None

    def fingerprint(self) -> dict[str, Any]:
        """Sizes and the beginning, to detect a change without reading all of it."""
        digest = hashlib.sha256()
        with self.open(0) as file:
            digest.update(file.read(1 << 20))
        facts = {"bytes": self.size_bytes, "sha256_of_first_mib": digest.hexdigest()}
        return facts if len(self.names) == 1 else facts | {"files": self.names}

    def is_file(self, path: Path) -> bool:
        """Whether a path is one of the files."""
        local = self.names if self._remote is None else []
        return any(path.resolve() == Path(name).resolve() for name in local if name != STDIN)

    def close(self) -> None:
        """Close pipes and drop what was kept of them."""
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()

    def _find(self) -> list[str]:
        """The files of a URL."""
        with self._errors(None):
            self._remote = Remote(self.given)
            path = self._remote.path
            web = self.given.startswith(("http:", "https:"))  # there ? and [ are parts of an address
            return self._remote.find() if "*" in path and not web else [path]

    @contextmanager
    def _errors(self, index: int | None) -> Iterator[None]:
        """Turn errors of the operating system or of a file system's client into a sentence."""
        name = str(self) if index is None else self.name(index)
        try:
            yield
        except IsADirectoryError as error:
            pattern = f"{name.rstrip('/')}/*.parquet"
            raise NeedsOperator(
                f"{name} cannot be read: {error.strerror}; name its files, as in '{pattern}'"
            ) from error
        except ImportError as error:
            command = install_client(self.given.partition("://")[0].rpartition("::")[2])
            how = f"; {command}" if command else ""
            raise NeedsOperator(f"{name} cannot be read: a package is missing{how} ({error})") from error
        except OSError as error:
            reason = error.strerror or str(error)
            if self._remote is not None:  # some clients say only the name, or nothing
                reason = _reason(error, {name, self.given, self._remote.path, *self.names})
            raise NeedsOperator(f"{name} cannot be read: {reason}") from error
        except Exception as error:  # each client of fsspec has exceptions of its own
            if isinstance(error, NeedsOperator) or (self._remote is None and index is not None):
                raise
            raise NeedsOperator(f"{name} cannot be read: {_reason(error, {name})}") from error


def _reason(error: BaseException, names: Collection[str]) -> str:
    """What a client says of an error; where that is only a file's name, what it says of the cause."""
    said = getattr(error, "strerror", None) or str(error)
    if said and said.strip("'\"") not in names:
        return redacted(said)
    if error.__cause__ is not None:
        return _reason(error.__cause__, names)
    return "nothing is there" if isinstance(error, FileNotFoundError) else type(error).__name__


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key of file names: numbers by value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def same_files(one: Any, other: Any) -> bool:
    """Whether two fingerprints may be of the same files. The size of a pipe is not known."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return bool(one == other)
    sizes = {one.get("bytes"), other.get("bytes")}
    return (None in sizes or len(sizes) == 1) and one | {"bytes": 0} == other | {"bytes": 0}
