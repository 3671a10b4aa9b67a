"""Puts the parts together: the only place that knows both the core and the world.

run      Kafka stream, side topics, checkpoint store, HTTP pages    ─┐
replay   events file, feedback file, progress folder                ─┴─> the same Runner, the same shards
audits   the same logs and stores, read from outside the group      ───> Auditor, the same shards
"""

from __future__ import annotations

import hashlib
import json
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from detector.config.load import Secrets, redacted, resolve_secret, resolve_secrets
from detector.config.tree import Config, Topics
from detector.core.events.parser import Parser
from detector.core.jobs import Lanes
from detector.core.labels.feedback import feedback_time
from detector.core.recovery.checkpoint import Manifest, read_manifest, read_state
from detector.core.recovery.generations import store_prefix
from detector.core.recovery.journal import Side
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard.warm_start import Model, differences, export_model, read_model
from detector.errors import (
    EXIT_BUG,
    BrokerUnavailable,
    CheckpointDamaged,
    ConfigError,
    DetectorError,
    NeedsOperator,
    Problem,
)
from detector.ports import Archive, Commit, Log, SideLog, Status
from detector.shell import logs
from detector.shell.auditor import Auditor
from detector.shell.background import BackgroundThread
from detector.shell.clock import SystemClock
from detector.shell.drift import DriftMonitor
from detector.shell.files import FileArchive, FileExchange, FileSideLog, FileStream, OutputFiles
from detector.shell.http import HttpServer
from detector.shell.kafka import (
    Hanging,
    KafkaArchive,
    KafkaSideLog,
    KafkaStream,
    OutputWatch,
    TimeOf,
    Transactions,
)
from detector.shell.kafka.client import client_settings
from detector.shell.metrics import TelemetryCollector, renderer
from detector.shell.runner.loop import Runner
from detector.shell.store import FsspecStore, InvalidName

# Stands in for a secret on a developer's machine; whoever knows it can guess entity values from hashes.
DEVELOPMENT_KEY = b"detector development key: not a secret"
# A log must outlive the checkpoints that a recovery may fall back to, with a margin for a weekend.
RETENTION_MARGIN_S = 3 * 86_400.0
# No limit on the journal where it does not have to fit beside a committed offset.
FILE_METADATA_BYTES_MAX = 1 << 30


