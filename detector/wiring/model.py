"""`detector model`: versions of encoders, read from the newest checkpoints, and commands about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from detector.config.tree import Config
from detector.core.shard.model_card import ModelCard, VersionList, model_card, version_list
from detector.errors import NeedsOperator
from detector.wiring.audit import ReplayFiles, auditing, check_partition
from detector.wiring.similar import embedded_in


class Listed(NamedTuple):
    """The versions of one partition."""

    partition: int
    checkpoint: str  # name
    found: VersionList


def list_versions(
    config: Config, environ: Mapping[str, str], partition: int | None, files: ReplayFiles | None
) -> list[Listed]:
    """List the encoder versions of a partition, or of all that have a model.

    Raises
    ------
    ConfigError
        There is no such partition.
    NeedsOperator
        There is no checkpoint, or no model in it.
    OutsideError
        Kafka or the store is not available.
    """
    with auditing(config, environ, files) as (auditor, archive):
        partitions = range(archive.partitions_count())
        if partition is not None:
            check_partition(partition, len(partitions))
        found = []
        for number in partitions if partition is None else (partition,):
            if partition is None and archive.committed(number) is None:
                continue
            restored = auditor.restored(number)
            found.append(Listed(number, restored.name, version_list(embedded_in(restored))))
        if not found:
            raise NeedsOperator("no partition has committed anything yet")
        return found


def card_of(
    config: Config,
    environ: Mapping[str, str],
    partition: int,
    number: int | None,
    files: ReplayFiles | None,
) -> ModelCard:
    """The card of a version of a partition's encoder.

    Parameters
    ----------
    number
        Of the version; None: the one that serves.

    Raises
    ------
    ConfigError
        There is no such partition.
    NeedsOperator
        There is no checkpoint, no model in it, or the version is not kept.
    OutsideError
        Kafka or the store is not available.
    """
    with auditing(config, environ, files) as (auditor, archive):
        check_partition(partition, archive.partitions_count())
        restored = auditor.restored(partition)
        embedded = embedded_in(restored)
        wanted = embedded.versions.number if number is None else number
        made = model_card(
            embedded,
            restored.config,
            wanted,
            checkpoint=restored.name,
            state_hash=restored.partition.state_hash,
        )
    if made is None:
        kept = ", ".join(str(one.number) for one in version_list(embedded).versions) or "none"
        raise NeedsOperator(
            f"partition {partition} keeps no encoder version {wanted} in {restored.name}; it keeps {kept}"
        )
    return made


def commands(action: str, version: int | None, partitions: range) -> list[dict[str, Any]]:
    """Feedback records that ask for the same of several partitions."""
    asked = {"kind": "model", "action": action, **({} if version is None else {"version": version})}
    return [{**asked, "partition": number} for number in partitions]


def partitions_of(config: Config, environ: Mapping[str, str], partition: int | None) -> range:
    """One partition of the topic, or all of them.

    Raises
    ------
    ConfigError
        There is no such partition.
    OutsideError
        Kafka is not available.
    """
    with auditing(config, environ, None) as (_, archive):
        count = archive.partitions_count()
    if partition is None:
        return range(count)
    check_partition(partition, count)
    return range(partition, partition + 1)
