"""Files behind a URL: every call ends in time, and its error names the server. No network is used."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from detector.errors import NeedsOperator, StoreUnavailable
from detector.shell import remote
from detector.shell.files import Source, describe, read_events
from detector.shell.store import FsspecStore

LINES = b"".join(b'{"id": "e-%d"}\n' % n for n in range(200_000))


class Stalling(MemoryFileSystem):  # type: ignore[misc] - fsspec has no types
    """Files of a server that stops to answer, or answers with errors."""

    protocol = "stalling"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 - as the class above has it
    pseudo_dirs = [""]  # noqa: RUF012
    never = threading.Event()
    at = "open"
    error: BaseException | None = None
    port = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("stalling://").strip("/")

    @property
    def _location(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _trouble(self) -> None:
        if self.error is not None:
            raise self.error
        self.never.wait()

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if self.at == "open":
            self._trouble()
        file = super()._open(path, mode, **options)
        if self.at == "read" and mode == "rb":
            read = file.read
            file.read = lambda size=-1: self._trouble() if file.tell() > 1 << 20 else read(size)
        return file

    def cat_file(self, path: str, **options: Any) -> Any:
        if self.at == "open":
            self._trouble()
        return super().cat_file(path, **options)

    def glob(self, path: str, **options: Any) -> Any:
        if self.at == "glob":
            self._trouble()
        return super().glob(path, **options)


fsspec.register_implementation("stalling", Stalling, clobber=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stalling]]:
    """A server that takes connections and says nothing."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    monkeypatch.setattr(remote, "READ_S", 0.1)
    monkeypatch.setattr(Stalling, "never", threading.Event())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(Stalling, "port", listener.getsockname()[1])
        monkeypatch.setattr(Stalling, "at", "nothing")
        Stalling().pipe("/in/a.jsonl", LINES)
        yield Stalling
        Stalling.never.set()


@pytest.mark.parametrize(
    ("at", "given"),
    [("open", "stalling://in/a.jsonl"), ("read", "stalling://in/a.jsonl"), ("glob", "stalling://in/*")],
)
def test_a_server_that_says_nothing_is_given_up_and_named(
    server: type[Stalling], monkeypatch: pytest.MonkeyPatch, at: str, given: str
) -> None:
    assert sum(1 for _ in read_events(Source(given))) == 200_000
    monkeypatch.setattr(server, "at", at)
    began_s = time.monotonic()
    said = (
        rf"{given} cannot be read: no answer in 0.1 s from 127.0.0.1:{server.port}, which takes connections$"
    )
    with pytest.raises(NeedsOperator, match=said.replace("*", r"\*").replace("://", "://?/?")):
        list(read_events(Source(given)))
    assert time.monotonic() - began_s < 10


def test_a_port_where_nobody_listens_is_named(
    server: type[Stalling], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setattr(server, "port", closed.getsockname()[1])
    monkeypatch.setattr(server, "at", "open")
    with pytest.raises(
        NeedsOperator, match=r"127\.0\.0\.1:\d+, which cannot be reached \(Connection refused\)"
    ):
        describe(Source("stalling://in/a.jsonl"))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:1")
    with pytest.raises(NeedsOperator, match=r"127\.0\.0\.1:\d+, asked through a proxy"):
        describe(Source("stalling://in/a.jsonl"))


def test_a_store_that_says_nothing_is_named(server: type[Stalling], monkeypatch: pytest.MonkeyPatch) -> None:
    store = FsspecStore("stalling://in", timeout_s=0.1)
    monkeypatch.setattr(server, "at", "open")
    with pytest.raises(StoreUnavailable, match=rf"no answer in 0.1 s from 127.0.0.1:{server.port}"):
        store.get("a.jsonl")


@pytest.mark.parametrize("at", ["open", "read"])
def test_errors_of_clients_become_sentences(
    server: type[Stalling], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Some say only the file's name, and the cause beside it."""
    missing = FileNotFoundError("stalling://in/a.jsonl")
    missing.__cause__ = RuntimeError("Cannot connect to host")
    monkeypatch.setattr(server, "at", at)
    for error, said in (
        (RuntimeError("refused: https://me:secret1@server/a"), "refused: https://.*@server/a"),
        (FileNotFoundError("stalling://in/a.jsonl"), "nothing is there"),
        (missing, "Cannot connect to host"),
    ):
        monkeypatch.setattr(server, "error", error)
        with pytest.raises(NeedsOperator, match=f"a.jsonl cannot be read: {said}$") as raised:
            list(read_events(Source("stalling://in/a.jsonl")))
        assert "secret1" not in str(raised.value)


def test_files_of_a_pattern_are_shown_with_their_protocol(server: type[Stalling]) -> None:
    server().pipe("/in/b.jsonl", b"{}\n")
    with closing(Source("stalling://in/*.jsonl")) as source:
        assert [source.name(index) for index in range(2)] == [
            "stalling:///in/a.jsonl",
            "stalling:///in/b.jsonl",
        ]
