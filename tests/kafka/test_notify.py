"""`detector notify` on a real Kafka: a receiver that is down, and a process that is killed, lose nothing."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.kafka.place import Place
from tests.kafka.topics import create_topic, produce_all, read_all
from tests.kafka.waiting import poll_until

pytestmark = pytest.mark.kafka
ALERTS = 60


class Hook:
    """A webhook: the ids that it took, in order; answers 503 while `down`."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.asked = 0
        self.down = True
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked += 1
                if not hook.down:
                    hook.ids.append(self.headers["webhook-id"])
                self.send_response(503 if hook.down else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def alert(number: int) -> tuple[bytes, bytes, list[tuple[str, bytes]], int]:
    headers = [("ce_id", f"in-0-{number}".encode()), ("ce_type", b"detector.alert.v1")]
    return f"card{number % 5}".encode(), b'{"severity": "high"}', headers, 0


def detector(*arguments: str) -> str:
    command = [sys.executable, "-m", "detector", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout


def config_of(place: Place, hook: Hook, folder: Path) -> Path:
    tree = place.config().model_dump(mode="json", exclude_none=True)
    url = f"http://127.0.0.1:{hook.server.server_port}/"
    receiver = {"name": "hook", "kind": "webhook", "url": url, "rate": 6000, "key": {"env": "HOOK_KEY"}}
    tree = {key: tree[key] for key in ("event", "kafka", "topics")}
    tree["notify"] = {"start": "earliest", "address": "127.0.0.1:0", "receivers": [receiver]}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def start(place: Place, hook: Hook, folder: Path) -> subprocess.Popen[bytes]:
    file = config_of(place, hook, folder)
    command = [sys.executable, "-m", "detector", "notify", "--config", str(file)]
    return subprocess.Popen(command, env=os.environ | {"HOOK_KEY": "k"}, stderr=subprocess.DEVNULL)


def test_a_receiver_that_is_down_and_a_killed_process_lose_no_alert(
    place: Place, hook: Hook, tmp_path: Path
) -> None:
    produce_all(place.broker.bootstrap, place.alerts, [alert(n) for n in range(ALERTS // 2)])
    running = start(place, hook, tmp_path)
    try:
        assert poll_until(lambda: hook.asked > 0)
        hook.down = False
        assert poll_until(lambda: len(hook.ids) > 3)
        running.kill()
        running.wait()
        produce_all(place.broker.bootstrap, place.alerts, [alert(n) for n in range(ALERTS // 2, ALERTS)])
        running = start(place, hook, tmp_path)
        expected = [f"in-0-{n}" for n in range(ALERTS)]
        assert poll_until(lambda: set(hook.ids) >= set(expected))
        first = {id_: hook.ids.index(id_) for id_ in expected}
        assert sorted(expected, key=first.__getitem__) == expected
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()


def test_alerts_are_shown_and_exported_from_their_topic(place: Place, hook: Hook, tmp_path: Path) -> None:
    produce_all(place.broker.bootstrap, place.alerts, [alert(n) for n in range(7)])
    file = str(config_of(place, hook, tmp_path))
    shown = detector("alerts", "tail", "--config", file, "-n", "3", "--once").splitlines()
    assert [f"in-0-{n}" in one for n, one in zip((4, 5, 6), shown, strict=True)] == [True] * 3
    assert "HIGH alert" in detector("alerts", "show", "in-0-2", "--config", file)
    table = tmp_path / "alerts.csv"
    detector("alerts", "export", "--config", file, "--out", str(table))
    assert [row["alert_id"] for row in csv.DictReader(table.read_text().splitlines())] == [
        f"in-0-{n}" for n in range(7)
    ]


def test_cases_are_listed_and_answers_sent(place: Place, hook: Hook, tmp_path: Path) -> None:
    body = (
        b'{"severity": "high", "case_id": "in-0-1", "case": {"number": 3, "sum": 640.2, "largest": 353.75}}'
    )
    headers = [("ce_id", b"in-0-7"), ("ce_type", b"detector.alert.v1")]
    produce_all(place.broker.bootstrap, place.alerts, [(b"card", body, headers, 0)])
    feedback = f"{place.name}.feedback"
    create_topic(place.broker.bootstrap, feedback, 1)
    file = str(config_of(place, hook, tmp_path))
    listed = detector("cases", "list", "--config", file).splitlines()[-1].split()
    assert (listed[0], *listed[-5:]) == ("in-0-1", "3", "640.20", "353.75", "high", "0.00")
    assert "640.20 in all" in detector("cases", "show", "in-0-1", "--config", file)
    answer = ("--alert", "in-0-7", "--label", "legit", "--actor", "ann")
    id_ = detector(
        "feedback", "send", "--config", file, *answer, "--set", f"topics.feedback={feedback}"
    ).strip()
    [sent] = read_all(place.broker.bootstrap, feedback)
    record = json.loads(sent.value)
    assert {key: record[key] for key in ("alert_id", "label", "actor", "feedback_id")} == {
        "alert_id": "in-0-7", "label": "legit", "actor": "ann", "feedback_id": id_,
    }  # fmt: skip
