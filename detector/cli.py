"""The command line. Exit codes: 0 stopped, 1 bug, 2 configuration or credentials, 3 needs an operator."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn
from zlib import error as ZlibError

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from detector.config.infer import infer, render
from detector.config.load import effective, json_schema, load, missing_here, redacted
from detector.config.tree import Config
from detector.errors import ConfigError, NeedsOperator, OperatorError, OutsideError, Problem

if TYPE_CHECKING:  # at run time only by the commands that need it: it loads numba
    from detector.ports import Archive
    from detector.shell.auditor import Verified
    from detector.wiring import Replayed, ReplayFiles

app = typer.Typer(
    help="Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
checkpoint = typer.Typer(
    help="Look into the checkpoint store; verify what was done; take a model back.", no_args_is_help=True
)
app.add_typer(checkpoint, name="checkpoint")

WarmStart = Annotated[
    Path | None,
    typer.Option(
        "--warm-start",
        metavar="FILE",
        help="Model file, by `checkpoint export`, that partitions without progress begin with.",
        show_default=False,
    ),
]

AuditEvents = Annotated[
    Path | None,
    typer.Option("--events", help="Look at a replay of this file, not at a topic.", show_default=False),
]
AuditFeedback = Annotated[Path | None, typer.Option("--feedback", help="Of that replay.", show_default=False)]
AuditFolder = Annotated[
    Path | None, typer.Option("--checkpoint-dir", help="Of that replay.", show_default=False)
]

WRITABLE = "a file in a folder that exists and may be written"
NEW = "a file that does not exist yet: nothing is overwritten"
PARTS_SHOWN = 10  # of a state that differs
DEMO_SECONDS_MAX = 86_400.0  # its traffic ends after 183 simulated days
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of standard output; files have their own sentences

out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True, markup=False, highlight=False)

ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="Configuration, YAML.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Override a key, e.g. kafka.group_id=trial.", show_default=False
    ),
]


def main() -> NoReturn:
    """Run a command; whatever the user caused ends in a sentence and an exit code, not in a traceback."""
    for stream in ("stdout", "stderr"):  # None where it was closed, as by a supervisor
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 - for the life of the process
    try:
        code = app(standalone_mode=False, prog_name="detector")
        sys.stdout.flush()
    except typer.Abort:
        sys.exit(130)
    except OperatorError as error:
        err.print(f"detector: {redacted(str(error))}", style="red")
        sys.exit(error.exit_code)
    except OutsideError as error:
        err.print(f"detector: {redacted(str(error))}", style="red")
        sys.exit(NeedsOperator.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # e.g. `detector config-schema | head`
        _leave_the_pipe()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        err.print(f"detector: the output cannot be written: {error.strerror}", style="red")
        sys.exit(NeedsOperator.exit_code)
    except SystemExit as done:
        if done.code == 1 and isinstance(done.__context__, BrokenPipeError):  # click and rich make it that
            _leave_the_pipe()
        raise
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own usage errors
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _leave_the_pipe() -> NoReturn:
    """Nobody reads any more, which is the reader's good right; what is buffered goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    sys.exit(0)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"detector {version('detector')}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is."),
    ] = False,
) -> None:
    """Come before any command."""


@app.command()
def run(config: ConfigPath, warm_start: WarmStart = None, set_: Overrides = None) -> None:
    """Run the daemon until SIGTERM."""
    from detector import wiring

    wiring.run(_load(config, set_), os.environ, warm_start)


