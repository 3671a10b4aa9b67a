"""Erasures: what the service has dropped of an entity leaves the database, too, and does not come back.

A record of kind `erase` counts from its receipt `erased` on. Of the entity that it names, or whose event,
alert or case it names, all alerts and case updates published up to then are removed with their bodies; of
what people did with them stays who did it when, without notes and names. The table `erased` remembers what
erasures name and until when they hold, entities' values as hashes alone, and `gone` the ids of what was
removed, so that the order of records does not matter: what is read later, in a rebuild for example, is left
out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from detector.console.database import Connection

_ERASURES = """
SELECT acts.case_id, acts.alert_id, acts.event_id, acts.entity, max(receipts.at_s) AS until_s
  FROM acts JOIN receipts ON receipts.act = acts.id
  WHERE acts.id = ? AND acts.kind = 'erase' AND receipts.outcome = 'erased' GROUP BY acts.id
"""
_VALUES = (
    "SELECT value FROM alerts WHERE case_id = :case UNION SELECT value FROM updates WHERE case_id = :case"
    " UNION SELECT value FROM alerts WHERE id = :alert UNION SELECT value FROM alerts WHERE event_id = :event"
)
_KEEP = (
    "INSERT INTO {table} VALUES (?, ?, ?)"
    " ON CONFLICT (kind, name) DO UPDATE SET until_s = excluded.until_s WHERE excluded.until_s > until_s"
)


class Erased:
    """What a transaction of the fold erases.

    Parameters
    ----------
    connection
        Of the transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        (self._any,) = connection.execute("SELECT EXISTS (SELECT 1 FROM erased)").fetchone()
        self.cases: set[str] = set()  # of which something was removed
        self.removed = {"alerts": 0, "updates": 0}  # rows

    def leaves_out(self, at_s: float, value: str | None, case: str, alert: str = "", event: str = "") -> bool:
        """Whether an alert or an update that was read is of an erased entity, and older than its erasure.

        Parameters
        ----------
        at_s
            When it was published, s since the epoch.
        value
            Of its main entity.
        case, alert, event
            Its ids, as far as it has them.
        """
        if not self._any:
            return False
        names = _names(case=case, alert=alert, event=event)
        named_s = self._until_s("erased", names)
        if named_s is not None:
            self._forget(value, named_s)
        until_s = self._until_s("erased", _names(value=value))
        if until_s is None or at_s > until_s:
            return False
        self._keep("gone", names, at_s)
        return True

    def acted(self, act: int) -> None:
        """Look at a feedback record, or a receipt of it: it erases, or tells of something that is erased."""
        row = self._connection.execute(_ERASURES, (act,)).fetchone()
        if row is not None:
            about = {"case": row["case_id"], "alert": row["alert_id"], "event": row["event_id"]}
            names = _names(**about)
            values = {one[0] for one in self._connection.execute(_VALUES, about)}
            self._keep("erased", names, row["until_s"])
            for value in values if names else {row["entity"]}:
                self._forget(value, row["until_s"])
        self._scrub(act)

    # --- inside ---

    def _forget(self, value: str | None, until_s: float) -> None:
        """Remove all of a value that was published until then, and remember its names."""
        if value is None:
            return
        connection = self._connection
        self._keep("erased", _names(value=value), until_s)
        for table, names in (
            ("alerts", "id AS alert, event_id AS event"),
            ("updates", "NULL AS alert, NULL AS event"),
        ):
            rows = connection.execute(
                f"SELECT id, at_s, case_id, {names} FROM {table} WHERE value = ? AND at_s <= ?",
                (value, until_s),
            ).fetchall()
            for id_, at_s, case, alert, event in rows:
                self._keep("gone", _names(case=case, alert=alert, event=event), at_s)
                for there in (table, "bodies", "marks"):
                    connection.execute(f"DELETE FROM {there} WHERE id = ?", (id_,))
                self.cases.add(case)
            self.removed[table] += len(rows)
        for (act,) in connection.execute("SELECT id FROM acts WHERE entity = ?", (value,)).fetchall():
            self._scrub(act)

    def _keep(self, table: str, names: Mapping[str, str], until_s: float) -> None:
        """Remember names; what acts on them say goes."""
        statement = _KEEP.format(table=table)
        for kind, key in names.items():
            self._any = True
            if self._connection.execute(statement, (kind, key, until_s)).rowcount and kind != "value":
                acts = self._connection.execute(f"SELECT id FROM acts WHERE {kind}_id = ?", (key,)).fetchall()
                for (act,) in acts:
                    self._scrub(act)

    def _scrub(self, act: int) -> None:
        """Remove the entity and the note from an act that tells of something erased."""
        row = self._connection.execute("SELECT * FROM acts WHERE id = ?", (act,)).fetchone()
        if row is None or not self._any:
            return
        names = _names(value=row["entity"], case=row["case_id"], alert=row["alert_id"], event=row["event_id"])
        if any(self._until_s(table, names) is not None for table in ("erased", "gone")):
            detail = msgspec.json.decode(row["detail"])
            detail.pop("note", None)
            self._connection.execute(
                "UPDATE acts SET entity = NULL, detail = ? WHERE id = ?",
                (msgspec.json.encode(detail).decode(), act),
            )

    def _until_s(self, table: str, names: Mapping[str, str]) -> float | None:
        """Until when the last of these names was erased; None: none of them was."""
        found = [
            row[0]
            for name in names.items()
            for row in self._connection.execute(
                f"SELECT until_s FROM {table} WHERE kind = ? AND name = ?", name
            )
        ]
        return max(found, default=None)


def _names(**keys: str | None) -> dict[str, str]:
    """Names by their kinds, those that there are; an entity's value as a hash."""
    found = {kind: key for kind, key in keys.items() if key}
    if "value" in found:
        found["value"] = hashlib.sha256(found["value"].encode("utf-8", "replace")).hexdigest()
    return found
