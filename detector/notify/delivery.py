"""One receiver's messages: when they go out, how many at once, and what happens when that fails.

Rules
    - A position is committed only after everything before it was delivered, refused for good, or is not for
      this receiver. So each message is delivered at least once; a repeated one has the same id.
    - Messages go out in the order of the topic, so those about one entity keep theirs. While one cannot be
      delivered, those behind it wait: `WAITING_MAX` of them in memory, the others in Kafka.
    - A receiver that is away is tried again for ever, with waits of `RETRY_MIN_S` to `RETRY_MAX_S`, or as
      long as it asks for.
    - A message that a receiver will never take is left out, counted and logged with its place.
    - Above `rate` sendings per minute, messages wait and then go out together. Nothing is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from detector.config.tree import Receiver
from detector.errors import OutsideError
from detector.notify.message import Message
from detector.notify.rules import takes
from detector.ports import Clock, Log

WAITING_MAX = 256  # messages in memory
RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
ASKED_MAX_S = 900.0  # longest wait that a receiver can ask for
ROUND_S = 1.0  # longest wait of one turn: members of a group must poll
MINUTE_S = 60.0

At = tuple[str, int]
"""Topic and partition."""


class Unavailable(OutsideError):
    """A receiver does not take messages now. `after_s`: how long it asks us to wait, s; 0: not said."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = min(after_s, ASKED_MAX_S)


class Refused(Exception):
    """A receiver will never take these messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """What one poll returned."""

    messages: Sequence[Message] = ()
    positions: Mapping[At, int] = field(default_factory=dict)  # after the poll, of the partitions we have
    revoked: Collection[At] = ()  # partitions that another member has now
    unreadable: int = 0  # records that are no messages


class Inbox(Protocol):
    """The topics, as a member of the receiver's consumer group."""

    def poll(self, timeout_s: float, *, more: bool) -> Arrived:
        """Wait up to `timeout_s` for messages; with `more` false, for none: only to stay a member.

        Raises
        ------
        OutsideError
            Kafka is unavailable. The next call begins at what is committed.
        """

    def commit(self, positions: Mapping[At, int]) -> None:
        """Commit where to begin after a restart.

        Raises
        ------
        OutsideError
        """

    def close(self) -> None:
        """Leave the group. Never raises."""


class Sender(Protocol):
    """Brings messages to a receiver."""

    batch_max: int  # messages that may go out together

    def send(self, messages: Sequence[Message], sent_s: float) -> None:
        """Send messages, 1 to `batch_max`, at a time, s since the epoch.

        Raises
        ------
        Unavailable
        Refused
        """


@dataclass(kw_only=True, slots=True)
class Counts:
    """Numbers of one receiver, for the metrics."""

    delivered: int = 0
    filtered: int = 0  # not for this receiver
    refused: int = 0
    unreadable: int = 0
    failures: int = 0  # sendings that failed and are tried again
    waiting: int = 0
    oldest_s: float | None = None  # when the oldest waiting message was published; None: none waits
    problem: str = ""  # why the last sending failed; empty after a delivery
    beat_s: float | None = None  # time of the last turn, monotonic


