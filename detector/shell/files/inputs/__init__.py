"""Events of files of any kind, as JSON.

Everything behind this package sees one JSON object per event, whatever file it came from.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from typing import IO

import zstandard

from detector.errors import NeedsOperator
from detector.shell.files.inputs import bytes_of, csv_form, json_text, kinds_of_file
from detector.shell.files.inputs.bytes_of import Head
from detector.shell.files.inputs.csv_text import csv_rows
from detector.shell.files.inputs.encodings import encoding_of
from detector.shell.files.inputs.source import STDIN, Source, same_files
from detector.shell.files.inputs.tables import Table

__all__ = ["STDIN", "EventFile", "Source", "same_files"]

_CSV_NAMES = (".csv", ".tsv", ".tab", ".psv")
_PACKED_NAMES = {".gz": ("gzip", bytes_of.GZIP), ".zst": ("zstd", bytes_of.ZSTD)}


class EventFile:
    """One file of a source, whose kind is found from its first bytes.

    Parameters
    ----------
    line_bytes_max
        Of a longer line only the first part is kept.

    Attributes
    ----------
    note
        What the file is, in one line; empty for JSON lines.

    Raises
    ------
    NeedsOperator
        It cannot be read, or is of a kind that is not read.
    """

    def __init__(self, source: Source, index: int, line_bytes_max: int) -> None:
        self.name = source.name(index)
        self.note = ""
        self._count = 0
        self._line_bytes_max = line_bytes_max
        self._lines: IO[bytes] | None = None  # JSON lines
        self._framed = False
        self._records: Iterator[bytes] = iter(())  # every other kind
        with ExitStack() as opened:
            self._raw = opened.enter_context(source.open(index))
            with self._errors():
                self._check_packing()
                content = opened.enter_context(bytes_of.unpacked(self._raw))
                head = bytes_of.read_head(content)
                kind = kinds_of_file.binary_kind(self.name, head.data)
                if kind is None:
                    self._open_text(head, content)
                else:
                    file = (
                        opened.enter_context(bytes_of.on_disk(head, content))
                        if content is not self._raw
                        else None
                    )
                    if file is None:
                        self._raw.seek(0)
                    table = Table(self.name, file or self._raw, kind)
                    self._records = table.rows()
                    shown = ", ".join(table.names[:20]) + (", ..." if len(table.names) > 20 else "")
                    what = "Parquet" if kind == "parquet" else "Arrow"
                    self.note = f"{what}; {len(table.names)} columns: {shown}"
            self._opened = opened.pop_all()

    def _check_packing(self) -> None:
        for suffix, (what, magic) in _PACKED_NAMES.items():
            if self.name.endswith(suffix) and not self._raw.peek(4).startswith(magic):
                raise NeedsOperator(f"{self.name} ends in {suffix} but is not a {what} file")

    def _open_text(self, head: Head, rest: IO[bytes]) -> None:
        encoding, mark = encoding_of(head.data)
        head = replace(head, data=head.data[mark:])
        text = head.data.decode(encoding, errors="replace")
        plain = text.encode(errors="replace")
        self._framed = kinds_of_file.framed(plain)
        if not self._framed:
            kinds_of_file.check_text(self.name, plain)
        run = json_text.is_run(plain)
        if not (run or self._framed) and json_text.is_behind(plain):
            raise kinds_of_file.refuse(
                self.name,
                "JSON with something in front of it",
                "leave that out: sed 's/^[^{]*//' {name} > events.jsonl",
            )
        form = None if self._framed else self._csv_form(text, head.whole)
        if form is not None:
            utf8 = bytes_of.as_utf8(head, rest, encoding)
            self._records = csv_rows(self.name, utf8, form, self._line_bytes_max)
            self.note = form.note(encoding)
            return
        if not encoding.startswith(("utf-16", "utf-32")):
            encoding = "utf-8"  # a line of JSON in another encoding is rejected, and says why
        utf8 = bytes_of.as_utf8(head, rest, encoding)
        if json_text.is_frame(plain):
            raise kinds_of_file.refuse(
                self.name,
                "a table of pandas as one JSON object",
                "write one object per row: df.to_json('events.jsonl', orient='records', lines=True)",
            )
        if json_text.has_rows_apart(plain):
            raise kinds_of_file.refuse(
                self.name,
                "a table whose rows are lists, apart from their names",
                "write one object per row, with its names",
            )
        if json_text.is_keyed(plain, whole=head.whole):
            raise kinds_of_file.refuse(
                self.name,
                "one object that has the events by their keys",
                "write one per line: jq -c 'to_entries[] | {key} + .value' {name} > events.jsonl",
            )
        if (around := json_text.wrapped(plain, whole=head.whole)) is not None:
            self._records = json_text.json_values(self.name, utf8, self._line_bytes_max, around.begin)
            self.note = f"one JSON object; the events are its list {around.path}"
            return
        if run or kinds_of_file.looks_like_array(plain) or json_text.over_lines(plain):
            self._records = json_text.json_values(self.name, utf8, self._line_bytes_max)
            self.note = (
                "a JSON array"
                if plain.lstrip()[:1] == b"["
                else "JSON objects with something between them"
                if run
                else "JSON objects over several lines"
            )
        else:
            self._lines = utf8
            self.note = (
                "JSON lines with a schema registry's header, which is left out" if self._framed else ""
            )

    def _csv_form(self, text: str, whole: bool) -> csv_form.CsvForm | None:
        bare = self.name.lower()
        for suffix in _PACKED_NAMES:
            bare = bare.removesuffix(suffix)
        lines = text if whole else text[: text.rfind("\n") + 1]
        return csv_form.find_form(lines, surely=bare.endswith(_CSV_NAMES))

    @property
    def bytes_read(self) -> int:
        """Bytes read of the file, before unpacking; approximate."""
        return self._raw.tell()

    def read(self, count: int, room: int) -> list[bytes]:
        """Read up to `count` records, fewer when they have `room` bytes; none: the end."""
        found: list[bytes] = []
        with self._errors(found):
            if self._lines is not None:
                self._read_lines(self._lines, found, count, room)
            else:
                for record in islice(self._records, count):
                    found.append(record)
                    room -= len(record)
                    if room <= 0:
                        break
        self._count += len(found)
        return found

    def _read_lines(self, file: IO[bytes], found: list[bytes], count: int, room: int) -> None:
        readline, longest = file.readline, self._line_bytes_max
        while len(found) < count and room > 0:
            line = readline(longest)
            if not line:
                break
            if len(line) == longest:
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = readline(longest)
            room -= len(line)
            line = line.rstrip(b"\r\n")
            found.append(json_text.without_frame(line) if self._framed else line)

    @contextmanager
    def _errors(self, found: list[bytes] | None = None) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            line = self._count + len(found or ())
            # Its frames would hold the file's buffers until Python looks for cycles.
            cause = error.with_traceback(None)
            raise NeedsOperator(f"{self.name} is damaged or truncated after line {line}: {error}") from cause

    def close(self) -> None:
        """Close the file."""
        self._opened.close()
