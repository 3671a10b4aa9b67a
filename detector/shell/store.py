"""Checkpoints in a folder, in an object store, or in memory: wherever fsspec can reach by URL.

Rules
-----
- An object exists whole or not at all, even after a crash or a power cut. A local file is written under a
  temporary name, fsynced and renamed, and its folder is fsynced: without that a crash may undo the
  rename (Pillai 2014, "All File Systems Are Not Created Equal"). Object stores make one PUT (or one completed
  multipart upload) visible at once. Other servers (sftp, hdfs, smb) get a temporary name and a move.
- No call blocks its caller for longer than the timeout. Each runs in a thread of its own, as most clients
  have some calls without a timeout. A call that timed out may still take effect later. That is harmless here:
  names are never reused for other content, and only what a commit names is ever read.
- What the client remembers of a listing is dropped before the next one: other replicas write there too.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import get_filesystem_class
from fsspec.spec import AbstractFileSystem

from detector.config.extras import install_client
from detector.config.words import redacted
from detector.errors import ConfigError, Problem, StoreUnavailable
from detector.shell import calls, remote

T = TypeVar("T")

_CALLS_MAX = 16  # threads; so many calls that never return block the store, not the process
_NAME_CHARS_MAX = 1024  # S3's limit
_TEMPORARY = ".tmp-"
_FILE_MODE, _FOLDER_MODE = 0o640, 0o750  # checkpoints hold values of events; others have no business there
_ABANDONED_S = 3600.0  # a temporary file of this age was left by a crash; no put takes this long
_THIS_MACHINE = frozenset({"file", "local", "memory"})
_PUT_IS_ATOMIC = frozenset(
    {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "ocilake", "tos"}
)


class FsspecStore:
    """A `detector.ports.CheckpointStore` behind an fsspec URL.

    Parameters
    ----------
    url
        The folder that names are relative to, e.g. ``file://./checkpoints`` (relative to the working
        directory), ``file:///var/lib/detector``, ``s3://bucket/prefix``, ``memory://``. The first write
        creates it.
    timeout_s
        Longest wait for one call, seconds.

    Raises
    ------
    ConfigError
        The URL's protocol is unknown, or needs a package that is not installed.
    StoreUnavailable
        The store's client could not be created, e.g. it connects at once and gets no answer.

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
        self._url, self._shown = url, redacted(url)
        unusable = url_problem(url)
        if unusable is not None:
            raise ConfigError("configuration", [unusable])
        try:
            self._fs, self._root = self._ask("open", lambda: _open(url))
        except _UnusableUrl as error:
            raise ConfigError("configuration", [_problem(url, error)]) from error

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all; returns once it is durable.

        Raises
        ------
        StoreUnavailable
            It was not written, or it is not known whether it was.
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
            return []  # nothing was ever written
        root = self._root.rstrip("/") + "/"
        names = (str(path).removeprefix(root) for path in found)
        return sorted(n for n in names if n.startswith(prefix) and f"/{_TEMPORARY}" not in f"/{n}")

    def delete(self, name: str) -> None:
        """Remove an object if it exists.

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

        False for any local folder: whether it is a mounted share cannot be detected.
        """
        return _THIS_MACHINE.isdisjoint(_protocols(self._fs))

    def free_bytes(self) -> int | None:
        """Free space where a local folder is; None for any other store.

        Raises
        ------
        StoreUnavailable
        """
        if not isinstance(self._fs, LocalFileSystem):
            return None
        return self._ask("free space", lambda: _free_bytes(Path(self._root)))

    def _path(self, name: str) -> str:
        parts = name.split("/")
        bad = any(part in ("", ".", "..") or part.startswith(_TEMPORARY) for part in parts)
        if bad or "\\" in name or "\0" in name or len(name) > _NAME_CHARS_MAX:
            raise InvalidName(f"not a name in the store: {name!r}")
        return f"{self._root.rstrip('/')}/{name}"

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Run a blocking call with the store's timeout, and translate its errors.

        Raises
        ------
        StoreUnavailable
            No answer in time, or an error of the client.
        """

        def work() -> T:
            try:
                return call()
            finally:
                self._slots.release()

        deadline_s = time.monotonic() + self._timeout_s
        if not self._slots.acquire(timeout=self._timeout_s):
            raise StoreUnavailable(f"{self._shown}: {what}: {_CALLS_MAX} earlier calls got no answer")
        try:
            return calls.within(deadline_s - time.monotonic(), work, name="store")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise _Missing(f"{self._shown}: {what}: {redacted(str(error))}") from error
        except _UnusableUrl:
            raise
        except calls.CallTimeout as error:
            server = remote.server_of(getattr(self, "_fs", None), self._url)
            from_it = f" from {server}" if server else ""
            raise StoreUnavailable(
                f"{self._shown}: {what}: no answer in {self._timeout_s:g} s{from_it}"
            ) from error
        except Exception as error:
            # Clients raise their own kinds (botocore, aiohttp, paramiko); none derives from a common one.
            detail = redacted(f"{type(error).__name__}: {error}")
            raise StoreUnavailable(f"{self._shown}: {what}: {detail}") from error


class InvalidName(ValueError):
    """The name is absolute or leads out of the store."""


class _Missing(StoreUnavailable):
    """The object or folder does not exist."""


class _UnusableUrl(Exception):
    """No client for this URL; the message says what is allowed."""


def url_problem(url: str) -> Problem | None:
    """Return why no client can be created for `url`, without connecting; None: it can."""
    links = url.split("::")  # of a chain like simplecache::s3://bucket
    for link in links:
        protocol = split_protocol(link)[0] or (link if len(links) > 1 else "file")
        try:
            _usable(protocol, lambda protocol=protocol: get_filesystem_class(protocol))  # type: ignore[misc]
        except _UnusableUrl as error:
            return _problem(url, error)
    return None


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    remote.prepare()
    fs, root = _usable(split_protocol(url)[0] or "file", lambda: url_to_fs(url))
    return fs, root


def _usable(protocol: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except ImportError as error:
        command = install_client(protocol)
        how = f"; {command}" if command else ""
        raise _UnusableUrl(f"a package that it needs is not installed{how} ({error})") from error
    except ValueError as error:
        raise _UnusableUrl(f"a folder, or an fsspec URL like s3://bucket/prefix ({error})") from error


def _problem(url: str, error: _UnusableUrl) -> Problem:
    return Problem(path="checkpoints.url", value=redacted(url), allowed=redacted(str(error)))


def _protocols(fs: AbstractFileSystem) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _find(fs: AbstractFileSystem, folder: str) -> list[str]:
    fs.invalidate_cache()
    if type(fs).find is AbstractFileSystem.find:  # by default it omits folders that cannot be read
        return list(fs.find(folder, on_error="raise"))
    return list(fs.find(folder))


def _write_durably(path: Path, data: bytes) -> None:
    """Write a local file.

    1. Create the folder, durably.
    2. Remove temporary files that crashes left there.
    3. Write the data under a temporary name, durably.
    4. Rename it.
    5. Make the rename durable.
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
        with open(temporary, "xb", opener=_private) as file:
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


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:  # the first write creates it
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE_MODE)


def _make_durable_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_durable_folder(folder.parent)
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
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
