"""Checkpoints in S3, served by moto: whole objects, other writers, other clusters; servers in trouble."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from detector.config.tree import Config
from detector.core.recovery.generations import store_prefix
from detector.errors import EXIT_NEEDS_OPERATOR, NeedsOperator, StoreUnavailable
from detector.shell.objects import Objects
from detector.shell.store import FsspecStore
from detector.wiring import doctor

s3fs = pytest.importorskip("s3fs", reason="needs the extra s3")
moto = pytest.importorskip("moto.server", reason="needs moto and flask, which serve S3")

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
EVENT = {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]}


def at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3's client ask this server."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "not a real key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def url(served: str, monkeypatch: pytest.MonkeyPatch) -> str:
    at(served, monkeypatch)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/detector"


@contextmanager
def answering(status: int, delay_s: float = 0.0) -> Iterator[str]:
    """Serve nothing but one status."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # for Expect: 100-continue, by which the client asks before it sends

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            done.wait(delay_s)
            self.send_response(status)
            body = DENIED if status == 403 else b""
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            done.set()
            server.shutdown()
            thread.join()


def test_objects_are_whole_and_seen_by_others(url: str) -> None:
    ours, theirs = FsspecStore(url), FsspecStore(url)
    assert ours.shared()
    assert ours.list("0/") == []
    for name, data in (("0/2-b", b"two"), ("0/1-a", b""), ("1/1-a", b"x" * (6 << 20))):
        ours.put(name, data)
        assert theirs.get(name) == data
    assert theirs.list("0/") == ["0/1-a", "0/2-b"]
    ours.put("0/3-c", b"three")  # after the others' client has listed the folder
    assert theirs.list("0/") == ["0/1-a", "0/2-b", "0/3-c"]
    theirs.delete("0/2-b")
    theirs.delete("0/2-b")
    assert ours.list("0/") == ["0/1-a", "0/3-c"]
    with pytest.raises(KeyError):
        ours.get("0/2-b")


def test_a_name_is_written_twice_with_the_same_content(url: str) -> None:
    """As when an answer is lost, and the client repeats the request."""
    store = FsspecStore(url)
    store.put("0/1-a", b"same")
    store.put("0/1-a", b"same")
    assert store.get("0/1-a") == b"same"


def test_clusters_share_a_bucket_and_not_their_objects(url: str) -> None:
    store = FsspecStore(url)
    for cluster in ("one", "two"):
        Objects(store, group="g", topic="t", cluster=cluster).put("0/1-a", cluster.encode())
    assert Objects(store, group="g", topic="t", cluster="one").get("0/1-a") == b"one"
    assert len(store.list(store_prefix("g", "t"))) == 2
    with pytest.raises(NeedsOperator, match="several clusters"):
        Objects(store, group="g", topic="t").enter_only_cluster()


def test_a_bucket_that_does_not_exist(url: str) -> None:
    store = FsspecStore("s3://no-such-bucket/detector")
    with pytest.raises(StoreUnavailable, match="no-such-bucket"):
        store.put("0/1-a", b"")
    assert store.list("0/") == []


@pytest.mark.parametrize(("status", "delay_s"), [(503, 0.0), (403, 0.0), (200, 30.0)])
def test_a_server_that_fails_or_is_slow(monkeypatch: pytest.MonkeyPatch, status: int, delay_s: float) -> None:
    with answering(status, delay_s) as endpoint:
        at(endpoint, monkeypatch)
        store, began = FsspecStore("s3://bucket/detector", 8.0 if status == 403 else 1.0), time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            store.put("0/1-a", b"data")
        assert time.monotonic() - began < 10.0
    assert "s3://bucket/detector: put 0/1-a" in str(caught.value)
    assert "not a real key" not in str(caught.value)
    if status == 403:
        assert "Access Denied" in str(caught.value)


def test_the_doctor_looks_at_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.model_validate({"event": EVENT, "checkpoints": {"url": url}})
    found = doctor._store(config)
    assert found.verdict == "ok", found
    assert FsspecStore(url).list("doctor-") == []
    with answering(403) as endpoint:
        at(endpoint, monkeypatch)
        found = doctor._store(config)
    assert (found.verdict, found.exit_code) == ("error", EXIT_NEEDS_OPERATOR)
