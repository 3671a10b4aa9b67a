"""Output files: alerts, updates of cases, rejected events and scores."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from detector.config.tree import Topics
from detector.core.alerts.score_record import decode_score
from detector.errors import NeedsOperator
from detector.ports import Message
from detector.shell.files.inputs import Source
from detector.shell.files.line_reader import readable_errors

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
SCORES_HEADER = b"event_id,event_time,score,quantile,alert\n"
Form = Callable[[Sequence[Message]], bytes]  # messages of one topic as text


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFiles:
    """Where outputs go. A file is compressed if its name ends in .gz; None: not written."""

    alerts: Path | None = None  # JSONL, the bodies
    case_updates: Path | None = None  # JSONL, the bodies; needs topics.case_updates to be set
    rejected: Path | None = None  # JSONL: reason, detail, offset, value (text) or value_base64
    scores: Path | None = None  # CSV, one row per accepted event; needs topics.scores to be set
    receipts: Path | None = None  # JSONL, the bodies; needs topics.receipts to be set


class OutputFile:
    """An output file, written in whole groups."""

    def __init__(self, name: str, path: Path, form: Form, size: int | None) -> None:
        self.name = name
        self._path = path
        self._form = form
        self._zipped = path.suffix == ".gz"
        self.size = size or 0
        with readable_errors(path, "written"):
            if size is not None and not path.exists():
                raise NeedsOperator(_changed(path, "is missing, but was there when the replay stopped"))
            self.file: BinaryIO = path.open("wb" if size is None else "r+b")
            if size is None:  # perhaps a pipe or a device
                return
            if os.fstat(self.file.fileno()).st_size < size:
                self.file.close()
                raise NeedsOperator(_changed(path, "is shorter than when the replay stopped"))
            self.file.truncate(size)
            self.file.seek(size)

    def write(self, messages: Sequence[Message]) -> None:
        """Append one group."""
        self.append(self._form(messages))

    def flush(self) -> None:
        """Hand the data to the operating system."""
        with readable_errors(self._path, "written"):
            self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def append(self, text: bytes) -> None:
        """Write some text, compressed by itself."""
        if text:
            data = gzip.compress(text, compresslevel=6, mtime=0) if self._zipped else text
            with readable_errors(self._path, "written"):
                self.file.write(data)
            self.size += len(data)


def _changed(path: Path, how: str) -> str:
    return f"{path} {how}: give the same files again, or remove the checkpoint folder to start over"


def _bodies(messages: Sequence[Message]) -> bytes:
    return b"".join((message.value or b"") + b"\n" for message in messages)


def _rejected_lines(messages: Sequence[Message]) -> bytes:
    return b"".join(_rejected_line(message) + b"\n" for message in messages)


def _rejected_line(message: Message) -> bytes:
    facts = dict(message.headers)
    document: dict[str, Any] = {
        "reason": facts.get("detector_reason", b"").decode(errors="replace"),
        "detail": facts.get("detector_detail", b"").decode(errors="replace"),
        "offset": message.offset,
    }
    try:
        document["value"] = None if message.value is None else message.value.decode()
    except UnicodeDecodeError:
        document["value_base64"] = message.value  # msgspec writes bytes as base64
    return msgspec.json.encode(document)


def inert(cell: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would take for a formula; numbers stay."""
    return f"'{cell}" if cell[:1] in FORMULA_SIGNS and not _NUMBER.fullmatch(cell) else cell


def _score_rows(messages: Sequence[Message]) -> bytes:
    text = io.StringIO()
    scores = (decode_score(message.value or b"") for message in messages)
    rows = ((inert(s.event_id), s.event_time, s.score, s.quantile, int(s.alert)) for s in scores)
    csv.writer(text, lineterminator="\n").writerows(rows)  # csv writes floats by repr
    return text.getvalue().encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """One kind of output."""

    name: str  # in `OutputFiles` and in the progress file
    topic: str  # key in `Topics`
    form: Form
    header: bytes = b""


KINDS = (
    _Kind(name="alerts", topic="alerts", form=_bodies),
    _Kind(name="case_updates", topic="case_updates", form=_bodies),
    _Kind(name="rejected", topic="dead_letter", form=_rejected_lines),
    _Kind(name="receipts", topic="receipts", form=_bodies),
    _Kind(name="scores", topic="scores", form=_score_rows, header=SCORES_HEADER),
)
EXCHANGE_NAME = "exchange"  # of the exchange file, in the progress file


def open_outputs(
    events: Source,
    topics: Topics,
    outputs: OutputFiles,
    sizes: Mapping[str, int] | None,
    opened: ExitStack,
) -> dict[str, OutputFile]:
    """Open the output files.

    Parameters
    ----------
    sizes
        Bytes to keep of each output of a resumed replay, by name; None: a new replay.
    opened
        Closes the files.

    Returns
    -------
    dict
        By the topic whose messages they take.

    Raises
    ------
    NeedsOperator
        A file cannot be written, is used twice, or is not what the resumed replay wrote.
    """
    wanted: list[tuple[_Kind, str, Path]] = []
    for kind in KINDS:
        topic, path = getattr(topics, kind.topic), getattr(outputs, kind.name)
        if topic is not None and path is not None:
            wanted.append((kind, topic, path))
    names = {kind.name for kind, _, _ in wanted} | ({EXCHANGE_NAME} if topics.exchange is not None else set())
    if sizes is not None and sizes.keys() != names:
        raise NeedsOperator(
            f"the replay was started with other outputs ({', '.join(sorted(sizes)) or 'none'}): resume it "
            "with those, or remove the checkpoint folder to start over"
        )
    paths = [path.resolve() for _, _, path in wanted if path.is_file() or not path.exists()]
    if len(set(paths)) < len(paths) or any(map(events.is_file, paths)):
        raise NeedsOperator("events and outputs must be different files")
    files: dict[str, OutputFile] = {}
    for kind, topic, path in wanted:
        file = OutputFile(kind.name, path, kind.form, None if sizes is None else sizes[kind.name])
        files[topic] = opened.enter_context(closing(file))
        if sizes is None:
            file.append(kind.header)
    return files
