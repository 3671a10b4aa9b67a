"""Receivers over real loopback sockets: what their answers mean, and that none holds up a delivery."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from detector.config.tree import Receiver
from detector.notify import Refused, Unavailable, bodies
from detector.shell.receivers import HttpSender, MailSender
from tests.unit.test_notify import message


@dataclass
class Server:
    """What it answers, and what it got."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    slow_s: float = 0.0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state, stop = Server(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append((dict(self.headers), body))
            stop.wait(state.slow_s)
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/hook"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield state
    stop.set()
    http.shutdown()
    http.server_close()
    thread.join()


def sender(url: str, **settings: Any) -> HttpSender:
    given: dict[str, Any] = {"batch_max": 100, "token": "secret", "context": None, "timeout_s": 5.0}
    return HttpSender(url, bodies.webhook("key"), **given | settings)


def test_a_message_is_posted_with_token_and_signature(server: Server) -> None:
    sender(server.url).send([message(3)], 5.0)
    [(headers, body)] = server.got
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Webhook-Id"] == "in-0-3"
    assert json.loads(body)["data"]["case_id"] == "in-0-1"


@pytest.mark.parametrize("status", [429, 500, 503, 401, 403, 404, 302, 408])
def test_a_message_is_sent_again_later(server: Server, status: int) -> None:
    server.status, server.headers = status, {"Retry-After": "7", "Location": server.url}
    with pytest.raises(Unavailable, match=str(status)) as caught:
        sender(server.url).send([message()], 0.0)
    assert caught.value.after_s == 7.0
    assert len(server.got) == 1  # a redirect is not followed
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_message_is_refused_for_good(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(Refused, match=str(status)):
        sender(server.url).send([message()], 0.0)


def test_a_slow_receiver_and_one_that_is_away_are_unavailable(server: Server) -> None:
    server.slow_s = 30.0
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match="no answer in"):
        sender(server.url, timeout_s=0.2).send([message()], 0.0)
    assert time.monotonic() - began_s < 20.0
    with pytest.raises(Unavailable, match="no connection"):
        sender("http://127.0.0.1:1/").send([message()], 0.0)


# --- mail --------------------------------------------------------------------------------------------------


@dataclass
class Post:
    """A mail server: what it answers after DATA and to recipients, and the mails it took."""

    data_code: int = 250
    recipient_code: int = 250
    mails: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def post() -> Iterator[Post]:
    state = Post()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while words := self.rfile.readline().decode().split():
                verb, code = words[0].upper(), 250
                if verb == "RCPT":
                    code = state.recipient_code
                if verb == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b""
                    while (one := self.rfile.readline()) not in (b".\r\n", b""):
                        text += one
                    code = state.data_code
                    if code == 250:
                        state.mails.append(text.decode())
                self.wfile.write(f"{221 if verb == 'QUIT' else code} said\r\n".encode())
                if verb == "QUIT":
                    return

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def mailer(post: Post, **settings: Any) -> MailSender:
    given = {"name": "m", "kind": "email", "smtp": post.address, "sender": "d@example.com"}
    receiver = given | {"to": ["team@example.com"], "encryption": "none", "timeout": 5} | settings
    return MailSender(Receiver.model_validate(receiver), None, None)


def test_a_mail_tells_of_several_messages(post: Post) -> None:
    mailer(post).send([message(1), message(2, severity="critical")], 0.0)
    [text] = post.mails
    assert "Subject: 2 alerts and case updates: 1 critical, 1 high" in text
    assert "Amount is unusual" in text


def test_what_a_mail_server_refuses(post: Post) -> None:
    post.data_code = 554
    with pytest.raises(Refused, match="554"):
        mailer(post).send([message()], 0.0)
    post.data_code = 451
    with pytest.raises(Unavailable, match="451"):
        mailer(post).send([message()], 0.0)
    post.recipient_code = 550
    with pytest.raises(Unavailable, match="550"):
        mailer(post).send([message()], 0.0)
    with pytest.raises(Unavailable):  # it does not offer encryption
        mailer(post, encryption="starttls").send([message()], 0.0)
