"""A side topic, read whole."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from detector.config.tree import Config
from detector.errors import (
    NeedsOperator,
)
from detector.shell.kafka.client import (
    LEAVE_S,
    SILENCE_ASK_MS,
    client_settings,
    left_ms,
    make,
    translated,
    within,
)
from detector.shell.kafka.probe import PROBE_S, probe
from detector.shell.kafka.workarounds import (
    read_whole,
)

TimeOf = Callable[[bytes], float | None]
_SIDE_RECORDS_MAX = 65_536  # recent records of a side topic kept in memory, and read at the start ...
_SIDE_BYTES_MAX = 64 << 20  # ... and their bytes; older ones are read again
_POLLS_MAX = 64  # of one refresh; the rest comes with the next


class KafkaSideLog:
    """A `detector.ports.SideLog`: a topic of one partition. Connected at the first use.

    It follows the topic from some thousands of records before its end; older ones are read when they are
    asked for.

    A shard with a backlog must not see a label before the event that it names, or the label finds nothing. So
    a record with a time (`time_of`) blocks itself and all behind it until the shard's time has come to its
    own, or to the moment when it arrived (its log time, but not later than when we read it), whichever is
    earlier: nobody answers before his answer is in the topic, so a `time` in the future is a mistake, and
    holds up the others only until events of the present are reached. A record without a readable `time`
    blocks nothing, nor do those older than the last 65,536 that were later than all before them. Where events
    are always of another time than the clock's (a replay of last year's), answers must be dated in that time.

    Parameters
    ----------
    config
        The daemon's configuration.
    topic
        Which topic.
    time_of
        Reads a record's own time, s since the epoch; None: nothing has one, and nothing waits.
    password, key_password
        Resolved secrets of `kafka.security`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        password: str | None = None,
        key_password: str | None = None,
        *,
        time_of: TimeOf | None = None,
    ) -> None:
        self._config = config
        self._time_of = time_of
        self._at = TopicPartition(topic, 0)
        self._settings = client_settings(config, password, key_password)
        self._consumer: KafkaConsumer | None = None
        self._recent: deque[tuple[int, bytes]] = deque()  # everything in [_recent_from, _end)
        self._recent_from = 0
        self._recent_bytes = 0
        self._end = 0
        # Time from which it may be seen (s), position: of each record that waits longer than all before it.
        self._peaks: deque[tuple[float, int]] = deque(maxlen=_SIDE_RECORDS_MAX)

    def refresh(self) -> None:
        """Read what has come since, without waiting.

        Raises
        ------
        BrokerUnavailable
            No broker was reached, or the topic does not exist (yet).
        CredentialsError
            The broker refuses us, or we do not trust it.
        NeedsOperator
            The topic has more than one partition, a record that cannot be decoded, or was made anew.
        """
        consumer = self._open()
        with self._translated("follow"):
            try:
                for _ in range(_POLLS_MAX):
                    batches = consumer.poll(timeout_ms=0)
                    for record in batches.get(self._at, ()):
                        self._keep(record)
                    if not batches:
                        break
                self._end = max(self._end, self._position(consumer))
            except kafka_errors.OffsetOutOfRangeError:
                # Retention was faster. Who needs what is gone is told by `read`.
                beginning = self.beginning()
                if beginning <= self._end:
                    raise
                self._begin(consumer, beginning)

    def end(self, event_time: float) -> int:
        """Position of the first record that must wait (class's text), else after the last one read."""
        self._open()
        found = bisect_right(self._peaks, event_time, key=lambda peak: peak[0])
        return self._peaks[found][1] if found < len(self._peaks) else self._end

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Position and value of the records in [start, stop).

        Raises
        ------
        BrokerUnavailable
            They cannot be read right now.
        NeedsOperator
            They are no longer in the topic, or cannot be decoded.
        """
        if start >= stop:
            return ()
        consumer = self._open()
        if start >= self._recent_from and stop <= self._end:
            return [entry for entry in self._recent if start <= entry[0] < stop]
        return self._read_again(consumer, start, stop)

    def beginning(self) -> int:
        """Lowest position still in the topic, asked for now."""
        consumer = self._open()
        with self._translated("read the beginning"):
            found = consumer.beginning_offsets([self._at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(found[self._at])

    def log_end(self) -> int:
        """Position after the last readable record, asked for now."""
        consumer = self._open()
        with self._translated("read the end"):
            found = consumer.end_offsets([self._at], timeout_ms=self._config.kafka.request_timeout_ms)
        return int(found[self._at])

    def close(self) -> None:
        """Let go of the connection; never raises."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(Exception):
                within(LEAVE_S, lambda: consumer.close(timeout_ms=1500))

    # --- inside ---

    def _open(self) -> KafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        count = probe(
            self._settings,
            {self._at.topic: "read"},
            min(PROBE_S, self._config.kafka.request_timeout_ms / 1000),
        )[self._at.topic]
        if count != 1:
            raise NeedsOperator(
                f"Topic {self._at.topic} has {count} partitions; a side topic needs exactly one, "
                "as a shard's journal notes one position in it."
            )
        with self._translated("connect"):
            consumer = make(
                KafkaConsumer,
                self._settings,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
            read_whole(consumer)
            ask_ms = self._config.kafka.request_timeout_ms // 2
            try:
                consumer.assign([self._at])
                end = consumer.end_offsets([self._at], timeout_ms=ask_ms)[self._at]
                beginning = consumer.beginning_offsets([self._at], timeout_ms=ask_ms)[self._at]
                self._begin(consumer, max(beginning, end - _SIDE_RECORDS_MAX))
            except BaseException:
                consumer.close(timeout_ms=0)
                raise
        self._consumer = consumer
        return consumer

    def _begin(self, consumer: KafkaConsumer, position: int) -> None:
        """Follow from `position` on, with nothing in memory."""
        consumer.seek(self._at, position)
        self._recent.clear()
        self._peaks.clear()
        self._recent_bytes = 0
        self._recent_from = self._end = position

    def _position(self, consumer: KafkaConsumer) -> int:
        position = consumer.position(self._at, timeout_ms=SILENCE_ASK_MS)
        return self._end if position is None else int(position)

    def _keep(self, record: Any) -> None:
        position, value = record.offset, record.value
        self._end = position + 1
        if value is None:
            return
        own = None if self._time_of is None else self._time_of(value)
        if own is not None:
            seen_from = min(own, record.timestamp_ms / 1000, time.time())
            if not self._peaks or seen_from > self._peaks[-1][0]:
                self._peaks.append((seen_from, position))
        self._recent.append((position, value))
        self._recent_bytes += len(value)
        while len(self._recent) > _SIDE_RECORDS_MAX or self._recent_bytes > _SIDE_BYTES_MAX:
            dropped, gone = self._recent.popleft()
            self._recent_from = dropped + 1
            self._recent_bytes -= len(gone)

    def _read_again(self, consumer: KafkaConsumer, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        deadline = time.monotonic() + self._config.kafka.request_timeout_ms / 1000
        found: list[tuple[int, bytes]] = []
        with self._translated("read again"):
            end = consumer.end_offsets([self._at], timeout_ms=left_ms(deadline))[self._at]
            if end < stop:
                raise NeedsOperator(
                    f"Topic {self._at.topic} ends at {end}, but records before {stop} have been applied: "
                    "it was made anew, or lost its end."
                )
            consumer.seek(self._at, start)
            try:
                while self._position(consumer) < stop:
                    for record in consumer.poll(timeout_ms=left_ms(deadline)).get(self._at, ()):
                        if record.offset < stop and record.value is not None:
                            found.append((record.offset, record.value))
            finally:
                consumer.seek(self._at, self._end)
        return found

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(f"{doing} {self._at.topic}", self._config):
            yield
