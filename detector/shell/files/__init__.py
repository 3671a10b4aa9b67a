"""Files in place of topics, for `replay`."""

from detector.shell.files.archive import FileArchive
from detector.shell.files.exchange import FileExchange
from detector.shell.files.inputs import STDIN, Source
from detector.shell.files.line_reader import LineReader, describe, read_events
from detector.shell.files.outputs import OutputFiles
from detector.shell.files.side_log import FileSideLog
from detector.shell.files.stream import FileStream

__all__ = [
    "STDIN",
    "FileArchive",
    "FileExchange",
    "FileSideLog",
    "FileStream",
    "LineReader",
    "OutputFiles",
    "Source",
    "describe",
    "read_events",
]
