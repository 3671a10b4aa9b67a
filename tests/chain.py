"""A hash chain for a model: any event or label lost, doubled or moved changes every later alert.

It keeps to what `detector.core.shard.shard.Shard` promises to its partition, at a thousandth of the cost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from detector.config.tree import ModelPart
from detector.core.jobs import AT_ONCE, Lanes
from detector.core.labels.peer_messages import Arrays, Exchange
from detector.core.records import (
    Alert,
    CaseUpdate,
    DeadLetter,
    Identity,
    Lap,
    Outputs,
    Receipt,
    Record,
    Scored,
    no_lap,
)
from detector.core.recovery.sides import Side, SideRecords
from detector.core.shard.publishing import Taken

LOGGED = 512  # newest events whose links are in the state: most of it is the same in the next checkpoint
ERASE = b"erase"
MALFORMED = b"{"
"""What values begin with that are no events."""


class Answering:
    """Decides every feedback record at its barrier: the shard of partition 0 gives the receipt."""

    waiting, oldest, room = 0, None, 1 << 30
    erased = False  # whether the last barrier had a record that begins with `ERASE`

    def __init__(self, identity: Identity) -> None:
        self.routing, self._identity = self, identity
        self._receipts: list[Receipt] = []

    def apply(self, labels: SideRecords, offset: int) -> None:
        self.erased = any(value.startswith(ERASE) for _, value in labels)
        if self._identity.partition == 0:
            self._receipts += [
                Receipt(offset=offset, key=b"%d" % position, headers=(), body=value)
                for position, value in labels
            ]

    def collect(self) -> tuple[Receipt, ...]:
        receipts, self._receipts = tuple(self._receipts), []
        return receipts


class ChainShard:
    """See the module's text."""

    entity_key_id = "key"
    followed = refused = ""  # no shift, no new encoder
    drift = None

    def __init__(
        self,
        config: ModelPart,
        identity: Identity,
        *,
        position: int,
        lap: Lap = no_lap,
        lanes: Lanes = AT_ONCE,
        expects_labels: bool = False,
    ) -> None:
        self.position, self._lap = position, lap
        self.reconfigure(config)
        self.exchange = Exchange(identity)
        self.desk = Answering(identity)
        self._identity = identity
        self.event_time = -np.inf
        self.since_barrier = self.version = self._filled = 0
        self._link = bytearray(32)  # changed in place, as the arrays of the model are
        self._log = np.zeros(0, dtype=np.int64), np.zeros((0, 24), dtype=np.uint8)

    @property
    def interval(self) -> int:
        return self.config.model.barriers.every_events

    @property
    def pending(self) -> int:
        return self._filled

    settled = True

    def settles(self) -> bool:
        return True

    def case_updates(self) -> tuple[CaseUpdate, ...]:
        return ()

    def gauges(self) -> dict[str, float]:
        return {"version": float(self.version), "answerable_dropped": 0.0}

    def take(self, records: Sequence[Record], *, silent: bool, explain: int | None = None) -> Taken:
        block = self.config.model.barriers.block_events
        scored: list[Record] = []
        alerts, dead = [], []
        links = bytearray()
        consumed = 0
        for record in records:
            if self._filled + len(scored) == block:
                break
            consumed += 1
            if not record.value or record.value.startswith(MALFORMED):
                dead.append(_rejected(record))
                continue
            self._push(b"event", record.value, str(record.offset).encode())
            scored.append(record)
            links += self._link[:24]
            if self._link[0] < 64:
                body = json.dumps([self._identity.partition, record.offset, self._link.hex()]).encode()
                headers = (("ce_id", b"%d" % record.offset),)
                alerts.append(
                    Alert(offset=record.offset, key=record.key, headers=headers, body=body, severity="high")
                )
        self.position = records[consumed - 1].offset + 1 if consumed else self.position
        self._filled += len(scored)
        offsets = np.array([record.offset for record in scored], dtype=np.int64)
        rows = np.frombuffer(bytes(links), dtype=np.uint8).reshape(len(scored), 24)
        self._log = (
            np.concatenate([self._log[0], offsets])[-LOGGED:],
            np.concatenate([self._log[1], rows])[-LOGGED:],
        )
        self.event_time = max([self.event_time, *(float(r.offset) for r in scored)])
        ended = self._filled == block
        if ended:
            self.since_barrier += block
            self._filled = 0
        self._lap("score")
        if silent:
            return Taken(consumed=consumed, outputs=Outputs(), block_ended=ended)
        alerted = {alert.offset for alert in alerts}
        batch = Scored(
            offsets=offsets,
            times=offsets.astype(np.float64),
            scores=offsets / 7.0,
            quantiles=np.zeros(len(scored)),
            alerted=np.array([record.offset in alerted for record in scored], dtype=np.bool_),
            timestamps_ms=np.array([record.timestamp_ms for record in scored], dtype=np.int64),
            ids=tuple(str(record.offset) for record in scored),
            keys=tuple(record.key for record in scored),
            model_version=self.version,
        )
        outputs = Outputs(scored=(batch,), alerts=tuple(alerts), dead_letters=tuple(dead))
        return Taken(consumed=consumed, outputs=outputs, block_ended=ended)

    def side_handlers(self) -> dict[Side, Callable[[SideRecords], Mapping[str, int]]]:
        return {"feedback": self._apply, "exchange": self._receive}

    def barrier(self, records: Mapping[Side, SideRecords]) -> dict[Side, Mapping[str, int]]:
        outcomes = {side: apply(records.get(side, ())) for side, apply in self.side_handlers().items()}
        self._push(b"barrier", self._config_hash)
        self.since_barrier = self._filled = 0
        self.version += 1
        if self.config.exchange:
            self.exchange.publish(self.position, self._publish())
        return outcomes

    def reconfigure(self, config: ModelPart) -> None:
        self.config, self._config_hash = config, config.hash().encode()

    def to_state(self) -> dict[str, Any]:
        assert self._filled == 0
        link = np.frombuffer(self._link, dtype=np.uint8).copy()
        plain = {"link": link, "version": self.version, "event_time": self.event_time}
        log = {"offsets": self._log[0], "links": self._log[1]}
        return plain | {"exchange": self.exchange.to_state(), "log": log}

    def load(self, state: Mapping[str, Any]) -> None:
        self._link[:] = state["link"].tobytes()
        self.version, self.event_time = state["version"], state["event_time"]
        self.exchange.load(state["exchange"])
        self._log = state["log"]["offsets"], state["log"]["links"]

    def _apply(self, labels: SideRecords) -> dict[str, int]:
        for position, value in labels:
            self._push(b"label", value, str(position).encode())
        self.desk.apply(labels, self.position - 1)
        return {"read": len(labels), "applied": len(labels)} if labels else {}

    def _receive(self, messages: SideRecords) -> dict[str, int]:
        self.exchange.receive(messages, self._receive_message)
        return {}

    def _receive_message(self, kind: str, arrays: Arrays) -> bool:
        self._push(kind.encode(), arrays["link"].tobytes())
        return True

    def _publish(self) -> list[tuple[str, Arrays]]:
        link = np.frombuffer(bytes(self._link), dtype=np.uint8)
        return [("link", {"link": link})] * (1 + self.version % 2)

    def _push(self, *parts: bytes) -> None:
        self._link[:] = hashlib.sha256(b"|".join((self._link, *parts))).digest()


def _rejected(record: Record) -> DeadLetter:
    reason = "tombstone" if record.value is None else "malformed" if record.value else "empty"
    return DeadLetter(
        offset=record.offset, key=record.key, value=record.value, headers=(), reason=reason, detail=reason
    )
