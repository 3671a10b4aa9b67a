"""`init-config`, `check-config` and `config-schema`."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.common import (
    EVENTS_HELP,
    NEW,
    ConfigPath,
    Overrides,
    check_readable,
    check_writable,
    creating,
    err,
    load_config,
    out,
    wrong,
)
from detector.config.load import effective, load_text
from detector.config.schema import json_schema
from detector.config.secrets import missing_here
from detector.config.tree.base import to_bytes
from detector.config.words import counted

if TYPE_CHECKING:
    from detector.config.infer import Inference, Sample, Wishes
    from detector.config.tree import Config
    from detector.shell.files import LineReader, Source
    from detector.shell.memory_limit import MemoryLimit


def init_config(
    events: Annotated[str, typer.Option(help=f"A sample of your events. {EVENTS_HELP}")],
    id: Annotated[str | None, typer.Option(help="Field with the event's id; none: there is none.")] = None,
    time: Annotated[
        str | None, typer.Option(help="Field with the event's time; none: there is none.")
    ] = None,
    entity: Annotated[
        list[str] | None, typer.Option(help="Field with an entity; give the main one first.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Field that says which events were frauds; others are found.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Field that is not used.")] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="File to write, instead of standard output.")
    ] = None,
    labels_out: Annotated[
        Path | None,
        typer.Option(help="Write feedback for `replay --feedback` from the fields with labels."),
    ] = None,
    labels_delay: Annotated[
        str, typer.Option(metavar="DURATION", help="How long after its event a label comes, e.g. 7d.")
    ] = "0s",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Write a commented configuration for a sample of events.

    On a terminal it shows its choices first and takes corrections. It ends
    with a trial: 1,000 events are run through what it wrote.
    """
    from detector.config.infer import Sample, Wishes, render
    from detector.shell.files import LineReader, Source, describe
    from detector.wiring.first_config import TRIAL_EVENTS_MAX, open_envelope

    check_readable(events)
    for option, path in (("--out", out_), ("--labels-out", labels_out)):
        if path is not None and path.is_file():
            raise wrong(option, str(path), NEW)
    check_writable("--labels-out", labels_out)
    delay_s = _seconds("--labels-delay", labels_delay)
    wishes = Wishes(
        id=_or_none(id),
        time=_or_none(time),
        entities=entity or (),
        labels=label or (),
        ignored=drop or (),
    )
    with closing(Source(events)) as source, ExitStack() as opened:
        if note := describe(source):
            err.print(note)
        first: list[bytes] = []
        # Closed at the end: with it goes what was kept of a pipe, and labels are read from the beginning.
        reader = opened.enter_context(closing(LineReader(source)))
        sample = Sample(_kept(reader, first, TRIAL_EVENTS_MAX), open_envelope)
        inference = _decided(sample, wishes, ask=not yes and events != "-")
        text = render(inference)
        config = load_text(text, "the inferred configuration")
        with creating("--out", out_) as file:
            file.write(text.encode())
        labelled = labels_out is not None and _write_labels(config, inference, source, delay_s, labels_out)
    _try_out(config, first)
    if out_ is None or str(out_) == "-":
        return
    more = f" --feedback {shlex.quote(str(labels_out))}" if labelled else ""
    err.print(f"written to {out_}; {_next(out_, events, more)}")


def _next(config: Path, events: str, more: str) -> str:
    """The command that follows. Standard input cannot be read again."""
    if events == "-":
        topic = "--set kafka.bootstrap_servers=HOST:PORT --set topics.transactions=TOPIC"
        return f"if they came from a topic:  detector run --config {config} {topic}"
    file = shlex.quote(events)
    return f"try it:  detector replay --config {config} --events {file}{more} --alerts alerts.jsonl"


def _decided(sample: Sample, wishes: Wishes, *, ask: bool) -> Inference:
    """Decide, on a terminal with the person's corrections."""
    from detector.cli import asking
    from detector.config.infer import decide

    if ask and sys.stdin is not None and sys.stdin.isatty() and err.is_terminal:
        inference = asking.ask(sample, wishes, lambda: err.input("> "))
        if inference is None:
            raise typer.Abort
    else:
        inference = decide(sample, wishes)
        err.print(f"{inference.events:,} events were read:\n{asking.summary(inference)}")
    for note in inference.notes:
        err.print(f"note: {note}")
    return inference


def _or_none(path: str | None) -> str | None:
    return "" if path is not None and path.lower() == "none" else path


def _kept(reader: LineReader, first: list[bytes], count: int) -> Iterator[bytes]:
    """Lines of a reader; the first ones are kept."""
    while not reader.at_end:
        for line in reader.read(count):
            if len(first) < count and line.strip():
                first.append(line)
            yield line


def _seconds(option: str, text: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", text)
    if found is None:
        raise wrong(option, text, "a duration like 30s, 15m, 12h or 7d")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}[found[2] or "s"]