def run(config: Config, environ: Mapping[str, str], warm_start: Path | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Parameters
    ----------
    warm_start
        Model file that partitions without a committed offset begin with.

    Raises
    ------
    OperatorError
        Configuration, credentials, or something else that only a person can mend.
    SystemExit
        With exit code 1 after a bug of ours, which is logged: one record, not the lines of a traceback.
    """
    secrets = resolve_secrets(config, environ)
    logs.configure(config.log.level, config.log.format, secrets=filter(None, secrets))
    log = logs.get_logger("detector")
    model = read_warm_start(warm_start, config)
    try:
        _run(config, secrets, log, model)
        return
    except DetectorError:
        raise
    except Exception:
        log.exception("bug", version=version("detector"))
    raise SystemExit(EXIT_BUG)  # outside of the handler: nothing else is to be told


def _run(config: Config, secrets: Secrets, log: Log, warm_start: Model | None) -> None:
    password, key_password, entity_secret = secrets
    telemetry, clock = Telemetry(), SystemClock()
    store = FsspecStore(config.checkpoints.url)
    stream = KafkaStream(config, password, key_password)

    def side(topic: str | None, time_of: TimeOf | None) -> KafkaSideLog | None:
        if topic is None:
            return None
        return KafkaSideLog(config, topic, password, key_password, time_of=time_of)

    monitor = DriftMonitor(telemetry)
    with threadpool_limits(1), _Signals() as signals:
        runner = Runner(
            config=config,
            topic=config.topics.transactions,
            group=config.kafka.group_id,
            entity_key=entity_key(entity_secret),
            stream=stream,
            store=store,
            feedback=side(config.topics.feedback, feedback_time),
            exchange=side(config.topics.exchange, None),
            clock=clock,
            telemetry=telemetry,
            log=log,
            executor=BackgroundThread("checkpoints"),
            lanes=_lanes(),
            observe=monitor.observe,
            warm_start=warm_start,
            warnings=_warnings(config, stream, store, entity_secret, log),
        )
        signals.call(runner.stop)
        watch = OutputWatch(config, stream, telemetry, log)

        def status() -> Status:
            found = runner.status()
            return replace(found, warnings=found.warnings + watch.warnings())

        server = HttpServer(
            config.http.address,
            status,
            lambda: None if telemetry.heartbeat is None else clock.monotonic() - telemetry.heartbeat,
            renderer(TelemetryCollector(telemetry, build_info(), _config_info(config))),
        )
        server.start()
        log.info("started", version=version("detector"), metrics=f"{server.url}/metrics")
        watch.start()
        try:
            runner.run()
        finally:
            watch.stop()
            server.stop()
    log.info("stopped")


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What `replay` reads and writes; None: not wanted."""

    events: Path
    feedback: Path | None = None
    partitions: int = 1
    scores: Path | None = None
    alerts: Path | None = None
    rejected: Path | None = None
    checkpoints: Path | None = None
    resume: bool = False
    warm_start: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What became of a replay."""

    telemetry: Telemetry
    rejection: str  # why the first rejected event was; empty: there was none
    complete: bool  # the file was read to its end, by this replay or by those that it resumed


class _WatchedFile(FileStream):
    """A file whose first dead letter is remembered, whether they are written or not."""

    topic: str  # of dead letters
    rejection: tuple[int, str] | None = None  # line, reason and detail
    watch: Callable[[Commit], None] | None = None

    def commit(self, commit: Commit) -> None:
        """Look at the messages, then write them."""
        if self.watch is not None:
            self.watch(commit)
        for message in commit.messages:
            if message.topic == self.topic and (self.rejection is None or message.offset < self.rejection[0]):
                facts = dict(message.headers)
                words = (facts.get(f"detector_{part}", b"") for part in ("reason", "detail"))
                told = ": ".join(dict.fromkeys(word.decode(errors="replace") for word in words if word))
                self.rejection = message.offset, told
        super().commit(commit)


def replay(
    config: Config,
    environ: Mapping[str, str],
    plan: Replay,
    log: Log,
    progress: Callable[[int], None],
    *,
    feedback: SideLog | None = None,
    watch: Callable[[Commit], None] | None = None,
) -> Replayed:
    """Run the shards over a file.

    Parameters
    ----------
    progress
        Told how many bytes of the events file have been read, as it lies on disk.
    feedback, watch
        Somebody who answers while the replay runs: labels in place of a file's, and told of each commit
        before it is written. Such a replay cannot be resumed.

    Raises
    ------
    OperatorError
        A file cannot be read or written, or does not fit the progress to be resumed.
    """
    config = _for_files(config, plan, answered=plan.feedback is not None or feedback is not None)
    warm_start = read_warm_start(plan.warm_start, config)
    key = entity_key(resolve_secret(config.entity_key, "entity_key", environ))
    parser = Parser(config.event, key)
    telemetry = Telemetry()
    stream = _WatchedFile(
        plan.events,
        key_of=parser.main_key,
        feedback=plan.feedback,
        partitions=plan.partitions,
        topics=config.topics,
        outputs=OutputFiles(scores=plan.scores, alerts=plan.alerts, rejected=plan.rejected),
        folder=plan.checkpoints,
        resume=plan.resume,
        progress=progress,
    )
    stream.topic = config.topics.dead_letter
    stream.watch = watch
    if feedback is None and plan.feedback is not None:
        feedback = FileSideLog(plan.feedback)
    with threadpool_limits(1), _Signals() as signals:
        runner = Runner(
            config=config,
            topic=config.topics.transactions,
            group=config.kafka.group_id,
            entity_key=key,
            stream=stream,
            store=_store_for_files(plan),
            feedback=feedback,
            exchange=stream.exchange,
            clock=SystemClock(),
            telemetry=telemetry,
            log=log,
            executor=BackgroundThread("checkpoints"),
            lanes=_lanes(),
            commit_interval_s=0.0,
            metadata_bytes_max=FILE_METADATA_BYTES_MAX,
            warm_start=warm_start,
        )
        signals.call(runner.stop)
        runner.run()
    line, rejection = stream.rejection or (0, "")
    return Replayed(
        telemetry=telemetry,
        rejection=f"line {line + 1}, {rejection}" if rejection else "",
        complete=all(stream.position(p) == stream.end(p) for p in range(plan.partitions)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundCheckpoint:
    """One line of `checkpoint list`."""

    name: str
    manifest: Manifest | None
    problem: str  # why there is no manifest


def checkpoints(config: Config) -> list[FoundCheckpoint]:
    """List the checkpoints of the group's topic, by partition and position.

    Raises
    ------
    StoreUnavailable
    """
    store, prefix = FsspecStore(config.checkpoints.url), _prefix(config)
    found = []
    for name in store.list(prefix):
        stem = name.removeprefix(prefix).removesuffix(".json")
        if not name.endswith(".json") or not stem[:1].isdigit():
            continue
        try:
            found.append(FoundCheckpoint(name=stem, manifest=read_manifest(store.get(name)), problem=""))
        except (CheckpointDamaged, KeyError) as error:
            found.append(FoundCheckpoint(name=stem, manifest=None, problem=str(error)))
    return found


def _lanes() -> Lanes:
    """A thread for each."""
    return Lanes(BackgroundThread("training").lane, BackgroundThread("promotion").lane)


def read_warm_start(file: Path | None, config: Config) -> Model | None:
    """Read a model file that shards are to begin with; None: none is wanted.

    Raises
    ------
    ConfigError
        It cannot be read, or was learned with other settings: all that differ.
    NeedsOperator
        It is of a newer version.
    """
    if file is None:
        return None
    allowed = "a whole file that `detector checkpoint export` made"
    try:
        model = read_model(file.read_bytes())
    except (OSError, CheckpointDamaged) as error:
        found = f"{file} ({getattr(error, 'strerror', None) or error})"
        raise ConfigError(
            "command line", [Problem(path="--warm-start", value=found, allowed=allowed)]
        ) from None
    problems = [
        Problem(path=key, value=here, allowed=f"the model file was learned with {there}")
        for key, there, here in differences(model, config.model_part(1))
    ]
    if problems:
        raise ConfigError(f"--warm-start {file}", problems)
    return model


def export(config: Config, partition: int) -> tuple[str, bytes]:
    """Make a model file of a partition's newest checkpoint that is whole; its name and the file.

    Raises
    ------
    StoreUnavailable
    NeedsOperator
        There is none.
    """
    store, prefix = FsspecStore(config.checkpoints.url), _prefix(config)
    manifests = [found.manifest for found in checkpoints(config) if found.manifest is not None]
    own = [manifest for manifest in manifests if manifest.partition == partition]
    for manifest in sorted(own, key=lambda manifest: manifest.position, reverse=True):
        try:
            return manifest.name, export_model(
                manifest, read_state(manifest, store.get(f"{prefix}{manifest.name}.state"))
            )
        except (CheckpointDamaged, KeyError):
            continue
    raise NeedsOperator(
        f"there is no whole checkpoint of partition {partition} under {checkpoints_place(config)}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayFiles:
    """A replay with `--checkpoint-dir` that is looked back at, in place of a topic."""

    events: Path
    folder: Path
    feedback: Path | None = None


@contextmanager
def auditing(
    config: Config, environ: Mapping[str, str], files: ReplayFiles | None
) -> Iterator[tuple[Auditor, Archive]]:
    """Look back at a group, or at a replay.

    Raises
    ------
    OperatorError
        Configuration, credentials, or a file that cannot be read.
    """
    password, key_password, entity_secret = resolve_secrets(config, environ)
    key = entity_key(entity_secret)
    sides: dict[Side, SideLog] = {}
    archive: KafkaArchive | FileArchive
    with threadpool_limits(1), ExitStack() as opened:
        if files is None:
            store, archive = FsspecStore(config.checkpoints.url), KafkaArchive(config, password, key_password)
            topics: dict[Side, str | None] = {
                "labels": config.topics.feedback,
                "exchange": config.topics.exchange,
            }
            for side, topic in topics.items():
                if topic is not None:
                    sides[side] = KafkaSideLog(config, topic, password, key_password)
        else:
            store = FsspecStore(f"file://{files.folder.resolve()}")
            archive = FileArchive(files.events, files.folder, key_of=Parser(config.event, key).main_key)
            if files.feedback is not None:
                sides["labels"] = FileSideLog(files.feedback)
            if (exchange := FileExchange.of(files.folder)) is not None:
                sides["exchange"] = exchange
        opened.callback(archive.close)
        for side_log in sides.values():
            opened.callback(side_log.close)
        auditor = Auditor(
            config=config,
            topic=config.topics.transactions,
            group=config.kafka.group_id,
            entity_key=key,
            archive=archive,
            store=store,
            sides=sides,
        )
        yield auditor, archive


def roll_back(config: Config, environ: Mapping[str, str], partition: int, name: str | None) -> str:
    """Give a partition the model of an older checkpoint; the group must have no members.

    Parameters
    ----------
    name
        Of the checkpoint; None: the one before the newest.

    Returns
    -------
    str
        Name of the checkpoint that was taken.

    Raises
    ------
    OperatorError
        It cannot be done; nothing has changed.
    OutsideError
        The world is away; nothing has changed, or all.
    """
    with auditing(config, environ, None) as (auditor, archive):
        assert isinstance(archive, KafkaArchive)
        chosen = auditor.predecessor(partition) if name is None else name
        archive.commit(partition, auditor.rolled_back(partition, chosen))
    return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What `doctor` found."""

    hanging: tuple[Hanging, ...]
    ended: tuple[Hanging, ...]
    fenced: tuple[str, ...]  # transactional ids of members that are gone, whose transactions were open

    @property
    def left(self) -> tuple[Hanging, ...]:
        """What still hangs."""
        return tuple(one for one in self.hanging if one not in self.ended)


def diagnose(config: Config, environ: Mapping[str, str], *, mend: bool) -> Diagnosis:
    """Look for transactions of the group that hide outputs, and end them if wanted.

    Raises
    ------
    OperatorError
        Credentials, or a permission is missing.
    OutsideError
        The broker is away.
    """
    password, key_password, _ = resolve_secrets(config, environ)
    transactions = Transactions(config, client_settings(config, password, key_password))
    with transactions.connected():
        fenced = transactions.end_those_of_dead_members() if mend else []
        hanging = transactions.hanging()
        ended = transactions.mend(hanging) if mend else []
    return Diagnosis(hanging=tuple(hanging), ended=tuple(ended), fenced=tuple(fenced))


def checkpoints_place(config: Config) -> str:
    """Where the checkpoints of the group's topic are, fit to be shown."""
    return f"{redacted(config.checkpoints.url).rstrip('/')}/{_prefix(config)}"


def show_checkpoint(config: Config, name: str) -> dict[str, Any]:
    """Tell all about one checkpoint: its manifest, whether its state is whole, the arrays in it.

    Raises
    ------
    StoreUnavailable
    ConfigError
        There is no such checkpoint.
    NeedsOperator
        It is damaged.
    """
    store, prefix = FsspecStore(config.checkpoints.url), _prefix(config)
    unknown = Problem(
        path="the checkpoint", value=repr(name), allowed="a name that `detector checkpoint list` shows"
    )
    try:
        manifest = read_manifest(store.get(f"{prefix}{name}.json"))
        state = read_state(manifest, store.get(f"{prefix}{name}.state"))
    except (KeyError, InvalidName):
        raise ConfigError("command line", [unknown]) from None
    except CheckpointDamaged as error:
        raise NeedsOperator(f"checkpoint {name}: {error}") from None
    facts = asdict(manifest)
    facts["since"] = json.loads(manifest.since.to_text())
    facts["config_json"] = json.loads(manifest.config_json)
    return {**facts, "state": _outline(state)}


def _outline(state: Mapping[str, Any]) -> dict[str, Any]:
    """Names with shapes and dtypes, or plain values where they are short."""
    outline: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Mapping):
            outline[name] = _outline(value)
        elif isinstance(value, np.ndarray):
            outline[name] = f"{value.dtype} {'x'.join(map(str, value.shape))}"
        else:
            outline[name] = (
                value if isinstance(value, (int, float, str)) or value is None else f"{len(value)} items"
            )
    return outline


