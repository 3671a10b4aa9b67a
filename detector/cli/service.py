"""`run` and `replay`: the shards over Kafka, and over a file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from detector.cli.common import (
    EVENTS_HELP,
    ConfigPath,
    EncoderOnly,
    Overrides,
    WarmStart,
    check_readable,
    check_writable,
    err,
    load_config,
    warm_start_of,
    wrong,
)
from detector.config.words import counted
from detector.errors import NeedsOperator, OperatorError, OutsideError
from detector.kernel_cache import let_others_read

if TYPE_CHECKING:  # loads numba: at run time only in the commands that need it
    from detector.wiring.file_replay import Replayed

LogFormat = Literal["auto", "json", "console"]
Feedback = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Labels, one JSON object per line, or any other form of --events."),
]
Shards = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        max=1024,
        help="Number of shards, as of partitions in Kafka; the main entity selects one.",
    ),
]
Scores = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write one CSV row per scored event; may be .gz.")
]
CaseUpdates = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write one update of a case per line.")
]
Rejected = Annotated[Path | None, typer.Option(metavar="FILE", help="Write one rejected event per line.")]
Folder = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder for progress and checkpoints.")]
Receipts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write what became of each line of --feedback, one per line."),
]


def run(
    config: ConfigPath,
    warm_start: WarmStart = None,
    encoder_only: EncoderOnly = False,
    set_: Overrides = None,
) -> None:
    """Run the service: events from Kafka in, alerts out.

    It stops at SIGTERM or SIGINT. At SIGHUP it reads its configuration again, and its log says what it took
    and what needs a restart. What ends it is a sentence; in a JSON log, a record with event fatal.
    """
    from detector.shell import logs
    from detector.wiring import daemon

    logs.configure()
    log_format: LogFormat = "auto"
    try:
        settings = load_config(config, set_)
        log_format = settings.log.format
        logs.configure(format=log_format)
        start = warm_start_of(warm_start, encoder_only)
        daemon.run(settings, os.environ, start, lambda: load_config(config, set_))
    except (OperatorError, OutsideError) as error:
        if not logs.writes_json(log_format):
            raise
        code = error.exit_code if isinstance(error, OperatorError) else NeedsOperator.exit_code
        logs.get_logger("detector").error("fatal", reason=str(error), exit_code=code)
    else:
        return
    raise SystemExit(code)  # outside the handler: who reads the log has its sentence already


def compile_() -> None:
    """Compile everything that a service may need, as when an image is built.

    A service compiles what its configuration needs before it joins its group: half a minute of CPU time,
    unless it was done before. The result is kept in the folder that NUMBA_CACHE_DIR names. An image names a
    copy of it in DETECTOR_KERNELS; then a service starts within seconds.
    """
    from detector.wiring.compiling import compile_all

    for done in compile_all():
        err.print(f"compiled: {done}", highlight=False)
    let_others_read(os.environ)  # an image is built as root, and runs as somebody else


def replay(
    config: ConfigPath,
    events: Annotated[str, typer.Option(metavar="FILE", help=f"Events. {EVENTS_HELP}")],
    feedback: Feedback = None,
    partitions: Shards = 1,
    scores: Scores = None,
    alerts: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one alert per line.")] = None,
    case_updates: CaseUpdates = None,
    rejected: Rejected = None,
    receipts: Receipts = None,
    checkpoint_dir: Folder = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the replay in --checkpoint-dir.")
    ] = False,
    warm_start: WarmStart = None,
    encoder_only: EncoderOnly = False,
    set_: Overrides = None,
) -> None:
    """Score a file of events, with the same code as the service."""
    from detector.shell import logs
    from detector.shell.files import Source, describe
    from detector.wiring import compiling, file_replay

    if resume and checkpoint_dir is None:
        raise wrong("--resume", "no --checkpoint-dir", "the folder of the replay to continue")
    written = {"--scores": scores, "--alerts": alerts, "--rejected": rejected}
    _check_files(events, feedback, {**written, "--case-updates": case_updates, "--receipts": receipts})
    settings = load_config(config, set_)
    _make_folder(checkpoint_dir)
    logs.configure("warning", settings.log.format)
    source = Source(events)
    if note := describe(source):
        err.print(note)
    plan = file_replay.Replay(
        events=source,
        feedback=feedback,
        partitions=partitions,
        scores=scores,
        alerts=alerts,
        case_updates=case_updates,
        rejected=rejected,
        receipts=receipts,
        checkpoints=checkpoint_dir,
        resume=resume,
        warm_start=warm_start_of(warm_start, encoder_only),
    )
    began = time.monotonic()
    with (
        Progress(
            TextColumn("replay"),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        ) as bar,
        compiling.watching_compilation(lambda: err.print(compiling.COMPILING)),
    ):
        task = bar.add_task("replay", total=source.size_bytes)
        replayed = file_replay.replay(
            settings,
            os.environ,
            plan,
            logs.get_logger("detector"),
            lambda done: bar.update(task, completed=done),
        )
    _report(replayed, time.monotonic() - began, resume=resume, labels=feedback is not None)
    if warm_start is None and not resume:
        _say_warm_up(replayed, settings.model.calibration.warm_up_events, partitions)


def _check_files(events: str, feedback: str | None, outputs: Mapping[str, Path | None]) -> None:
    for given in (events, feedback):
        check_readable(given)
    if outputs["--receipts"] is not None and feedback is None:
        raise wrong("--receipts", "no --feedback", "a file there: receipts are about its lines")
    if events == feedback:
        raise wrong("--feedback", str(feedback), "another file than the events")
    inputs = {Path(given).resolve() for given in (events, feedback) if given is not None}
    for option, file in outputs.items():
        check_writable(option, file)
        if file is not None and file.resolve() in inputs:
            raise wrong(option, str(file), "another file than the inputs")


def _make_folder(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"{folder} ({error.strerror or error})"
        raise wrong("--checkpoint-dir", found, "a folder, or a place where one can be created") from None


def _report(replayed: Replayed, seconds: float, *, resume: bool, labels: bool) -> None:
    """Summarise a replay."""
    totals, outcomes = replayed.telemetry.totals(), replayed.telemetry.label_outcomes()
    if resume and replayed.complete and not totals.received:
        err.print("already complete: nothing was left to do")
        return
    rejected = sum(totals.rejected.values())
    err.print(
        f"{counted(totals.received, 'event')}: {totals.scored:,} scored, {rejected:,} rejected, "
        f"{counted(sum(totals.alerts.values()), 'alert')}, {sum(totals.suppressed.values()):,} suppressed; "
        f"{seconds:.1f} s, {totals.received / max(seconds, 1e-9):,.0f} events/s",
        highlight=False,
    )
    counts = [(f"rejected, {reason}", count) for reason, count in sorted(totals.rejected.items())]
    counts += [(f"feedback, {outcome}", count) for outcome, count in outcomes.items() if labels]
    counts += [(f"messages between shards, {outcome}", count) for outcome, count in totals.exchange.items()]
    counts += [
        (f"unreadable, so missing: {name}", count) for name, count in sorted(totals.unreadable.items())
    ]
    for what, count in counts:
        if count:
            err.print(f"  {what}: {count:,}")
    partitions = replayed.telemetry.partitions.values()
    waiting = max((one.standing.feedback_pending or 0 for one in partitions), default=0)
    if labels and waiting:
        said = "  feedback that came after the model's last update, not used (--receipts uses it)"
        err.print(f"{said}: {waiting:,}", soft_wrap=True)
    elif labels and not any(outcomes.values()):
        err.print("  feedback: none was read")
    if 2 * rejected > totals.received:
        err.print(
            f"most events were rejected, the first one at {replayed.rejection}\n"
            "does the section `event` describe them? detector init-config --events FILE writes one that does"
        )


def _say_warm_up(replayed: Replayed, events: int, shards: int) -> None:
    """Say why the first events have no alerts, or alerts that are marked."""
    totals = replayed.telemetry.totals()
    if not totals.scored:
        return
    which = f"the first {events:,} events{' of each shard' * (shards > 1)} are a warm-up"
    why = "the model first learns what is usual"
    if totals.scored > events * shards:
        err.print(f"  {which}: {why}, and alerts are rare and say warm_up")
    elif any(totals.alerts.values()):
        err.print(f"  {which}, and the replay has no more: {why}, and alerts are rare and say warm_up")
    else:
        err.print(f"  no alerts yet: {which}, and the replay has no more: {why}")
