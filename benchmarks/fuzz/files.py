"""Files of events of every kind, for the fuzzer."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from typing import Any, cast

import pyarrow.feather
import pyarrow.ipc  # a reader loads it at the first file of its kind, which would count as grown memory
import pyarrow.parquet
import zstandard

from detector.config.infer import infer, render
from detector.config.load import load_text
from detector.shell.files.inputs import EventFile, Source

LINE_BYTES_MAX = 1 << 16
EVENTS_MAX = 64  # of a file that a configuration is inferred from
ROWS: list[dict[str, Any]] = [
    {"id": f"u{n}", "time": f"2026-03-01T10:{n:02}:00Z", "zip": f"0{n}", "amount": n / 4, "on": n % 2 == 0}
    for n in range(20)
]


class _Bytes:
    """A source with one file in memory."""

    names = ("events",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def name(self, index: int) -> str:
        return self.names[index]

    def open(self, index: int) -> io.BufferedReader:
        return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(self._data)))


def seeds(kind: str) -> Sequence[bytes]:
    """Valid files of a kind: json, csv, packed or table."""
    if kind == "json":
        lines = b"\n".join(json.dumps(row).encode() for row in ROWS)
        framed = b"\n".join(b"\0\0\0\0\x11" + line for line in lines.split(b"\n"))
        text = json.dumps(ROWS, indent=1)
        keyed = json.dumps({row["id"]: row for row in ROWS}).encode()
        apart = {"columns": list(ROWS[0]), "rows": [list(row.values()) for row in ROWS]}
        behind = b"\n".join(b"key\t" + line for line in lines.split(b"\n"))
        run = b"".join(b"\x1e" + line + b"\n" for line in lines.split(b"\n"))
        return [
            *(lines, text.encode(), framed, text.encode("utf-16"), b"\xef\xbb\xbf" + lines),
            *(keyed, json.dumps(apart).encode(), behind, run, lines.replace(b"\n", b",\n")),
        ]
    if kind == "csv":
        return [
            _csv(",").encode(),
            _csv(";").replace(".", ",").encode("cp1252"),
            _csv("\t").encode("utf-16"),
            b'sep=;\n"a";"b"\n"x ""y""\nz";1\n',
            _csv("\x01").encode(),
            _csv(";").replace("u", "č").encode("cp1250"),
            b"+---+----+\n| a | b  |\n+---+----+\n" + b"| 1 | x  |\n" * 20 + b"+---+----+\n(20 rows)\n",
        ]
    if kind == "packed":
        return [gzip.compress(_csv(",").encode()), zstandard.compress(json.dumps(ROWS).encode())]
    table = pyarrow.Table.from_pylist(ROWS)
    files = []
    for write in (pyarrow.parquet.write_table, pyarrow.feather.write_feather):
        file = io.BytesIO()
        write(table, file)
        files.append(file.getvalue())
    return files


def _csv(delimiter: str) -> str:
    lines = [delimiter.join(ROWS[0])]
    lines += [delimiter.join(map(str, row.values())) for row in ROWS]
    return "\r\n".join(lines) + "\r\n"


def read(data: bytes) -> str:
    """Read a file to its end. Returns what it was; every record must be on one line."""
    file = EventFile(cast(Source, _Bytes(data)), 0, LINE_BYTES_MAX)
    try:
        while records := file.read(64, 1 << 20):
            if any(b"\n" in record for record in records):
                raise AssertionError("a record on several lines")
        return file.note.partition(";")[0].partition(",")[0] or "JSON lines"
    finally:
        file.close()


def first_config(data: bytes) -> str:
    """Infer a configuration from a file and load it. Returns what was found."""
    file = EventFile(cast(Source, _Bytes(data)), 0, LINE_BYTES_MAX)
    try:
        found = infer(iter(file.read(EVENTS_MAX, 1 << 20)))
    finally:
        file.close()
    load_text(render(found), "inferred")
    kinds = "id" * bool(found.id.path), "time" * bool(found.time.path), "entity" * bool(found.entities)
    return " ".join(filter(None, kinds)) or "values alone"


def undated() -> Sequence[bytes]:
    """Valid files whose names and times say little: without a header, a year or Latin letters."""
    days = "\n".join(f"{n % 28 + 1}03;{n:02}15;K{n % 5};{n},50" for n in range(24))
    chain = "\n".join(f"{n % 7},{n % 9},{1_700_000_000 + n}.5,{n % 3}" for n in range(24))
    return [
        f"Datum;Uhrzeit;Kartennummer;Betrag\n{days}\n".encode(),
        f"{chain}\n".encode(),
        "\n".join(f"取引日,摘要,金額\n{n % 28 + 1:02}/03,店{n % 6},{n}" for n in range(24)).encode(),
        b"\n".join(
            b'{"nr_transakcji":"T%d","kwota":"%d,00","oszustwo":%d}' % (n, n, n % 2) for n in range(24)
        ),
    ]
