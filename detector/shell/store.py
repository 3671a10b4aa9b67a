"""Checkpoints in a folder, in an object store, or in memory: whatever fsspec can reach by URL.

Rules
-----
- An object is there whole or not at all, also after a crash or a power cut. A local file is written under a
  temporary name, fsynced and renamed, and its folder fsynced: without the last one a crash may undo the
  rename (Pillai 2014, "All File Systems Are Not Created Equal"). Object stores make one PUT (or one completed
  multipart upload) visible at once. Other servers (sftp, hdfs, smb) get a temporary name and a move.
- No call outlasts its deadline: each runs on a helper thread, as most clients have some answer they wait for
  without one. A call given up may still come true later. That is harmless here: names are never reused for
  other content, and only what a commit names is ever read.
- What the client remembers of a listing is dropped before the next one: other replicas write there too.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import get_filesystem_class
from fsspec.spec import AbstractFileSystem

from detector.config.words import redacted
from detector.errors import ConfigError, Problem, StoreUnavailable

T = TypeVar("T")

_CALLS_MAX = 16  # helper threads; so many calls that never come back stop the store, not the process
_NAME_CHARS_MAX = 1024  # S3's limit
_TEMPORARY = ".tmp-"
_ABANDONED_S = 3600.0  # a temporary file this old was left by a crash; no put lasts as long
_THIS_MACHINE = frozenset({"file", "local", "memory"})
_PUT_IS_ATOMIC = frozenset(
    {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "ocilake", "tos"}
)

# Clients of object stores are not among detector's own packages: most installations need one of them or none.
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}


class FsspecStore:
    """A `detector.ports.CheckpointStore` behind an fsspec URL.

    Parameters
    ----------
    url
        The folder that names are relative to, e.g. ``file://./checkpoints`` (relative to the working
        directory), ``file:///var/lib/detector``, ``s3://bucket/prefix``, ``memory://``. Created when first
        written to.
    timeout_s
        Longest wait for one call, seconds.

    Raises
    ------
    ConfigError
        The URL's protocol is unknown, or needs a package that is not installed.
    StoreUnavailable
        The store's client could not be set up, e.g. it connects at once and nobody answers.

    Examples
    --------
    >>> store = FsspecStore("memory://example")
    >>> store.put("0/000123-ab12", b"...")
    >>> store.list("0/")
    ['0/000123-ab12']
    """

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        self._timeout_s = timeout_s
        self._slots = threading.BoundedSemaphore(_CALLS_MAX)
        self._shown = redacted(url)
        unusable = url_problem(url)
        if unusable is not None:
            raise ConfigError("configuration", [unusable])
        try:
            self._fs, self._root = self._ask("open", lambda: _open(url))
        except _UnusableUrl as error:
            raise ConfigError("configuration", [_problem(url, error)]) from error

    def put(self, name: str, data: bytes) -> None:
        """Write whole or not at all; returns once durable.

        Raises
        ------
        StoreUnavailable
            Not written, or not known to be.
        ValueError
            `name` is absolute or leads out of the store.
        """
        path = self._path(name)
        if isinstance(self._fs, LocalFileSystem):
            self._ask(f"put {name}", lambda: _write_durably(Path(path), data))
        elif _PUT_IS_ATOMIC.isdisjoint(_protocols(self._fs)):
            self._ask(f"put {name}", lambda: _write_and_move(self._fs, path, data))
        else:
            self._ask(f"put {name}", lambda: self._fs.pipe_file(path, data))

    def get(self, name: str) -> bytes:
        """Read one object.

        Raises
        ------
        KeyError
            There is no such object.
        StoreUnavailable
        ValueError
            `name` is absolute or leads out of the store.
        """
        path = self._path(name)
        try:
            return bytes(self._ask(f"get {name}", lambda: self._fs.cat_file(path)))
        except _Missing:
            raise KeyError(name) from None

    def list(self, prefix: str) -> Sequence[str]:
        """Names that begin with `prefix`, ascending.

        Raises
        ------
        StoreUnavailable
        ValueError
            `prefix` is absolute or leads out of the store.
        """
        folder, slash, _ = prefix.rpartition("/")
        path = self._path(folder) if slash else self._root
        try:
            found = self._ask(f"list {prefix}", lambda: _find(self._fs, path))
        except _Missing:
            return []  # nothing was ever written there
        root = self._root.rstrip("/") + "/"
        names = (str(path).removeprefix(root) for path in found)
        return sorted(n for n in names if n.startswith(prefix) and f"/{_TEMPORARY}" not in f"/{n}")

    def delete(self, name: str) -> None:
        """Remove if it is there.

        Raises
        ------
        StoreUnavailable
        ValueError
            `name` is absolute or leads out of the store.
        """
        path = self._path(name)
        with suppress(_Missing):
            self._ask(f"delete {name}", lambda: self._fs.rm_file(path))

    def shared(self) -> bool:
        """Whether other machines see the same objects.

        False for a local folder even where it is a mounted share, which cannot be told from here.
        """
        return _THIS_MACHINE.isdisjoint(_protocols(self._fs))

    def _path(self, name: str) -> str:
        parts = name.split("/")
        bad = any(part in ("", ".", "..") or part.startswith(_TEMPORARY) for part in parts)
        if bad or "\\" in name or "\0" in name or len(name) > _NAME_CHARS_MAX:
            raise InvalidName(f"not a name in the store: {name!r}")
        return f"{self._root.rstrip('/')}/{name}"

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Run `call` on a helper thread, wait until the deadline, and sort what goes wrong."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(call())
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                answer.set_exception(error)
            finally:
                self._slots.release()

        deadline = time.monotonic() + self._timeout_s
        if not self._slots.acquire(timeout=self._timeout_s):
            raise StoreUnavailable(f"{self._shown}: {what}: {_CALLS_MAX} earlier calls got no answer")
        threading.Thread(target=work, name="store", daemon=True).start()
        try:
            return answer.result(timeout=deadline - time.monotonic())
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise _Missing(f"{self._shown}: {what}: {redacted(str(error))}") from error
        except _UnusableUrl:
            raise
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._shown}: {what}: no answer in {self._timeout_s:g} s") from error
        except Exception as error:
            # Clients raise their own kinds (botocore, aiohttp, paramiko); none derives from a common one.
            told = redacted(f"{type(error).__name__}: {error}")
            raise StoreUnavailable(f"{self._shown}: {what}: {told}") from error


class InvalidName(ValueError):
    """A name that is absolute, or leads out of the store."""


class _Missing(StoreUnavailable):
    """Something is not there; what that means depends on what was asked."""


class _UnusableUrl(Exception):
    """No client for this URL; the message says what would be right."""


def url_problem(url: str) -> Problem | None:
    """Why no client can be had for `url`, found without connecting anywhere; None: one can."""
    links = url.split("::")  # of a chain like simplecache::s3://bucket
    for link in links:
        protocol = split_protocol(link)[0] or (link if len(links) > 1 else "file")
        try:
            _usable(protocol, lambda protocol=protocol: get_filesystem_class(protocol))  # type: ignore[misc]
        except _UnusableUrl as error:
            return _problem(url, error)
    return None


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    fs, root = _usable(split_protocol(url)[0] or "file", lambda: url_to_fs(url))
    return fs, root


def _usable(protocol: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        install = f"; pip install {package}" if package else ""
        raise _UnusableUrl(f"a package that it needs is not installed{install} ({error})") from error
    except ValueError as error:
        raise _UnusableUrl(f"a folder, or an fsspec URL like s3://bucket/prefix ({error})") from error


def _problem(url: str, error: _UnusableUrl) -> Problem:
    return Problem(path="checkpoints.url", value=redacted(url), allowed=redacted(str(error)))


def _protocols(fs: AbstractFileSystem) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _find(fs: AbstractFileSystem, folder: str) -> list[str]:
    fs.invalidate_cache()
    if type(fs).find is AbstractFileSystem.find:  # it would leave out what cannot be read
        return list(fs.find(folder, on_error="raise"))
    return list(fs.find(folder))


def _write_durably(path: Path, data: bytes) -> None:
    """Put a local file.

    1. The folder exists, durably.
    2. Temporary files that crashes left there are removed.
    3. The data are durable under a temporary name.
    4. The name is there, with the whole data behind it.
    5. The name is durable.
    """
    # Step 1
    _make_durable_folder(path.parent)
    # Step 2
    for abandoned in path.parent.glob(_TEMPORARY + "*"):
        with suppress(FileNotFoundError):
            if time.time() - abandoned.stat().st_mtime > _ABANDONED_S:
                abandoned.unlink()
    # Step 3
    temporary = path.with_name(_TEMPORARY + uuid.uuid4().hex)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Step 4
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # Step 5
    _sync_folder(path.parent)


def _make_durable_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_durable_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_and_move(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    folder = path.rpartition("/")[0]
    temporary = f"{folder}/{_TEMPORARY}{uuid.uuid4().hex}"
    fs.makedirs(folder, exist_ok=True)
    fs.pipe_file(temporary, data)
    fs.mv(temporary, path)
