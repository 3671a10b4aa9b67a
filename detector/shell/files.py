"""Files in place of topics, for `replay`: a record's offset is its line number, counted from 0.

Outputs are in the order of the input, whatever the partitions did in which order, and can be cut and taken up
again anywhere: killed at any moment and resumed, a replay ends with the same bytes as an undisturbed one.

Rules
    - Outputs wait in memory until every partition has committed the same line (`_aligned`), then are written
      in the input's order; then the progress file says how far everything is. What is written after its last
      word is cut off by the next start.
    - Lines are grouped by line number (`GROUP_LINES`) and written by whole groups, so gzip members, too,
      begin and end where they do in an undisturbed run. A group is one member, without a time in its header.
    - What shards tell each other is visible once it is written: in all lines of a group only what was told in
      groups before it, whichever partition is processed first.
    - The end of a process is survived, a power cut is not promised: nothing is fsynced, which would cost more
      than scoring. A progress file that is ahead of its outputs is noticed and refused.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import struct
import sys
import tempfile
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec

from detector.config.tree import Topics
from detector.core.alerts.score_record import decode_score
from detector.core.labels.feedback import feedback_time
from detector.core.records import Record
from detector.errors import NeedsOperator
from detector.ports import Change, Commit, Committed, Message, Poll

FORMAT = 1
GROUP_LINES = 4096
# Above the largest event.limits.bytes_max (1 MiB): such a line is rejected as too large with its first part.
LINE_BYTES_MAX = 2 << 20
POLL_BYTES_MAX = 32 << 20  # a poll ends here even within a group: memory stays bounded
BUFFER_BYTES = 1 << 20
PROGRESS = "progress.json"
EXCHANGE = "exchange.bin"
_EXCHANGE_KIND = "exchange"  # its name among the outputs of the progress file
_FRAME = struct.Struct("<I")  # a record's length, before it
SCORES_HEADER = b"event_id,event_time,score,quantile,alert\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFiles:
    """Where outputs go; a name that ends in .gz is compressed, None is not written."""

    alerts: Path | None = None  # JSONL, the bodies
    rejected: Path | None = None  # JSONL: reason, detail, offset, value (text) or value_base64
    scores: Path | None = None  # CSV, one row per accepted event; needs topics.scores to be set


class FileStream:
    """A `detector.ports.Stream` over a file of events.

    Parameters
    ----------
    events
        JSONL, plain or gzip.
    key_of
        The record key that an event would have in Kafka: its main entity's value. Never raises.
    feedback
        The file that a `FileSideLog` reads beside it: resuming with another one is refused.
    partitions
        Shards; an event goes to the one that its key's CRC-32 says, without a key to 0.
    topics
        Names that messages carry; each output file takes one topic's. With `topics.exchange` there is an
        exchange between the shards: `exchange`.
    outputs
        Created or overwritten, unless resumed.
    folder
        Keeps the progress file and the exchange; None: the replay cannot be resumed.
    resume
        Go on where an earlier replay ended; from the start if it did not come to its first commit. Without it
        an earlier progress file is refused, as its outputs would be overwritten.
    progress
        Told how many of the `size_bytes` were read, after each group of lines.

    Raises
    ------
    NeedsOperator
        A file cannot be read or written, or is not what it was when the replay began.
    """

    commits_beside = False  # a commit writes what polls read

    def __init__(
        self,
        events: Path,
        *,
        key_of: Callable[[bytes], bytes | None],
        feedback: Path | None = None,
        partitions: int = 1,
        topics: Topics | None = None,
        outputs: OutputFiles | None = None,
        folder: Path | None = None,
        resume: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._key_of = key_of
        self._count = partitions
        self._tell = progress
        self._folder = folder
        self._committed: dict[int, Committed] = {}
        topics = topics or Topics()
        self._exchange_topic = topics.exchange
        self.exchange: FileExchange | None = None
        with ExitStack() as opened:
            self._lines = opened.enter_context(closing(_Lines(events)))
            self._input = {
                "events": _fingerprint(events),
                "feedback": None if feedback is None else _fingerprint(feedback),
            }
            sizes = self._take_up(resume)
            self._sinks = _open_sinks(events, topics, outputs or OutputFiles(), sizes, opened)
            if topics.exchange is not None:
                place = None if folder is None else folder / EXCHANGE
                self.exchange = FileExchange(place, None if sizes is None else sizes[_EXCHANGE_KIND])
                opened.enter_context(self.exchange.file)
            self._opened = opened.pop_all()
        self.size_bytes = events.stat().st_size
        self._positions = dict.fromkeys(range(partitions), 0)
        self._paused: set[int] = set()
        self._assigned = False
        self._pending: list[Message] = []  # committed, not written

    # --- reading -------------------------------------------------------------------------------------------

    def poll(self, timeout_ms: int) -> Poll:
        """Next lines, to the end of their group; the first poll brings all partitions and nothing else."""
        if not self._assigned:
            self._assigned = True
            change = Change(kind="assigned", partitions=tuple(range(self._count)))
            return Poll(records={}, changes=(change,), membership=None)
        records = self._read()
        return Poll(records=records, changes=(), membership=None, exhausted=self._exhausted())

    def _read(self) -> dict[int, Sequence[Record]]:
        active = self._positions.keys() - self._paused
        if not active:
            return {}
        first = min(self._positions[partition] for partition in active)
        self._lines.go_to(first)
        lines = self._lines.read(GROUP_LINES - first % GROUP_LINES)
        key_of, positions = self._key_of, self._positions
        if self._count == 1:
            records = {0: [Record(n, 0, key_of(line), line) for n, line in enumerate(lines, first)]}
        else:
            records = {partition: [] for partition in active}
            for number, line in enumerate(lines, first):
                key = key_of(line)
                partition = _partition_of(key, self._count)
                if partition in active and number >= positions[partition]:
                    records[partition].append(Record(number, 0, key, line))
        for partition in active:
            positions[partition] = max(positions[partition], self._lines.line)
        if self._tell is not None:
            self._tell(self._lines.bytes_read)
        return {partition: found for partition, found in records.items() if found}

    def _exhausted(self) -> bool:
        return self._lines.at_end and all(n >= self._lines.line for n in self._positions.values())

    def partitions_count(self) -> int:
        """As given."""
        return self._count

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed | None]:
        """What was committed, by this process or by the one that is resumed."""
        return {partition: self._committed.get(partition) for partition in partitions}

    def beginning(self, partition: int) -> int:
        """The first line."""
        return 0

    def start(self, partition: int) -> int:
        """The first line."""
        return 0

    def seek(self, partition: int, offset: int) -> None:
        """Next poll continues at line `offset`."""
        self._positions[partition] = offset

    def position(self, partition: int) -> int:
        """Next line that this partition looks at, whether it is its own or not."""
        return self._positions[partition]

    def end(self, partition: int) -> int | None:
        """Lines of the file, once that is known."""
        return self._lines.line if self._lines.at_end else None

    def log_end(self, partition: int) -> int:
        """Not known without reading the file: above every line's number."""
        return sys.maxsize

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing from these partitions until `resume`."""
        self._paused |= set(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`; lines that others have read meanwhile are read again."""
        self._paused -= set(partitions)

    def settled(self) -> bool:
        """There is nobody to share with."""
        return self._assigned

    def close(self) -> None:
        """Close all files; what waits to be written is dropped, a resumed replay makes it again."""
        with suppress(OSError):  # the last bytes did not fit; they are made again, too
            self._opened.close()

    # --- writing -------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        """Take outputs and positions, and write them when all partitions stand at one line.

        1. Outputs and what shards told each other, in the order of the input.
        2. The progress file, atomically: positions, journals and the outputs' sizes.
        """
        self._pending.extend(commit.messages)
        self._committed |= commit.positions
        if not self._aligned():
            return
        # Step 1
        pending, self._pending = sorted(self._pending, key=lambda message: message.offset), []
        for _, group in groupby(pending, key=lambda message: message.offset // GROUP_LINES):
            messages = list(group)
            for topic, sink in self._sinks.items():
                sink.write([message for message in messages if message.topic == topic])
        for sink in self._sinks.values():
            sink.flush()
        if self.exchange is not None:
            self.exchange.append(m.value or b"" for m in pending if m.topic == self._exchange_topic)
        # Step 2
        if self._folder is not None:
            self._write_progress(self._folder)

    def _aligned(self) -> bool:
        line = self._lines.line
        whole = line % GROUP_LINES == 0 or self._lines.at_end
        return whole and all(
            (committed := self._committed.get(partition)) is not None and committed.offset == line
            for partition in range(self._count)
        )

    def _write_progress(self, folder: Path) -> None:
        document = {
            "format": FORMAT,
            "input": self._input,
            "positions": [
                [self._committed[partition].offset, self._committed[partition].metadata]
                for partition in range(self._count)
            ],
            "outputs": {sink.kind: sink.size for sink in self._sinks.values()}
            | ({} if self.exchange is None else {_EXCHANGE_KIND: self.exchange.size}),
        }
        path = folder / PROGRESS
        with _told(path, "written"):
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(document, indent=1))
            temporary.replace(path)

    def _take_up(self, resume: bool) -> Mapping[str, int] | None:
        """Read the progress file; returns the sizes that the outputs had, None for a new replay."""
        if self._folder is None:
            return None
        path = self._folder / PROGRESS
        with _told(self._folder, "written"):
            self._folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return None
        if not resume:
            raise NeedsOperator(
                f"{path} belongs to an earlier replay: resume it, or remove the folder to start over"
            )
        with _told(path, "read"):
            text = path.read_text()
        document = _read_progress(path, text)
        positions, sizes = document["positions"], dict(document["outputs"])
        if document["input"] != self._input:
            raise NeedsOperator(
                f"{self._lines.path} or the feedback is not the file that {path} belongs to (its size or its "
                "beginning changed): replay the same files, or remove the folder to start over"
            )
        if len(positions) != self._count:
            raise NeedsOperator(
                f"{path} is of a replay with {len(positions)} partitions, not {self._count}: resume with as "
                "many, or remove the folder to start over"
            )
        self._committed = {
            partition: Committed(offset=offset, metadata=metadata)
            for partition, (offset, metadata) in enumerate(positions)
        }
        return sizes


class FileSideLog:
    """A `detector.ports.SideLog` over a file of feedback, shown as the events' time goes by.

    Position is the line number in a file that is sorted by `time`; others are sorted first (equal times keep
    their order), see `notes`. A line without a time that can be read may be seen from the start.

    Parameters
    ----------
    path
        JSONL, plain or gzip; held in memory.

    Raises
    ------
    NeedsOperator
        It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        lines = _Lines(path)
        values: list[bytes] = []
        while not lines.at_end:
            values += lines.read(GROUP_LINES)
        lines.close()
        times = [feedback_time(value) for value in values]
        seconds = [float("-inf") if time is None else time for time in times]
        order = sorted(range(len(values)), key=seconds.__getitem__)
        self.notes: tuple[str, ...] = ()
        if order != list(range(len(values))):
            self.notes += (f"{path} is not sorted by time; it was sorted for this run",)
        if unread := sum(time is None for time in times):
            self.notes += (f"{path} has {unread} lines without a readable time; they count from the start",)
        self._values = [values[index] for index in order]
        self._times = [seconds[index] for index in order]

    def refresh(self) -> None:
        """Nothing comes later."""

    def end(self, event_time: float) -> int:
        """Lines with an earlier time."""
        return bisect_left(self._times, event_time)

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Lines [start, stop)."""
        return list(enumerate(self._values[start:stop], start))

    def beginning(self) -> int:
        """The first line."""
        return 0

    def log_end(self) -> int:
        """After the last line."""
        return len(self._values)

    def close(self) -> None:
        """It was read whole."""


class FileArchive:
    """A `detector.ports.Archive` over a replay's file and its progress.

    Parameters
    ----------
    events, key_of
        As `FileStream` was given them.
    folder
        Where that replay kept its progress.

    Raises
    ------
    NeedsOperator
        A file cannot be read, or is not what it was.
    """

    def __init__(self, events: Path, folder: Path, *, key_of: Callable[[bytes], bytes | None]) -> None:
        self._key_of = key_of
        path = folder / PROGRESS
        with _told(path, "read"):
            document = _read_progress(path, path.read_text())
        if document["input"]["events"] != _fingerprint(events):
            raise NeedsOperator(f"{events} is not the file that {path} belongs to")
        self._positions: list[tuple[int, str]] = document["positions"]
        self._lines = _Lines(events)

    def partitions_count(self) -> int:
        """As the replay had."""
        return len(self._positions)

    def committed(self, partition: int) -> Committed | None:
        """What the replay had reached."""
        offset, metadata = self._positions[partition]
        return Committed(offset=offset, metadata=metadata)

    def beginning(self, partition: int) -> int:
        """The first line."""
        return 0

    def records(self, partition: int, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """Lines of the partition in [start, stop), in pieces."""
        count = len(self._positions)
        self._lines.go_to(start)
        while self._lines.line < stop and not self._lines.at_end:
            first = self._lines.line
            lines = self._lines.read(min(stop - first, GROUP_LINES))
            keyed = ((number, self._key_of(line), line) for number, line in enumerate(lines, first))
            yield [
                Record(n, 0, key, line) for n, key, line in keyed if _partition_of(key, count) == partition
            ]

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class FileExchange:
    """A `detector.ports.SideLog` that `FileStream` writes: what shards of one replay tell each other.

    Parameters
    ----------
    path
        None: a temporary file.
    size
        Bytes to cut it to, from an earlier process; None: begin anew.
    read_only
        Leave it as it is.

    Raises
    ------
    NeedsOperator
        It cannot be read or written, or is not what it was.
    """

    def __init__(self, path: Path | None, size: int | None = None, *, read_only: bool = False) -> None:
        self._path = path or Path("the exchange's temporary file")
        self._starts = array("Q")  # of the records in the file
        self.size = 0
        with _told(self._path, "written"):
            if path is None:
                self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - `FileStream` closes it
            else:
                self.file = path.open("rb" if read_only else "w+b" if size is None else "r+b")
        if size is not None:
            self._take_up(size)

    @classmethod
    def of(cls, folder: Path) -> FileExchange | None:
        """What the shards of a replay told each other, to be read only; None: nothing."""
        path = folder / EXCHANGE
        return cls(path, path.stat().st_size, read_only=True) if path.exists() else None

    def _take_up(self, size: int) -> None:
        with _told(self._path, "read"):
            while self.size < size and len(head := self.file.read(_FRAME.size)) == _FRAME.size:
                self._starts.append(self.size)
                self.size += _FRAME.size + _FRAME.unpack(head)[0]
                self.file.seek(self.size)
            whole = self.size == size <= os.fstat(self.file.fileno()).st_size
        if not whole:
            self.file.close()
            raise NeedsOperator(
                f"{self._path} is not what it was when the replay stopped: remove the checkpoint folder to "
                "start over"
            )
        if self.file.writable():
            with _told(self._path, "written"):
                self.file.truncate(size)

    def append(self, values: Iterable[bytes]) -> None:
        """Write records; they can be seen from now on."""
        with _told(self._path, "written"):
            self.file.seek(self.size)
            for value in values:
                self._starts.append(self.size)
                self.size += self.file.write(_FRAME.pack(len(value)) + value)
            self.file.flush()

    def refresh(self) -> None:
        """Nothing is waited for."""

    def end(self, event_time: float) -> int:
        """All records; their lines came before any that is processed now."""
        return len(self._starts)

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Records [start, stop)."""
        found: list[tuple[int, bytes]] = []
        with _told(self._path, "read"):
            for position in range(start, min(stop, len(self._starts))):
                self.file.seek(self._starts[position])
                (size,) = _FRAME.unpack(self.file.read(_FRAME.size))
                found.append((position, self.file.read(size)))
        return found

    def beginning(self) -> int:
        """The first record."""
        return 0

    def log_end(self) -> int:
        """After the last record."""
        return len(self._starts)

    def close(self) -> None:
        """`FileStream` closes its file, maybe at this moment on another thread."""


