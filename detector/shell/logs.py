"""The service's log: one JSON object per line, or colours on a terminal.

Log records of libraries go the same way, but only from WARNING on: at DEBUG some of them (numba, botocore)
write megabytes, or requests with credentials. Every value is first converted to plain data of limited size
without secrets.

In trouble a client may log hundreds of lines a minute that say the same. `Limit` shows the first few of a
minute, and then says how many were left out. At level ``debug`` nothing is left out.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TextIO
from urllib.parse import quote

import structlog

from detector.config.words import redacted
from detector.ports import Log

_MASK = "***"
_CHARS_MAX = 16_384  # of one text; the longest tracebacks are cut
_ITEMS_MAX = 100  # of one list or mapping
_DEPTH_MAX = 8
WINDOW_S = 60.0
LIBRARY_LINES_MAX = 3  # of one library in a window: its causes come first, and we say ours
EVENT_LINES_MAX = 3  # of one event of ours in a window, below ERROR
ALWAYS = frozenset(("act",))  # of people: each has its line, for whoever looks who did what
_KEYS_MAX = 256  # of a window: further ones are left out

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
EventDict = MutableMapping[str, Any]


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Set up all logging of this process. The last call counts.

    Parameters
    ----------
    level
        Lowest level of our own records; for libraries, at least ``warning``.
    format
        ``auto``: ``console`` when `stream` is a terminal, else ``json``.
    stream
        Where to write; standard error by default.
    secrets
        Texts to mask wherever they appear, also in tracebacks. Empty ones are ignored. Passwords and query
        strings in URLs are always masked.
    """
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    console = not writes_json(format, out)
    own_level = logging.getLevelNamesMapping()[level.upper()]

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        # The plain formatter: the default one prints the values of local variables.
        structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(out) if own_level <= logging.DEBUG else _LimitedHandler(out, shared)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _plain_values(secrets),
                *([_visible] if console else []),
                renderer,
            ],
        )
    )
    logging.basicConfig(level=max(own_level, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("detector").setLevel(own_level)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def writes_json(format: Literal["auto", "json", "console"], stream: TextIO | None = None) -> bool:
    """Whether a log of this format is JSON there; standard error by default."""
    out = sys.stderr if stream is None else stream
    return format == "json" or (format == "auto" and not out.isatty())


def get_logger(name: str) -> Log:
    """Return the logger of a name, usually ``__name__``. It follows every later `configure`.

    A name that does not begin with ``detector`` is treated as a library's.
    """
    log: Log = structlog.stdlib.get_logger(name)
    return log


class Limit:
    """Chooses the records of a window of `WINDOW_S` that are shown.

    - A library's template (the message before its values are filled in): once. Of one library, at most
      `LIBRARY_LINES_MAX` records.
    - Our own events: `EVENT_LINES_MAX` records of each. Errors are all shown, and so are those of `ALWAYS`.

    What is shown depends on the records and their times alone.
    """

    def __init__(self) -> None:
        self._began_s = 0.0  # time of the window's first record, s since the epoch
        self._counts: Counter[tuple[str, str]] = Counter()  # shown, by what limits them
        self._left_out: Counter[str] = Counter()  # by source

    def turn(self, record: logging.LogRecord) -> dict[str, int]:
        """Begin another window if the one before has ended (or the clock was set back).

        Returns
        -------
        dict
            Numbers of records that were left out, by logger or event of ours, to be told before this record:
            at a window's end, and before an error of ours, which may be the last record. Empty: none.
        """
        if not 0.0 <= record.created - self._began_s < WINDOW_S:
            self._began_s = record.created
            self._counts.clear()
            return self.left_out()
        return self.left_out() if _is_own(record.name) and record.levelno >= logging.ERROR else {}

    def left_out(self) -> dict[str, int]:
        """Numbers of records that were left out since this was last called."""
        left_out = dict(self._left_out)
        self._left_out.clear()
        return left_out

    def shows(self, record: logging.LogRecord) -> bool:
        """Whether to show this record; counts it."""
        limits = self._limits(record)
        fits = all(self._counts[key] < limit for key, limit in limits)
        if fits and len(self._counts) + len(limits) <= _KEYS_MAX:
            self._counts.update(key for key, _ in limits)
            return True
        source = _source(record)
        self._left_out[source if len(self._left_out) < _ITEMS_MAX else "others"] += 1
        return False

    def _limits(self, record: logging.LogRecord) -> tuple[tuple[tuple[str, str], int], ...]:
        template = record.name, _event(record)
        if not _is_own(record.name):
            return ((record.name.partition(".")[0], ""), LIBRARY_LINES_MAX), (template, 1)
        always = record.levelno >= logging.ERROR or _event(record) in ALWAYS
        return () if always else ((template, EVENT_LINES_MAX),)


class _LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes what a `Limit` shows, and once a window how much it left out.

    Parameters
    ----------
    shared
        Add level, logger and time to what this handler itself says.
    """

    def __init__(self, stream: TextIO, shared: Sequence[structlog.typing.Processor]) -> None:
        super().__init__(stream)
        self._limit, self._shared = Limit(), shared

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; the handler's lock is held."""
        self._tell(self._limit.turn(record))
        if self._limit.shows(record):
            super().emit(record)

    def close(self) -> None:
        """Tell what the last window left out; at the process's end, or when logging is set up again."""
        left_out = self._limit.left_out()
        if not self.stream.closed:
            self._tell(left_out)
        super().close()

    def _tell(self, left_out: Mapping[str, int]) -> None:
        if not left_out:
            return
        logger, name = logging.getLogger(__name__), "warning"
        event: Any = {"event": "log_lines_left_out", "lines": sum(left_out.values()), "sources": left_out}
        for processor in self._shared:
            event = processor(logger, name, event)
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, event, None, None)
        record.__dict__ |= {"_logger": logger, "_name": name}  # as structlog marks its own
        super().emit(record)


def _event(record: logging.LogRecord) -> str:
    """Return the name of our event, or the message's template."""
    event = record.msg.get("event", "") if isinstance(record.msg, dict) else record.msg
    return str(event)[:_CHARS_MAX]


def _source(record: logging.LogRecord) -> str:
    return f"{record.name}: {_event(record)}" if _is_own(record.name) else record.name


def _is_own(name: str) -> bool:
    return name.partition(".")[0] == "detector"


def _visible(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey or not show; JSON is escaped anyway. Tracebacks keep their lines."""
    return {key: _escaped(value, keep="\n" if key == "exception" else "") for key, value in event.items()}


def _escaped(value: Plain, keep: str = "") -> Plain:
    if isinstance(value, dict):
        return {key: _escaped(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in value
    )


def _plain_values(secrets: Iterable[str]) -> structlog.typing.Processor:
    mask = _masker(secrets)

    def process(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {key: _plain(value, mask, _DEPTH_MAX) for key, value in event.items()}

    return process


def _masker(secrets: Iterable[str]) -> Callable[[str], str]:
    """Mask secrets as they are, as `repr` writes them, and as they are quoted in a URL."""
    forms = {
        form
        for secret in secrets
        for form in (secret, repr(secret)[1:-1], repr(secret.encode())[2:-1], quote(secret, safe=""))
    }
    longest_first = sorted(forms - {""}, key=len, reverse=True)
    if not longest_first:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return lambda text: pattern.sub(_MASK, text)


def _plain(value: object, mask: Callable[[str], str], depth: int) -> Plain:
    """Convert anything to what JSON can hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Real):  # numpy's numbers too
        number = int(value) if isinstance(value, Integral) else float(value)
        if abs(number) <= sys.float_info.max:  # JSON has no NaN; larger numbers become text, which is cut
            masked = mask(repr(number))  # a secret may consist of digits
            return number if masked == repr(number) else masked
    if isinstance(value, Mapping) and depth > 0:
        pairs = list(value.items())[:_ITEMS_MAX]
        return {_text(key, mask): _plain(item, mask, depth - 1) for key, item in pairs}
    if isinstance(value, list | tuple | set | frozenset) and depth > 0:
        return [_plain(item, mask, depth - 1) for item in list(value)[:_ITEMS_MAX]]
    return _text(value, mask)


def _text(value: object, mask: Callable[[str], str]) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 - a faulty __repr__ must not lose the record
        text = f"<{type(value).__name__} without repr: {type(error).__name__}>"
    text = (
        redacted(mask(text)).encode(errors="backslashreplace").decode()
    )  # lone surrogates cannot be encoded
    return text if len(text) <= _CHARS_MAX else f"{text[:_CHARS_MAX]}... ({len(text)} characters)"
