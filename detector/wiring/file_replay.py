"""`detector replay`: the same shards over a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from threadpoolctl import threadpool_limits

from detector.config.secrets import resolve_secret
from detector.config.tree import Config, Topics
from detector.core.events import Parser
from detector.core.recovery.sides import Side
from detector.core.reporting.telemetry import Telemetry
from detector.ports import Commit, Log, Message, SideLog
from detector.shell.background import BackgroundThread
from detector.shell.clock import SystemClock
from detector.shell.files import FileSideLog, FileStream, OutputFiles, Source
from detector.shell.heap import give_back, keep_large_apart
from detector.shell.runner.loop import Runner
from detector.shell.store import FsspecStore
from detector.wiring.common import ModelFile, Signals, entity_key, job_lanes, read_warm_start

# In a file, the journal need not fit into the metadata of a committed offset: practically no limit.
FILE_METADATA_BYTES_MAX = 1 << 30
JOBS_WAIT_S = 60.0  # the first job of an installation compiles for half a minute


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """Files and options of a replay; None: not used."""

    events: Path | str | Source  # see `FileStream`
    feedback: Path | str | None = None
    partitions: int = 1
    scores: Path | None = None
    alerts: Path | None = None
    case_updates: Path | None = None
    rejected: Path | None = None
    receipts: Path | None = None
    checkpoints: Path | None = None
    resume: bool = False
    warm_start: ModelFile | None = None

    @property
    def outputs(self) -> OutputFiles:
        """The files that are written."""
        return OutputFiles(
            scores=self.scores,
            alerts=self.alerts,
            case_updates=self.case_updates,
            rejected=self.rejected,
            receipts=self.receipts,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """Result of a replay."""

    telemetry: Telemetry
    rejection: str  # place and reason of the first rejected event; empty: none was rejected
    complete: bool  # whether the file was read to its end


class _WatchedFile(FileStream):
    """Remembers the first rejected event, and shows every commit to `watch`."""

    topic: str  # the dead letter topic
    receipts: str | None = None  # the topic of receipts
    line_of: Callable[[int], int] | None = None  # line of the feedback record at a position
    rejection: tuple[int, str] | None = None  # line, reason and detail
    watch: Callable[[Commit], None] | None = None

    def commit(self, commit: Commit) -> None:
        """Look at the messages of a commit, then write them."""
        if self.watch is not None:
            self.watch(commit)
        for message in commit.messages:
            if message.topic == self.topic and (self.rejection is None or message.offset < self.rejection[0]):
                facts = dict(message.headers)
                words = (facts.get(f"detector_{part}", b"") for part in ("reason", "detail"))
                text = ": ".join(dict.fromkeys(word.decode(errors="replace") for word in words if word))
                self.rejection = message.offset, text
        super().commit(replace(commit, messages=[self._with_line(message) for message in commit.messages]))

    def _with_line(self, message: Message) -> Message:
        """Add to a receipt the line of its record; positions are those of the sorted file."""
        if self.line_of is None or message.topic != self.receipts or message.value is None:
            return message
        body = msgspec.json.decode(message.value)
        body["feedback"]["line"] = self.line_of(body["feedback"]["position"])
        return replace(message, value=msgspec.json.encode(body))

    def first_rejection(self) -> str:
        """Line and reason of the first rejected event; empty: none was rejected."""
        line, reason = self.rejection or (0, "")
        return f"line {line + 1}, {reason}" if reason else ""


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
        Called with the number of bytes read of the events file, before unpacking.
    feedback, watch
        For answers while the replay runs: a source of labels instead of a file, and a function that is called
        with each commit before it is written. Such a replay cannot be resumed.

    Raises
    ------
    OperatorError
        A file cannot be read or written, or does not belong to the replay to be resumed.
    """
    keep_large_apart()
    config = _for_files(config, plan, answered=plan.feedback is not None or feedback is not None)
    warm_start = read_warm_start(plan.warm_start, config)
    key = entity_key(resolve_secret(config.entity_key, "entity_key", environ))
    telemetry = Telemetry()
    stream = _WatchedFile(
        plan.events,
        key_of=Parser(config.event, key).main_key,
        feedback=plan.feedback,
        partitions=plan.partitions,
        topics=config.topics,
        outputs=plan.outputs,
        folder=plan.checkpoints,
        resume=plan.resume,
        progress=progress,
    )
    stream.watch, stream.topic, stream.receipts = watch, config.topics.dead_letter, config.topics.receipts
    if feedback is None and plan.feedback is not None:
        feedback = lines = FileSideLog(plan.feedback)
        stream.line_of = lines.line
    sides: dict[Side, SideLog | None] = {"feedback": feedback, "exchange": stream.exchange}
    with threadpool_limits(1), Signals() as signals, job_lanes(JOBS_WAIT_S, telemetry.refits) as lanes:
        runner = Runner(
            config=config,
            topic=config.topics.transactions,
            group=config.kafka.group_id,
            entity_key=key,
            stream=stream,
            store=_store_for_files(plan),
            sides={side: log for side, log in sides.items() if log is not None},
            clock=SystemClock(),
            telemetry=telemetry,
            log=log,
            executor=BackgroundThread("checkpoints", after=give_back),
            lanes=lanes,
            commit_interval_s=0.0,
            metadata_bytes_max=FILE_METADATA_BYTES_MAX,
            warm_start=warm_start,
        )
        signals.call(runner.stop)
        runner.run()
    complete = all(stream.position(p) == stream.end(p) for p in range(plan.partitions))
    return Replayed(telemetry=telemetry, rejection=stream.first_rejection(), complete=complete)


def _store_for_files(plan: Replay) -> FsspecStore | None:
    """Store of the checkpoints. A warm start is a checkpoint, so it needs one even without a folder."""
    if plan.checkpoints is not None:
        return FsspecStore(f"file://{plan.checkpoints.resolve()}")
    return None if plan.warm_start is None else FsspecStore("memory://replay")


def _for_files(config: Config, plan: Replay, *, answered: bool) -> Config:
    """Publish what a file is given for, and expect feedback only if there is some."""
    topics = config.topics.model_dump()
    for name in ("scores", "case_updates"):
        topics[name] = None if getattr(plan, name) is None else topics[name] or name
    topics["feedback"] = config.topics.feedback or "feedback" if answered else None
    topics["receipts"] = config.topics.receipts or "receipts" if plan.receipts is not None else None
    return config.model_copy(update={"topics": Topics(**topics)})
