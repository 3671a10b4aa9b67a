"""Rows of a CSV file as JSON objects."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import IO

from detector.errors import NeedsOperator
from detector.shell.files.inputs.csv_form import BELOW_MAX, CsvForm, is_rule


def csv_rows(name: str, file: IO[bytes], form: CsvForm, line_bytes_max: int) -> Iterator[bytes]:
    """Rows as JSON objects. Numbers and truth values are such in JSON, an empty cell is null.

    A row with more cells than the header cannot be read. It is given as an array of its cells, so that it
    alone is rejected. Rows below the table, as one of totals, are left out.

    Raises
    ------
    NeedsOperator
        The file is not CSV from some line on.
    """
    width, converts = len(form.names), form.converts
    names = [encode_basestring(one).replace("%", "%%") for one in form.names]
    template = "{%s}" % ",".join(f"{one}:%s" for one in names)  # noqa: UP031
    left_out = form.skipped
    held: list[list[str]] = []  # rows that are below the table if no other row comes
    holding = bool(form.digits_in)
    reader = csv.reader(_lines(name, file, line_bytes_max), **form.reader_options())  # type: ignore[arg-type]
    try:
        for row in reader:
            if is_rule(row):
                continue
            if left_out:
                left_out -= 1
                continue
            if row == form.header or row in form.beneath:  # also where files were put together
                continue
            below = holding and len(held) < BELOW_MAX and form.may_be_below(row)
            held.append(row)
            if below:
                continue
            holding = len(held) == 1 and holding  # such rows are events here
            for one in held:
                if len(one) > width and any(one[width:]):
                    yield f"[{','.join(map(encode_basestring, one))}]".encode()
                    continue
                cells = one if len(one) == width else (one + [""] * width)[:width]
                cells = list(map(str.strip, cells)) if form.padded else cells
                yield (template % tuple([c(cell) for c, cell in zip(converts, cells, strict=True)])).encode()
            held.clear()
    except csv.Error as error:
        what = str(error)
        if "new-line" in what:
            what = f"lines end in CR alone: tr '\\r' '\\n' < {name} > new.csv"
        if "field limit" in what:
            limit = f"{csv.field_size_limit():,} characters"
            what = f"a cell is longer than {limit}, perhaps because a quote in it is opened and not closed"
        raise NeedsOperator(f"{name}, line {reader.line_num}, cannot be read as CSV: {what}") from error


def _lines(name: str, file: IO[bytes], line_bytes_max: int) -> Iterator[str]:
    number = 0
    while line := file.readline(line_bytes_max):
        number += 1
        if len(line) == line_bytes_max and not line.endswith(b"\n"):
            raise NeedsOperator(f"{name}, line {number}, is longer than {line_bytes_max:,} bytes")
        if b"\0" in line:
            line = line.replace(b"\0", b"")
        try:
            yield line.decode()
        except UnicodeDecodeError:  # the beginning was plain ASCII
            yield line.decode("cp1252", errors="replace")
