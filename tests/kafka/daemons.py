"""`detector run` processes on a real Kafka, their topics, and what they published."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from tests.kafka.broker import free_ports
from tests.kafka.distribution import ends_with_us
from tests.kafka.topics import create_topic, read_all
from tests.kafka.waiting import PATIENCE_S, poll_until

HANDBOOK_EVENT: dict[str, Any] = {
    "id": "TRANSACTION_ID",
    "time": {"path": "TX_DATETIME"},
    "entities": [{"name": "customer", "path": "CUSTOMER_ID"}, {"name": "terminal", "path": "TERMINAL_ID"}],
    "fields": [{"name": "amount", "path": "TX_AMOUNT", "type": "numeric", "optional": False}],
    "exposure": "amount",
}


KINDS = ("transactions", "alerts", "dead_letter", "scores")


class Daemon:
    """One `detector run` process. Its log is in `log_file`."""

    def __init__(
        self,
        config: Path,
        settings: Iterable[str],
        log_file: Path,
        module: str,
        checkout: Path | None = None,
    ) -> None:
        self.log_file = log_file
        self._address = f"127.0.0.1:{free_ports(1)[0]}"
        self.url = f"http://{self._address}"
        command = [sys.executable, "-m", module, "run", "--config", str(config)]
        for setting in (*settings, f"http.address={self._address}"):
            command += ["--set", setting]
        environment = None if checkout is None else {**os.environ, "PYTHONPATH": str(checkout)}
        with log_file.open("wb") as log:
            self.process = subprocess.Popen(
                ends_with_us(command), stdout=log, stderr=subprocess.STDOUT, cwd=checkout, env=environment
            )

    def page(self, path: str) -> tuple[int, str]:
        """Status and body of a page; (0, "") when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{self._address}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        return sum(self.metrics(name).values())

    def metrics(self, name: str) -> dict[str, float]:
        """Values of a metric by labels, as written in the exposition format."""
        found = {}
        for line in self.page("/metrics")[1].splitlines():
            if line.startswith((f"{name}{{", f"{name} ")):
                labels, value = line.removeprefix(name).rsplit(" ", 1)
                found[labels] = float(value)
        return found

    def ready(self) -> bool:
        return self.page("/readyz")[0] == 200

    def owns(self) -> int:
        """Number of assigned partitions that are running."""
        return len(self.running())

    def running(self) -> set[int]:
        """Assigned partitions that are running."""
        return {number for number, state in self.states().items() if state == "running"}

    def states(self) -> dict[int, str]:
        """States of the assigned partitions."""
        status, body = self.page("/readyz")
        found = json.loads(body)["partitions"] if status else []
        return {p["partition"]: p["state"] for p in found}

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def suspend(self) -> None:
        """Freeze the process (SIGSTOP): its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process continue (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """Stop the process (SIGTERM). Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        lines = [line for line in self.log().splitlines() if f'"event": "{event}"' in line]
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