def _partition_of(key: bytes | None, partitions: int) -> int:
    return 0 if key is None else zlib.crc32(key) % partitions


def _read_progress(path: Path, text: str) -> dict[str, Any]:
    """Check a progress file's form: input, positions and outputs.

    Raises
    ------
    NeedsOperator
        It is damaged, or another version's.
    """
    try:
        document: dict[str, Any] = json.loads(text)
        known = document["format"] == FORMAT
        document["input"]["events"], dict(document["outputs"])
        for offset, metadata in document["positions"]:
            known &= isinstance(offset, int) and isinstance(metadata, str)
    except (ValueError, KeyError, TypeError) as error:
        raise NeedsOperator(f"{path} is damaged: remove the folder to start over") from error
    if not known:
        raise NeedsOperator(f"{path} was written by another version: remove the folder to start over")
    return document


class _Lines:
    """Lines of a file, plain or gzip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        self.line = 0  # of the next one
        self.at_end = False
        with _told(self.path, "read"):
            self._raw = io.BufferedReader(io.FileIO(self.path), BUFFER_BYTES)
            zipped = self._raw.peek(2)[:2] == b"\x1f\x8b"
        self._file: IO[bytes] = self._raw
        if zipped:
            unzipped = gzip.GzipFile(fileobj=self._raw, mode="rb")
            self._file = io.BufferedReader(unzipped, BUFFER_BYTES)
        elif self.path.suffix == ".gz":
            self._raw.close()
            raise NeedsOperator(f"{self.path} is not a gzip file, though its name says so")

    @property
    def bytes_read(self) -> int:
        """Of the file as it lies on the disk, about."""
        return self._raw.tell()

    def go_to(self, line: int) -> None:
        """Continue at `line`, or at the end if there are fewer."""
        if line < self.line:
            self.close()
            self._open()
        while self.line < line and not self.at_end:
            self.read(min(line - self.line, GROUP_LINES))

    def read(self, count: int) -> list[bytes]:
        """Up to `count` lines without their ends; fewer at the end, or when they are very long."""
        lines: list[bytes] = []
        room = POLL_BYTES_MAX
        readline = self._file.readline
        try:
            while len(lines) < count and room > 0:
                line = readline(LINE_BYTES_MAX)
                if not line:
                    self.at_end = True
                    break
                if len(line) == LINE_BYTES_MAX:
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = readline(LINE_BYTES_MAX)
                room -= len(line)
                lines.append(line.rstrip(b"\r\n"))
        except (OSError, EOFError, zlib.error) as error:
            raise NeedsOperator(
                f"{self.path} is damaged or cut off after line {self.line + len(lines)}: {error}"
            ) from error
        self.line += len(lines)
        return lines

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._raw.close()


_Form = Callable[[Sequence[Message]], bytes]
"""Messages of one topic as text."""


class _Sink:
    """One output file, appended to in whole groups."""

    def __init__(self, kind: str, path: Path, form: _Form, size: int | None) -> None:
        self.kind = kind
        self._path = path
        self._form = form
        self._zipped = path.suffix == ".gz"
        self.size = size or 0
        with _told(path, "written"):
            self.file: BinaryIO = path.open("wb" if size is None else "r+b")
            if size is None:  # maybe a pipe or a device
                return
            if os.fstat(self.file.fileno()).st_size < size:
                self.file.close()
                raise NeedsOperator(
                    f"{path} is shorter than when the replay stopped: remove the checkpoint folder to start "
                    "over"
                )
            self.file.truncate(size)
            self.file.seek(size)

    def write(self, messages: Sequence[Message]) -> None:
        """Append one group."""
        self.append(self._form(messages))

    def flush(self) -> None:
        """Hand it to the operating system."""
        with _told(self._path, "written"):
            self.file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def append(self, text: bytes) -> None:
        """Write some text, compressed on its own."""
        if text:
            data = gzip.compress(text, compresslevel=6, mtime=0) if self._zipped else text
            with _told(self._path, "written"):
                self.file.write(data)
            self.size += len(data)


def _open_sinks(
    events: Path,
    topics: Topics,
    outputs: OutputFiles,
    sizes: Mapping[str, int] | None,
    opened: ExitStack,
) -> dict[str, _Sink]:
    """Output files by topic; `sizes` to cut them to, None for new ones; `opened` closes them."""
    known: list[tuple[str, str | None, Path | None, _Form, bytes]] = [
        ("alerts", topics.alerts, outputs.alerts, _alert_lines, b""),
        ("rejected", topics.dead_letter, outputs.rejected, _rejected_lines, b""),
        ("scores", topics.scores, outputs.scores, _score_rows, SCORES_HEADER),
    ]
    wanted = {
        kind: (topic, path, form, header)
        for kind, topic, path, form, header in known
        if topic is not None and path is not None
    }
    kept = wanted.keys() | ({_EXCHANGE_KIND} if topics.exchange is not None else set())
    if sizes is not None and sizes.keys() != kept:
        raise NeedsOperator(
            f"the replay was begun with other outputs ({', '.join(sorted(sizes)) or 'none'}): resume it with "
            "those, or remove the checkpoint folder to start over"
        )
    paths = [path.resolve() for _, path, _, _ in wanted.values() if path.is_file() or not path.exists()]
    if len({events.resolve(), *paths}) <= len(paths):
        raise NeedsOperator("events and outputs must be different files")
    sinks: dict[str, _Sink] = {}
    for kind, (topic, path, form, header) in wanted.items():
        sink = _Sink(kind, path, form, None if sizes is None else sizes[kind])
        sinks[topic] = opened.enter_context(closing(sink))
        if sizes is None:
            sink.append(header)
    return sinks


def _alert_lines(messages: Sequence[Message]) -> bytes:
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
        document["value_base64"] = message.value  # msgspec writes bytes so
    return msgspec.json.encode(document)


def _score_rows(messages: Sequence[Message]) -> bytes:
    text = io.StringIO()
    scores = (decode_score(message.value or b"") for message in messages)
    rows = ((s.event_id, s.event_time, s.score, s.quantile, int(s.alert)) for s in scores)
    csv.writer(text, lineterminator="\n").writerows(rows)  # it writes floats by repr
    return text.getvalue().encode()


def _fingerprint(path: Path) -> dict[str, int | str]:
    """Tell whether a file is still the same, without reading it whole."""
    with _told(path, "read"), path.open("rb") as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256_of_first_mib": hashlib.sha256(file.read(1 << 20)).hexdigest(),
        }


@contextmanager
def _told(path: Path, done: str) -> Iterator[None]:
    """Turn the operating system's refusal into a sentence."""
    try:
        yield
    except OSError as error:
        raise NeedsOperator(f"{path} cannot be {done}: {error.strerror or error}") from error