def _prefix(config: Config) -> str:
    return store_prefix(config.kafka.group_id, config.topics.transactions)


def entity_key(secret: str | None) -> bytes:
    """Key of the entity hashes, 32 bytes, from a secret of any length."""
    return hashlib.sha256(DEVELOPMENT_KEY if secret is None else secret.encode()).digest()


def build_info() -> dict[str, str]:
    """What `detector_build_info` tells."""
    return {"version": version("detector"), "python": platform.python_version()}


def _config_info(config: Config) -> dict[str, str]:
    return {"model": config.model_part(1).hash(), "delivery": config.delivery}


def _store_for_files(plan: Replay) -> FsspecStore | None:
    """Where checkpoints go; a warm start is one, so it needs a place even if nothing is to be kept."""
    if plan.checkpoints is not None:
        return FsspecStore(f"file://{plan.checkpoints.resolve()}")
    return None if plan.warm_start is None else FsspecStore("memory://replay")


def _for_files(config: Config, plan: Replay, *, answered: bool) -> Config:
    """Publish scores only where they are wanted, and expect feedback only where there is some."""
    topics = config.topics.model_dump()
    topics["scores"] = None if plan.scores is None else config.topics.scores or "scores"
    topics["feedback"] = config.topics.feedback or "feedback" if answered else None
    return config.model_copy(update={"topics": Topics(**topics)})


