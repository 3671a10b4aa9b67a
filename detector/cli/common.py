"""What commands share: options, consoles, files, and how a wrong argument is reported."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any
from zlib import error as ZlibError

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from detector.config.load import load
from detector.config.tree import Config
from detector.config.tree.base import to_seconds
from detector.errors import ConfigError, Problem

if TYPE_CHECKING:  # loads numba: at run time only in the commands that need it
    from detector.wiring.common import ModelFile

WRITABLE = "a file in an existing folder with write permission"
NEW = "a file that does not exist yet: nothing is overwritten"


class InertConsole(Console):
    """A console to which values of events may be printed: they neither move the cursor nor hide anything."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; see `inert`."""
        super().print(*(inert(one) if isinstance(one, str) else one for one in objects), **options)


def inert(text: str) -> str:
    """Replace what a terminal obeys instead of showing: control characters, marks of direction."""
    return "".join(sign if sign in "\n\t" or not _obeyed(sign) else "�" for sign in text)


def _obeyed(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs")


out = InertConsole(soft_wrap=True)
err = InertConsole(stderr=True, soft_wrap=True, markup=False, highlight=False)

EVENTS_HELP = (
    "JSON lines, a JSON array, CSV, TSV, Parquet or Arrow, also gzip or zstd: a path, a quoted pattern such "
    "as 'days/*.csv', a URL, or - for standard input."
)
ConfigPath = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration file (YAML).", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a key, e.g. log.level=debug.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only what was published since, such as 2026-03-01T08:00Z, or 2h for two hours ago.",
        show_default=False,
    ),
]
WarmStart = Annotated[
    Path | None,
    typer.Option(
        "--warm-start",
        metavar="FILE",
        help="Model file of `checkpoint export`: the start of partitions without progress.",
        show_default=False,
    ),
]
EncoderOnly = Annotated[
    bool,
    typer.Option("--encoder-only", help="Of --warm-start: take its encoder alone, as for other units."),
]


def warm_start_of(file: Path | None, encoder_only: bool) -> ModelFile | None:
    """The model that new partitions begin with; None: nothing."""
    from detector.wiring.common import ModelFile

    if file is None and encoder_only:
        raise wrong("--encoder-only", "no --warm-start", "a model file there")
    return None if file is None else ModelFile(file, encoder_only)


def load_config(path: Path, overrides: list[str] | None) -> Config:
    """Load the configuration with this process's environment."""
    return load(path, overrides or (), os.environ)


def wrong(path: str, value: str, allowed: str) -> ConfigError:
    """Make the error of one argument: "path: got value, expected allowed"."""
    return ConfigError("command line", [Problem(path=path, value=value, allowed=allowed)])


def read_moment(option: str, text: str | None) -> float | None:
    """Read an option that is a time, in UTC where it states no offset; s since the epoch.

    It is read as an event's time is: what a configuration, an alert or a log shows can be pasted.
    """
    from detector.core.events import read_time

    if text is None:
        return None
    moment = read_time(text)
    if moment is None:
        raise wrong(option, text, "a time such as 2026-03-02 or 2026-03-02T14:00Z")
    return moment


def read_since(option: str, text: str | None) -> float | None:
    """Read an option that is a time, or how long ago it was, such as 2h; s since the epoch."""
    try:
        return read_moment(option, text) if text is None else time.time() - float(to_seconds(text))
    except ValueError:
        return read_moment(option, text)


def read_span(start: str | None, end: str | None) -> tuple[float, float]:
    """Read --from and --to; without one of them the span has no such end."""
    first, last = read_moment("--from", start), read_moment("--to", end)
    return -inf if first is None else first, inf if last is None else last


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal. Yields what to call with the work done and the work in all."""
    columns = TextColumn(what), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def check_readable(given: Path | str | None) -> None:
    """Refuse a file that cannot be opened. A pipe is not tried: that would take its content.

    Nor are URLs, patterns and standard input: who reads them says what is wrong.
    """
    if given is None or given == "-" or (not Path(given).exists() and set("*?[:") & set(str(given))):
        return
    path = Path(given)
    if not path.exists() or path.is_file():
        with reading(path) as file:
            file.read(1)
    elif path.is_dir():
        raise wrong(str(path), "a folder", f"a readable file, or a pattern such as '{path}/*.csv'")


def check_writable(option: str, path: Path | None) -> None:
    """Refuse what cannot become a file, without creating it."""
    if path is None:
        return
    if str(path) == "-":
        raise wrong(option, "-", f"{WRITABLE}; standard output is /dev/stdout")
    if path.is_dir():
        raise wrong(option, str(path), WRITABLE)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise wrong(option, str(path), WRITABLE)


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if its name ends in .gz."""
    try:
        with ExitStack() as files:
            file: Any = files.enter_context(path.open("rb"))
            if path.suffix == ".gz":
                file = gzip.GzipFile(fileobj=file)
            yield file
    except (OSError, EOFError, ZlibError) as error:
        raise wrong(str(path), getattr(error, "strerror", None) or str(error), "a readable file") from None


@contextmanager
def creating(option: str, path: Path | None) -> Iterator[IO[bytes]]:
    """Create a file; None and `-` mean standard output. A pipe or device is written to."""
    if path is None or str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        with ExitStack() as files:
            file: Any = files.enter_context(path.open("wb" if path.exists() and not path.is_file() else "xb"))
            if path.suffix == ".gz":  # without time and name: equal content, equal bytes
                file = files.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
            yield file
    except FileExistsError:
        raise wrong(option, str(path), NEW) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise wrong(option, f"{path} ({error.strerror or error})", WRITABLE) from None


def write_report(page: Path, html: str, found: Mapping[str, Any], sentences: Iterable[str]) -> None:
    """Write a report as a page and, beside it, as JSON; then say where, and what stands out."""
    for path, text in ((page, html), (page.with_suffix(".json"), json.dumps(found, indent=1) + "\n")):
        with creating("--out", path) as file:
            file.write(text.encode())
        out.print(str(path), markup=False, highlight=False, soft_wrap=True)
    for sentence in sentences:
        out.print(sentence, markup=False, highlight=False, soft_wrap=True)
