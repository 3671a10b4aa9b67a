"""How a CSV file is written, found from its beginning: delimiter, quotes, header, types of columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from json.encoder import encode_basestring
from typing import NamedTuple

from detector.config.tree import UNREADABLE
from detector.config.words import counted

DELIMITERS = ",;\t|^~¦\x01\x1f"
ROWS_MAX = 5000  # of the beginning
BELOW_MAX = 5  # rows of totals and the like below a table
BENEATH_MAX = 2  # rows of units, types or totals right beneath the names
DIGITS_IN_MAX = 8  # such columns that are looked at
BELOW_ROWS_MIN = 10  # a smaller table does not show which cells always have digits
EXACT_MAX = 2**53  # beyond, doubles skip whole numbers: such ids stay texts
MISSING = frozenset(
    {"na", "n/a", "nan", "null", "none", "nil", "\\n", "#n/a", "inf", "-inf", "infinity", "-infinity"}
)
_NAMES = {
    ",": "comma",
    ";": "semicolon",
    "\t": "tab",
    "|": "bar",
    "^": "caret",
    "~": "tilde",
    "¦": "broken bar",
    "\x01": "the character of code 1",
    "\x1f": "the character of code 31",
}
_OF_RULES = "-+|:= "  # the lines of a frame around a table
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?").fullmatch
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)").fullmatch
_COMMA_NUMBER = re.compile(r"-?(0|[1-9][0-9]*|[1-9][0-9]{0,2}(\.[0-9]{3})+)(,[0-9]+)?").fullmatch
_DATA = re.compile(r"[-+(]?[$€£]?\s?[0-9][0-9.,:/TZ\s+-]*[%)]?").fullmatch  # a number or a date, no name
_DIGIT = re.compile(r"\d").search
_SAID = re.compile(r"sep=([,;\t|])\r?\n").match
Convert = Callable[[str], str]  # a cell as JSON


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a file is written."""

    delimiter: str
    quote: str
    escape: str | None
    skipped: int  # rows in front of the header
    header: list[str] | None  # the row of names as it is written
    beneath: tuple[list[str], ...]  # rows right beneath the names that are no events: units, types, totals
    names: tuple[str, ...]
    converts: tuple[Convert, ...]
    decimal_commas: tuple[str, ...]  # names of the columns
    digits_in: tuple[int, ...]  # columns whose cells always have digits, as dates and numbers do; a few
    below: int  # rows of the beginning that stand below the table
    padded: bool  # cells are filled up with spaces

    def reader_options(self) -> dict[str, object]:
        """Options of `csv.reader`."""
        return _options(self.delimiter, self.quote, self.escape)

    def may_be_below(self, row: Sequence[str]) -> bool:
        """Whether a row is below the table, as one of totals is, if no row of the table follows."""
        return _is_poor(row, self.digits_in)

    def note(self, encoding: str) -> str:
        """What was found, in one line."""
        parts = ["TSV" if self.delimiter == "\t" else f"CSV, delimiter {_NAMES[self.delimiter]}"]
        parts += [f"encoding {encoding}"] if encoding != "utf-8" else []
        parts += [f"quote {self.quote}"] if self.quote != '"' else []
        parts += [f"decimal comma in {', '.join(self.decimal_commas)}"] if self.decimal_commas else []
        parts += [f"{counted(self.skipped, 'row')} before the header left out"] if self.skipped else []
        parts += [f"{counted(len(self.beneath), 'row')} beneath the names left out"] if self.beneath else []
        parts += [f"{counted(self.below, 'row')} below the table left out"] if self.below else []
        what = "columns" if self.header else "columns, no header found, so they are called"
        shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
        return f"{'; '.join(parts)}; {len(self.names)} {what}: {shown}"


def find_form(text: str, *, surely: bool) -> CsvForm | None:
    """Find how a CSV file is written.

    Parameters
    ----------
    text
        Its beginning, whole lines.
    surely
        Its name says that it is CSV. Otherwise at least two rows of at least two cells must agree.

    Returns
    -------
    CsvForm
        None: it is not CSV.
    """
    if not text.strip() or (not surely and re.search(r"^\s*[\[{]", text)):
        return None
    best = _best(text)
    if best is None:
        if not surely:
            return None
        rows = _rows(text, _options(",", '"', None))
        best = _Cut((), ",", '"', None, rows, 1, 0)
    delimiter, quote, escape, rows, width, first = best[1:]
    if not surely and len(rows) - first < 2:
        return None
    two = _two_rows_of_names(rows[first : first + 2], rows[first + 2 :])
    first += two is not None
    header = _is_header(rows[first], rows[first + 1 :])
    names = _names(two or rows[first]) if header else tuple(f"column_{n}" for n in range(1, width + 1))
    after = [row for row in rows[first + header :] if not (header and row == rows[first])]
    digits_in = _digits_in(after[BENEATH_MAX * header :], width)
    top = after[:BENEATH_MAX] if header and digits_in else []
    beneath = tuple(takewhile(lambda row: _is_poor(row, digits_in), top))
    after = after[len(beneath) :]
    below = _below(after, digits_in)
    data = [row for row in after[: len(after) - below] if len(row) == width]
    columns = [[cell for row in data if (cell := row[n].strip())] for n in range(width)]
    commas = _comma_columns(columns, delimiter)
    return CsvForm(
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        skipped=first,
        header=rows[first] if header else None,
        beneath=beneath,
        names=names,
        converts=tuple(_convert(cells, n in commas) for n, cells in enumerate(columns)),
        decimal_commas=tuple(names[n] for n in sorted(commas)),
        digits_in=digits_in,
        below=below if len(rows) < ROWS_MAX else 0,
        padded=delimiter == "|" and _is_padded(data),
    )