def _write_labels(config: Config, inference: Inference, source: Source, delay_s: float, path: Path) -> bool:
    """Write feedback. Returns whether there are labels to write."""
    from detector.wiring.first_config import write_labels

    sure = [label for label in inference.labels if label.sure]
    if not sure:
        err.print(f"no field with labels was found, so {path} is not written: name the field by --label")
        return False
    with creating("--labels-out", path) as file:
        counted = write_labels(config, sure, source, delay_s, file)
    names = ", ".join(label.path for label in sure)
    err.print(
        f"{counted['labels']:,} labels of {counted['events']:,} events written to {path}, from {names}; "
        "an event without one counts as legitimate after some time"
    )
    return True


def _try_out(config: Config, lines: list[bytes]) -> None:
    """Run the first events through the configuration and say what became of them."""
    from detector.shell import logs
    from detector.wiring.compiling import COMPILING, watching_compilation
    from detector.wiring.first_config import try_out

    logs.configure("error", config.log.format)
    with watching_compilation(lambda: err.print(COMPILING)):
        trial = try_out(config, lines, logs.get_logger("detector"))
    rejected = sum(trial.rejected.values())
    alerts = counted(trial.alerts, "alert")
    if trial.events < trial.warm_up:
        alerts += f" (the first {trial.warm_up:,} events are a warm-up)"
    skipped = trial.events - trial.scored - rejected
    others = f", {skipped:,} skipped" if skipped > 0 else ""
    err.print(
        f"trial with the first {trial.events:,} events: {trial.scored:,} scored, "
        f"{rejected:,} rejected{others}, {alerts}"
    )
    for reason, count in sorted(trial.rejected.items()):
        err.print(f"  rejected, {reason}: {count:,}")
    for name, count in sorted(trial.unreadable.items()):
        err.print(f"  unreadable, so missing: {name}: {count:,}")
    for detail in trial.details:
        err.print(f"  for example: {detail}")


def check_config(
    file: Annotated[Path, typer.Argument(help="Configuration file (YAML).")],
    effective_: Annotated[
        bool, typer.Option("--effective", help="Print all settings, defaults included.")
    ] = False,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory of the container or machine that the service will run on, e.g. 2GiB; none: that of "
            "this one.",
        ),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COUNT",
            help="Different values of an entity or a category, e.g. card=5000000: what memory to expect.",
        ),
    ] = None,
    events: Annotated[
        int, typer.Option(min=1, help="Events after which it is expected, with --keys.")
    ] = 100_000_000,
    set_: Overrides = None,
) -> None:
    """Report all problems of a configuration at once.

    It also says how much memory the service needs at most, and refuses what
    does not fit. With --keys it says how much to expect. Secrets, files and
    packages that are missing on this machine are only warnings: the service
    often runs elsewhere.
    """
    from detector.shell.store import url_problem
    from detector.wiring import memory

    config = load_config(file, set_)
    limit = _limit(memory_limit)
    check = memory.describe(config, limit)
    missing = missing_here(config, os.environ)
    missing += filter(None, [url_problem(config.checkpoints.url)])
    for problem in missing:
        err.print(f"warning: not on this machine: {problem}")
    memory.check_memory(config, limit, str(file))
    if effective_:
        sys.stdout.write(effective(config))
    else:
        out.print(check, markup=False, highlight=False)
        if keys:
            wanted = memory.describe_expected(config, events, _counts(keys, config))
            out.print(wanted, markup=False, highlight=False)
        out.print(f"{file}: valid (model {config.model_part(1).hash()})", markup=False, highlight=False)


def _limit(text: str | None) -> MemoryLimit | None:
    """The memory that `--memory-limit` names; without it this machine's."""
    from detector.shell import memory_limit

    if text is None:
        return memory_limit.memory_limit()
    try:
        return memory_limit.MemoryLimit(to_bytes(text), "--memory-limit")
    except ValueError as error:
        raise wrong("--memory-limit", text, str(error)) from None


def _counts(texts: list[str], config: Config) -> dict[str, int]:
    """Different values by name of entity or category, from `NAME=COUNT`."""
    known = [entity.name for entity in config.event.entities]
    known += [field.name for field in config.event.fields if field.type == "categorical"]
    counts = {}
    for text in texts:
        name, _, count = text.rpartition("=")
        if name not in known or not count.isdecimal():
            raise wrong("--keys", text, f"NAME=COUNT with a whole number; NAME is one of {', '.join(known)}")
        counts[name] = int(count)
    return counts


def config_schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


def asyncapi(config: ConfigPath, set_: Overrides = None) -> None:
    """Print the topics and messages of a configuration as an AsyncAPI 3 document."""
    from detector.wiring.asyncapi import asyncapi as document

    sys.stdout.write(json.dumps(document(load_config(config, set_)), indent=2) + "\n")
