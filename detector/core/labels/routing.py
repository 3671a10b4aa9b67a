"""Who answers a feedback record: exactly one shard of a topic.

Every shard reads every record. A record that names an alert, a case or coordinates names its partition: that
shard answers. A record that names only an event's id is answered by the shard that holds the event:

    each shard    at a barrier: answers what it holds, and publishes what it claimed and how far it has read
    partition 0   keeps the records that it does not hold until every shard has read them; those that none
                  has claimed name an event that no shard knows

Malformed records, and those that name another topic, are answered by partition 0 at once.

    alone       one partition: all of this at once, no messages
    shared      several partitions that exchange messages
    separate    several partitions without them, and no receipts: nobody says that an event is unknown
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.core.labels.commands import Echo
from detector.core.labels.receipts import echo_from_json, echo_to_json

KIND = "feedback"  # of the messages
PENDING_MAX = 2048  # records that wait for other shards; further ones stay in the topic
PENDING_BYTES = 4608  # of one of them at most
# Positions that peers claimed and this shard has not read yet: a peer may be ahead by that many at least.
CLAIMED_MAX = 1 << 18
POSITIONS_MAX = 1 << 16  # of one message
BYTES_MAX = PENDING_MAX * PENDING_BYTES + 3 * 8 * CLAIMED_MAX  # of the state, with its copies

Mode = Literal["alone", "shared", "separate"]


class Routing:
    """One shard's part in it."""

    def __init__(self, partition: int, partitions: int, mode: Mode) -> None:
        self.partition, self.partitions, self.mode = partition, partitions, mode
        self.read = 0  # every record before this position has been read
        self._told = 0  # `read`, as published last
        self._pending: OrderedDict[int, bytes] = OrderedDict()  # position -> echo; ascending
        self._claimed = np.zeros(0, dtype=np.int64)  # by peers, ascending
        self._peers: dict[int, int] = {}  # how far each has read
        self._claims: list[int] = []  # of this shard, not published

    @property
    def first(self) -> bool:
        """Whether this shard answers what belongs to no shard."""
        return self.mode == "alone" or self.partition == 0

    @property
    def waiting(self) -> int:
        """Records that wait for other shards."""
        return len(self._pending)

    @property
    def oldest(self) -> int | None:
        """Position of the first record that waits for other shards; None: none does."""
        return next(iter(self._pending), None)

    @property
    def room(self) -> int:
        """Records that may be read before some of those that wait are decided."""
        return PENDING_MAX - len(self._pending)

    def passed(self, position: int) -> None:
        """Every record before this position has been read."""
        self.read = max(self.read, position)
        self._claimed = self._claimed[np.searchsorted(self._claimed, self.read) :]

    def claim(self, position: int) -> None:
        """This shard answers a record that names only an event's id."""
        if self.mode == "shared" and self.partition != 0:
            self._claims.append(position)

    def wait(self, position: int, echo: Echo) -> None:
        """Keep a record that this shard does not hold until all others have read it."""
        place = int(np.searchsorted(self._claimed, position))
        if place < len(self._claimed) and self._claimed[place] == position:
            return
        self._pending[position] = echo_to_json(echo)  # names are cut: see PENDING_BYTES

    def decided(self) -> list[tuple[int, Echo]]:
        """Records that every shard has read and none has claimed, in their order; they wait no longer."""
        others = range(1, self.partitions)
        end = min((self._peers.get(peer, 0) for peer in others), default=self.read)
        found = []
        while self._pending and (position := next(iter(self._pending))) < end:
            found.append((position, echo_from_json(self._pending.pop(position))))
        return found

    # --- messages ----------------------------------------------------------------------------------------

    def publish(self) -> list[tuple[str, Mapping[str, NDArray[Any]]]]:
        """A message if anything changed since the last one."""
        if self.mode != "shared" or self.partition == 0 or self.read == self._told:
            return []
        claims, self._claims = self._claims, []
        self._told = self.read
        arrays = {
            "shard": np.array([self.partition, self.read], dtype=np.int64),
            "claimed": np.array(claims, dtype=np.int64),
        }
        return [(KIND, arrays)]

    def receive(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Apply a peer's message; False, with nothing changed, if it is of no use here."""
        shard, claimed = arrays.get("shard"), arrays.get("claimed")
        if shard is None or claimed is None or {shard.dtype.str, claimed.dtype.str} != {"<i8"}:
            return False
        if shard.shape != (2,) or claimed.ndim != 1 or len(claimed) > POSITIONS_MAX or (claimed < 0).any():
            return False
        peer, read = shard.tolist()
        if not 0 < peer < 1 << 16 or read < 0:
            return False
        if self.mode != "shared" or self.partition != 0:
            return True
        for position in claimed.tolist():
            self._pending.pop(position, None)
        ahead = claimed[claimed >= self.read]
        self._claimed = np.union1d(self._claimed, ahead)[-CLAIMED_MAX:]
        self._peers[peer] = max(self._peers.get(peer, 0), read)
        return True

    # --- state -------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """State as arrays and plain values."""
        return {
            "read": self.read,
            "told": self._told,
            "pending": [[position, echo.decode()] for position, echo in self._pending.items()],
            "claimed": self._claimed,
            "peers": np.array(sorted(self._peers.items()), dtype=np.int64).reshape(-1, 2),
            "claims": np.array(self._claims, dtype=np.int64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `to_state` returned."""
        self.read, self._told = state["read"], state["told"]
        self._pending = OrderedDict((position, echo.encode()) for position, echo in state["pending"])
        self._claimed = np.array(state["claimed"], dtype=np.int64)
        self._peers = dict(state["peers"].tolist())
        self._claims = state["claims"].tolist()
