"""The fold: records of topics become rows, and the positions behind them are in the same transaction.

What is kept is a function of the *set* of records alone, so that neither the order in which records of
different partitions arrive, nor where batches are cut, nor a record that comes twice, nor a restart changes a
page:

- a record at a position that was read before is skipped; of an alert, update or receipt that was published
  twice, the copy with the later record time counts (`_KEEP`);
- records older than `days` before the newest one are dropped, and of each table all but the newest `rows`.
  The daemon's records alone say what the newest is: whoever writes feedback chooses its time;
- what the service erased is removed, and left out when it is read again (`detector.console.erasing`);
- what follows from the records of a case is computed from all of them each time (`detector.console.derive`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from detector.console.database import Connection, Database
from detector.console.derive import derive
from detector.console.erasing import Erased
from detector.console.reading import AlertRow, Told, Wanted, read_act, read_alert, read_receipt, read_update

DAY_S = 86_400.0
TABLES = ("alerts", "updates", "acts", "receipts")
COMPRESSION = 3  # of bodies: a fifth of their size, at 60 us each

_KEEP = (
    "INSERT INTO {table} VALUES ({marks})"
    " ON CONFLICT (id) DO UPDATE SET {sets} WHERE excluded.at_s {sign} {table}.at_s"
)


class Fold:
    """Writes what was read; see the module. One thread at a time may call it.

    Parameters
    ----------
    wanted
        What of the configuration alerts are read by.
    days, rows
        How much is kept.
    """

    def __init__(self, database: Database, wanted: Wanted, *, days: float, rows: int) -> None:
        self._database, self._wanted = database, wanted
        self._keep_s, self._rows = days * DAY_S, rows
        self._erased = True  # perhaps, before the last end
        with database.writing() as connection:
            self._statements = {table: _statement(connection, table) for table in TABLES}
            self._load(connection)

    def positions(self) -> dict[tuple[str, int], int]:
        """Offset of the next record to read, by topic and partition."""
        with self._database.writing() as connection:
            rows = connection.execute("SELECT topic, partition, position FROM positions").fetchall()
        return {(topic, partition): position for topic, partition, position in rows}

    def add(self, told: Sequence[Told], positions: Mapping[tuple[str, int], int] | None = None) -> int:
        """Take a batch of records; those of one partition come in their order. Returns how many were new.

        Parameters
        ----------
        positions
            Where reading goes on, where that is further than behind the last record given.
        """
        with self._writing() as connection:
            reached = _Reached(connection)
            new = [one for one in told if reached.passes(one)]
            reached.write(connection, positions or {})
            if new:
                self._change(connection, new)
        self._flush()
        return len(new)

    def sent(self, told: Sequence[Told]) -> None:
        """Take feedback records that we wrote ourselves, as the topic will give them."""
        with self._writing() as connection:
            reached = _Reached(connection)
            new = [one for one in told if not reached.has(one)]  # the topic's own copy was faster
            if new:
                self._change(connection, new)

    # --- inside ---

    def _flush(self) -> None:
        """Take what was erased out of the journal beside the file, now or as soon as nobody reads there."""
        if self._erased and self._database.flush():
            self._erased = False

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction, after whose failure we know again what the database holds."""
        try:
            with self._database.writing() as connection:
                yield connection
        except BaseException:
            with self._database.writing() as connection:
                self._load(connection)
            raise

    def _load(self, connection: Connection) -> None:
        self._counts = {table: _count(connection, table) for table in TABLES}
        self._newest_s = float(_fact(connection, "newest", float("-inf")))
        self.changes = int(_fact(connection, "changes", 0))  # rises with every change

    def _change(self, connection: Connection, told: Sequence[Told]) -> None:
        touched = self._take(connection, told)
        touched |= self._trim(connection)
        for case in sorted(touched):
            derive(connection, case)
        self.changes += 1
        _set_fact(connection, "changes", self.changes)
        _set_fact(connection, "newest", self._newest_s)

    def _take(self, connection: Connection, told: Iterable[Told]) -> set[str]:
        """Write rows; returns the ids of the cases that they are about."""
        touched, erased = set[str](), Erased(connection)
        for one in told:
            if one.kind != "feedback":
                self._newest_s = max(self._newest_s, one.at_s)
            if one.at_s < self._newest_s - self._keep_s:
                continue
            match one.kind:
                case "alerts":
                    alert = read_alert(one, self._wanted)
                    if alert is not None and not erased.leaves_out(one.at_s, *_names(alert)):
                        touched |= self._put_alert(connection, alert)
                case "case_updates":
                    update = read_update(one)
                    if update is not None and not erased.leaves_out(one.at_s, update[0][-1], update[0][2]):
                        touched.add(update[0][2])
                        if self._put(connection, "updates", update[0]):
                            _put_body(connection, update[0][0], update[1])
                case "receipts":
                    receipt = read_receipt(one)
                    if receipt is not None and self._put(connection, "receipts", receipt):
                        touched |= _cases_of_act(connection, receipt[2])
                        erased.acted(receipt[2])
                case "feedback" if one.partition == 0:  # the service reads no other
                    act = read_act(one, self._wanted)
                    if act is not None and self._put(connection, "acts", act):
                        touched |= _cases_of_act(connection, act[0])
                        erased.acted(act[0])
        for table, removed in erased.removed.items():
            self._counts[table] -= removed
            self._erased |= removed > 0
        return touched | erased.cases

    def _put(self, connection: Connection, table: str, values: tuple[Any, ...]) -> bool:
        """Write a row; whether it was new, or a later copy."""
        exists = connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", values[:1]).fetchone()
        changed = connection.execute(self._statements[table], values).rowcount > 0
        self._counts[table] += exists is None
        return changed

    def _put_alert(self, connection: Connection, alert: AlertRow) -> set[str]:
        id_ = alert.values[0]
        before = connection.execute("SELECT case_id FROM alerts WHERE id = ?", (id_,)).fetchone()
        if not self._put(connection, "alerts", alert.values):
            return set()
        _put_body(connection, id_, alert.body)
        connection.execute("DELETE FROM marks WHERE id = ?", (id_,))
        connection.executemany("INSERT INTO marks VALUES (?, ?, ?)", [(id_, *mark) for mark in alert.marks])
        return {alert.values[2], *(() if before is None else (before[0],))}

    def _trim(self, connection: Connection) -> set[str]:
        """Drop what is too old or too much; returns the cases that it was about."""
        touched: set[str] = set()
        for table in ("erased", "gone"):
            connection.execute(f"DELETE FROM {table} WHERE until_s < ?", (self._newest_s - self._keep_s,))
        for table in TABLES:
            over = max(self._counts[table] - self._rows, 0)
            old = connection.execute(
                f"SELECT id FROM {table} WHERE at_s < ?", (self._newest_s - self._keep_s,)
            ).fetchall()
            if len(old) < over:
                old = connection.execute(
                    f"SELECT id FROM {table} ORDER BY at_s, id LIMIT ?", (over,)
                ).fetchall()
            for (id_,) in old:
                touched |= _drop(connection, table, id_)
            self._counts[table] -= len(old)
        return touched