class Deployment:
    """The topics, the group and the configuration of any number of daemons."""

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        name: str,
        *,
        partitions: int,
        config: dict[str, Any] | None = None,
        module: str = "detector",
        kafka: Mapping[str, Any] | None = None,
        log: Mapping[str, str] | None = None,
        sides: Iterable[str] = (),
    ) -> None:
        """Create the topics and write the config.

        Parameters
        ----------
        config
            Additional settings.
        kafka
            Additional settings of the section `kafka`.
        log
            Topic configuration of the transactions topic.
        sides
            Any of "feedback" and "exchange".
        """
        self.module = module
        self.checkout: Path | None = None  # another one than this, for the next daemons
        self.bootstrap = bootstrap
        self.folder = folder
        self.partitions = partitions
        self.topics = {topic: f"{name}-{topic}" for topic in (*KINDS, *sides)}
        self.group = f"{name}-detector"
        self.config = folder / f"{name}.yaml"
        settings = {
            "event": HANDBOOK_EVENT,
            "kafka": {
                "bootstrap_servers": bootstrap.split(","),
                "group_id": self.group,
                "session_timeout_ms": 6000,
                **(kafka or {}),
            },
            "topics": self.topics,
            "checkpoints": {"url": f"file://{folder / 'checkpoints'}", "interval": 2},
            **(config or {}),
        }
        self.config.write_text(json.dumps(settings))
        self.daemons: list[Daemon] = []
        for kind, topic in self.topics.items():
            count = 1 if kind in sides else partitions
            create_topic(bootstrap, topic, count, log if kind == "transactions" else None)

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()

    def produce(self, events: Iterable[tuple[bytes | None, bytes | None]]) -> int:
        """Send (key, value) records to the partitions given by the keys' CRC-32. Returns their number."""
        count = 0
        with contextlib.closing(KafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=20)) as producer:
            for key, value in events:
                partition = zlib.crc32(key or b"") % self.partitions
                producer.send(self.topics["transactions"], key=key, value=value, partition=partition)
                count += 1
            producer.flush(timeout=PATIENCE_S)
        return count

    @property
    def checkpoints(self) -> Path:
        """Folder of the group's checkpoints."""
        url: str = json.loads(self.config.read_text())["checkpoints"]["url"]
        return Path(url.removeprefix("file://"))

    def start(self, *settings: str) -> Daemon:
        """Start one more daemon."""
        log_file = self.folder / f"daemon-{len(self.daemons)}.log"
        daemon = Daemon(self.config, settings, log_file, self.module, self.checkout)
        self.daemons.append(daemon)
        return daemon

    def committed(self) -> int:
        """Sum of the group's committed offsets."""
        with self._consumer(group_id=self.group) as consumer:
            return self._committed(consumer)

    def _committed(self, consumer: KafkaConsumer, timeout_ms: int | None = None) -> int:
        return sum(consumer.committed(at, timeout_ms=timeout_ms) or 0 for at in self._inputs())

    def await_done(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until everything produced is committed."""
        with self._consumer(group_id=self.group) as consumer:
            end = sum(consumer.end_offsets(self._inputs()).values())

            def done() -> bool:
                with contextlib.suppress(Exception):  # some tests stop the broker
                    return self._committed(consumer, timeout_ms=5000) >= end
                return False

            if poll_until(done, timeout_s=timeout_s, interval_s=0.3):
                return
        logs = "\n".join(daemon.log()[-3000:] for daemon in self.daemons)
        raise TimeoutError(f"committed {self.committed()} of {end} after {timeout_s:g} s\n{logs}")

    def forget_group(self) -> None:
        """Delete the group and use another checkpoint folder, for another run over the same log."""
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            admin.delete_groups([self.group])
        self.config.write_text(self.config.read_text().replace("/checkpoints", "/checkpoints-again"))

    def rename_outputs(self, suffix: str) -> None:
        """Create new output topics for the next daemons."""
        text = self.config.read_text()
        for name in ("alerts", "dead_letter", "scores"):
            fresh = self.topics[name] + suffix
            create_topic(self.bootstrap, fresh, self.partitions)
            text = text.replace(f'"{self.topics[name]}"', f'"{fresh}"')
            self.topics[name] = fresh
        self.config.write_text(text)

    def published(self, topic: str) -> list[ConsumerRecord]:
        """Committed records of an output topic."""
        return read_all(self.bootstrap, self.topics[topic])

    def all_visible(self) -> bool:
        """Whether a read_committed consumer sees all of the outputs that are there."""
        at = [TopicPartition(self.topics[k], p) for k in KINDS[1:] for p in range(self.partitions)]
        ends = []
        for level in ("read_committed", "read_uncommitted"):
            with contextlib.closing(
                KafkaConsumer(
                    bootstrap_servers=self.bootstrap, isolation_level=level, enable_auto_commit=False
                )
            ) as consumer:
                ends.append(consumer.end_offsets(at))
        return ends[0] == ends[1]

    def alerts(self) -> dict[str, tuple[Any, ...]]:
        """Alerts by id: key, headers, body. Fails if one was published twice."""
        records = self.published("alerts")
        ids = [json.loads(record.value)["alert_id"] for record in records]
        twice = [id_ for id_, count in Counter(ids).items() if count > 1]
        assert not twice, f"published twice: {twice[:5]}"
        return {
            id_: (record.key, tuple(record.headers), record.value)
            for id_, record in zip(ids, records, strict=True)
        }

    def scored_events(self) -> Counter[tuple[int, int]]:
        """Number of scores for each (partition, offset)."""
        scores = (json.loads(record.value) for record in self.published("scores"))
        return Counter((score["partition"], score["offset"]) for score in scores)

    def _inputs(self) -> list[TopicPartition]:
        return [TopicPartition(self.topics["transactions"], p) for p in range(self.partitions)]

    def _consumer(self, **settings: Any) -> contextlib.AbstractContextManager[KafkaConsumer]:
        return contextlib.closing(
            KafkaConsumer(
                bootstrap_servers=self.bootstrap,
                enable_auto_commit=False,
                isolation_level="read_committed",
                **settings,
            )
        )
