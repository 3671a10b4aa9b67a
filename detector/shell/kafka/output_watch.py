"""Watches in a background thread whether consumers can read what we publish.

A `read_committed` consumer reads a partition up to its last stable offset: an open transaction hides
everything behind it. Every few seconds the watch asks for last stable offset and end of each partition of the
output topics. Where the end is ahead and the last stable offset stands still, it

1. tells for how long (a metric, and beyond a limit a warning on /readyz),
2. ends the open transactions of members that are no longer in the group,
3. after some seconds more finds transactions that hang and ends them (`transactions`).

Step 2 also comes whenever partitions are taken over, as the former owner may have died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from kafka import TopicPartition
from kafka.errors import KafkaError

from detector.config.tree import Config
from detector.config.words import first_of
from detector.core.reporting.telemetry import Telemetry
from detector.errors import CredentialsError, DetectorError
from detector.ports import Log
from detector.shell.kafka.stream import KafkaStream
from detector.shell.watch import Watch

LOOK_S = 5.0  # between two looks
HIDDEN_LOOK_S = 1.0  # while something is hidden
DEAD_AFTER_S = 2.0  # hidden for so long: is it a dead member's?
MEND_AFTER_S = 6.0  # hidden for so long: does it hang? Commits are made several times a second
MEND_AGAIN_S = 5.0
WARN_TIMEOUTS = 2.0  # hidden for so many transaction timeouts: a warning
_NAMED_MAX = 4  # partitions named in a warning


class StableOffsetAges:
    """How long the last stable offset of each partition has stood still behind the end."""

    def __init__(self) -> None:
        self._seen: dict[TopicPartition, tuple[int, float | None]] = {}  # last stable offset; hidden since

    def update(
        self, now_s: float, ends: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, float]:
        """Take in a look, and return the ages.

        Parameters
        ----------
        now_s
            Monotonic time, s.
        ends
            Last stable offset and end of each partition; empty: nobody answered, so the ages grow.

        Returns
        -------
        dict
            Seconds by partition; 0 where nothing is hidden.
        """
        if ends:
            before, self._seen = self._seen, {}
            for at, (stable, end) in ends.items():
                stable_before, since_s = before.get(at, (None, None))
                if stable >= end:
                    since_s = None
                elif since_s is None or stable_before != stable:
                    since_s = now_s
                self._seen[at] = stable, since_s
        return {at: 0.0 if since is None else now_s - since for at, (_, since) in self._seen.items()}


class OutputWatch(Watch):
    """The background thread. Does nothing in at_least_once, which has no transactions.

    Parameters
    ----------
    config
        The daemon's configuration.
    stream
        Whose transactions and outputs these are.
    telemetry
        Takes the ages, and counts what was ended.
    log
        Told what was ended and what could not be.
    monotonic
        Clock, s.
    """

    def __init__(
        self,
        config: Config,
        stream: KafkaStream,
        telemetry: Telemetry,
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("output-watch", log, wake=stream.taken_over)
        self._config = config
        self._stream = stream
        self._transactions = stream.transactions()
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._ages = StableOffsetAges()
        self._mended_s = float("-inf")
        self._refusal = ""  # why we may not mend

    def start(self) -> None:
        """Begin to watch."""
        if self._config.delivery == "exactly_once":
            super().start()

    def warnings(self) -> tuple[str, ...]:
        """What /readyz must say. May be called from any thread."""
        limit_s = WARN_TIMEOUTS * self._config.kafka.transaction_timeout_ms / 1000
        hidden = {at: age for at, age in self._telemetry.stable_offset_ages.items() if age > limit_s}
        if not hidden:
            return ()
        named = [f"{topic}/{partition}" for topic, partition in sorted(hidden)]
        return (
            f"read_committed consumers see nothing new of {first_of(named, _NAMED_MAX)} for "
            f"{max(hidden.values()):.0f} s: a transaction is not ended. "
            f"{self._refusal}Run `detector doctor --mend` with this configuration, as a principal with ALTER "
            "on the cluster.",
        )

    def session(self) -> AbstractContextManager[object]:
        """One connection."""
        return self._transactions.connected()

    def failed(self, error: Exception) -> None:
        """Nobody answered, so the ages grow; the runner tells of brokers that are away."""
        if isinstance(error, (DetectorError, KafkaError, OSError)):
            self._refuse(error)
        else:
            super().failed(error)
        self._note({})

    def look(self) -> float:
        """Look once and end what can be ended; see `Watch`."""
        taken_over = self._stream.taken_over.is_set()
        if taken_over:
            self._end_dead()
            self._stream.taken_over.clear()
        oldest_s = self._note(self._transactions.ends(self._transactions.outputs()))
        if oldest_s >= DEAD_AFTER_S and not taken_over:
            self._end_dead()
        if oldest_s >= MEND_AFTER_S and self._monotonic() - self._mended_s >= MEND_AGAIN_S:
            self._mended_s = self._monotonic()
            self._mend()
        return HIDDEN_LOOK_S if oldest_s > 0 else LOOK_S

    # --- inside ---

    def _note(self, ends: Mapping[TopicPartition, tuple[int, int]]) -> float:
        ages = self._ages.update(self._monotonic(), ends)
        self._telemetry.stable_offset_ages = {(at.topic, at.partition): age for at, age in ages.items()}
        return max(ages.values(), default=0.0)

    def _end_dead(self) -> None:
        for id_ in self._transactions.end_those_of_dead_members():
            self._telemetry.transactions_ended["dead_member"] += 1
            self.log.info("transaction_ended", cause="dead_member", transactional_id=id_)

    def _mend(self) -> None:
        found = self._transactions.hanging()
        for one in found:
            if one.verdict.fate is None:
                self.log.warning("transaction_hangs", transaction=str(one))
        if not found:
            return
        with self._stream.between_commits():
            ended = self._transactions.mend(found)
        for one in ended:
            self._telemetry.transactions_ended["hanging"] += 1
            self.log.warning("transaction_ended", cause="hanging", transaction=str(one))
        if ended:
            self._refusal = ""

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, CredentialsError) and not self._refusal:
            self._refusal = f"{error} "
            self.log.warning("transactions_not_ended", reason=str(error))
