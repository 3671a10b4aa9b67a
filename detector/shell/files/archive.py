"""A finished or stopped replay, read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from detector.core.records import Record
from detector.errors import NeedsOperator
from detector.ports import Committed, TopicIds
from detector.shell.files import line_reader
from detector.shell.files.inputs import Source, same_files
from detector.shell.files.line_reader import LineReader, partition_of, readable_errors
from detector.shell.files.progress import PROGRESS, read_progress


class FileArchive:
    """A `detector.ports.Archive` over the events and the progress file of a replay.

    Parameters
    ----------
    events, key_of
        As for `FileStream`.
    folder
        Folder with the progress file.

    Raises
    ------
    NeedsOperator
        A file cannot be read, or has changed.
    """

    def __init__(self, events: Path | str, folder: Path, *, key_of: Callable[[bytes], bytes | None]) -> None:
        self._key_of = key_of
        path = folder / PROGRESS
        with readable_errors(path, "read"):
            document = read_progress(path, path.read_text())
        source = Source(events)
        if not same_files(document["input"]["events"], source.fingerprint()):
            source.close()
            raise NeedsOperator(f"{source} has changed since {path} was written")
        self._positions: list[tuple[int, str]] = document["positions"]
        self._lines = LineReader(source)

    def partitions_count(self) -> int:
        """The number of partitions in the replay."""
        return len(self._positions)

    def ids(self) -> TopicIds:
        """Return empty ids: files are in no cluster."""
        return TopicIds()

    def committed(self, partition: int) -> Committed | None:
        """What the replay has committed."""
        offset, metadata = self._positions[partition]
        return Committed(offset=offset, metadata=metadata)

    def beginning(self, partition: int) -> int:
        """The first line."""
        return 0

    def records(self, partition: int, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """Lines of the partition in [start, stop), group by group."""
        count = len(self._positions)
        self._lines.go_to(start)
        while self._lines.line < stop and not self._lines.at_end:
            first = self._lines.line
            lines = self._lines.read(min(stop - first, line_reader.GROUP_LINES))
            keyed = ((number, self._key_of(line), line) for number, line in enumerate(lines, first))
            yield [Record(n, 0, key, line) for n, key, line in keyed if partition_of(key, count) == partition]

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
