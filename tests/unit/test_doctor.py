"""`detector doctor` without a broker: names, connections, certificates, secrets, store and memory."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detector.config.tree import Config
from detector.errors import EXIT_CONFIG, EXIT_NEEDS_OPERATOR, StoreUnavailable
from detector.shell.finding import Finding
from detector.shell.kafka import client_settings, reach
from detector.shell.kafka.certificates import valid_until
from detector.shell.kafka.checkup import Checkup
from detector.shell.kafka.cluster_settings import BrokerLimits, TopicLimits
from detector.shell.kafka.probe import rights_of
from detector.shell.memory_limit import MemoryLimit
from detector.wiring import doctor
from detector.wiring.doctor import diagnose, exit_code
from tests.commands import run_main
from tests.kafka.pki import Pki, create_pki

EVENT = {"id": "id", "time": {"path": "t"}, "entities": [{"name": "card", "path": "card"}]}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return create_pki(tmp_path_factory.mktemp("pki"))


def config(tmp_path: Path, *servers: str, **changes: Any) -> Config:
    kafka = {"bootstrap_servers": servers or ("127.0.0.1:1",), **changes.pop("kafka", {})}
    store = {"url": f"file://{tmp_path}/checkpoints"}
    return Config.model_validate({"event": EVENT, "kafka": kafka, "checkpoints": store, **changes})


def checked(settings: Config) -> list[Finding]:
    return Checkup(settings, client_settings(settings), rights_of(settings, "t"), 1.0).run()


@contextmanager
def tls_server(store: Path) -> Iterator[str]:
    """A server that makes one TLS handshake, or fails to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(store)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                context.wrap_socket(peer, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_name_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(reach.socket, "getaddrinfo", unknown)
    [one] = checked(config(tmp_path, "no-such-host.invalid:9092"))
    assert (one.verdict, one.subject, one.exit_code) == ("error", "name", EXIT_NEEDS_OPERATOR)
    assert one.text == "no-such-host.invalid:9092: no such host (Name or service not known)."
    assert "kafka.bootstrap_servers" in str(one.remedy)


def test_a_name_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(reach, "PROBE_ONE_S", 0.05)
    monkeypatch.setattr(reach.socket, "getaddrinfo", lambda *_, **__: answered.wait(10.0))
    [one] = checked(config(tmp_path, "slow.invalid:9092"))
    answered.set()
    assert one.text == "slow.invalid:9092: the name server does not answer."


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    name, one = checked(config(tmp_path))
    assert name.verdict == "ok"
    assert (one.subject, one.text) == ("connection", "127.0.0.1:1: connection refused.")
    assert one.exit_code == EXIT_NEEDS_OPERATOR


def test_an_expired_certificate_of_the_broker(tmp_path: Path, pki: Pki) -> None:
    with tls_server(pki.server_expired) as address:
        security = {"protocol": "SSL", "ca_file": str(pki.ca)}
        found = checked(config(tmp_path, address, kafka={"security": security}))
    one = found[-1]
    assert (one.verdict, one.subject, one.exit_code) == ("error", "TLS", EXIT_CONFIG)
    assert "certificate has expired" in one.text
    assert one.remedy == "renew the broker's certificate"


def test_the_end_of_a_certificate_is_read(tmp_path: Path, pki: Pki) -> None:
    now, minute = datetime.now(UTC), timedelta(minutes=1)
    assert abs((valid_until(str(pki.client_expired)) or now) - (now - timedelta(hours=1))) < minute
    assert abs((valid_until(str(pki.client_certificate)) or now) - (now + timedelta(days=30))) < minute
    bad = tmp_path / "bad.pem"
    for text in (
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        pki.client_key.read_text(),
    ):
        bad.write_text(text)
        assert valid_until(str(bad)) is None
    assert valid_until(str(tmp_path / "nowhere")) is None


def test_secrets_that_are_missing(tmp_path: Path) -> None:
    found = diagnose(config(tmp_path, entity_key={"env": "NOWHERE"}), {}, mend=False)
    assert exit_code(found) == EXIT_CONFIG
    assert found[0].subject == "secrets"
    assert "NOWHERE" in found[0].text
    assert {"checkpoint store", "memory"} <= {one.subject for one in found}


def test_a_store_that_fails_and_one_that_answers_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    bad = config(tmp_path, checkpoints={"url": f"file://{tmp_path}/file/below"})
    one = doctor._store(bad)
    assert (one.verdict, one.exit_code) == ("error", EXIT_NEEDS_OPERATOR)
    assert "checkpoints.url" in str(one.remedy)

    class Stale(doctor.FsspecStore):
        def get(self, name: str) -> bytes:
            raise KeyError(name)

        def delete(self, name: str) -> None:
            raise StoreUnavailable("not allowed to delete")

    monkeypatch.setattr(doctor, "FsspecStore", Stale)
    assert "not allowed to delete" in doctor._store(config(tmp_path)).text
    monkeypatch.setattr(Stale, "delete", lambda self, name: None)
    assert "is not read back" in doctor._store(config(tmp_path)).text


def test_memory_against_its_limit(tmp_path: Path) -> None:
    settings = config(tmp_path)
    need = doctor.needed(settings).total
    assert doctor._memory(settings, MemoryLimit(need, "control group")).verdict == "ok"
    one = doctor._memory(settings, MemoryLimit(need - 1, "control group"))
    assert (one.verdict, one.exit_code) == ("error", EXIT_CONFIG)
    unchecked = settings.model_copy(update={"memory_check": False})
    assert doctor._memory(unchecked, MemoryLimit(need - 1, "control group")).verdict == "warning"
    assert doctor._memory(settings, None).verdict == "warning"


def test_limits_of_brokers(tmp_path: Path) -> None:
    values = {
        "offset.metadata.max.bytes": "1024",
        "transaction.max.timeout.ms": "10000",
        "group.min.session.timeout.ms": "20000",
        "group.max.session.timeout.ms": "30000",
    }
    found = list(BrokerLimits(config(tmp_path)).findings(values))
    assert [one.verdict for one in found] == ["error"] * 3
    assert "offset.metadata.max.bytes is 1024; 4096 are needed" in found[0].text
    [unknown] = BrokerLimits(config(tmp_path)).findings(None)
    assert unknown.verdict == "warning"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"retention.ms": "-1"}, "ok"),
        ({"retention.ms": "3600000"}, "ok"),
        ({"retention.ms": "3599999"}, "error"),
        ({"retention.ms": "-1", "retention.bytes": "1000"}, "warning"),
        ({"retention.ms": "-1", "cleanup.policy": "compact,delete"}, "error"),
    ],
)
def test_how_long_a_topic_must_be_kept(tmp_path: Path, values: dict[str, str], verdict: str) -> None:
    settings = config(tmp_path)
    [one] = TopicLimits(settings, 3600.0).findings({settings.topics.transactions: values})
    assert one.verdict == verdict


