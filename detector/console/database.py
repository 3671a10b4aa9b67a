"""The console's database: one SQLite file in WAL mode, one writer, and as many readers as ask at once.

It holds nothing of its own: what is in it was read from topics, with the positions up to which that was done,
in the same transaction. A file of another version, of other topics, or one that is damaged is deleted, and
read again.

Tables that hold what was read (`alerts`, `updates`, `acts`, `receipts`) are bounded; those that follow from
them (`cases`, `marks_of_cases`, `answers`) are written again for each case that something was read of.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from detector.errors import NeedsOperator, OutsideError

VERSION = 2  # of the tables; another one is read anew
BUSY_S = 10.0
CACHE_KIB = 8 * 1024  # of each connection, of which there are some dozens at most
Connection: TypeAlias = sqlite3.Connection
Row: TypeAlias = sqlite3.Row

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE positions (
  topic TEXT, partition INTEGER, position INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID;

CREATE TABLE alerts (
  id TEXT PRIMARY KEY, at_s REAL NOT NULL,
  case_id TEXT NOT NULL, event_id TEXT NOT NULL, time_s REAL NOT NULL, severity INTEGER NOT NULL,
  priority REAL NOT NULL, number INTEGER NOT NULL, sum REAL, largest REAL, unit TEXT,
  kind TEXT, value TEXT, headline TEXT NOT NULL, chips TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX alerts_case ON alerts (case_id);
CREATE INDEX alerts_event ON alerts (event_id, case_id);
CREATE INDEX alerts_age ON alerts (at_s, id);
CREATE INDEX alerts_entity ON alerts (value, time_s);

CREATE TABLE updates (
  id TEXT PRIMARY KEY, at_s REAL NOT NULL,
  case_id TEXT NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL, severity INTEGER NOT NULL,
  priority REAL NOT NULL, number INTEGER NOT NULL, sum REAL, largest REAL, kind TEXT,
  value TEXT) WITHOUT ROWID;
CREATE INDEX updates_case ON updates (case_id);
CREATE INDEX updates_age ON updates (at_s, id);

CREATE TABLE bodies (id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE marks (id TEXT, kind TEXT, text TEXT, PRIMARY KEY (id, kind, text)) WITHOUT ROWID;

CREATE TABLE acts (
  id INTEGER PRIMARY KEY, at_s REAL NOT NULL, feedback_id TEXT, kind TEXT NOT NULL, actor TEXT,
  time_s REAL NOT NULL,
  case_id TEXT, alert_id TEXT, event_id TEXT, entity TEXT, detail TEXT NOT NULL, wrong TEXT);
CREATE INDEX acts_case ON acts (case_id);
CREATE INDEX acts_alert ON acts (alert_id);
CREATE INDEX acts_event ON acts (event_id);
CREATE INDEX acts_feedback ON acts (feedback_id);
CREATE INDEX acts_age ON acts (at_s, id);
CREATE INDEX acts_time ON acts (time_s, id);
CREATE INDEX acts_actor ON acts (actor, time_s, id);

CREATE TABLE erased (kind TEXT, name TEXT, until_s REAL NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE gone (kind TEXT, name TEXT, until_s REAL NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;

CREATE TABLE receipts (
  id TEXT PRIMARY KEY, at_s REAL NOT NULL, act INTEGER NOT NULL, status TEXT NOT NULL, outcome TEXT NOT NULL,
  text TEXT NOT NULL, learned TEXT) WITHOUT ROWID;
CREATE INDEX receipts_act ON receipts (act);
CREATE INDEX receipts_age ON receipts (at_s, id);

CREATE TABLE cases (
  id TEXT PRIMARY KEY, kind TEXT, value TEXT, headline TEXT NOT NULL, chips TEXT NOT NULL,
  first_s REAL NOT NULL, last_s REAL NOT NULL,
  published_s REAL NOT NULL, events INTEGER NOT NULL, sum REAL, largest REAL, unit TEXT,
  severity INTEGER NOT NULL, priority REAL NOT NULL, state TEXT NOT NULL, snoozed_s REAL NOT NULL,
  assignee TEXT, answer TEXT, version INTEGER NOT NULL, money REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX cases_priority ON cases (priority, id);
CREATE INDEX cases_severity ON cases (severity, id);
CREATE INDEX cases_last ON cases (last_s, id);
CREATE INDEX cases_money ON cases (money, id);
CREATE INDEX cases_events ON cases (events, id);
CREATE INDEX cases_state ON cases (state, severity);
CREATE INDEX cases_assignee ON cases (assignee);
CREATE INDEX cases_value ON cases (value);

CREATE TABLE marks_of_cases (
  kind TEXT, text TEXT, case_id TEXT, PRIMARY KEY (kind, text, case_id)) WITHOUT ROWID;
CREATE INDEX marks_of_case ON marks_of_cases (case_id);

CREATE TABLE answers (
  act INTEGER, case_id TEXT, actor TEXT, label TEXT NOT NULL, time_s REAL NOT NULL, waited_s REAL NOT NULL,
  severity INTEGER NOT NULL, PRIMARY KEY (act, case_id)) WITHOUT ROWID;
CREATE INDEX answers_case ON answers (case_id);
"""


