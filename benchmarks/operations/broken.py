"""The faults, by the alert that each must give. A fault lasts as long as its block."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from benchmarks.operations.world import EVENTS_PER_S, MEMBER, World
from detector.shell.kafka.transactions import transactional_id
from tests.kafka.waiting import poll_until

FREEZE_S = 4.0  # shorter than a session
FENCES = 6
MEMORY_BYTES = 5 << 30  # more than a member may need
STORE_BYTES = 256 << 20
NOTES = 3000
ODD_SHARE = 0.05
BARRIERS_BYTES = 800  # of a journal that holds some barriers

Block = Iterator[None]


@contextmanager
def member_dies(world: World) -> Block:
    world.members[1].kill()
    yield
    world.restart(1)


@contextmanager
def targets_are_forgotten(world: World) -> Block:
    world.scrape(without=world.members)
    yield
    world.scrape()


@contextmanager
def loop_stalls(world: World) -> Block:
    with world.on("stall", 1):
        yield


@contextmanager
def broker_goes(world: World) -> Block:
    world.broker.kill()
    yield
    world.broker.start()


@contextmanager
def replay_is_slow(world: World) -> Block:
    # Every record since the last checkpoint is processed again, one a second.
    with world.on("slow_replay"):
        old = world.members[1]
        old.kill()
        made = world.members[1] = world.deployment.start(
            f"kafka.group_instance_id={MEMBER.format(1)}",
        )
        world.scrape()
        yield
    poll_until(made.ready, timeout_s=900)


@contextmanager
def input_is_hidden(world: World) -> Block:
    """A producer that writes in transactions has left one open: nobody may read beyond it."""
    with open_transaction(world, "transactions"):
        yield


@contextmanager
def outputs_are_hidden(world: World) -> Block:
    with open_transaction(world, "alerts"):
        yield


@contextmanager
def open_transaction(world: World, topic: str) -> Block:
    producer = KafkaProducer(
        bootstrap_servers=world.deployment.bootstrap,
        transactional_id=f"somebody-else-{topic}",
        transaction_timeout_ms=900_000,
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(world.deployment.topics[topic], value=b"{}", partition=0).get(10)
    yield
    producer.abort_transaction()
    producer.close()


@contextmanager
def members_are_slow(world: World) -> Block:
    with world.on("slow", world.owner(2)):
        yield


@contextmanager
def one_partition_is_slow(world: World) -> Block:
    with world.on("slow", world.owner(1)):
        yield


@contextmanager
def ends_are_unknown(world: World) -> Block:
    with world.on("no_ends"):
        yield


@contextmanager
def memory_leaks(world: World) -> Block:
    group = "/sys/fs/cgroup/memory/detector-faults"
    subprocess.run(["mkdir", "-p", group], check=True)
    subprocess.run(["sh", "-c", f"echo {MEMORY_BYTES} > {group}/memory.limit_in_bytes"], check=True)
    with world.on("control_group", 1, text=group):
        made = world.restart(1)
    used = int(made.metric("process_resident_memory_bytes"))
    with world.on("ballast", 1, text=str(int(0.94 * MEMORY_BYTES) - used)):
        yield


@contextmanager
def versions_are_mixed(world: World) -> Block:
    with world.on("other_version", 1):
        world.restart(1)
    yield
    world.restart(1)


@contextmanager
def configurations_are_mixed(world: World) -> Block:
    world.restart(1, "alerts.cooldown=17m")
    yield
    world.restart(1)


@contextmanager
def commits_fail(world: World) -> Block:
    """Somebody uses a member's transactional id, again and again."""
    ended = threading.Event()

    def fence() -> None:
        name = transactional_id(world.deployment.group, MEMBER.format(1))
        while not ended.wait(3.0):
            with suppress(Exception):
                producer = KafkaProducer(bootstrap_servers=world.deployment.bootstrap, transactional_id=name)
                producer.init_transactions()
                producer.close(timeout=2)

    thread = threading.Thread(target=fence, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


@contextmanager
def log_is_deleted(world: World) -> Block:
    """Records are deleted that a member has not read, while it stands still for a moment."""
    at = [
        TopicPartition(world.deployment.topics["transactions"], n) for n in range(world.deployment.partitions)
    ]
    for daemon in world.members.values():
        daemon.suspend()
    time.sleep(FREEZE_S)
    with closing(KafkaConsumer(bootstrap_servers=world.deployment.bootstrap)) as consumer:
        ends = consumer.end_offsets(at)
    with closing(KafkaAdminClient(bootstrap_servers=world.deployment.bootstrap)) as admin:
        admin.delete_records({place: end - 1 for place, end in ends.items()})
    for daemon in world.members.values():
        daemon.resume()
    yield


@contextmanager
def receiver_refuses(world: World) -> Block:
    world.receiver.status = 400
    poll_until(lambda: world.receiver.refused > 0, timeout_s=300)
    world.receiver.status = 200
    yield


@contextmanager
def store_breaks(world: World) -> Block:
    folder = world.deployment.checkpoints
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("not a folder")
    yield
    folder.unlink()
    aside.rename(folder)


@contextmanager
def store_fills(world: World) -> Block:
    """The store is a small file system that somebody else fills. Needs root."""
    folder = world.deployment.checkpoints
    aside, small = folder.with_name("aside"), folder.with_name("small")
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STORE_BYTES}", "tmpfs", str(small)], check=True)
    for _ in range(2):  # the second time little is left to do
        subprocess.run(["cp", "-a", "--update", f"{folder}/.", str(small)], check=True)
    folder.rename(aside)
    folder.mkdir()
    subprocess.run(["mount", "--move", str(small), str(folder)], check=True)
    need = int(world.prometheus.number("sum(max_over_time(detector_checkpoint_bytes[10m]))"))
    free = int(subprocess.run(["stat", "-f", "-c", "%a", str(folder)], capture_output=True).stdout) * 4096
    (folder / "foreign").write_bytes(bytes(max(free - 6 * need // 5, 0)))  # the next checkpoints still fit
    yield
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()
    aside.rename(folder)


@contextmanager
def journals_grow(world: World) -> Block:
    """Half full, a journal asks for a checkpoint. So it grows further only where none can be written."""
    world.traffic.events_per_s = 16 * EVENTS_PER_S
    with store_breaks(world):
        yield
    world.traffic.events_per_s = EVENTS_PER_S


@contextmanager
def retention_shrinks(world: World) -> Block:
    _set_retention(world, "86400000")
    yield
    _set_retention(world, "604800000")


def _set_retention(world: World, text: str) -> None:
    topic = world.deployment.topics["transactions"]
    with closing(KafkaAdminClient(bootstrap_servers=world.deployment.bootstrap)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": text})])


@contextmanager
def numbers_differ(world: World) -> Block:
    """A member that computes otherwise replays barriers since the last checkpoint."""
    world.traffic.events_per_s = 8 * EVENTS_PER_S
    daemon = world.restart(1, "checkpoints.interval=1d")
    poll_until(lambda: daemon.metric("detector_journal_bytes") > BARRIERS_BYTES, timeout_s=300)
    with world.on("other_numbers", 1):
        world.restart(1, kill=True)
    world.traffic.events_per_s = EVENTS_PER_S
    yield
    world.restart(1)


@contextmanager
def feedback_is_malformed(world: World) -> Block:
    world.analysts.malformed = 60
    yield


@contextmanager
def notes_flood(world: World) -> Block:
    """A tool writes so many notes at once that barriers take them in for ten minutes, 16 at a time."""
    world.analysts.notes = NOTES
    yield


@contextmanager
def budget_is_lowered(world: World) -> Block:
    """A few alerts a day are allowed, and some amounts become a hundred times as high.

    They are too few for a shift that the model follows: that would cancel what was overdrawn.
    """
    for member in world.members:
        world.restart(member, 'alerts.budget={"share": null, "per_day": 24}')
    world.traffic.odd_share = ODD_SHARE
    yield
    world.traffic.odd_share = 0.0
    for member in world.members:
        world.restart(member)


def during(part: str, name: str, value: float) -> Callable[[World], AbstractContextManager[None]]:
    """A part of the world has another value as long as the block lasts."""

    @contextmanager
    def block(world: World) -> Block:
        owner = getattr(world, part)
        before = getattr(owner, name)
        setattr(owner, name, value)
        yield
        setattr(owner, name, before)

    return block


FAULTS: dict[str, Callable[[World], AbstractContextManager[None]]] = {
    "DetectorTargetDown": member_dies,
    "DetectorGone": targets_are_forgotten,
    "DetectorLoopStalled": loop_stalls,
    "DetectorNotReady": broker_goes,
    "DetectorRestoreSlow": replay_is_slow,
    "DetectorPartitionStalled": input_is_hidden,
    "DetectorLag": members_are_slow,
    "DetectorLagOfOnePartition": one_partition_is_slow,
    "DetectorLagUnknown": ends_are_unknown,
    "DetectorNoTraffic": during("traffic", "events_per_s", 0.0),
    "DetectorMemoryNearBound": memory_leaks,
    "DetectorVersionsMixed": versions_are_mixed,
    "DetectorConfigsMixed": configurations_are_mixed,
    "DetectorOutputsHidden": outputs_are_hidden,
    "DetectorCommitsFail": commits_fail,
    "DetectorEventsLost": log_is_deleted,
    "DetectorRejectedShare": during("traffic", "broken_share", 0.05),
    "DetectorMostRejected": during("traffic", "broken_share", 0.5),
    "DetectorNotifyBehind": during("receiver", "status", 503),
    "DetectorNotifyRefused": receiver_refuses,
    "DetectorCheckpointsFail": store_breaks,
    "DetectorCheckpointStoreNearlyFull": store_fills,
    "DetectorJournalNearLimit": journals_grow,
    "DetectorRetentionShort": retention_shrinks,
    "DetectorStatesDiffer": numbers_differ,
    "DetectorFeedbackRefused": feedback_is_malformed,
    "DetectorFeedbackPending": notes_flood,
    "DetectorBudgetUsedUp": budget_is_lowered,
}
CAUSES: dict[str, set[str]] = {"DetectorJournalNearLimit": {"DetectorCheckpointsFail"}}
"""Alerts that tell the cause of another one, and so come with it."""