def test_the_worst_finding_is_the_exit_code() -> None:
    ok, warning = Finding.ok("a", "b"), Finding.warning("a", "b", "c")
    three, two = Finding.error("a", "b", "c"), Finding.error("a", "b", "c", EXIT_CONFIG)
    assert exit_code([ok, warning]) == 0
    assert exit_code([ok, three]) == EXIT_NEEDS_OPERATOR
    assert exit_code([three, two, ok]) == EXIT_CONFIG


def test_the_command_prints_lines_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Finding.ok("name", "[a]: b"), Finding.error("TLS", "too old", "renew it", EXIT_CONFIG)]
    monkeypatch.setattr(doctor, "diagnose", lambda *_, **__: found)
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps({"event": EVENT}))
    done = run_main(monkeypatch, capsys, "doctor", "--config", file)
    assert done.code == EXIT_CONFIG
    assert done.out.splitlines() == [
        "ok      name: [a]: b",
        "error   TLS: too old",
        "        to do: renew it",
    ]
    done = run_main(monkeypatch, capsys, "doctor", "--config", file, "--json")
    report = json.loads(done.out)
    assert (done.code, report["exit_code"]) == (EXIT_CONFIG, EXIT_CONFIG)
    assert report["findings"][1] == {
        "verdict": "error",
        "subject": "TLS",
        "text": "too old",
        "remedy": "renew it",
        "exit_code": EXIT_CONFIG,
    }
