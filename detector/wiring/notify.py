"""`detector notify`: alerts from the topics to receivers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from detector import __version__
from detector.config.secrets import receiver_secrets, resolve_secrets
from detector.config.tree import Config, Receiver
from detector.core.records import Record
from detector.errors import (
    EXIT_BUG,
    ConfigError,
    DetectorError,
    NeedsOperator,
    OutsideError,
    Problem,
)
from detector.notify import Counts, Delivery, Message, Refused, Sender, Unavailable, bodies, read_message
from detector.notify.delivery import RETRY_MAX_S, RETRY_MIN_S, ROUND_S
from detector.ports import Log, Status
from detector.shell import logs
from detector.shell.clock import SystemClock
from detector.shell.http import HttpServer
from detector.shell.kafka import KafkaInbox
from detector.shell.metrics import NotifyCollector, renderer
from detector.shell.receivers import HttpSender, MailSender
from detector.shell.web import tls_context
from detector.wiring.common import Signals, check_no_shadow

END_S = 9.0  # from a signal to the end of the process
STUCK_S = 180.0  # a delivery without a turn for so long is stuck: longer than any call may take


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What became of a test message."""

    receiver: str
    problem: str  # empty: delivered


def notify(config: Config, environ: Mapping[str, str]) -> None:
    """Deliver alerts and case updates until SIGTERM or SIGINT.

    Raises
    ------
    OperatorError
        Configuration, credentials, or something else that only a person can resolve.
    SystemExit
        With exit code 1 after a bug of ours, which is logged as one record.
    """
    secrets = resolve_secrets(config, environ)
    ours = receiver_secrets(config, environ)
    hidden = [text for texts in ours.values() for text in texts.values() if text]
    logs.configure(config.log.level, config.log.format, secrets=[*filter(None, secrets), *hidden])
    log, clock = logs.get_logger("detector"), SystemClock()
    workers = [
        Worker(
            receiver,
            Delivery(
                receiver,
                KafkaInbox(config, receiver.name, secrets.password, secrets.key_password),
                make_sender(receiver, ours[receiver.name], config),
                clock,
                log,
            ),
            log,
        )
        for receiver in _receivers(config)
    ]
    counts = {worker.name: worker.delivery.counts for worker in workers}
    server = HttpServer(
        config.notify.address,
        lambda: _status(counts),
        lambda: max(clock.monotonic() - (one.beat_s or clock.monotonic()) for one in counts.values()),
        renderer(NotifyCollector(counts, clock.time)),
        STUCK_S,
        tls=config.http.tls,
        token=secrets.http_token,
    )
    stopping = threading.Event()
    with Signals(END_S) as signals:
        signals.call(stopping.set)
        server.start()
        try:
            log.info("started", version=__version__, metrics=f"{server.url}/metrics", receivers=list(counts))
            _run(workers, stopping)
        finally:
            server.stop()
    log.info("stopped")


def try_receivers(config: Config, environ: Mapping[str, str]) -> list[Tried]:
    """Send each receiver one made-up message, whatever its rules are.

    Raises
    ------
    OperatorError
        As `notify`.
    """
    ours, clock = receiver_secrets(config, environ), SystemClock()
    found = []
    for receiver in _receivers(config):
        problem = ""
        try:
            sender = make_sender(receiver, ours[receiver.name], config)
            sender.send([_test_message(clock.time())], clock.time())
        except (Unavailable, Refused) as error:
            problem = str(error)
        found.append(Tried(receiver=receiver.name, problem=problem))
    return found


