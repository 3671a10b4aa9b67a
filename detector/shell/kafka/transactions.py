"""Transactions of our own group that nobody ends: found, judged and ended.

Two kinds of transaction hide every later record of their partitions from `read_committed` consumers:

- *of a dead member*: the coordinator knows that it is open, and aborts it after
  `kafka.transaction_timeout_ms` and its sweep (15 to 25 s by default). `end_those_of_dead_members` does it at
  once: a new producer with the same transactional id fences the old one.
- *hanging*: the coordinator calls it ended, but a partition has no marker of its end. A broker (4.3) that
  starts alone ends transactions before it knows the leaders of their partitions, and leaves their markers out
  ("likely deleted already and hence can be skipped"). Nothing ever ends such a transaction; see KIP-664 and
  KIP-890. `hanging` finds them, `mend` writes the missing marker.

Rules
    - A hanging transaction was *aborted or committed*, and its marker must say the same: an abort marker for
      a committed transaction loses outputs. What it was stands in the coordinator's log,
      `__transaction_state`, in its last `Prepare...` entry that names the partition. Without such an entry
      nothing is written.
    - Only transactional ids of our group, and only after the coordinator says that the id has nothing under
      way (Empty, CompleteCommit, CompleteAbort).
    - No marker may meet a producer at work. Our own transaction is mended between two commits. An id whose
      member is in the group is left to that member. Any other id is fenced first, so that its producer, if
      there still is one, can add nothing.
    - A member in the group is never fenced. A member that is alive but was put out of the group is: the
      broker refuses its commit anyway, because of its generation.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.protocol.producer.transaction import InitProducerIdRequest, WriteTxnMarkersRequest

from detector.config.tree import Config
from detector.core.reporting.outputs import topic_names
from detector.errors import BrokerUnavailable, CredentialsError
from detector.shell.kafka.client import Settings, admin_client, left_ms, make_client, translated
from detector.shell.kafka.state_log import PREPARED, StateEntry, read_entry, state_partition
from detector.shell.kafka.workarounds import send_to_coordinator, send_to_leader

Fate = Literal["commit", "abort"]

OFFSETS_TOPIC, STATE_TOPIC = "__consumer_offsets", "__transaction_state"
CLIENT_ID_PREFIX = "detector-"
ENDED = frozenset({"Empty", "CompleteCommit", "CompleteAbort"})  # nothing of the id is under way
_FENCE_S = 10.0  # the coordinator ends what is open meanwhile, and asks to try again
_FENCE_AGAIN_S = 0.05
_HISTORY_MARGIN_MS = 600_000  # the producer's clock may differ from the coordinator's
_HISTORY_S = 20.0  # for reading the coordinator's log


def transactional_id(group: str, member: str) -> str:
    """Return the transactional id of a member; operators grant the group as a prefix."""
    return f"{id_prefix(group)}{member}"


def id_prefix(group: str) -> str:
    """Return what the transactional ids of a group begin with, and those of no other group.

    The group's hash keeps group `cards` with member `eu-0` apart from group `cards-eu` with member `0`: who
    took an id of another group for one of its own would end the transactions of living members.
    """
    return f"{group}-{hashlib.sha256(group.encode()).hexdigest()[:8]}-"


def client_id(member: str) -> str:
    """Return the client id of a member. The group shows it, so it tells whose transactional ids are alive."""
    return f"{CLIENT_ID_PREFIX}{member}"


def ids_of_members(group: str, client_ids: Iterable[str]) -> frozenset[str]:
    """Return the transactional ids of a group's members."""
    return frozenset(transactional_id(group, name.removeprefix(CLIENT_ID_PREFIX)) for name in client_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTransaction:
    """What a partition's leader says of a transaction without a marker of its end."""

    topic: str
    partition: int
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int  # of the last marker of this producer; -1: there was none
    start_offset: int
    last_timestamp_ms: int  # of its last record, by the producer's clock

    @property
    def at(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition


@dataclass(frozen=True, kw_only=True, slots=True)
class Coordinated:
    """What the coordinator says of a transactional id."""

    transactional_id: str
    state: str
    producer_id: int
    producer_epoch: int
    partitions: frozenset[tuple[str, int]]  # of the transaction under way, without those that have markers


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How a transaction must end, or why nothing may be done (`fate` is None)."""

    fate: Fate | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hanging:
    """A transaction that the coordinator calls ended and a partition does not."""

    found: OpenTransaction
    transactional_id: str
    verdict: Verdict

    def __str__(self) -> str:
        found = self.found
        return (
            f"{found.topic}/{found.partition} from offset {found.start_offset}: transactional id "
            f"{self.transactional_id}, producer {found.producer_id} epoch {found.producer_epoch}: "
            f"{self.verdict.fate or 'unknown'} ({self.verdict.reason})"
        )


def judge(found: OpenTransaction, now: Coordinated, history: Sequence[StateEntry], *, group: str) -> Verdict:
    """Decide how a transaction that is open on a partition must end.

    Parameters
    ----------
    found
        What the partition's leader says. Seen before `now` was asked, and again after it.
    now
        What the coordinator says of the transactional id.
    history
        The coordinator's log of that id, in its order.
    group
        Our group: ids of others are left alone.

    Returns
    -------
    Verdict
        "commit" or "abort" if the transaction hangs and its end is known, else the reason to leave it.
    """
    if not now.transactional_id.startswith(id_prefix(group)):
        return Verdict(fate=None, reason="not of our group")
    if now.state not in ENDED:
        return Verdict(fate=None, reason=f"the coordinator is at it: {now.state}")
    if now.producer_id == found.producer_id and now.producer_epoch < found.producer_epoch:
        return Verdict(fate=None, reason="the coordinator does not know this epoch")
    fate: Fate | None = None
    for entry in history:
        ours = entry.producer_id == found.producer_id and entry.producer_epoch >= found.producer_epoch
        if not ours or found.at not in entry.partitions:
            continue
        fate = PREPARED.get(entry.state)  # None: begun again
    if fate is None:
        return Verdict(fate=None, reason=f"{STATE_TOPIC} does not say how it ended")
    return Verdict(fate=fate, reason=f"the coordinator ended it with {fate}, without a marker here")


class Transactions:
    """Our group's transactions on the output partitions, seen and ended through an admin client.

    Every call opens a connection of its own unless it is made inside `connected`.

    Parameters
    ----------
    config
        The daemon's configuration.
    settings
        From `client_settings`.
    own
        Our transactional id; None: we are no member.
    """

    def __init__(self, config: Config, settings: Settings, own: str | None = None) -> None:
        self._config = config
        self._settings = settings
        self._group = config.kafka.group_id
        self._own = own
        self._admin: KafkaAdminClient | None = None

    @contextmanager
    def connected(self) -> Iterator[KafkaAdminClient]:
        """Keep one connection for some calls; errors are translated."""
        if self._admin is not None:
            yield self._admin
            return
        doing = translated("look at transactions", self._config, f"{self._group}-*")
        with doing, admin_client(self._settings) as admin:
            self._admin = admin
            try:
                yield admin
            finally:
                self._admin = None

    def outputs(self) -> list[TopicPartition]:
        """Return all partitions of the output topics that exist."""
        names = list(topic_names(self._config.topics).values())
        return self._partitions(names)

    def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return last stable offset and end of each partition; the first is asked first."""
        specs = dict.fromkeys(partitions, -1)  # the latest offset
        if not specs:
            return {}
        with self.connected() as admin:
            stable = admin.list_partition_offsets(specs, isolation_level="read_committed")
            end = admin.list_partition_offsets(specs)
        return {at: (stable[at].offset, end[at].offset) for at in specs}

    def end_those_of_dead_members(self) -> list[str]:
        """End open transactions of ids of our group whose member is not in the group.

        Returns
        -------
        list of str
            The transactional ids that were fenced.
        """
        with self.connected() as admin:
            # The order counts: a member that begins a transaction after the first question is not asked for.
            under_way = [id_ for id_, state in self._listed(admin).items() if state == "Ongoing"]
            candidates = [id_ for id_ in under_way if id_ != self._own]
            if not candidates:
                return []
            alive = self._alive(admin)
            dead = [id_ for id_ in candidates if id_ not in alive]
            for id_ in dead:
                self._fence(admin, id_)
        return dead

    def hanging(self, *, own_only: bool = False) -> list[Hanging]:
        """Return the transactions of our group that hang on the output partitions and the group's offsets.

        Parameters
        ----------
        own_only
            Only those of our own transactional id.
        """
        with self.connected() as admin:
            partitions = self.outputs() + self._offsets_partition()
            first = self._open(admin, partitions)
            if not first:
                return []
            ids = self._ids_by_producer(admin, {found.producer_id for found in first})
            if own_only:
                ids = {number: id_ for number, id_ in ids.items() if id_ == self._own}
            first = [found for found in first if found.producer_id in ids]
            now = {number: self._coordinated(admin, id_) for number, id_ in ids.items()}
            again = set(self._open(admin, {TopicPartition(*found.at) for found in first}))
            still = [found for found in first if found in again and now[found.producer_id].state in ENDED]
            histories = {id_: self._history(admin, id_, still, ids) for id_ in self._ids_of(still, ids)}
        return [
            Hanging(
                found=found,
                transactional_id=ids[found.producer_id],
                verdict=judge(
                    found, now[found.producer_id], histories[ids[found.producer_id]], group=self._group
                ),
            )
            for found in still
        ]

    def mend(self, hanging: Iterable[Hanging]) -> list[Hanging]:
        """Write the missing markers; those of living members other than ourselves are left to them.

        Between two commits of ours, if one of `hanging` is our own.

        Returns
        -------
        list of Hanging
            Those that were ended.

        Raises
        ------
        CredentialsError
            We may not: ALTER or CLUSTER_ACTION on the cluster is needed.
        """
        known = [one for one in hanging if one.verdict.fate is not None]
        if not known:
            return []
        ended = []
        with self.connected() as admin:
            alive = self._alive(admin) - {self._own}
            fenced: set[str] = set()
            for one in known:
                id_ = one.transactional_id
                if id_ in alive:
                    continue
                if id_ != self._own and id_ not in fenced:
                    self._fence(admin, id_)
                    fenced.add(id_)
                if id_ == self._own and self._coordinated(admin, id_).state not in ENDED:
                    continue
                if one.found in self._open(admin, [TopicPartition(*one.found.at)]):
                    self._write_marker(admin, one.found, commit=one.verdict.fate == "commit")
                    ended.append(one)
        return ended

    # --- inside ---

    def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        with self.connected() as admin:
            found = admin.describe_topics(topics)
        return [
            TopicPartition(topic["name"], partition["partition_index"])
            for topic in found
            if not topic["error_code"]
            for partition in topic["partitions"]
        ]

    def _offsets_partition(self) -> list[TopicPartition]:
        """Where the group's offsets are; empty if it is not known."""
        with suppress(kafka_errors.KafkaError):
            count = len(self._partitions([OFFSETS_TOPIC]))
            if count:
                return [TopicPartition(OFFSETS_TOPIC, state_partition(self._group, count))]
        return []

    def _open(self, admin: KafkaAdminClient, partitions: Collection[TopicPartition]) -> list[OpenTransaction]:
        readable = [at for at in partitions if at.topic != OFFSETS_TOPIC]
        states = admin.describe_producers(readable) if readable else {}
        with suppress(kafka_errors.AuthorizationError):  # few may read the offsets topic
            states |= admin.describe_producers([at for at in partitions if at.topic == OFFSETS_TOPIC])
        return [
            OpenTransaction(
                topic=at.topic,
                partition=at.partition,
                producer_id=state.producer_id,
                producer_epoch=state.producer_epoch,
                coordinator_epoch=state.coordinator_epoch,
                start_offset=state.current_transaction_start_offset,
                last_timestamp_ms=state.last_timestamp,
            )
            for at, found in states.items()
            for state in found.active_producers
            if state.current_transaction_start_offset >= 0
        ]

    def _listed(self, admin: KafkaAdminClient) -> dict[str, str]:
        """State of each transactional id of our group."""
        found = admin.list_transactions()
        return {
            one.transactional_id: one.state.value
            for listed in found.values()
            for one in listed
            if one.transactional_id.startswith(id_prefix(self._group))
        }

    def _ids_by_producer(self, admin: KafkaAdminClient, producer_ids: Iterable[int]) -> dict[int, str]:
        found = admin.list_transactions(producer_id_filters=list(producer_ids))
        return {
            one.producer_id: one.transactional_id
            for listed in found.values()
            for one in listed
            if one.transactional_id.startswith(id_prefix(self._group))
        }

    @staticmethod
    def _coordinated(admin: KafkaAdminClient, id_: str) -> Coordinated:
        now = admin.describe_transactions([id_])[id_]
        return Coordinated(
            transactional_id=id_,
            state=now.state.value,
            producer_id=now.producer_id,
            producer_epoch=now.producer_epoch,
            partitions=frozenset((at.topic, at.partition) for at in now.topic_partitions),
        )

    def _alive(self, admin: KafkaAdminClient) -> frozenset[str]:
        """Transactional ids of the members that are in the group.

        Raises
        ------
        BrokerUnavailable
            The coordinator does not know; then nobody counts as dead.
        """
        found = admin.describe_groups([self._group])[self._group]
        if found["error"] and "GroupIdNotFound" not in found["error"]:
            raise BrokerUnavailable(f"Group {self._group} cannot be described: {found['error']}")
        return ids_of_members(self._group, (member["client_id"] for member in found["members"]))

    @staticmethod
    def _ids_of(still: Iterable[OpenTransaction], ids: Mapping[int, str]) -> set[str]:
        return {ids[found.producer_id] for found in still}

    def _history(
        self,
        admin: KafkaAdminClient,
        id_: str,
        still: Iterable[OpenTransaction],
        ids: Mapping[int, str],
    ) -> list[StateEntry]:
        """Read the coordinator's log of one id, from some time before its hanging transactions.

        Empty if we may not read it.
        """
        since_ms = min(found.last_timestamp_ms for found in still if ids[found.producer_id] == id_)
        deadline = time.monotonic() + _HISTORY_S
        count = len(self._partitions([STATE_TOPIC]))
        if not count:
            return []
        at = TopicPartition(STATE_TOPIC, state_partition(id_, count))
        consumer = make_client(
            KafkaConsumer,
            self._settings,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        entries: list[StateEntry] = []
        try:
            consumer.assign([at])
            ask_ms = self._config.kafka.request_timeout_ms
            end = consumer.end_offsets([at], timeout_ms=ask_ms)[at]
            earliest = max(0, since_ms - _HISTORY_MARGIN_MS)
            start = consumer.offsets_for_times({at: earliest}, timeout_ms=ask_ms)[at]
            consumer.seek(at, end if start is None else start.offset)
            while consumer.position(at, timeout_ms=left_ms(deadline)) < end:
                for record in consumer.poll(timeout_ms=left_ms(deadline)).get(at, ()):
                    entry = read_entry(record.key, record.value)
                    if entry is not None and entry.transactional_id == id_:
                        entries.append(entry)
        except kafka_errors.AuthorizationError:
            return []
        except struct.error as error:
            raise BrokerUnavailable(f"{STATE_TOPIC} has records of an unknown format: {error}") from error
        finally:
            consumer.close(timeout_ms=500)
        return entries

    def _fence(self, admin: KafkaAdminClient, id_: str) -> None:
        """End what a transactional id has open, and refuse its producer from now on."""

        request = InitProducerIdRequest(
            transactional_id=id_,
            transaction_timeout_ms=self._config.kafka.transaction_timeout_ms,
            producer_id=-1,
            producer_epoch=-1,
            max_version=4,
        )
        until_s = time.monotonic() + _FENCE_S
        while True:
            kind = kafka_errors.for_code(send_to_coordinator(admin, id_, request).error_code)
            if kind is kafka_errors.NoError:
                return
            if not issubclass(kind, kafka_errors.RetriableError | kafka_errors.ConcurrentTransactionsError):
                raise kind(f"transactional id {id_} could not be fenced")
            if time.monotonic() > until_s:
                raise kind(f"transactional id {id_} could not be fenced in {_FENCE_S:g} s")
            time.sleep(_FENCE_AGAIN_S)

    @staticmethod
    def _write_marker(admin: KafkaAdminClient, found: OpenTransaction, *, commit: bool) -> None:
        kind = WriteTxnMarkersRequest.WritableTxnMarker
        at = TopicPartition(*found.at)
        marker = kind(
            producer_id=found.producer_id,
            producer_epoch=found.producer_epoch,
            transaction_result=commit,
            topics=[kind.WritableTxnMarkerTopic(name=at.topic, partition_indexes=[at.partition])],
            coordinator_epoch=max(0, found.coordinator_epoch),
        )

        request = WriteTxnMarkersRequest(markers=[marker])
        for result in send_to_leader(admin, at, request).markers:
            for topic in result.topics:
                for partition in topic.partitions:
                    error = kafka_errors.for_code(partition.error_code)
                    if error is kafka_errors.ClusterAuthorizationFailedError:
                        raise CredentialsError(
                            "Not allowed to end hanging transactions (needs ALTER or CLUSTER_ACTION on the "
                            "cluster)."
                        )
                    if error is not kafka_errors.NoError:
                        raise error(f"no marker on {at.topic}/{at.partition}")