@app.command()
def replay(
    config: ConfigPath,
    events: Annotated[Path, typer.Option(help="Events, one JSON object a line; .gz is unpacked.")],
    feedback: Annotated[Path | None, typer.Option(help="Feedback records, one a line.")] = None,
    partitions: Annotated[int, typer.Option(min=1, max=1024, help="Shards, keyed by the main entity.")] = 1,
    scores: Annotated[
        Path | None, typer.Option(help="Write a CSV row per accepted event; .gz packs.")
    ] = None,
    alerts: Annotated[Path | None, typer.Option(help="Write an alert a line.")] = None,
    rejected: Annotated[Path | None, typer.Option(help="Write a dead letter a line.")] = None,
    checkpoint_dir: Annotated[Path | None, typer.Option(help="Keep progress and checkpoints here.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from --checkpoint-dir.")] = False,
    warm_start: WarmStart = None,
    set_: Overrides = None,
) -> None:
    """Run the very same shards over a file."""
    from detector import wiring
    from detector.shell import logs

    if resume and checkpoint_dir is None:
        raise _wrong("--resume", "no --checkpoint-dir", "the folder of the run to go on with")
    for file in (events, feedback):
        _check_readable(file)
    inputs = {file.resolve() for file in (events, feedback) if file is not None}
    for option, file in (("--scores", scores), ("--alerts", alerts), ("--rejected", rejected)):
        _check_writable(option, file)
        if file is not None and file.resolve() in inputs:
            raise _wrong(option, str(file), "another file than what is read")
    settings = _load(config, set_)
    if checkpoint_dir is not None:
        try:
            checkpoint_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            found = f"{checkpoint_dir} ({error.strerror or error})"
            raise _wrong("--checkpoint-dir", found, "a folder, or where one can be made") from None
    logs.configure("warning", settings.log.format)
    plan = wiring.Replay(
        events=events,
        feedback=feedback,
        partitions=partitions,
        scores=scores,
        alerts=alerts,
        rejected=rejected,
        checkpoints=checkpoint_dir,
        resume=resume,
        warm_start=warm_start,
    )
    began = time.monotonic()
    with Progress(
        TextColumn("replay"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("replay", total=events.stat().st_size if events.is_file() else None)
        replayed = wiring.replay(
            settings,
            os.environ,
            plan,
            logs.get_logger("detector"),
            lambda done: bar.update(task, completed=done),
        )
    _report(replayed, time.monotonic() - began, resume=resume, labels=feedback is not None)


@app.command()
def doctor(
    config: ConfigPath,
    mend: Annotated[
        bool, typer.Option("--mend", help="End them, also open ones of members that are gone.")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Find transactions of the group that hang and hide outputs from read_committed consumers.

    Exit code 0: nothing hangs, or all of it was ended. 2: not allowed. 3: something still hangs.
    """
    from detector import wiring

    found = wiring.diagnose(_load(config, set_), os.environ, mend=mend)
    for id_ in found.fenced:
        out.print(f"ended: open transaction of a member that is gone: {id_}", markup=False, highlight=False)
    for one in found.hanging:
        out.print(f"{'ended' if one in found.ended else 'hangs'}: {one}", markup=False, highlight=False)
    if not found.hanging:
        out.print("no transaction hangs", highlight=False)
    if found.left:
        advice = (
            "members that are alive end their own, the rest needs READ on __transaction_state or an operator "
            "(kafka-transactions.sh)"
            if mend
            else "--mend ends them"
        )
        raise NeedsOperator(f"{len(found.left)} partitions have a hanging transaction; {advice}")


@app.command()
def explain(
    config: ConfigPath,
    offset: Annotated[int, typer.Option(min=0, help="Of the event; in a replay its line, from 0.")],
    partition: Annotated[int, typer.Option(min=0)] = 0,
    topic: Annotated[str | None, typer.Option(help="Else the configured one.", show_default=False)] = None,
    events: AuditEvents = None,
    feedback: AuditFeedback = None,
    checkpoint_dir: AuditFolder = None,
    set_: Overrides = None,
) -> None:
    """Compute one event again, from the nearest checkpoint before it: its alert, or why it gave none.

    Prints the alert as it was published, byte for byte; for another event what an alert would have said.
    """
    from detector import wiring

    settings = _load(config, set_)
    if topic is not None and topic != settings.topics.transactions:
        raise _wrong("--topic", topic, f"the configured topic, {settings.topics.transactions}")
    files = _audited_files(events, feedback, checkpoint_dir)
    with wiring.auditing(settings, os.environ, files) as (auditor, archive), _progress("explain") as progress:
        _check_partition(partition, archive)
        explained = auditor.explain(partition, offset, progress)
    score = "" if explained.score is None else f", score {explained.score:.4f}"
    if explained.threshold is not None and explained.threshold < inf:
        score += f", threshold {explained.threshold:.4f}"
    err.print(
        f"{settings.topics.transactions}-{partition}-{offset}: {explained.fate}{score}; "
        f"from {explained.origin or 'the beginning'}, {explained.replayed:,} offsets before it"
    )
    if explained.alert is not None:
        sys.stdout.write(explained.alert.body.decode() + "\n")
    elif explained.rejected is not None:
        sys.stdout.write(f"{explained.rejected.detail}\n")


@app.command()
def init_config(
    events: Annotated[Path, typer.Option(help="A sample of your events, one JSON object a line.")],
    id: Annotated[str | None, typer.Option(help="Field that names the event.")] = None,
    time: Annotated[str | None, typer.Option(help="Field with the event's time.")] = None,
    entity: Annotated[
        list[str] | None, typer.Option(help="Field with an entity; the main one first.")
    ] = None,
    out_: Annotated[Path | None, typer.Option("--out", help="File to write; else standard output.")] = None,
) -> None:
    """Look at a sample of events and write a commented configuration for them."""
    with _reading(events) as lines:
        text = render(infer(lines, id=id, time=time, entities=entity or ()))
    with _creating("--out", out_) as file:
        file.write(text.encode())
    if out_ is None or str(out_) == "-":
        return
    err.print(
        f"written to {out_}; try it:  detector replay --config {out_} --events {events} --alerts alerts.jsonl"
    )


@app.command("simulate")
def simulate_(
    seed: Annotated[int, typer.Option(min=0)] = 0,
    events: Annotated[
        int | None, typer.Option(min=0, help="Stop after so many; else after 183 days.")
    ] = None,
    customers: Annotated[int, typer.Option(min=1)] = 5_000,
    drift_day: Annotated[int | None, typer.Option(min=0, help="From this day on prices double.")] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="Events, JSON lines; else standard output.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Frauds: event_id,event_time,scenario.")] = None,
) -> None:
    """Make card traffic with three kinds of fraud; labels apart from events."""
    from detector.demo.traffic import LABEL_FIELDS, SimulationConfig, label_rows, simulate, to_events

    try:
        plan = SimulationConfig(seed=seed, events=events, customers=customers, drift_day=drift_day)
    except ValueError as error:
        raise _wrong("simulate", str(error), "see detector simulate --help") from None
    if str(labels) == "-" and (out_ is None or str(out_) == "-"):
        raise _wrong("--labels", "-", "a file: the events go to standard output; --out FILE moves them")
    if labels is not None and labels.is_file():  # before the events are begun
        raise _wrong("--labels", str(labels), NEW)
    encode = msgspec.json.Encoder().encode_lines
    with ExitStack() as files:
        sink = files.enter_context(_creating("--out", out_))
        rows = None
        if labels is not None:
            text = files.enter_context(_creating("--labels", labels))
            rows = csv.writer(_Lines(text), lineterminator="\n")
            rows.writerow(LABEL_FIELDS)
        for day in simulate(plan):
            sink.write(encode(to_events(day)))
            if rows is not None:
                rows.writerows(label_rows(day))


@app.command()
def check_config(
    file: Annotated[Path, typer.Argument(help="Configuration, YAML.")],
    effective_: Annotated[
        bool, typer.Option("--effective", help="Print what is in force, secrets masked.")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Report all problems of a configuration at once.

    Secrets, files and packages that it needs and this machine does not have are warnings: `run` refuses to
    start without them, but often runs elsewhere.
    """
    from detector.shell.store import url_problem

    config = _load(file, set_)
    missing = missing_here(config, os.environ)
    missing += filter(None, [url_problem(config.checkpoints.url)])
    for problem in missing:
        err.print(f"warning: not on this machine: {problem}")
    if effective_:
        sys.stdout.write(effective(config))
    else:
        out.print(f"{file}: fine (model {config.model_part(1).hash()})", markup=False, highlight=False)


@app.command()
def config_schema() -> None:
    """Print the configuration's JSON Schema, for editors."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


@app.command()
def demo(
    seconds: Annotated[
        float, typer.Option(envvar="DEMO_SECONDS", help="How long traffic flows; at least 10.")
    ] = 40.0,
    bootstrap: Annotated[
        str | None, typer.Option(help="HOST:PORT of a real broker; else one in this process.")
    ] = None,
) -> None:
    """Show the whole service for a minute: broker, traffic with frauds, daemon, alerts."""
    from detector.demo.demo import SECONDS_MIN, run_demo

    if not SECONDS_MIN <= seconds <= DEMO_SECONDS_MAX:  # nan is neither
        allowed = f"a number from {SECONDS_MIN:g} to {DEMO_SECONDS_MAX:g}"
        raise _wrong("--seconds (DEMO_SECONDS)", f"{seconds:g}", allowed)
    run_demo(seconds, bootstrap, out)


@checkpoint.command("list")
def checkpoint_list(config: ConfigPath, set_: Overrides = None) -> None:
    """List the group's checkpoints, oldest first."""
    from detector import wiring

    settings = _load(config, set_)
    listed = wiring.checkpoints(settings)
    if not listed:
        out.print(f"nothing under {wiring.checkpoints_place(settings)}", markup=False, highlight=False)
        return
    row = "{:>9} {:>15} {:>15}  {:12}  {}"
    out.print(row.format("partition", "position", "bytes", "model", "name"), highlight=False)
    for found in listed:
        manifest = found.manifest
        facts: tuple[object, ...] = ("?", "?", "?", "damaged")
        if manifest is not None:
            facts = (
                manifest.partition,
                f"{manifest.position:,}",
                f"{manifest.state_bytes:,}",
                manifest.config,
            )
        out.print(row.format(*facts, found.name), markup=False, highlight=False)
        if found.problem:
            out.print(f"          {found.problem}", markup=False, highlight=False)


@checkpoint.command("show")
def checkpoint_show(
    name: Annotated[str, typer.Argument(help="As in the last column of `checkpoint list`.")],
    config: ConfigPath,
    set_: Overrides = None,
) -> None:
    """Show one checkpoint: where it stands, what it was made with, what is in it."""
    from detector import wiring

    out.print_json(json.dumps(wiring.show_checkpoint(_load(config, set_), name)))


@checkpoint.command("verify")
def checkpoint_verify(
    config: ConfigPath,
    partition: Annotated[int | None, typer.Option(min=0, help="Else all.", show_default=False)] = None,
    generations: Annotated[
        int, typer.Option(min=0, max=1000, help="Begin at so many checkpoints before the newest one.")
    ] = 1,
    events: AuditEvents = None,
    feedback: AuditFeedback = None,
    checkpoint_dir: AuditFolder = None,
    set_: Overrides = None,
) -> None:
    """Replay what was done since some checkpoint, and compare the state after every barrier.

    Ends with exit code 3 if one differs: then this machine, or these versions, compute something else.
    """
    from detector import wiring

    settings = _load(config, set_)
    files = _audited_files(events, feedback, checkpoint_dir)
    different = []
    with wiring.auditing(settings, os.environ, files) as (auditor, archive):
        if partition is not None:
            _check_partition(partition, archive)
        for number in range(archive.partitions_count()) if partition is None else [partition]:
            if archive.committed(number) is None:
                out.print(f"partition {number}: nothing is committed", highlight=False)
                continue
            with _progress(f"partition {number}") as progress:
                verified = auditor.verify(number, generations=generations, progress=progress)
            for line in _verdict(verified):
                out.print(line, markup=False, highlight=False)
            if not verified.equal:
                different.append(number)
    if different:
        raise NeedsOperator(
            f"the state differs in partition {', '.join(map(str, different))}: was it computed on another "
            "kind of machine, or with other versions (detector checkpoint show)? Else please report a bug"
        )


@checkpoint.command("rollback")
def checkpoint_rollback(
    config: ConfigPath,
    partition: Annotated[int, typer.Option(min=0)],
    to: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="As `checkpoint list` shows it; else the one before the newest."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    set_: Overrides = None,
) -> None:
    """Give a partition the model of an older checkpoint. All members of the group must be stopped.

    The group stays where it stands: nothing is scored again, and what the model learned since is forgotten.
    """
    from detector import wiring

    settings = _load(config, set_)
    if not yes:
        group, chosen = settings.kafka.group_id, to or "the checkpoint before the newest"
        question = f"Group {group}, partition {partition}: forget what was learned since {chosen}?"
        typer.confirm(question, abort=True, err=True)
    taken = wiring.roll_back(settings, os.environ, partition, to)
    out.print(f"partition {partition} goes on with {taken}", markup=False, highlight=False)


@checkpoint.command("export")
def checkpoint_export(
    config: ConfigPath,
    out_: Annotated[Path, typer.Option("--out", help="Model file to write.")],
    partition: Annotated[int, typer.Option(min=0, help="Whose newest checkpoint.")] = 0,
    set_: Overrides = None,
) -> None:
    """Write what a partition learned about everybody, for `--warm-start` elsewhere.

    Without profiles, budget, cases and labels. It holds real events, without ids: treat it like a checkpoint.
    """
    from detector import wiring

    name, data = wiring.export(_load(config, set_), partition)
    with _creating("--out", out_) as file:
        file.write(data)
    err.print(f"{len(data):,} bytes of checkpoint {name}")


# --- leaves ----------------------------------------------------------------------------------------------


class _Lines:
    """Lets csv write to a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def _report(replayed: Replayed, seconds: float, *, resume: bool, labels: bool) -> None:
    """Say what became of a replay."""
    totals = replayed.telemetry.totals()
    if resume and replayed.complete and not totals.received:
        err.print("already complete: nothing was left to do")
        return
    rejected = sum(totals.rejected.values())
    err.print(
        f"{totals.received:,} events: {totals.scored:,} scored, {rejected:,} rejected, "
        f"{sum(totals.alerts.values()):,} alerts, {sum(totals.suppressed.values()):,} suppressed; "
        f"{seconds:.1f} s, {totals.received / max(seconds, 1e-9):,.0f} events/s",
        highlight=False,
    )
    counts = [(f"rejected, {reason}", count) for reason, count in sorted(totals.rejected.items())]
    counts += [(f"labels, {outcome}", count) for outcome, count in totals.labels.items() if labels]
    counts += [(f"messages between shards, {outcome}", count) for outcome, count in totals.exchange.items()]
    for what, count in counts:
        if count:
            err.print(f"  {what}: {count:,}")
    if labels and not any(totals.labels.values()):
        err.print("  labels: none was read")
    if 2 * rejected > totals.received:
        err.print(
            f"most events were rejected, the first one at {replayed.rejection}\n"
            "does `event` describe them? detector init-config --events FILE writes what does"
        )


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; told how much of how much is done."""
    columns = TextColumn(what), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _audited_files(events: Path | None, feedback: Path | None, folder: Path | None) -> ReplayFiles | None:
    from detector import wiring

    if events is None and folder is None and feedback is None:
        return None
    if events is None or folder is None:
        missing = "--events" if events is None else "--checkpoint-dir"
        raise _wrong(missing, "nothing", "a replay has both --events and --checkpoint-dir")
    for file in (events, feedback):
        _check_readable(file)
    return wiring.ReplayFiles(events=events, feedback=feedback, folder=folder)


def _check_partition(partition: int, archive: Archive) -> None:
    count = archive.partitions_count()
    if partition >= count:
        raise _wrong("--partition", str(partition), f"0 to {count - 1}")


def _verdict(verified: Verified) -> Iterator[str]:
    """Say what became of verifying one partition."""
    for damage in verified.damages:
        yield f"partition {verified.partition}: could not be used: {damage}"
    unknown = sum(barrier.equal is None for barrier in verified.barriers)
    equal = sum(barrier.equal is True for barrier in verified.barriers)
    yield (
        f"partition {verified.partition}: {verified.start:,} to {verified.stop:,} from "
        f"{verified.origin or 'the beginning'}: {len(verified.barriers)} barriers, {equal} equal, "
        f"{len(verified.barriers) - equal - unknown} different, {unknown} without a hash of then"
    )
    first = next((barrier for barrier in verified.barriers if barrier.equal is False), None)
    if first is not None:
        yield (
            f"  first at offset {first.position:,} (a barrier by {first.cause!r}): "
            f"{first.noted} then, {first.found} now"
        )
    for part in verified.differing[:PARTS_SHOWN]:
        yield f"  differs: {part}"
    if len(verified.differing) > PARTS_SHOWN:
        yield f"  and {len(verified.differing) - PARTS_SHOWN} more parts"


def _load(path: Path, overrides: list[str] | None) -> Config:
    return load(path, overrides or (), os.environ)


def _wrong(path: str, value: str, allowed: str) -> ConfigError:
    return ConfigError("command line", [Problem(path=path, value=value, allowed=allowed)])


def _check_readable(path: Path | None) -> None:
    """Refuse what cannot be opened; a pipe is not tried, as that would take its content."""
    if path is None:
        return
    if not path.exists() or path.is_file():
        with _reading(path) as file:
            file.read(1)
    elif path.is_dir():
        raise _wrong(str(path), "a folder", "a readable file")


def _check_writable(option: str, path: Path | None) -> None:
    """Refuse what cannot become a file, without making it one."""
    if path is None:
        return
    if str(path) == "-":
        raise _wrong(option, "-", f"{WRITABLE}; standard output is /dev/stdout")
    if path.is_dir():
        raise _wrong(option, str(path), WRITABLE)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise _wrong(option, str(path), WRITABLE)


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    try:
        with ExitStack() as files:
            file: Any = files.enter_context(path.open("rb"))
            if path.suffix == ".gz":
                file = gzip.GzipFile(fileobj=file)
            yield file
    except (OSError, EOFError, ZlibError) as error:
        raise _wrong(str(path), getattr(error, "strerror", None) or str(error), "a readable file") from None


@contextmanager
def _creating(option: str, path: Path | None) -> Iterator[IO[bytes]]:
    """A new file; None and `-`: standard output. What is no file (a pipe, /dev/null) is written to."""
    if path is None or str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        with ExitStack() as files:
            file: Any = files.enter_context(path.open("wb" if path.exists() and not path.is_file() else "xb"))
            if path.suffix == ".gz":  # no clock and no name in it: equal content, equal bytes
                file = files.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
            yield file
    except FileExistsError:
        raise _wrong(option, str(path), NEW) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _wrong(option, f"{path} ({error.strerror or error})", WRITABLE) from None
