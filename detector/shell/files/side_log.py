"""A file of feedback."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from detector.core.labels.commands import feedback_time
from detector.ports import TopicIds
from detector.shell.files import line_reader
from detector.shell.files.inputs import Source
from detector.shell.files.line_reader import LineReader


class FileSideLog:
    """A `detector.ports.SideLog` over a file of feedback. A line is visible once event time has reached it.

    The position is the line number in the file sorted by `time`. A file in another order is sorted first
    (equal times keep their order) and `notes` says so. A line without a readable time is visible from the
    start.

    Parameters
    ----------
    path
        As the events of `FileStream`; held in memory.

    Raises
    ------
    NeedsOperator
        It cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        lines = LineReader(Source(path))
        values: list[bytes] = []
        while not lines.at_end:
            values += lines.read(line_reader.GROUP_LINES)
        lines.close()
        times = [feedback_time(value) for value in values]
        seconds = [float("-inf") if time is None else time for time in times]
        order = sorted(range(len(values)), key=seconds.__getitem__)
        self.notes: tuple[str, ...] = ()
        if order != list(range(len(values))):
            self.notes += (f"{path} is not sorted by time; it was sorted for this replay",)
        if unread := sum(time is None for time in times):
            self.notes += (
                f"{path} has {unread} lines without a readable time; they are used from the start",
            )
        self._lines = order
        self._values = [values[index] for index in order]
        self._times = [seconds[index] for index in order]

    def line(self, position: int) -> int:
        """Number of the line at a position, as an editor counts them."""
        return self._lines[position] + 1

    def ids(self) -> TopicIds:
        """Nothing: files are told apart by the progress file."""
        return TopicIds()

    def refresh(self) -> None:
        """Do nothing: the file is read whole at the start."""

    def end(self, event_time: float) -> int:
        """Number of lines with an earlier time."""
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
        """Do nothing: the file is closed already."""
