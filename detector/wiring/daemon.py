"""`detector run`: the service over Kafka."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from threadpoolctl import threadpool_limits

from detector import __version__
from detector.config.extras import has_packages, missing_extra
from detector.config.secrets import Secrets, resolve_secrets
from detector.config.tree import Config
from detector.core.labels.commands import feedback_time
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.warm_start import Model
from detector.errors import (
    EXIT_BUG,
    BrokerUnavailable,
    DetectorError,
)
from detector.ports import Log
from detector.shell import logs
from detector.shell.background import BackgroundThread
from detector.shell.clock import SystemClock
from detector.shell.heap import give_back, keep_large_apart
from detector.shell.http import HttpServer
from detector.shell.kafka import EndsWatch, KafkaStream, OutputWatch
from detector.shell.memory_limit import memory_limit
from detector.shell.metrics import TelemetryCollector, renderer
from detector.shell.retention import RetentionWatch
from detector.shell.runner.loop import Runner
from detector.shell.space import SpaceWatch
from detector.shell.store import FsspecStore
from detector.shell.systemd import SystemdWatch
from detector.wiring.common import (
    ModelFile,
    Signals,
    entity_key,
    job_lanes,
    read_warm_start,
    recovery_s,
    registry_client,
    side_logs,
)
from detector.wiring.compiling import compile_for
from detector.wiring.memory import owned_warning, report
from detector.wiring.reload import Reloader

# From a signal to the end. `runner.stopping.STOP_S` and what comes after it take less, unless the machine is
# so busy that the computing alone takes seconds. A supervisor commonly waits 10 s before it kills.
END_S = 9.0
JOBS_WAIT_S = 0.5  # for each of two threads, after a stop, which has `runner.stopping.STOP_S` in all


def run(
    config: Config,
    environ: Mapping[str, str],
    warm_start: ModelFile | None = None,
    read: Callable[[], Config] | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT.

    Parameters
    ----------
    warm_start
        What partitions without a committed offset begin with; None: nothing.
    read
        Reads the configuration again, at SIGHUP; None: it stays as it is.

    Raises
    ------
    OperatorError
        Configuration, credentials, or something else that only a person can resolve.
    SystemExit
        With exit code 1 after a bug of ours, which is logged as one record.
    """
    secrets = resolve_secrets(config, environ)
    logs.configure(config.log.level, config.log.format, secrets=filter(None, secrets))
    log = logs.get_logger("detector")
    if not has_packages(config.event.format):
        raise missing_extra(config.event.format)
    keep_large_apart()
    model = read_warm_start(warm_start, config)
    report(config, log)
    try:
        _run(config, environ, secrets, log, model, read or (lambda: config))
        return
    except DetectorError:
        raise
    except Exception:
        log.exception("bug", version=__version__)
    raise SystemExit(EXIT_BUG)  # outside the handler: no second traceback


def _run(
    config: Config,
    environ: Mapping[str, str],
    secrets: Secrets,
    log: Log,
    warm_start: Model | None,
    read: Callable[[], Config],
) -> None:
    password, key_password, entity_secret, *registry_secrets, http_token = secrets
    telemetry, clock = Telemetry(), SystemClock()
    store = FsspecStore(config.checkpoints.url)
    stream = KafkaStream(config, password, key_password)
    watch = OutputWatch(config, stream, telemetry, log)
    space = SpaceWatch(store.free_bytes, telemetry, log)
    retention = _retention_watch(config, stream, telemetry, log)
    beside = watch, EndsWatch(stream.ends(), telemetry, log), retention, space
    limit = memory_limit()
    telemetry.memory_limit_bytes = limit.bytes if limit else None
    warnings: list[str] = []

    def heartbeat_age_s() -> float | None:
        return telemetry.heartbeat_age_s(clock.monotonic())

    def prepare() -> None:
        warnings.extend(_warnings(stream, store, entity_secret, retention, log))
        _compile(config, clock, log)

    def apply(changed: Config) -> None:
        logs.configure(changed.log.level, changed.log.format, secrets=filter(None, secrets))
        runner.reconfigure(changed)
        config_info.update(_config_info(changed))

    reloader, config_info = Reloader(config, read, apply, log), _config_info(config)
    with threadpool_limits(1), Signals(END_S) as signals, job_lanes(JOBS_WAIT_S, telemetry.refits) as lanes:
        runner = Runner(
            config=config,
            topic=config.topics.transactions,
            group=config.kafka.group_id,
            entity_key=entity_key(entity_secret),
            stream=stream,
            store=store,
            sides=side_logs(config, password, key_password, {"feedback": feedback_time}),
            clock=clock,
            telemetry=telemetry,
            log=log,
            executor=BackgroundThread("checkpoints", after=give_back),
            lanes=lanes,
            warm_start=warm_start,
            schemas=registry_client(config, *registry_secrets),
            warning_sources=(
                lambda: warnings,
                watch.warnings,
                space.warnings,
                retention.warnings,
                reloader.warnings,
                lambda: owned_warning(config, len(telemetry.owned)),
            ),
            prepare=prepare,
            live=True,
        )
        signals.call(runner.stop)
        topic, http = config.topics.transactions, config.http
        page = renderer(TelemetryCollector(telemetry, build_info(), config_info, topic=topic))
        sources = runner.status, heartbeat_age_s, page
        server = HttpServer(http.address, *sources, tls=http.tls, token=http_token)
        systemd = SystemdWatch(environ, runner.status, heartbeat_age_s, log)
        with _running(server, *beside, systemd), reloader.at_hangup():
            log.info("started", version=__version__, metrics=f"{server.url}/metrics", shadow=config.shadow)
            runner.run()
    log.info("stopped")


class _Background(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextmanager
def _running(*threads: _Background) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in reversed(threads):
            thread.stop()


def _compile(config: Config, clock: SystemClock, log: Log) -> None:
    began_s = clock.monotonic()
    compile_for(config)
    give_back()
    log.info("compiled", seconds=round(clock.monotonic() - began_s, 1))


def build_info() -> dict[str, str]:
    """Labels of the metric `detector_build_info`."""
    return {"version": __version__, "python": platform.python_version()}


def _config_info(config: Config) -> dict[str, str]:
    shadow = config.shadow or ""
    return {"model": config.model_part(1).hash(), "delivery": config.delivery, "shadow": shadow}


def _warnings(
    stream: KafkaStream, store: FsspecStore, entity_secret: str | None, retention: RetentionWatch, log: Log
) -> list[str]:
    """Find problems that do not prevent a start. They are logged and shown on /readyz.

    `retention` shows its own there.
    """
    found = []
    if entity_secret is None:
        found.append("entity_key is not set: entities are hashed with the public development key")
    if not store.shared():
        found.append(
            "checkpoints.url is a local folder: all members of the group must share it, or a partition that "
            "moves cannot be restored"
        )
    try:
        stream.open()
        retention.look()
    except BrokerUnavailable as error:
        log.warning("broker_unavailable", reason=str(error))  # the runner tries again
    for warning in (*found, *retention.warnings()):
        log.warning("start_up", warning=warning)
    return found


def _retention_watch(config: Config, stream: KafkaStream, telemetry: Telemetry, log: Log) -> RetentionWatch:
    read = config.topics.transactions, config.topics.feedback, config.topics.exchange
    topics = [topic for topic in read if topic is not None]
    return RetentionWatch(stream.retention_ms, topics, recovery_s(config), telemetry, log)
