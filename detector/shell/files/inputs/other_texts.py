"""Texts of other kinds, known by how they begin: what they are, and the command that helps."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

# A run of letters is tried from its beginning only: the time is linear in its length.
_PAIR = re.compile(rb'(?<![\w.-])[A-Za-z_][\w.-]*=(?:"(?:[^"\\\n]|\\.)*"|[^\s"=]*)(?=\s|$)')
_LINES_LOOK = 20  # of which lines of pairs or of fixed widths are known
_LINES_MIN = 3
_LINE_BYTES_LOOK = 8192
_PAIRS_MIN = 3
_PAIRS_SHARE_MIN = 0.7  # of a line
_GAP = re.compile(rb" {2,}")
_WRITE = "write their fields as JSON, one object per line"


class _Known(NamedTuple):
    """A kind of text."""

    begin: re.Pattern[bytes]
    what: str
    way: str


def _known(begin: bytes, what: str, way: str) -> _Known:
    return _Known(re.compile(begin), what, way)


_KNOWN = (
    _known(
        rb"#(?:separator|fields\t)",
        "a log of Zeek, with its names in a comment",
        "sed 's/^#fields\\t//; /^#/d' {name} > events.tsv",
    ),
    _known(
        rb"(?:#[^\n]{0,200}\n){0,20}#Fields: ",
        "a log in the extended format of the W3C, with its names in a comment",
        "sed 's/^#Fields: //; /^#/d' {name} | tr ' ' '\\t' > events.tsv",
    ),
    _known(
        rb"#(?:group|datatype|default),",
        "CSV with comments, as InfluxDB writes it",
        "leave them out: grep -v '^#' {name} > events.csv",
    ),
    _known(
        rb"(?:\s*(?:--|/\*|SET |BEGIN|START |DROP )[^\n]*\n)*\s*(?i:CREATE TABLE|INSERT INTO|COPY \S+ \()",
        "an SQL dump",
        "load it into a database, and export the table as CSV",
    ),
    _known(rb"(?:[^\n]{0,80} )?(?:CEF:\d|LEEF:\d)", "a log of security events (CEF, LEEF)", _WRITE),
    _known(rb"8=FIXT?\.\d", "a log of FIX messages", _WRITE),
    _known(rb"(?::20:|\{1:[FAL]\d\d)", "a file of SWIFT messages (MT)", _WRITE),
    _known(rb"OFXHEADER:", "an OFX file", "export the bank's CSV instead"),
    _known(rb"!(?:Type|Account|Option):", "a QIF file", "export the bank's CSV instead"),
    _known(rb"(?:UNA.{6}\s*)?UNB\+|ISA\*", "a file of EDI messages", _WRITE),
    _known(
        rb"\S+ \S+ \S+ \[\d\d/\w{3}/\d{4}:",
        "a web server's log",
        "have the server write JSON, one object per line",
    ),
    _known(
        rb"(?:---[^\n]*\n)?- ['\"]?\w[\w .-]*['\"]?:(?:\s|$)",
        "YAML",
        "python3 -c 'import json, sys, yaml; [print(json.dumps(one, default=str)) for one in "
        "yaml.safe_load(sys.stdin)]' < {name} > events.jsonl",
    ),
    _known(
        rb"\s*(?:(?:var|let|const) \w{1,60}\s*=|export default|[\w.$]{1,60}\s*=|[\w.$]{1,60}\()\s*[\[{]",
        "JavaScript with JSON in it",
        "leave out what is around it: sed '1s/^[^[{]*//; $s/[^]}]*$//' {name} > events.json",
    ),
    _known(
        rb'\{\s*"(?:index|create)"\s*:\s*\{[^\n]*\}\s*\}\s*\n\s*\{',
        "a bulk file of Elasticsearch, whose every second line is an event",
        "awk 'NR % 2 == 0' {name} > events.jsonl",
    ),
)


def other_text(head: bytes) -> tuple[str, str] | None:
    """What a text is, and the way out; None: it is of no such kind.

    Parameters
    ----------
    head
        Its beginning.
    """
    for known in _KNOWN:
        if known.begin.match(head):
            return known.what, known.way
    lines = [line[:_LINE_BYTES_LOOK] for line in head.splitlines()[:_LINES_LOOK] if line.strip()]
    if len(lines) < _LINES_MIN:
        return None
    if all(map(_has_pairs, lines[:-1])):
        return (
            "text of key=value pairs",
            "mlr --idkvp --ifs ' ' --repifs --ojsonl cat {name} > events.jsonl, or write them as JSON",
        )
    if _has_fixed_widths(lines):
        return (
            "a table whose columns have fixed widths",
            'python3 -c \'import pandas; pandas.read_fwf("{name}").to_csv("events.csv", index=False)\'',
        )
    return None


def _has_pairs(line: bytes) -> bool:
    """Whether most of a line is key=value, at least three times."""
    found = _PAIR.findall(line)
    return len(found) >= _PAIRS_MIN and sum(map(len, found)) >= _PAIRS_SHARE_MIN * len(line)


def _has_fixed_widths(lines: list[bytes]) -> bool:
    """Whether lines without any delimiter have spaces at the same places."""
    if any(mark in line for line in lines for mark in b",;\t|{"):
        return False
    gaps = [
        {at for found in _GAP.finditer(line.rstrip()) for at in range(*found.span())} for line in lines[:-1]
    ]
    common = sorted(set.intersection(*gaps))
    return len(common) > 1 and any(b - a > 1 for a, b in pairwise(common))
