"""Prometheus, Alertmanager and a webhook as processes and threads of this machine.

`prometheus`, `promtool` and `prometheus-alertmanager` come with Debian's packages `prometheus` and
`prometheus-alertmanager`. Everything listens on the loopback interface and ends with the program.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.kafka.broker import free_ports
from tests.kafka.daemons import Deployment
from tests.kafka.distribution import ends_with_us
from tests.kafka.waiting import poll_until

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
SCRAPE_S = 2
TIMEOUT_S = 30.0


def get(url: str, **parameters: Any) -> Any:
    """JSON of a page."""
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}?{query}" if query else url, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


class Server:
    """One process, ended with the block."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, ready: str) -> None:
        found = shutil.which(command[0])
        if found is None:
            raise SystemExit(
                f"{command[0]} is missing: install Debian's packages prometheus, prometheus-alertmanager"
            )
        self._name, self._ready = name, ready
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([found, *command[1:]], stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        def up() -> bool:
            try:
                with urllib.request.urlopen(self._ready, timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        if not poll_until(up, interval_s=0.2):
            self._process.kill()
            raise SystemExit(f"{self._name} did not start:\n{self._log.read_text()[-2000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)


class Prometheus(Server):
    """Scrapes every two seconds and evaluates the project's rules.

    Parameters
    ----------
    targets
        Addresses by job.
    rules
        File with rules.
    alertmanager
        Address; None: alerts go nowhere.
    """

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        rules: Path = RULES,
        alertmanager: str | None = None,
    ) -> None:
        address = f"127.0.0.1:{free_ports(1)[0]}"
        self.url = f"http://{address}"
        managers = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
        self._files = {job: folder / f"targets-{job}.json" for job in targets}
        config = {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
            "rule_files": [str(rules)],
            "alerting": {"alertmanagers": managers},
            "scrape_configs": [
                {"job_name": job, "file_sd_configs": [{"files": [str(file)], "refresh_interval": "2s"}]}
                for job, file in self._files.items()
            ],
        }
        for job, addresses in targets.items():
            self.target(job, addresses)
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        command = [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]
        super().__init__("prometheus", command, folder, f"{self.url}/-/ready")

    def target(self, job: str, addresses: Sequence[str]) -> None:
        """Change a job's targets."""
        file = self._files[job]
        fresh = file.with_suffix(".tmp")
        fresh.write_text(json.dumps([{"targets": list(addresses)}]))
        fresh.rename(file)

    def range(self, query: str, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """Answer of a query over a time; a query that Prometheus refuses ends the program."""
        try:
            data = get(f"{self.url}/api/v1/query_range", query=query, start=start_s, end=end_s, step=step_s)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{query}: {error.read().decode()}") from error
        found: list[dict[str, Any]] = data["data"]["result"]
        return found

    def exemplars(self, query: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
        """Exemplars of a query's series."""
        data = get(f"{self.url}/api/v1/query_exemplars", query=query, start=start_s, end=end_s)
        return [one for series in data["data"] for one in series["exemplars"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts that are pending or fire."""
        found: list[dict[str, Any]] = get(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return found

    def number(self, query: str) -> float:
        """The value of a query that has one."""
        [found] = get(f"{self.url}/api/v1/query?query={urllib.parse.quote(query)}")["data"]["result"]
        return float(found["value"][1])


def backfill(folder: Path, series: str, value: float, ages_s: range) -> None:
    """Give a Prometheus that starts in this folder a past: a series that had this value at these ages."""
    now_s = time.time()
    file = folder / "past.txt"
    lines = [f"{series} {value} {now_s - age_s:.3f}" for age_s in ages_s]
    file.write_text("\n".join([*lines, "# EOF", ""]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(file), str(folder / "tsdb")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Hook(ThreadingHTTPServer):
    """The receiver of `detector notify`, which answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status, self.refused = 200, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


@contextmanager
def notifying(deployment: Deployment, folder: Path, hook: Hook) -> Iterator[str]:
    """`detector notify` as a process, with this receiver; where its page is."""
    tree = json.loads(deployment.config.read_text())
    address = f"127.0.0.1:{free_ports(1)[0]}"
    receiver = {"name": "desk", "kind": "webhook", "url": hook.url, "rate": 6000}
    tree = {key: tree[key] for key in ("event", "kafka", "topics")}
    tree["notify"] = {"start": "latest", "address": address, "receivers": [receiver]}
    file = folder / "notify.yaml"
    file.write_text(json.dumps(tree))
    command = [sys.executable, "-m", "detector", "notify", "--config", str(file)]
    with (folder / "notify.log").open("wb") as log:
        process = subprocess.Popen(ends_with_us(command), stdout=log, stderr=subprocess.STDOUT)
    yield address
    process.terminate()
    process.wait()


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Hook)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.refused += self.server.status == 400
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


class Webhook(ThreadingHTTPServer):
    """What a pager would be: keeps the messages of Alertmanager, with the time of their arrival."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.messages: list[tuple[float, dict[str, Any]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def seen(self, status: str) -> dict[str, float]:
        """When each alert first came with this status, s since the epoch, by name."""
        found: dict[str, float] = {}
        for at_s, message in self.messages:
            for alert in message["alerts"]:
                if alert["status"] == status:
                    found.setdefault(alert["labels"]["alertname"], at_s)
        return found


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Webhook)
        self.server.messages.append((time.time(), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


class Alertmanager(Server):
    """Sends every alert to the webhook at once."""

    def __init__(self, folder: Path, webhook: Webhook) -> None:
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        config = {
            "route": {
                "receiver": "pager",
                "group_by": ["alertname", "instance", "partition"],
                "group_wait": "1s",
                "group_interval": "2s",
                "repeat_interval": "1h",
            },
            "receivers": [
                {"name": "pager", "webhook_configs": [{"url": webhook.url, "send_resolved": True}]}
            ],
        }
        file = folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config))
        command = [
            "prometheus-alertmanager",
            f"--config.file={file}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        super().__init__("alertmanager", command, folder, f"http://{self.address}/-/ready")