def is_rule(row: Sequence[str]) -> bool:
    """Whether a row is a line of a frame, or empty."""
    return not any(cell.strip(_OF_RULES) for cell in row)


def _is_padded(rows: Sequence[Sequence[str]]) -> bool:
    """Whether cells of one column have equal widths, some by spaces behind them."""
    columns = list(zip(*rows, strict=True))
    return any(
        len(set(map(len, column))) == 1 and any(cell.endswith(" ") for cell in column) for column in columns
    )


def _digits_in(rows: Sequence[Sequence[str]], width: int) -> tuple[int, ...]:
    """The first columns whose cells always have digits, but for the last rows."""
    table = [row for row in rows[:-BELOW_MAX] if len(row) == width]
    if len(table) < BELOW_ROWS_MIN:
        return ()
    found = (n for n in range(width) if all(_DIGIT(row[n]) for row in table))
    return tuple(islice(found, DIGITS_IN_MAX))


def _below(rows: Sequence[Sequence[str]], digits_in: Sequence[int]) -> int:
    """Number of rows below the table."""
    last = rows[: -BELOW_MAX - 1 : -1]
    return sum(1 for _ in takewhile(lambda row: _is_poor(row, digits_in), last))


def _is_poor(row: Sequence[str], digits_in: Sequence[int]) -> bool:
    """Whether most of the columns that always have digits have none in this row."""
    lacking = sum(len(row) <= n or not _DIGIT(row[n]) for n in digits_in)
    return 2 * lacking > len(digits_in)


class _Cut(NamedTuple):
    """One way to cut a text into cells."""

    rank: tuple[bool, int] | tuple[()]
    delimiter: str
    quote: str
    escape: str | None
    rows: list[list[str]]
    width: int
    first: int  # the row of names


def _best(text: str) -> _Cut | None:
    """The delimiter that gives most rows the same number of cells, at least two; the more the better."""
    said = _SAID(text)  # as Excel reads it
    cuts = []
    for delimiter in said[1] if said else DELIMITERS:
        quote = _quote(text, delimiter)
        escape = _escape(text, delimiter, quote)
        rows = _rows(text, _options(delimiter, quote, escape))
        start = 1 if said else 0
        widths = Counter(map(len, rows[start:]))
        width = max(widths, key=lambda w: (widths[w], w), default=0)
        if width < 2:
            continue
        first = _first(rows, start, width)
        after = rows[first:]
        if sum(len(row) == width for row in after) >= 0.8 * len(after):
            cuts.append(_Cut((first == start, width), delimiter, quote, escape, rows, width, first))
    return max(cuts, key=lambda cut: cut.rank, default=None)


