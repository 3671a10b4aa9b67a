"""A replay's stream: a file of events in place of the topic, output files in place of the others.

A record's offset is its line number, counted from 0. A replay can be killed at any moment and resumed: it
ends with the same bytes as an undisturbed one.

Rules
    - Outputs wait in memory until every partition has committed the same line (`_aligned`). They are then
      written in the order of the input, and the progress file records how far everything is. The next start
      cuts off what was written after that.
    - Lines are grouped by line number (`GROUP_LINES`) and written in whole groups, so the members of a gzip
      file begin and end where they do in an undisturbed run. One group is one member, without a time in its
      header.
    - A message from one shard to the others is visible once it is written: all lines of a group see the
      messages of the groups before it, whichever partition is processed first.
    - A killed process loses nothing. A power failure may: nothing is fsynced, because that would cost more
      than scoring. A progress file that is ahead of its outputs is detected and refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import groupby
from pathlib import Path

from detector.config.tree import Topics
from detector.core.records import Record
from detector.errors import NeedsOperator
from detector.ports import Change, Commit, Committed, Message, Poll, TopicIds
from detector.shell.files import line_reader
from detector.shell.files.exchange import EXCHANGE, FileExchange
from detector.shell.files.inputs import Source, same_files
from detector.shell.files.line_reader import LineReader, partition_of, readable_errors
from detector.shell.files.outputs import EXCHANGE_NAME, OutputFiles, open_outputs
from detector.shell.files.progress import FORMAT, PROGRESS, read_progress


class FileStream:
    """A `detector.ports.Stream` over a file of events.

    Parameters
    ----------
    events
        A path, a pattern, a URL or `-`, see `Source`; JSON lines, an array, CSV, Parquet or Arrow, see
        `EventFile`.
        A `Source` is closed with the stream.
    key_of
        The record key that an event would have in Kafka: its main entity's value. Never raises.
    feedback
        The file that a `FileSideLog` reads in the same replay. Resuming with another one is refused.
    partitions
        Number of shards. The CRC-32 of an event's key selects one; an event without a key goes to shard 0.
    topics
        Names of the topics in messages; each output file takes the messages of one. With `topics.exchange`
        the shards exchange messages through `exchange`.
    outputs
        Created or overwritten, unless resumed.
    folder
        Keeps the progress file and the exchange; None: the replay cannot be resumed.
    resume
        Continue an earlier replay; from the start if it was stopped before its first commit. Without it, an
        earlier progress file is refused: its outputs would be overwritten.
    progress
        Called after each group of lines with the number of bytes read, out of `size_bytes`.

    Raises
    ------
    NeedsOperator
        A file cannot be read or written, or is not what it was when the replay began.
    """

    commits_in_background = False  # no commit in a background thread: it writes what polls read

    def __init__(
        self,
        events: Path | str | Source,
        *,
        key_of: Callable[[bytes], bytes | None],
        feedback: Path | str | None = None,
        partitions: int = 1,
        topics: Topics | None = None,
        outputs: OutputFiles | None = None,
        folder: Path | None = None,
        resume: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._key_of = key_of
        self._count = partitions
        self._progress = progress
        self._folder = folder
        self._committed: dict[int, Committed] = {}
        topics = topics or Topics()
        self._exchange_topic = topics.exchange
        self.exchange: FileExchange | None = None
        with ExitStack() as opened:
            source = events if isinstance(events, Source) else Source(events)
            opened.callback(source.close)
            self._lines = opened.enter_context(closing(LineReader(source)))
            self._input = (
                {}
                if folder is None
                else {
                    "events": source.fingerprint(),
                    "feedback": None if feedback is None else Source(feedback).fingerprint(),
                }
            )
            sizes = self._continue(resume)
            self._sinks = open_outputs(source, topics, outputs or OutputFiles(), sizes, opened)
            if topics.exchange is not None:
                place = None if folder is None else folder / EXCHANGE
                self.exchange = FileExchange(place, None if sizes is None else sizes[EXCHANGE_NAME])
                opened.enter_context(self.exchange.file)
            self._opened = opened.pop_all()
        self.size_bytes = source.size_bytes
        self._positions = dict.fromkeys(range(partitions), 0)
        self._paused: set[int] = set()
        self._assigned = False
        self._pending: list[Message] = []  # committed, not written

    # --- reading -------------------------------------------------------------------------------------------

    def poll(self, timeout_ms: int) -> Poll:
        """Read lines up to the end of their group. The first poll only assigns all partitions."""
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
        lines = self._lines.read(line_reader.GROUP_LINES - first % line_reader.GROUP_LINES)
        key_of, positions = self._key_of, self._positions
        if self._count == 1:
            records = {0: [Record(n, 0, key_of(line), line) for n, line in enumerate(lines, first)]}
        else:
            records = {partition: [] for partition in active}
            for number, line in enumerate(lines, first):
                key = key_of(line)
                partition = partition_of(key, self._count)
                if partition in active and number >= positions[partition]:
                    records[partition].append(Record(number, 0, key, line))
        for partition in active:
            positions[partition] = max(positions[partition], self._lines.line)
        if self._progress is not None:
            self._progress(self._lines.bytes_read)
        return {partition: found for partition, found in records.items() if found}

    def _exhausted(self) -> bool:
        return self._lines.at_end and all(n >= self._lines.line for n in self._positions.values())

    def partitions_count(self) -> int:
        """The number given to the constructor."""
        return self._count

    def ids(self) -> TopicIds:
        """Nothing: files are told apart by the progress file."""
        return TopicIds()

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed | None]:
        """What this process, or the resumed one, has committed."""
        return {partition: self._committed.get(partition) for partition in partitions}

    def beginning(self, partition: int) -> int:
        """The first line."""
        return 0

    def start(self, partition: int) -> int:
        """The first line."""
        return 0

    def seek(self, partition: int, offset: int) -> None:
        """Continue at line `offset` with the next poll."""
        self._positions[partition] = offset

    def position(self, partition: int) -> int:
        """Next line that this partition looks at, its own or not."""
        return self._positions[partition]

    def end(self, partition: int) -> int | None:
        """Number of lines in the file; None until it is known."""
        return self._lines.line if self._lines.at_end else None

    def log_end(self, partition: int) -> int:
        """Number of lines in the file; until it is read to its end, a number above every line."""
        return self._lines.line if self._lines.at_end else sys.maxsize

    def pause(self, partitions: Iterable[int]) -> None:
        """Deliver nothing from these partitions until `resume`."""
        self._paused |= set(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`. Lines that the others read in the meantime are read again."""
        self._paused -= set(partitions)

    def settled(self) -> bool:
        """Whether the partitions are assigned. There are no other members."""
        return self._assigned

    def close(self) -> None:
        """Close all files. Waiting outputs are dropped: a resumed replay makes them again."""
        with suppress(OSError):  # no room for the last bytes: they are made again, too
            self._opened.close()

    # --- writing -------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        """Keep outputs and positions; write them when all partitions have reached the same line.

        1. Write the outputs and the messages between shards, in the order of the input.
        2. Replace the progress file: positions, journals and sizes of the outputs.
        """
        self._pending.extend(commit.messages)
        self._committed |= commit.positions
        if not self._aligned():
            return
        # Step 1
        pending, self._pending = sorted(self._pending, key=lambda message: message.offset), []
        for _, group in groupby(pending, key=lambda message: message.offset // line_reader.GROUP_LINES):
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
        whole = line % line_reader.GROUP_LINES == 0 or self._lines.at_end
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
            "outputs": {sink.name: sink.size for sink in self._sinks.values()}
            | ({} if self.exchange is None else {EXCHANGE_NAME: self.exchange.size}),
        }
        path = folder / PROGRESS
        with readable_errors(path, "written"):
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(document, indent=1))
            temporary.replace(path)

    def _continue(self, resume: bool) -> Mapping[str, int] | None:
        """Read the progress file. Returns the sizes of the outputs, or None for a new replay."""
        if self._folder is None:
            return None
        path = self._folder / PROGRESS
        with readable_errors(self._folder, "written"):
            self._folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return None
        if not resume:
            raise NeedsOperator(
                f"{path} belongs to an earlier replay: resume it, or remove the folder to start over"
            )
        with readable_errors(path, "read"):
            text = path.read_text()
        document = read_progress(path, text)
        positions, sizes = document["positions"], dict(document["outputs"])
        if any(not same_files(document["input"].get(what), found) for what, found in self._input.items()):
            raise NeedsOperator(
                f"{self._lines.source} or the feedback file has changed since {path} was written (its size "
                "or its beginning differs): replay the same files, or remove the folder to start over"
            )
        if len(positions) != self._count:
            raise NeedsOperator(
                f"{path} belongs to a replay with {len(positions)} partitions, not {self._count}: resume "
                "with the same number, or remove the folder to start over"
            )
        self._committed = {
            partition: Committed(offset=offset, metadata=metadata)
            for partition, (offset, metadata) in enumerate(positions)
        }
        return sizes
