"""The console as a process, and a person who uses its pages without a browser."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from itsdangerous import URLSafeTimedSerializer

from tests.kafka.broker import free_ports
from tests.kafka.distribution import ends_with_us
from tests.kafka.waiting import poll_until

ANSWER_S = 20.0


class ConsoleProcess:
    """`detector console`, on one address and one database over all its lives.

    Parameters
    ----------
    config
        File with the configuration.
    module
        What is run in place of `detector`.
    settings
        Further settings, as NAME=VALUE.
    """

    def __init__(self, config: Path, folder: Path, *settings: str, module: str = "detector") -> None:
        self.port = free_ports(1)[0]
        self.url, self.log_file = f"http://127.0.0.1:{self.port}", folder / "console.log"
        self.database = folder / "console.db"
        self._command = [sys.executable, "-m", module, "console", "--config", str(config)]
        wanted = (f"console.address=127.0.0.1:{self.port}", f"console.database={self.database}", *settings)
        for setting in wanted:
            self._command += ["--set", setting]
        self.start()

    def start(self) -> None:
        """Start it, also again."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                ends_with_us(self._command), stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ)
            )

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it (SIGTERM). Returns the exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def answers(self) -> bool:
        """Whether it serves pages."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    def await_pages(self) -> None:
        """Wait until it serves pages."""
        if not poll_until(self.answers, timeout_s=600):
            raise SystemExit(f"the console does not start: {self.log_file.read_text()[-2000:]}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page answers."""

    status: int
    text: str
    location: str


class Person:
    """Somebody with a session, one request after the other. A request raises OSError if nobody answers."""

    def __init__(self, url: str, name: str) -> None:
        self.name, self._url, self._cookie = name, urlsplit(url), ""

    def log_in(self, token: str) -> None:
        """Open a session with a token."""
        answer = self.post("/login", {"token": token})
        if answer.status != 303 or not self._cookie:
            raise SystemExit(f"{self.name} cannot log in: {answer.status}")

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        """Send a form, as a browser does from a page of the console."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self._url.geturl()}
        return self._ask("POST", path, urlencode(fields).encode(), headers)

    def cases(self, query: str) -> list[str]:
        """Ids of the first cases of a queue."""
        page = self.get(f"/cases?{query}").text
        return list(
            dict.fromkeys(unquote(unescape(one)) for one in re.findall(r'href="/cases/([^"?/]+)', page))
        )

    def case(self, id_: str) -> str:
        """Page of a case."""
        return self.get(f"/cases/{quote(id_, safe='')}").text

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(str(self._url.hostname), self._url.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, body, {"Cookie": self._cookie, **headers})
            answer = connection.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as error:  # killed within an answer
            raise ConnectionError(str(error)) from None
        finally:
            connection.close()
        if (cookie := answer.headers.get("Set-Cookie")) is not None:
            self._cookie = cookie.partition(";")[0]
        return Answer(answer.status, text, answer.headers.get("Location") or "")


def hidden(page: str, name: str) -> str | None:
    """Value of a hidden field of a page; None: it has none."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    return None if found is None else unescape(found[1])


def ids_told(answer: Answer) -> Sequence[str]:
    """Ids of the feedback records that the page after an act tells of."""
    done = parse_qs(urlsplit(answer.location).query)["done"][0]
    _, (_, _, value) = URLSafeTimedSerializer("").loads_unsafe(done)
    return list(value["ids"])