def _warnings(
    config: Config, stream: KafkaStream, store: FsspecStore, entity_secret: str | None, log: Log
) -> list[str]:
    """What should not stop a start but must be seen: in the log and on /readyz."""
    found = []
    if entity_secret is None:
        found.append("entity_key is not set: entities are hashed with the public development key")
    if not store.shared():
        found.append(
            "checkpoints.url is a local folder: every member of the group must see the same one, "
            "or a moved partition cannot be restored"
        )
    found += _retention_warnings(config, stream, log)
    for warning in found:
        log.warning("start_up", warning=warning)
    return found


def _retention_warnings(config: Config, stream: KafkaStream, log: Log) -> Iterator[str]:
    checkpoints = config.checkpoints
    needed_s = max(checkpoints.interval, checkpoints.age_max) * checkpoints.keep + RETENTION_MARGIN_S
    read = config.topics.transactions, config.topics.feedback, config.topics.exchange
    topics = [topic for topic in read if topic is not None]
    try:
        stream.open()
        for topic in topics:
            kept_ms = stream.retention_ms(topic)
            if kept_ms is not None and kept_ms / 1000.0 < needed_s:
                yield (
                    f"topic {topic} is kept for {kept_ms / 3.6e6:.1f} h, less than recovery may need "
                    f"({needed_s / 3600:.1f} h: checkpoints.age_max x keep and three days)"
                )
    except BrokerUnavailable as error:
        log.warning("broker_unavailable", reason=str(error))  # the runner goes on trying


class _Signals:
    """Turns the first SIGTERM or SIGINT into a call, also one that comes before there is anything to call."""

    def __init__(self) -> None:
        self._asked = False
        self._stop: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def call(self, stop: Callable[[], None]) -> None:
        """Call `stop` at the signal, or now if it was there already."""
        self._stop = stop
        if self._asked:
            stop()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, self._before[number])  # a second one has its usual effect
        self._asked = True
        if self._stop is not None:
            self._stop()