class Database:
    """The file; see the module.

    Parameters
    ----------
    path
        Where it is. Its folder must exist.
    of
        What it is read from: names and ids of cluster and topics. With others it is read anew.

    Raises
    ------
    NeedsOperator
        The file cannot be written, or another process writes it.
    """

    def __init__(self, path: Path, of: str) -> None:
        self.path = path
        self._opened: list[Connection] = []
        self._idle: list[Connection] = []  # readers that nobody uses
        self._lock = threading.RLock()  # of the writer
        self._lists = threading.Lock()
        self._claim = _claim(path)
        try:
            self._writer = self._begin(of)
        except (sqlite3.DatabaseError, OSError) as error:  # no room, no right
            os.close(self._claim)
            raise NeedsOperator(f"console.database: {path} cannot be used: {error}") from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction of the one writer: all of it, or nothing after an error.

        Raises
        ------
        OutsideError
            The file cannot be written now, as on a full disk.
        NeedsOperator
            The file is damaged.
        """
        with self._lock, self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction of a reader: everything in it is of one moment.

        Raises
        ------
        OutsideError, NeedsOperator
            As `writing`.
        """
        with self._translated():
            with self._lists:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._open()
                connection.execute("PRAGMA query_only=ON")
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")  # it has changed nothing
                with self._lists:
                    self._idle.append(connection)

    def flush(self) -> bool:
        """Write all into the file itself, so that nothing of before is left beside it; False: not now."""
        with self._lock, self._translated():
            (busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._close_all()
            os.close(self._claim)

    # --- inside ---

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutsideError(f"console.database: {self.path} cannot be used now: {error}") from None
        except sqlite3.DatabaseError as error:
            raise NeedsOperator(
                f"console.database: {self.path} is damaged ({error}): delete it, and start again"
            ) from None

    def _close_all(self) -> None:
        with self._lists:
            for connection in self._opened:
                with suppress(sqlite3.Error):
                    connection.close()
            self._opened.clear()
            self._idle.clear()

    def _begin(self, of: str) -> Connection:
        """Open the file, and make it anew if it does not hold what we want."""
        said = f"{VERSION} {of}"
        if self.path.exists():
            with suppress(sqlite3.DatabaseError):
                connection = self._open()
                row = connection.execute("SELECT value FROM facts WHERE name = 'of'").fetchone()
                if row is not None and row[0] == said:
                    return connection
            self._close_all()
        for end in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{end}")
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))  # it holds values of events
        connection = self._open()
        connection.executescript(f"BEGIN;{_TABLES}COMMIT;")
        connection.execute("INSERT INTO facts VALUES ('of', ?)", (said,))
        return connection

    def _open(self) -> Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        with self._lists:
            self._opened.append(connection)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "PRAGMA synchronous=NORMAL"
        )  # a power cut may lose the last reads: they are read again
        connection.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return connection


def _claim(path: Path) -> int:
    """Make sure that this process alone writes the file: while the returned descriptor is open."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NeedsOperator(f"console.database: {path} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise NeedsOperator(f"console.database: another console uses {path}") from None
    return descriptor
