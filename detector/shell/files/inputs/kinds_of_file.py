"""What the first bytes of a file say it is, and what helps where it cannot be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from detector.errors import NeedsOperator
from detector.shell.files.inputs.other_texts import other_text

FileKind = Literal["lines", "values", "csv", "parquet", "arrow", "arrow stream"]


@dataclass(frozen=True, slots=True)
class _Unread:
    """A file that is not read: its first bytes, what it is, and the way out."""

    magic: bytes
    what: str
    way: str


_UNREAD = (
    _Unread(
        b"Obj\x01",
        "an Avro file",
        "write it as JSON lines: pip install fastavro; fastavro {name} > events.jsonl",
    ),
    _Unread(b"FEA1", "a Feather file of version 1", "write it again with version 2, or as Parquet"),
    _Unread(b"BZh", "a bzip2 file", "unpack it: bzcat {name} | detector ... --events -"),
    _Unread(b"\xfd7zXZ\0", "an xz file", "unpack it: xz -dc {name} | detector ... --events -"),
    _Unread(b"\x04\x22\x4d\x18", "an lz4 file", "unpack it: lz4 -dc {name} | detector ... --events -"),
    _Unread(b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    _Unread(b"ORC", "an ORC file", "write it as Parquet"),
    _Unread(
        b"SQLite format 3\0",
        "an SQLite database",
        "export the table as CSV: sqlite3 -csv -header {name} 'SELECT ...'",
    ),
    _Unread(b"\x89HDF", "an HDF5 file", "write its table as CSV or Parquet"),
    _Unread(b"%PDF", "a PDF document", "export the table as CSV"),
    _Unread(b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "save the sheet as CSV"),
    _Unread(b"\x80\x04\x95", "a pickle file of Python", "write its table as CSV or Parquet"),
    _Unread(
        b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it: git lfs pull"
    ),
)
_ARRAY = re.compile(rb"\s*\[\s*(\{|\]?\s*\Z)")
_MESSAGE_PACK = re.compile(
    rb"[\x80-\x8f\xde\xdf][\xa1-\xbf\xd9]\w{1,31}[\x00-\x7f\xa0-\xdf]"
).match  # a map, a name
_PAGE = re.compile(rb"\s*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)


def refuse(name: str, what: str, way: str) -> NeedsOperator:
    """Make the error of a file that is not read: what it is, and the way out."""
    return NeedsOperator(f"{name} is {what}, which is not read as it is: {way.replace('{name}', name)}")


def binary_kind(name: str, head: bytes) -> FileKind | None:
    """The kind of a file that is not text; None: it may be text.

    Raises
    ------
    NeedsOperator
        It is of a known kind that is not read.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PARE"):
        raise refuse(name, "an encrypted Parquet file", "write it without encryption")
    if head.startswith(b"ARROW1"):
        return "arrow"
    if head.startswith(b"\xff\xff\xff\xff") and len(head) > 8:
        return "arrow stream"
    if head.startswith(b"PK\x03\x04"):
        if b"xl/" in head[:4096] or name.lower().endswith((".xlsx", ".xlsm")):
            raise refuse(name, "an Excel file", "save the sheet as CSV")
        raise refuse(name, "a ZIP archive", "unpack it: unzip -p {name} | detector ... --events -")
    if head[257:262] == b"ustar":
        raise refuse(name, "a tar archive", "unpack it: tar -xOf {name} | detector ... --events -")
    if _MESSAGE_PACK(head):
        raise refuse(name, "MessagePack", "write its events as JSON, one object per line")
    for unread in _UNREAD:
        if head.startswith(unread.magic):
            raise refuse(name, unread.what, unread.way)
    return None


def check_text(name: str, head: bytes) -> None:
    """Refuse texts that hold no events, and binary data.

    Raises
    ------
    NeedsOperator
        The text says that it is something else.
    """
    if _PAGE.match(head) and b"<table" in head.lower():
        raise refuse(name, "an HTML page with a table", "open it in a spreadsheet, and save the sheet as CSV")
    if _PAGE.match(head):
        raise refuse(
            name,
            "an HTML page",
            "perhaps it is a login or an error page, saved in place of the file: fetch it again",
        )
    if (other := other_text(head)) is not None:
        raise refuse(name, *other)
    if re.match(rb"\s*<(\?xml|[A-Za-z][\w:.-]*[\s>])", head):
        raise refuse(name, "XML", "write its events as JSON, one object per line")
    if head[:1] == b"\0" and b"{" not in head[:64]:
        raise refuse(
            name,
            "a record with a schema registry's header (byte 0, the schema's number), or other binary data",
            "read such records from their topic, or write them as JSON, one object per line",
        )
    if b"\r" in head.rstrip(b"\r") and b"\n" not in head and not re.match(rb"\s*[\[{]|.*\0", head, re.DOTALL):
        raise refuse(
            name,
            "text whose lines end in CR alone",
            "end them in LF: tr '\\r' '\\n' < {name} | detector ... --events -",
        )
    if head[:4096].count(0) > 0.1 * len(head[:4096]) or (
        b"\r" in head and b"\n" not in head and b"\0" in head
    ):
        raise refuse(name, "binary data of an unknown kind", "write its events as JSON lines, CSV or Parquet")


def framed(head: bytes) -> bool:
    """Whether lines begin with a schema registry's header, and then are JSON."""
    return head[:1] == b"\0" and head[5:6] == b"{" and b"\n" not in head[:5]


def looks_like_array(head: bytes) -> bool:
    """Whether a text begins with a JSON array of objects."""
    return bool(_ARRAY.match(head))