class _Reached:
    """Positions: what is read is at them or behind."""

    def __init__(self, connection: Connection) -> None:
        rows = connection.execute("SELECT topic, partition, position FROM positions").fetchall()
        self._positions: dict[tuple[str, int], int] = {
            (topic, partition): position for topic, partition, position in rows
        }
        self._changed: set[tuple[str, int]] = set()

    def has(self, told: Told) -> bool:
        """Whether a record was read."""
        return told.offset < self._positions.get((told.topic, told.partition), 0)

    def passes(self, told: Told) -> bool:
        """Whether a record is new; it is then behind us."""
        if self.has(told):
            return False
        at = told.topic, told.partition
        self._positions[at] = told.offset + 1
        self._changed.add(at)
        return True

    def write(self, connection: Connection, further: Mapping[tuple[str, int], int]) -> None:
        """Write what has changed."""
        for at, position in further.items():
            if position > self._positions.get(at, -1):
                self._positions[at] = position
                self._changed.add(at)
        rows = [(*at, self._positions[at]) for at in sorted(self._changed)]
        connection.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", rows)


def unpack(body: bytes) -> Any:
    """The body of an alert or an update, as it was published."""
    return msgspec.json.decode(zlib.decompress(body))


def _put_body(connection: Connection, id_: str, body: Mapping[str, Any]) -> None:
    packed = zlib.compress(msgspec.json.encode(body), COMPRESSION)
    connection.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (id_, packed))


def _names(alert: AlertRow) -> tuple[str | None, str, str, str]:
    """Value of the main entity, case, id and event of an alert."""
    id_, _, case, event, *_, value, _headline, _chips = alert.values
    return value, case, id_, event


def _cases_of_act(connection: Connection, act: int) -> set[str]:
    """Cases that a feedback record is about, as far as their alerts are known."""
    rows = connection.execute(
        "SELECT case_id FROM acts WHERE id = :act AND case_id IS NOT NULL"
        " UNION SELECT alerts.case_id FROM acts JOIN alerts ON alerts.id = acts.alert_id WHERE acts.id = :act"
        " UNION SELECT alerts.case_id FROM acts JOIN alerts ON alerts.event_id = acts.event_id"
        " WHERE acts.id = :act",
        {"act": act},
    )
    return {row[0] for row in rows}


def _drop(connection: Connection, table: str, id_: Any) -> set[str]:
    if table == "receipts":
        (act,) = connection.execute("SELECT act FROM receipts WHERE id = ?", (id_,)).fetchone()
        touched = _cases_of_act(connection, act)
    elif table == "acts":
        touched = _cases_of_act(connection, id_)
        same = (
            "SELECT id FROM acts WHERE id > :act"
            " AND feedback_id = (SELECT feedback_id FROM acts WHERE id = :act)"
        )
        for (other,) in connection.execute(same, {"act": id_}).fetchall():  # which it has hidden
            touched |= _cases_of_act(connection, other)
    else:
        touched = {row[0] for row in connection.execute(f"SELECT case_id FROM {table} WHERE id = ?", (id_,))}
        connection.execute("DELETE FROM bodies WHERE id = ?", (id_,))
        connection.execute("DELETE FROM marks WHERE id = ?", (id_,))
    connection.execute(f"DELETE FROM {table} WHERE id = ?", (id_,))
    return touched


def _statement(connection: Connection, table: str) -> str:
    columns = [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")]
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "id")
    # One place in the topic of feedback is one record: what we wrote ourselves, with the topic's own time.
    sign = "<>" if table == "acts" else ">"
    return _KEEP.format(table=table, marks=", ".join("?" * len(columns)), sets=sets, sign=sign)


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _fact(connection: Connection, name: str, default: float) -> float:
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return default if row is None else row[0]


def _set_fact(connection: Connection, name: str, value: float) -> None:
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
