"""Probes and scrapes over a real loopback socket: correct answers, and limits against bad clients."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from detector.config.tree import HttpTls
from detector.errors import ConfigError
from detector.ports import PartitionStatus, Status
from detector.shell.http import HttpServer, listener, pages
from tests.kafka.pki import create_pki


@dataclass
class World:
    """What the server reports."""

    status: Status = field(default_factory=Status)
    heartbeat_age_s: float | None = 0.0
    scrape: Callable[[bool], tuple[bytes, str]] = lambda _: (b"a 1\n", "text/plain; version=0.0.4")

    def server(
        self, address: str = "127.0.0.1:0", heartbeat_limit_s: float = 60.0, **protection: Any
    ) -> HttpServer:
        return HttpServer(
            address,
            lambda: self.status,
            lambda: self.heartbeat_age_s,
            lambda openmetrics: self.scrape(openmetrics),
            heartbeat_limit_s=heartbeat_limit_s,
            **protection,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def server(world: World) -> Iterator[HttpServer]:
    server = world.server()
    server.start()
    yield server
    server.stop()


@dataclass
class Reply:
    status: int
    body: str
    headers: dict[str, str]


def where(server: HttpServer) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)


def ask(server: HttpServer, path: str, method: str = "GET") -> Reply:
    connection = http.client.HTTPConnection(*where(server), timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Reply(response.status, response.read().decode(), dict(response.getheaders()))
    finally:
        connection.close()


def raw(server: HttpServer, data: bytes) -> bytes:
    """Send bytes, read until the server closes; a reset is an answer too."""
    with socket.create_connection(where(server), timeout=5) as client:
        client.sendall(data)
        try:
            return client.makefile("rb").read()
        except ConnectionError:
            return b""


def test_alive_while_the_loop_runs(server: HttpServer, world: World) -> None:
    world.heartbeat_age_s = 59.9
    assert ask(server, "/livez").status == 200
    world.heartbeat_age_s = 60.0
    reply = ask(server, "/livez")
    assert reply.status == 503
    assert "60 s" in reply.body


def test_before_its_first_round_the_loop_has_the_same_time_limit(server: HttpServer, world: World) -> None:
    world.heartbeat_age_s = None
    assert ask(server, "/livez").status == 200
    impatient = world.server(heartbeat_limit_s=0.0)
    impatient.start()
    assert ask(impatient, "/livez").status == 503
    impatient.stop()


def test_alive_does_not_mean_ready(server: HttpServer) -> None:
    assert ask(server, "/livez").status == 200
    assert ask(server, "/readyz").status == 503


def test_readiness_reports_the_whole_status(server: HttpServer, world: World) -> None:
    world.status = Status(
        ready=False,
        reason="restoring",
        partitions=(PartitionStatus(partition=4, state="replaying", reason="offset 7 of 9"),),
        warnings=("records are not keyed by card",),
        drift=("amount has doubled",),
    )
    reply = ask(server, "/readyz")
    assert reply.status == 503
    assert reply.headers["Content-Type"] == "application/json"
    assert json.loads(reply.body) == {
        "ready": False,
        "reason": "restoring",
        "partitions": [{"partition": 4, "state": "replaying", "reason": "offset 7 of 9"}],
        "warnings": ["records are not keyed by card"],
        "drift": ["amount has doubled"],
    }
    reply = ask(server, "/status")
    assert reply.status == 200  # also while it is not ready
    assert json.loads(reply.body)["drift"] == ["amount has doubled"]
    world.status = Status(ready=True, reason="")
    reply = ask(server, "/readyz")
    assert reply.status == 200
    nothing: list[str] = []
    empty = {"partitions": nothing, "warnings": nothing, "drift": nothing}
    assert json.loads(reply.body) == {"ready": True, "reason": "", **empty}


def test_metrics_are_passed_on_as_they_are(server: HttpServer) -> None:
    reply = ask(server, "/metrics?name[]=a")
    assert (reply.status, reply.body) == (200, "a 1\n")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4"


def test_the_index_names_the_pages_and_the_rest_is_not_found(server: HttpServer) -> None:
    reply = ask(server, "/")
    assert reply.status == 200
    assert all(page in reply.body for page in ("/livez", "/readyz", "/metrics"))
    for path in ("/favicon.ico", "/livez/", "/metrics/../livez", "//", "/%2e%2e/etc/passwd"):
        assert ask(server, path).status == 404, path


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/nothing"])
def test_head_is_get_without_the_body(server: HttpServer, path: str) -> None:
    get, head = ask(server, path), ask(server, path, "HEAD")
    assert head.status == get.status
    assert head.body == ""
    assert head.headers["Content-Length"] == str(len(get.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(server: HttpServer, method: str) -> None:
    reply = ask(server, "/livez", method)
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, HEAD"


def test_a_page_that_fails_is_an_error_of_that_page_only(
    server: HttpServer, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: bool) -> tuple[bytes, str]:
        raise ValueError("a detail of ours")

    world.scrape = fail
    reply = ask(server, "/metrics")
    assert reply.status == 500
    assert "detail" not in reply.body
    assert "a detail of ours" in caplog.text
    assert ask(server, "/livez").status == 200


def test_nothing_is_written_for_ordinary_requests(
    server: HttpServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ask(server, "/livez")
    ask(server, "/nothing")
    raw(server, b"\x16\x03\x01 not http\r\n\r\n")
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/x\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"505"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
    ],
)
def test_bad_requests_get_an_error_that_does_not_name_our_versions(
    server: HttpServer, data: bytes, status: bytes
) -> None:
    reply = raw(server, data)
    assert reply.split(b" ")[1:2] in ([status], [])  # nothing when the reset overtook it
    assert b"Python" not in reply
    assert ask(server, "/livez").status == 200


def test_a_client_that_does_not_finish_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_TIMEOUT_S", 0.02)
    monkeypatch.setattr(listener, "_TICK_S", 0.01)
    server = world.server()
    server.start()
    assert raw(server, b"GET /livez HTTP/1.1\r\nHost:") == b""
    server.stop()


def test_idle_clients_never_keep_a_probe_from_its_answer(server: HttpServer) -> None:
    idle = [socket.create_connection(where(server)) for _ in range(2 * listener.CONNECTIONS_MAX)]
    for client in idle:
        client.sendall(b"GET /livez HTTP/1.1\r\n")  # never ends
    assert ask(server, "/livez").status == 200
    assert ask(server, "/metrics").status == 200
    for client in idle:
        client.close()


def closed(client: socket.socket) -> bool:
    """Whether the server has closed a connection on which it sent nothing; waits for it."""
    client.settimeout(5)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def still_open(server: HttpServer, client: socket.socket) -> bool:
    """Whether a connection still gets its answer."""
    client.settimeout(5)
    client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
    return client.makefile("rb").read().endswith(b"ok\n")


def test_the_oldest_unanswered_connection_goes_when_there_are_too_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 2)
    server = world.server()
    server.start()
    first, second, third = (socket.create_connection(where(server)) for _ in range(3))
    assert closed(first)
    assert still_open(server, second)
    assert still_open(server, third)
    server.stop()
    for client in (first, second, third):
        client.close()


def test_an_address_with_more_than_its_share_loses_its_own_oldest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "PEER_CONNECTIONS_MAX", 2)
    server = world.server(":0")
    server.start()
    port = where(server)[1]
    other = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
    many = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    assert closed(many[0])
    assert all(still_open(server, client) for client in (other, *many[1:]))
    server.stop()
    for client in (other, *many):
        client.close()


def test_a_slow_scrape_does_not_delay_a_probe_and_is_made_once_for_all_who_wait(
    server: HttpServer, world: World
) -> None:
    began, goes_on, made = threading.Event(), threading.Event(), []

    def scrape(_: bool) -> tuple[bytes, str]:
        made.append(1)
        began.set()
        goes_on.wait(5)
        return b"a 1\n", "text/plain"

    world.scrape = scrape
    with ThreadPoolExecutor(9) as clients:
        scrapes = [clients.submit(ask, server, "/metrics")]
        assert began.wait(5)
        scrapes += [clients.submit(ask, server, "/metrics") for _ in range(8)]
        assert ask(server, "/livez").status == 200
        goes_on.set()
        assert {one.result().body for one in scrapes} == {"a 1\n"}
    assert len(made) < 9


def test_each_client_gets_the_format_that_it_takes_also_while_others_wait(
    server: HttpServer, world: World
) -> None:
    goes_on = threading.Event()

    def scrape(openmetrics: bool) -> tuple[bytes, str]:
        goes_on.wait(5)
        return (b"# EOF\n", "application/openmetrics-text") if openmetrics else (b"a 1\n", "text/plain")

    world.scrape = scrape
    media = ["application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "text/plain", "*/*"]
    with ThreadPoolExecutor(9) as clients:
        waiting = [(one, clients.submit(asking, server, "/metrics", {"Accept": one})) for one in media * 3]
        goes_on.set()
        for accept, reply in waiting:
            assert reply.result().body == ("# EOF\n" if "openmetrics" in accept else "a 1\n")


def test_a_large_scrape_arrives_whole(server: HttpServer, world: World) -> None:
    body = b"x" * 8_000_000
    world.scrape = lambda _: (body, "text/plain")
    assert len(ask(server, "/metrics").body) == len(body)


# --- token and TLS ---


def asking(server: HttpServer, path: str, headers: dict[str, str]) -> Reply:
    connection = http.client.HTTPConnection(*where(server), timeout=5)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    reply = Reply(response.status, response.read().decode(), dict(response.getheaders()))
    connection.close()
    return reply


def with_token(server: HttpServer, path: str, header: str | None) -> Reply:
    return asking(server, path, {} if header is None else {"Authorization": header})


def test_without_the_token_a_client_sees_whether_it_is_alive_and_ready_and_nothing_else(world: World) -> None:
    world.status = Status(ready=True, warnings=("a detail",))
    server = world.server(token="s3cret")
    server.start()
    for header in (None, "Bearer other", "Bearer", "Basic s3cret", "s3cret", "Bearer s3cret\xe9"):
        reply = with_token(server, "/metrics", header)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert with_token(server, "/livez", header).status == 200
        reply = with_token(server, "/readyz", header)
        assert (reply.status, reply.body) == (200, '{"ready":true}')
    for header in ("Bearer s3cret", "bearer  s3cret"):
        assert with_token(server, "/metrics", header).body == "a 1\n"
        assert "a detail" in with_token(server, "/readyz", header).body
    server.stop()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> HttpTls:
    store = str(create_pki(tmp_path_factory.mktemp("pki")).server_store)  # key and certificate
    return HttpTls(cert_file=store, key_file=store)


def over_tls(server: HttpServer, path: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = server.url.removeprefix("https://").rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=5)
    with context.wrap_socket(plain) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        return client.makefile("rb").read()


def test_pages_over_tls_whatever_else_connects(world: World, tls: HttpTls) -> None:
    world.scrape = lambda _: (b"x" * 3_000_000, "text/plain")
    server = world.server(tls=tls)
    server.start()
    assert server.url.startswith("https://")
    port = int(server.url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * listener.CONNECTIONS_MAX)]
    for client in silent[::2]:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")  # not TLS
    assert over_tls(server, "/livez").endswith(b"ok\n")
    assert len(over_tls(server, "/metrics")) > 3_000_000
    server.stop()
    for client in silent:
        client.close()


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(
    world: World,
    tls: HttpTls,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "_RENEWED_S", 0.0)
    mine = HttpTls(cert_file=str(tmp_path / "c"), key_file=str(tmp_path / "k"))
    for theirs, ours in ((tls.cert_file, mine.cert_file), (tls.key_file, mine.key_file)):
        Path(ours).write_bytes(Path(theirs).read_bytes())
    server = world.server(tls=mine)
    server.start()
    Path(mine.cert_file).write_text("torn")
    assert over_tls(server, "/livez").endswith(b"ok\n")
    assert "the old one is" in caplog.text
    server.stop()


def test_a_certificate_that_cannot_be_used_names_the_key(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        world.server(tls=HttpTls(cert_file=str(tmp_path / "none"), key_file="none")).start()
    (problem,) = caught.value.problems
    assert problem.path == "http.tls"


def test_a_client_in_the_middle_of_a_request_does_not_keep_it_from_stopping(world: World) -> None:
    server = world.server()
    server.start()
    with socket.create_connection(where(server)):
        server.stop()
        server.stop()  # may be repeated


def test_never_started_can_be_stopped(world: World) -> None:
    world.server().stop()


@pytest.mark.parametrize(
    ("address", "url"),
    [("[::1]:0", "http://[::1]:"), ("localhost:0", "http://127.0.0.1:"), (":0", "http://")],
)
def test_it_listens_where_the_address_says(world: World, address: str, url: str) -> None:
    if "::" in address and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = world.server(address)
    server.start()
    assert server.url.startswith(url)
    assert ask(server, "/livez").status == 200
    server.stop()


def test_all_interfaces_means_both_families(world: World) -> None:
    server = world.server(":0")
    server.start()
    port = where(server)[1]
    for host in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
        socket.create_connection((host, port), timeout=5).close()
    server.stop()


@pytest.mark.parametrize("address", ["taken", "127.0.0.1:99999", "192.0.2.1:0"])
def test_an_unusable_address_names_the_key(world: World, server: HttpServer, address: str) -> None:
    if address == "taken":
        address = server.url.removeprefix("http://")
    with pytest.raises(ConfigError) as caught:
        world.server(address).start()
    (problem,) = caught.value.problems
    assert problem.path == "http.address"
    assert problem.value == address
