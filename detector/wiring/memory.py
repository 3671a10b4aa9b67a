"""What a process needs at most, against what it may have; for `check-config` and for the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from detector.config.tree import PROCESS_BYTES, Config
from detector.core.shard.expected import Seen
from detector.core.shard.expected import expected as expected_of_partition
from detector.core.shard.sizing import SNAPSHOTS, bytes_max, fits, fitted, packed_bytes
from detector.errors import ConfigError, Problem
from detector.ports import Log
from detector.shell.memory_limit import MemoryLimit, memory_limit

SHOWN_PARTS = 4
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Need(NamedTuple):
    """Bytes that a process takes at most."""

    total: int
    partition: int  # one partition with its snapshots
    parts: dict[str, int]  # of the state of one partition, the largest first


def needed(config: Config) -> Need:
    """Bytes of a process with `memory_partitions_max` partitions, with all tables full."""
    sizes = bytes_max(config.model_part(1))
    total = PROCESS_BYTES + config.memory_partitions_max * sizes.total + packed_bytes(sizes)
    return Need(total, sizes.total, _largest_first(sizes.parts))


def _largest_first(parts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


BASE_BYTES = 256 << 20
"""Resident memory of a process without partitions whose kernels were compiled before; measured."""
COMPILED_BYTES = 190 << 20
"""What a process keeps more that compiled its kernels itself; measured."""


class Expected(NamedTuple):
    """Resident bytes of a process after what it has seen."""

    total: int
    writing: int  # while it writes a checkpoint
    parts: dict[str, int]  # of the state of one partition, the largest first


def expected(config: Config, seen: Seen, *, compiled: bool = False) -> Expected:
    """Resident memory of a process that owns `memory_partitions_max` partitions.

    Parameters
    ----------
    seen
        By all its partitions together: keys of the main entity are shared among them, each of them sees all
        other keys.
    compiled
        Whether the process compiled its kernels itself, rather than to find them in the cache.
    """
    partitions = config.memory_partitions_max
    main = {entity.name for entity in config.event.entities[:1]}
    keys = {name: -(-count // partitions) if name in main else count for name, count in seen.keys.items()}
    part = config.model_part(1)
    sizes = expected_of_partition(part, Seen(seen.events // partitions, keys, seen.labels // partitions))
    total = BASE_BYTES + compiled * COMPILED_BYTES + partitions * (sizes.state + sizes.copied)
    return Expected(total, total + sizes.copied + packed_bytes(sizes), _largest_first(sizes.parts))


def describe(config: Config, limit: MemoryLimit | None) -> str:
    """One sentence for people: what is needed, what there is, and how many keys the tables hold."""
    need, features = needed(config), fitted(config.model_part(1)).features
    largest = ", ".join(f"{name} {size(part)}" for name, part in list(need.parts.items())[:SHOWN_PARTS])
    there = "" if limit is None else f" of {size(limit.bytes)} ({limit.source})"
    return (
        f"memory: at most {size(need.total)}{there} with {config.memory_partitions_max} partitions, "
        f"{size(need.partition)} each with {SNAPSHOTS} snapshots; of a partition's state: {largest}. Tables "
        f"hold {features.entities_max:,} keys per entity and {features.pairs_max:,} per pair"
    )


def describe_expected(config: Config, events: int, keys: Mapping[str, int]) -> str:
    """One sentence for people: what to expect after so many events with so many different keys."""
    labels = events if config.topics.feedback is not None else 0
    found = expected(config, Seen(events, keys, labels))
    largest = ", ".join(f"{name} {size(part)}" for name, part in list(found.parts.items())[:SHOWN_PARTS])
    return (
        f"expected after {events:,} events: {size(found.total)}, {size(found.writing)} while a checkpoint is "
        f"written, with {config.memory_partitions_max} partitions; of a partition's state: {largest}"
    )


def check_memory(config: Config, limit: MemoryLimit | None, source: str) -> None:
    """Refuse a configuration that may need more memory than there is.

    Raises
    ------
    ConfigError
        Even the smallest tables exceed `memory_bytes_max`; or the need exceeds the limit, and `memory_check`
        is on.
    """
    need = needed(config).total
    if not fits(config.model_part(1)):
        raise ConfigError(source, [_problem("memory_bytes_max", config, f"at least {size(need)}")])
    if config.memory_check and limit is not None and need > limit.bytes:
        allowed = f"at most {size(limit.bytes)} ({limit.source}): up to {size(need)} may be needed"
        raise ConfigError(source, [_problem("memory_bytes_max", config, allowed)])


def _problem(path: str, config: Config, allowed: str) -> Problem:
    value = "null" if config.memory_bytes_max is None else size(config.memory_bytes_max)
    keys = (
        "; or fewer memory_partitions_max, smaller model.features.entities_max, model.features.pairs_max or "
        "model.labels.buffer_bytes_max; or memory_check: false"
    )
    return Problem(path=path, value=value, allowed=allowed + keys)


def report(config: Config, log: Log) -> None:
    """Log the need at the start, and refuse what cannot fit, as `check_memory` does."""
    limit, need = memory_limit(), needed(config)
    log.info(
        "memory",
        need_bytes_max=need.total,
        partition_bytes_max=need.partition,
        limit_bytes=None if limit is None else limit.bytes,
        partitions_max=config.memory_partitions_max,
    )
    check_memory(config, limit, "memory")


def owned_warning(config: Config, owned: int) -> list[str]:
    """A warning while this process owns more partitions than its memory is meant for."""
    if owned <= config.memory_partitions_max:
        return []
    return [
        f"this process owns {owned} partitions, memory_bytes_max is meant for "
        f"{config.memory_partitions_max} (memory_partitions_max): their tables may need more memory"
    ]


def size(count: float) -> str:
    """Bytes as people read them: 1.5GiB."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.0f}{_UNITS[power]}" if count >= 100 or power == 0 else f"{count:.3g}{_UNITS[power]}"