def _first(rows: Sequence[Sequence[str]], start: int, width: int) -> int:
    """The row of names: the first as wide as the table, but for titles filled up with empty cells.

    Such a title has less than half as many cells with anything in them as most rows have. A row of groups
    above the names, as merged cells make it, belongs to the names.
    """
    wide = [n for n, row in enumerate(rows) if n >= start and len(row) == width]
    filled = {n: sum(map(bool, map(str.strip, rows[n]))) for n in wide}
    usual = sorted(filled.values())[len(filled) // 2]
    first = next(n for n in wide if 2 * filled[n] >= usual)
    above = first - 1
    if filled.get(above, 0) < 2 or any(map(_DIGIT, rows[above])):
        return first
    return first if _two_rows_of_names(rows[above : first + 1], rows[first + 1 :]) is None else above


def _escape(text: str, delimiter: str, quote: str) -> str | None:
    """A backslash, if quotes are not well formed without it."""
    if f"\\{quote}" not in text:
        return None
    try:
        for _ in csv.reader(_lines(text), strict=True, **_options(delimiter, quote, None)):  # type: ignore[arg-type]
            pass
    except csv.Error as error:
        return None if "end of data" in str(error) else "\\"
    return None


def _lines(text: str) -> io.StringIO:
    return io.StringIO(text, newline="\n")


def _options(delimiter: str, quote: str, escape: str | None) -> dict[str, object]:
    return {
        "delimiter": delimiter,
        "quotechar": quote,
        "escapechar": escape,
        "doublequote": escape is None,
        "skipinitialspace": delimiter != "\t",
    }


def _quote(text: str, delimiter: str) -> str:
    if '"' in text:
        return '"'
    d = re.escape(delimiter)
    quoted = len(re.findall(rf"(?:^|{d})'[^'\n]*'(?={d}|\r?$)", text, re.MULTILINE))
    return "'" if quoted > text.count("\n") / 2 else '"'


def _rows(text: str, options: dict[str, object]) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(_lines(text), **options):  # type: ignore[arg-type]
            if not is_rule(row):
                rows.append(row)
            if len(rows) == ROWS_MAX:
                break
    except csv.Error:
        pass
    return rows


def _is_header(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a row has names: nothing like a number or a date, and not mostly what its columns have, too."""
    cells = [cell.strip().lstrip("#").strip() for cell in row]
    if cells == [str(n) for n in range(len(cells))]:
        return True  # numbered columns
    filled = [cell for cell in cells if cell]
    like = [one for one in below if len(one) == len(row) and one != row]
    others = [set(column) for column in zip(*like, strict=True)]
    repeated = sum(bool(cell) and cell in others[n] for n, cell in enumerate(row)) if others else 0
    return 2 * repeated <= len(filled) > 0 and not any(map(_DATA, filled))


def _two_rows_of_names(head: Sequence[Sequence[str]], below: Sequence[Sequence[str]]) -> list[str] | None:
    """Names of columns from two rows, the first of which names groups, as merged cells of a sheet do.

    The first has empty cells. The second has names where it has anything: none has a digit where all cells
    below have some.
    """
    if len(head) < 2 or len(head[0]) != len(head[1]):
        return None
    upper, lower = ([cell.strip() for cell in row] for row in head)
    with_digits = [n for n in _digits_in(below, len(lower)) if lower[n]]
    if all(upper) or not all(map(max, upper, lower)) or not with_digits or not _is_header(lower, below):
        return None
    if any(_DIGIT(lower[n]) for n in with_digits):
        return None
    names, group = [], ""
    for above, own in zip(upper, lower, strict=True):
        group = above or group
        names.append(f"{group} {own}".strip() if own else above)
    return names


def _names(row: Sequence[str]) -> tuple[str, ...]:
    return unique_names([cell.strip().lstrip("#").strip() for cell in row])


def unique_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """Names that paths can lead to, each once."""
    names: list[str] = []
    for number, name in enumerate(wanted, 1):
        plain = UNREADABLE.sub("_", name).replace(".", "_") or f"column_{number}"
        again = (f"{plain}_{n}" for n in range(2, len(wanted) + 2))
        names.append(plain if plain not in names else next(one for one in again if one not in names))
    return tuple(names)


def _comma_columns(columns: Sequence[Sequence[str]], delimiter: str) -> set[int]:
    """Columns of numbers with a decimal comma. `1,234` is one only if others or the delimiter say so."""
    sure: set[int] = set()
    perhaps: set[int] = set()
    for number, cells in enumerate(columns):
        cells = [cell for cell in cells if cell.lower() not in MISSING]
        with_comma = [cell for cell in cells if "," in cell]
        if with_comma and all(map(_COMMA_NUMBER, cells)):
            plain = all(len(cell.rpartition(",")[2]) == 3 for cell in with_comma)
            (perhaps if plain else sure).add(number)
    return sure | perhaps if sure or delimiter == ";" else set()


def _convert(cells: Sequence[str], comma: bool) -> Convert:
    """Decide how cells of a column become JSON, from those of the sample that are not empty."""
    known = [cell for cell in cells if cell.lower() not in MISSING]
    if comma:
        return _comma_number
    if known and all(map(_is_number, known)):
        return _number
    if known and {cell.lower() for cell in known} <= {"true", "false"}:
        return _boolean
    return _text


def _is_number(cell: str) -> bool:
    return bool(_NUMBER(cell)) and (len(cell) < 16 or not _WHOLE(cell) or abs(int(cell[:64])) <= EXACT_MAX)


def _text(cell: str) -> str:
    return encode_basestring(cell) if cell else "null"


def _number(cell: str) -> str:
    cell = cell.strip()
    if _is_number(cell):
        return cell
    return "null" if cell.lower() in MISSING else _text(cell)


def _comma_number(cell: str) -> str:
    plain = cell.strip()
    if _COMMA_NUMBER(plain):
        return _number(plain.replace(".", "").replace(",", "."))
    return "null" if plain.lower() in MISSING else _text(cell)


def _boolean(cell: str) -> str:
    lower = cell.strip().lower()
    if lower in ("true", "false"):
        return lower
    return "null" if lower in MISSING else _text(cell)
