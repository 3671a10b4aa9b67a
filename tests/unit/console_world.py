"""A small world of cases for tests of the console: records as topics hold them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detector.console.book import SqliteBook
from detector.console.database import Database
from detector.console.fold import Fold
from detector.console.reading import Kind, Told, Wanted
from detector.console.views import Filter, Person
from detector.core.alerts.score_record import iso
from detector.testing import FakeClock

T0 = 1_800_000_000.0
WANTED = Wanted(segments=frozenset(("channel",)), exposure="amount", unit="EUR")
ANN, BOB, LEA, VIC = (
    Person(name="ann", role="analyst"),
    Person(name="bob", role="analyst"),
    Person(name="lea", role="lead"),
    Person(name="vic", role="viewer"),
)
TABLES = (
    "alerts",
    "updates",
    "acts",
    "receipts",
    "cases",
    "marks",
    "marks_of_cases",
    "answers",
    "bodies",
    "erased",
)


def alert(
    offset: int,
    case: int,
    *,
    time_s: float = T0,
    number: int = 1,
    severity: str = "high",
    amount: float = 100.0,
    priority: float = 10.0,
    card: str = "C1",
    merchant: str = "M1",
    channel: str = "web",
    codes: Sequence[str] = ("window",),
    related: Sequence[str] = (),
) -> dict[str, Any]:
    """Body of an alert; its case began at offset `case`."""
    return {
        "schema_version": 1,
        "alert_id": f"transactions-0-{offset}",
        "case_id": f"transactions-0-{case}",
        "severity": severity,
        "event_id": f"E{offset}",
        "event_time": iso(time_s),
        "entity": {"name": "card", "value": card},
        "entities": {"card": card, "merchant": merchant},
        "context": {"channel": channel},
        "exposure": amount,
        "score": {"raw": 4.0, "quantile": 0.9999, "threshold": 3.0, "severity": severity, "warm_up": False},
        "summary": {"headline": f"card {card}, {amount:.2f} at risk", "sentences": ["Amount high"]},
        "reasons": [
            {"field": "amount", "code": "value", "observed": amount, "direction": "above", "unit": "EUR",
             "display": "Amount", "detail": "Amount high", "share": 1.0, "expected": 5.0, "basis": "entity"}
        ],
        "facts": [{"code": code, "values": {}, "detail": code} for code in codes],
        "recent": [],
        "priority": priority,
        "related": list(related),
        "case": {"number": number, "sum": amount * number, "largest": amount},
        "source": {"topic": "transactions", "partition": 0, "offset": offset},
    }  # fmt: skip


def update(case: int, number: int, *, events: int, time_s: float = T0, card: str = "C1") -> dict[str, Any]:
    """Body of the update of this number of a case."""
    return {
        "update_id": f"transactions-0-{case}#{number}",
        "case_id": f"transactions-0-{case}",
        "severity": "medium",
        "entity": {"name": "card", "value": card},
        "first_time": iso(time_s - 60.0),
        "last_time": iso(time_s),
        "case": {"number": events, "sum": 10.0 * events, "largest": 10.0},
        "priority": float(events),
        "held_back": [],
    }


def receipt(position: int, outcome: str = "applied", *, partition: int = 0) -> dict[str, Any]:
    """Body of the receipt for the feedback record at a position."""
    declined = outcome in ("duplicate", "contradicts", "rate_limited", "unknown_alert", "unknown_entity")
    return {
        "receipt_id": f"transactions-feedback-{position}",
        "status": "declined" if declined else "applied",
        "outcome": outcome,
        "text": f"It is {outcome}.",
        "feedback": {"position": position, "feedback_id": None, "kind": "label", "actor": None, "time": None},
        "learned": {"labels_fraud": [0, 1]},
        "decided": {"topic": "transactions", "partition": partition, "offset": 5, "event_time": iso(T0)},
    }


def told(kind: Kind, offset: int, body: Mapping[str, Any], *, at_s: float = T0, partition: int = 0) -> Told:
    """A record."""
    return Told(kind, kind, partition, offset, at_s, msgspec.json.encode(body))


def labelled(case: int, label: str, *, at_s: float, actor: str = "ann", id_: str = "f") -> dict[str, Any]:
    """A feedback record about a case."""
    return {"kind": "label", "label": label, "case_id": f"transactions-0-{case}", "time": iso(at_s),
            "actor": actor, "feedback_id": id_}  # fmt: skip


class Topic:
    """A feedback topic in memory, for `SqliteBook`."""

    def __init__(self, clock: FakeClock) -> None:
        self.records: list[Told] = []
        self._clock = clock

    def send(self, records: Sequence[tuple[bytes, bytes]]) -> Sequence[Told]:
        """Append records."""
        first = len(self.records)
        new = [
            Told("feedback", "feedback", 0, first + n, self._clock.time(), value)
            for n, (_, value) in enumerate(records)
        ]
        self.records += new
        return new


class World:
    """A database in a folder, its fold, a topic of feedback and a book."""

    def __init__(self, folder: Path, *, days: float = 30, rows: int = 100_000) -> None:
        self.clock = FakeClock(T0)
        self.topic = Topic(self.clock)
        self.folder, self._path, self._days, self._rows = folder, folder / "console.db", days, rows
        self.log: list[tuple[str, dict[str, object]]] = []
        self.open()

    def open(self) -> None:
        """Open the database, as at a start."""
        self.database = Database(self._path, "a test")
        self.fold = Fold(self.database, WANTED, days=self._days, rows=self._rows)
        self.book = SqliteBook(
            self.database, self.fold, self.clock, self, topic="transactions",
            send=self.topic.send, originals=None,
        )  # fmt: skip

    def restart(self) -> None:
        """Close and open it."""
        self.database.close()
        self.open()

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that it holds."""
        with self.database.reading() as connection:
            return {
                table: sorted((tuple(row) for row in connection.execute(f"SELECT * FROM {table}")), key=repr)
                for table in TABLES
            }

    def pages(self) -> list[Any]:
        """What pages show of it."""
        book, every = self.book, Filter(states=("open", "answered", "closed", "snoozed"))
        asked = [Filter(), every, Filter(order="time", descending=False), Filter(code="window", severity=2)]
        shown: list[Any] = [list(book.queue(one).rows) for one in asked]
        shown += [book.case(row.id, every) for row in book.queue(every).rows]
        return [*shown, book.acts(), book.answered(), book.choices()]

    # a `detector.ports.Log`, as far as it is used
    def info(self, event: str, **values: object) -> None:
        """Keep a line."""
        self.log.append((event, values))

    debug = warning = error = exception = info


def numbered(records: Iterable[tuple[Kind, int, float, Mapping[str, Any]]]) -> list[Told]:
    """Records of kind, partition, time and body, with the offsets that their order gives them."""
    counts: dict[tuple[str, int], itertools.count[int]] = {}
    return [
        told(kind, next(counts.setdefault((kind, partition), itertools.count())), body, at_s=at_s,
             partition=partition)
        for kind, partition, at_s, body in records
    ]  # fmt: skip
