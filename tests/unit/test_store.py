"""A checkpoint store holds whole objects only, writes nothing outside its folder, and ends every call."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import register_implementation

from detector.errors import ConfigError, StoreUnavailable
from detector.ports import CheckpointStore
from detector.shell.store import FsspecStore, url_problem

BAD_NAMES = ("", "/", "/a", "../a", "a/../b", "a/..", "a//b", "a/", ".", "a\\b", "a\0b", ".tmp-a", "a" * 2000)


class ServerFileSystem(MemoryFileSystem):
    """A server like sftp: remote, and a file is visible while it is being written."""

    protocol = "testserver"
    store = {}  # noqa: RUF012 - fsspec's way
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("testserver://"))


register_implementation("testserver", ServerFileSystem, clobber=True)
register_implementation("testmissing", "no_such_package.FileSystem", errtxt="Install no_such_package")


@pytest.fixture(params=["file", "memory", "testserver"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"file://{tmp_path}/deep/er" if request.param == "file" else f"{request.param}://shelf/deep"
    for fs in (MemoryFileSystem, ServerFileSystem):
        fs.store.clear()
        fs.pseudo_dirs[:] = [""]


@pytest.fixture
def store(url: str) -> CheckpointStore:
    return FsspecStore(url)


@pytest.fixture
def folder(tmp_path: Path) -> FsspecStore:
    return FsspecStore(f"file://{tmp_path}")


def files(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    return fail


def test_an_object_is_read_back_by_another_replica(store: CheckpointStore, url: str) -> None:
    store.put("topic/0/000123-ab", b"\x00state\xff")
    assert FsspecStore(url).get("topic/0/000123-ab") == b"\x00state\xff"


def test_a_second_put_replaces_the_first(store: CheckpointStore) -> None:
    store.put("a", b"old and longer")
    store.put("a", b"new")
    assert store.get("a") == b"new"
    assert store.list("") == ["a"]


def test_an_empty_object_exists(store: CheckpointStore) -> None:
    store.put("a", b"")
    assert store.get("a") == b""
    assert store.list("") == ["a"]


def test_a_missing_object_raises_key_error(store: CheckpointStore) -> None:
    with pytest.raises(KeyError):
        store.get("never/written")
    store.put("a/b", b"1")
    for name in ("a/c", "b", "a", "a/b/c"):  # the last two: a folder, and below an object
        with pytest.raises(KeyError):
            store.get(name)
        store.delete(name)
    assert store.list("") == ["a/b"]
    assert store.list("a/b/") == []


def test_list_returns_all_names_with_the_prefix_in_order(store: CheckpointStore) -> None:
    assert store.list("") == []
    assert store.list("1/") == []
    names = ["1/30", "1/4", "10/1", "1/2/3", "2"]
    for name in names:
        store.put(name, b".")
    assert store.list("") == sorted(names)
    assert store.list("1/") == ["1/2/3", "1/30", "1/4"]
    assert store.list("1") == ["1/2/3", "1/30", "1/4", "10/1"]
    assert store.list("1/3") == ["1/30"]
    assert store.list("3/") == []


def test_list_shows_changes_of_other_replicas(store: CheckpointStore, url: str) -> None:
    other = FsspecStore(url)
    assert store.list("0/") == []
    other.put("0/1", b".")
    assert store.list("0/") == ["0/1"]
    other.delete("0/1")
    assert store.list("0/") == []


def test_delete_removes_one_object_and_may_be_repeated(store: CheckpointStore) -> None:
    store.put("a/1", b".")
    store.put("a/2", b".")
    store.delete("a/1")
    store.delete("a/1")
    store.delete("never/there")
    assert store.list("") == ["a/2"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_could_lead_out_of_the_store_are_refused(folder: FsspecStore, name: str) -> None:
    for use in (folder.get, folder.delete, lambda name: folder.put(name, b".")):
        with pytest.raises(ValueError, match="not a name"):
            use(name)


@pytest.mark.parametrize("prefix", ["/", "/a", "../", "../a", "a/../"])
def test_prefixes_that_lead_out_of_the_store_are_refused(folder: FsspecStore, prefix: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        folder.list(prefix)


def test_a_name_is_never_a_pattern(store: CheckpointStore) -> None:
    store.put("a1", b".")
    store.put("a*", b"star")
    assert store.get("a*") == b"star"
    store.delete("a*")
    assert store.list("") == ["a1"]


@pytest.mark.parametrize(
    "url", ["file://./checkpoints", "file://checkpoints", "checkpoints", "./checkpoints/"]
)
def test_a_relative_url_is_below_the_working_directory(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FsspecStore(url).put("0/1", b".")
    assert files(tmp_path) == ["checkpoints/0/1"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_put_that_fails_leaves_the_old_object_and_nothing_else(
    folder: FsspecStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder.put("0/1", b"old")
    with monkeypatch.context() as patch:
        target = (os, "fsync") if step == "fsync" else (Path, "replace")
        patch.setattr(*target, failing(OSError(28, "No space left on device")))
        with pytest.raises(StoreUnavailable, match="No space left"):
            folder.put("0/1", b"new")
    assert folder.get("0/1") == b"old"
    assert files(tmp_path) == ["0/1"]


def test_put_makes_the_data_durable_before_the_rename_and_the_rename_before_it_returns(
    folder: FsspecStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut can lose whatever was not fsynced: the file, its folder entry, a new folder's entry."""
    synced: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def spy_replace(self: Path, target: Path) -> Path:
        assert str(self) in synced
        assert str(tmp_path) in synced  # which holds the new folder "0"
        synced.clear()
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    folder.put("0/1", b"data")
    assert synced == [str(tmp_path / "0")]