class Delivery:
    """Delivers to one receiver, turn by turn."""

    def __init__(self, receiver: Receiver, inbox: Inbox, sender: Sender, clock: Clock, log: Log) -> None:
        self.counts = Counts()
        self._receiver, self._inbox, self._sender = receiver, inbox, sender
        self._clock, self._log = clock, log
        self._waiting: deque[Message] = deque()
        self._positions: dict[At, int] = {}  # behind all that was polled
        self._committed: dict[At, int] = {}
        self._retries = 0
        self._not_before_s = 0.0  # monotonic
        self._collected_s = 0.0  # since when a digest is collected, monotonic
        self._tokens, self._tokens_s = float(receiver.rate), clock.monotonic()
        self._one_by_one = 0  # messages that are sent alone: together they were refused

    def turn(self, wait_s: float = ROUND_S) -> None:
        """Take what has come, and send what is due. Waits up to `wait_s`.

        Raises
        ------
        OutsideError
            Kafka is unavailable. Nothing is lost: what waits is read again.
        """
        self.counts.beat_s = self._clock.monotonic()
        due_s = self._due_s()
        left_s = wait_s if due_s is None else min(max(due_s - self._clock.monotonic(), 0.0), wait_s)
        try:
            self._take(self._inbox.poll(left_s, more=len(self._waiting) < WAITING_MAX))
            self._send()
            self._commit()
        except OutsideError:
            self._forget()
            raise
        finally:
            self.counts.waiting = len(self._waiting)
            self.counts.oldest_s = self._waiting[0].published_s if self._waiting else None

    def close(self) -> None:
        """Leave the group. Never raises."""
        self._inbox.close()

    def _take(self, arrived: Arrived) -> None:
        if arrived.revoked:
            gone = set(arrived.revoked)
            kept = [one for one in self._waiting if (one.topic, one.partition) not in gone]
            self._waiting = deque(kept)
            for at in gone:
                self._positions.pop(at, None)
                self._committed.pop(at, None)
        self._positions |= arrived.positions
        self.counts.unreadable += arrived.unreadable
        for message in arrived.messages:
            if takes(self._receiver, message):
                if not self._waiting:
                    self._collected_s = self._clock.monotonic()
                self._waiting.append(message)
            else:
                self.counts.filtered += 1

    # --- when --------------------------------------------------------------------------------------------

    def _due_s(self) -> float | None:
        """When to send next, monotonic; None: nothing waits."""
        if not self._waiting:
            return None
        due_s = self._not_before_s
        full = len(self._waiting) >= min(self._sender.batch_max, WAITING_MAX)
        if self._receiver.digest is not None and not full:
            due_s = max(due_s, self._collected_s + self._receiver.digest)
        if self._tokens < 1.0:
            due_s = max(due_s, self._tokens_s + (1.0 - self._tokens) * MINUTE_S / self._receiver.rate)
        return due_s

    def _earn(self) -> None:
        now_s = self._clock.monotonic()
        earned = (now_s - self._tokens_s) * self._receiver.rate / MINUTE_S
        self._tokens, self._tokens_s = min(self._tokens + earned, float(self._receiver.rate)), now_s

    def _next(self) -> list[Message]:
        """What goes out together: all that had to wait, otherwise one message."""
        together = self._receiver.digest is not None or self._tokens < 2.0
        count = self._sender.batch_max if together and not self._one_by_one else 1
        return [self._waiting[place] for place in range(min(count, len(self._waiting)))]

    # --- sending -----------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Send one batch, if it is due."""
        self._earn()
        due_s = self._due_s()
        if due_s is None or due_s > self._clock.monotonic():
            return
        messages = self._next()
        self._tokens = max(self._tokens - 1.0, 0.0)
        try:
            self._sender.send(messages, self._clock.time())
        except Unavailable as error:
            self._retry(str(error), error.after_s)
            return
        except Refused as error:
            self._refuse(messages, str(error))
            return
        self._done(len(messages))
        self.counts.delivered += len(messages)
        if self._retries:
            self._log.info("receiver_back", receiver=self._receiver.name, failures=self._retries)
        self._retries, self._not_before_s, self.counts.problem = 0, 0.0, ""

    def _retry(self, reason: str, after_s: float) -> None:
        wait_s = max(min(RETRY_MIN_S * 2.0 ** min(self._retries, 16), RETRY_MAX_S), after_s)
        self._not_before_s = self._clock.monotonic() + wait_s
        self._retries += 1
        self.counts.failures += 1
        self.counts.problem = reason
        self._log.warning(
            "receiver_unavailable", receiver=self._receiver.name, reason=reason, again_in_s=round(wait_s)
        )

    def _refuse(self, messages: Sequence[Message], reason: str) -> None:
        if len(messages) > 1:
            self._one_by_one = len(messages)  # to find the ones that it means
            return
        [message] = messages
        self._done(1)
        self.counts.refused += 1
        self._log.error(
            "message_refused",
            receiver=self._receiver.name,
            reason=reason,
            id=message.id,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
        )

    def _done(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._one_by_one = max(self._one_by_one - count, 0)
        self._collected_s = self._clock.monotonic()

    # --- positions ---------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Commit, where they have changed, the positions of the first waiting messages."""
        positions = dict(self._positions)
        for message in reversed(self._waiting):
            positions[message.topic, message.partition] = message.offset
        new = {at: position for at, position in positions.items() if self._committed.get(at) != position}
        if new:
            self._inbox.commit(new)
            self._committed |= new

    def _forget(self) -> None:
        self._waiting.clear()
        self._positions.clear()
        self._committed.clear()
        self._one_by_one = 0