class Worker:
    """The thread of one receiver. A bug, or what only a person can resolve, ends all of them."""

    def __init__(self, receiver: Receiver, delivery: Delivery, log: Log) -> None:
        self.name, self.delivery = receiver.name, delivery
        self.failed: BaseException | None = None
        self._log = log
        self.thread: threading.Thread | None = None

    def start(self, stopping: threading.Event) -> None:
        """Begin to deliver, until `stopping` is set."""
        self.thread = threading.Thread(target=self._run, args=(stopping,), name=self.name, daemon=True)
        self.thread.start()

    def _run(self, stopping: threading.Event) -> None:
        wait_s = RETRY_MIN_S
        try:
            while not stopping.is_set():
                try:
                    self.delivery.turn(ROUND_S)
                    wait_s = RETRY_MIN_S
                except OutsideError as error:
                    self._log.warning("not_ready", receiver=self.name, reason=str(error))
                    stopping.wait(wait_s)
                    wait_s = min(2 * wait_s, RETRY_MAX_S)
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            self.failed = error
            stopping.set()
        finally:
            self.delivery.close()


def _run(workers: Sequence[Worker], stopping: threading.Event) -> None:
    for worker in workers:
        worker.start(stopping)
    while not stopping.wait(ROUND_S):
        pass
    for worker in workers:
        assert worker.thread is not None
        worker.thread.join(END_S / 2)
    for worker in workers:
        if isinstance(worker.failed, DetectorError):
            raise worker.failed
        if worker.failed is not None:
            logs.get_logger("detector").error("bug", version=__version__, exc_info=worker.failed)
            raise SystemExit(EXIT_BUG)


def _receivers(config: Config) -> Sequence[Receiver]:
    check_no_shadow(config, "null: nobody is told of a shadow's alerts")
    if not config.notify.receivers:
        problem = Problem(path="notify.receivers", value="[]", allowed="at least one receiver")
        raise ConfigError("configuration", [problem])
    return config.notify.receivers


def make_sender(receiver: Receiver, secrets: Mapping[str, str | None], config: Config) -> Sender:
    """Make what brings messages to a receiver.

    Raises
    ------
    CredentialsError
        Its `ca_file` cannot be used.
    """
    if receiver.kind == "email":
        context = None if receiver.encryption == "none" else _tls(receiver)
        return MailSender(receiver, secrets["password"], context)
    key, url = secrets["key"], secrets["secret_url"] or receiver.url
    batch_max = bodies.BATCH_MAX
    match receiver.kind:
        case "webhook":
            build = bodies.webhook(key)
        case "slack":
            build = bodies.slack
        case "pagerduty":
            assert key is not None
            build, batch_max, url = bodies.pagerduty(key), 1, url or bodies.PAGERDUTY_URL
        case _:
            assert url is not None
            build = bodies.alertmanager(config.alerts.cooldown)
            url = f"{url.rstrip('/')}/api/v2/alerts"
    if url is None or not url.startswith(("http://", "https://")):
        raise NeedsOperator(f"notify: the URL of receiver {receiver.name} is no http:// or https:// URL")
    return HttpSender(
        url,
        build,
        batch_max=batch_max,
        token=secrets["token"],
        context=_tls(receiver) if url.startswith("https:") else None,
        timeout_s=receiver.timeout,
    )


def _tls(receiver: Receiver) -> ssl.SSLContext:
    return tls_context(f"notify: receiver {receiver.name}", receiver.ca_file)


def _status(counts: Mapping[str, Counts]) -> Status:
    """What /readyz shows: ready once every delivery has had a turn; receivers in trouble are warnings."""
    starting = [name for name, one in counts.items() if one.beat_s is None]
    warnings = tuple(f"receiver {name}: {one.problem}" for name, one in counts.items() if one.problem)
    return Status(ready=not starting, reason="starting" if starting else "", warnings=warnings)


def _test_message(now_s: float) -> Message:
    body = {
        "severity": "low",
        "alert_id": "test-0-0",
        "case_id": "test-0-0",
        "entity": {"name": "test", "value": "none"},
        "reasons": [{"detail": "this is a test of detector notify; nothing has happened"}],
    }
    headers = {"ce_id": "test-0-0", "ce_type": "detector.alert.v1", "ce_source": "/detector/test"}
    raw = tuple((name, text.encode()) for name, text in headers.items())
    record = Record(0, int(now_s * 1000), None, msgspec.json.encode(body), raw)
    message = read_message("test", 0, record)
    assert message is not None
    return message