def test_temporary_files_of_a_crash_are_not_listed_and_expire(folder: FsspecStore, tmp_path: Path) -> None:
    folder.put("0/1", b".")
    old, fresh = tmp_path / "0/.tmp-old", tmp_path / "0/.tmp-fresh"
    for torn in (old, fresh):
        torn.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert folder.list("") == ["0/1"]
    folder.put("0/2", b".")
    assert files(tmp_path) == ["0/.tmp-fresh", "0/1", "0/2"]  # the fresh one may be another replica's


def test_a_server_without_atomic_writes_gets_a_temporary_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FsspecStore("testserver://half")

    def break_off(self: ServerFileSystem, path: str, value: bytes, **kwargs: object) -> None:
        MemoryFileSystem.pipe_file(self, path, value[:2], **kwargs)
        raise ConnectionError("gone")

    monkeypatch.setattr(ServerFileSystem, "pipe_file", break_off)
    with pytest.raises(StoreUnavailable, match="gone"):
        store.put("0/1", b"data")
    assert store.list("") == []
    with pytest.raises(KeyError):
        store.get("0/1")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied"), ConnectionError("reset"), RuntimeError("sdk")]
)
def test_every_error_of_a_client_becomes_store_unavailable(
    folder: FsspecStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    folder.put("0/1", b".")
    for call in ("cat_file", "rm_file", "ls"):
        monkeypatch.setattr(LocalFileSystem, call, failing(error))
    monkeypatch.setattr(os, "fsync", failing(error))
    for use in (folder.get, folder.delete, lambda name: folder.put(name, b".")):
        with pytest.raises(StoreUnavailable, match="0/1"):
            use("0/1")
    with pytest.raises(StoreUnavailable):
        folder.list("")


def test_a_file_in_place_of_a_folder_raises_store_unavailable(folder: FsspecStore) -> None:
    folder.put("0", b".")
    with pytest.raises(StoreUnavailable):
        folder.put("0/1", b".")


def test_a_store_that_never_answers_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    store = FsspecStore(f"file://{tmp_path}")
    monkeypatch.setattr(store, "_timeout_s", 0.01)  # not while it opens, which takes longer on a busy machine
    monkeypatch.setattr(LocalFileSystem, "cat_file", lambda *_: never.wait())
    try:
        for _ in range(20):  # more than the threads that may be stuck
            with pytest.raises(StoreUnavailable, match="no answer"):
                store.get("0/1")
    finally:
        never.set()


def test_only_local_folders_and_memory_are_not_shared(tmp_path: Path) -> None:
    assert not FsspecStore(f"file://{tmp_path}").shared()
    assert not FsspecStore("memory://x").shared()
    assert FsspecStore("testserver://x").shared()


@pytest.mark.parametrize(
    ("url", "says"), [("testmissing://me:pw@host/x", "Install no_such_package"), ("nope://x", "nope")]
)
def test_a_url_without_a_client_names_the_setting_and_what_to_do(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FsspecStore(url)
    (problem,) = caught.value.problems
    assert problem.path == "checkpoints.url"
    assert says in problem.allowed
    assert "pw" not in str(caught.value)
    assert url_problem(url) == problem


@pytest.mark.parametrize(("protocol", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs")])
def test_the_package_of_an_object_store_is_named(
    monkeypatch: pytest.MonkeyPatch, protocol: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails, installed or not
    for url in (f"{protocol}://bucket/x", f"simplecache::{protocol}://bucket/x"):
        problem = url_problem(url)
        assert problem is not None
        extra = {"s3fs": "s3", "gcsfs": "gcs", "adlfs": "azure"}[package]
        assert f"pip install 'stream-anomaly-detector[{extra}]'" in problem.allowed


def test_a_usable_url_is_no_problem(url: str) -> None:
    assert url_problem(url) is None
    assert url_problem("some/folder") is None


def test_client_errors_are_shown_without_secrets(
    folder: FsspecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = failing(RuntimeError("no access to az://c/x?sig=hunter2"))
    monkeypatch.setattr(LocalFileSystem, "cat_file", refusal)
    with pytest.raises(StoreUnavailable) as caught:
        folder.get("a")
    assert "hunter2" not in str(caught.value)


def test_others_may_not_read_what_is_written(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FsspecStore(f"file://{tmp_path}/new").put("0/a", b"values of events")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*")}
    assert modes == {"0": 0o750, "a": 0o640}
