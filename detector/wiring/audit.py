"""`detector explain`, `checkpoint verify`, `rollback` and `begin`: from outside the group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.core.events import Parser
from detector.core.recovery.sides import Side
from detector.errors import ConfigError, Problem
from detector.ports import Archive, SideLog
from detector.shell.auditor import Auditor
from detector.shell.files import FileArchive, FileExchange, FileSideLog
from detector.shell.kafka import KafkaArchive
from detector.shell.store import FsspecStore
from detector.wiring.common import ModelFile, entity_key, read_warm_start, registry_client, side_logs


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayFiles:
    """Files of a replay with `--checkpoint-dir`, to look back at instead of a topic."""

    events: Path | str
    folder: Path
    feedback: Path | str | None = None


@contextmanager
def auditing(
    config: Config, environ: Mapping[str, str], files: ReplayFiles | None
) -> Iterator[tuple[Auditor, Archive]]:
    """Open what is needed to look back at a group, or at a replay.

    Raises
    ------
    OperatorError
        Configuration, credentials, or a file that cannot be read.
    """
    password, key_password, entity_secret, *registry_secrets, _ = resolve_secrets(config, environ)
    key = entity_key(entity_secret)
    sides: dict[Side, SideLog]
    archive: KafkaArchive | FileArchive
    with threadpool_limits(1), ExitStack() as opened:
        if files is None:
            store, archive = FsspecStore(config.checkpoints.url), KafkaArchive(config, password, key_password)
            sides = side_logs(config, password, key_password, {})
        else:
            sides = {}
            store = FsspecStore(f"file://{files.folder.resolve()}")
            archive = FileArchive(files.events, files.folder, key_of=Parser(config.event, key).main_key)
            if files.feedback is not None:
                sides["feedback"] = FileSideLog(files.feedback)
            if (exchange := FileExchange.of(files.folder)) is not None:
                sides["exchange"] = exchange
        opened.callback(archive.close)
        for side_log in sides.values():
            opened.callback(side_log.close)
        auditor = Auditor(
            config=config,
            topic=config.topics.transactions,
            group=config.kafka.group_id,
            entity_key=key,
            archive=archive,
            store=store,
            sides=sides,
            schemas=registry_client(config, *registry_secrets),
        )
        yield auditor, archive


def check_partition(partition: int, count: int) -> None:
    """Refuse a partition that is none of so many.

    Raises
    ------
    ConfigError
    """
    if partition >= count:
        problem = Problem(path="--partition", value=str(partition), allowed=f"0 to {count - 1}")
        raise ConfigError("command line", [problem])


def roll_back(config: Config, environ: Mapping[str, str], partition: int, name: str | None) -> str:
    """Give a partition the model of an older checkpoint. The group must have no members.

    Parameters
    ----------
    name
        Name of the checkpoint; None: the one before the newest.

    Returns
    -------
    str
        Name of the checkpoint in use now.

    Raises
    ------
    OperatorError
        It cannot be done. Nothing has changed.
    OutsideError
        Kafka or the store is unavailable. Either nothing or everything has changed.
    """
    with auditing(config, environ, None) as (auditor, archive):
        assert isinstance(archive, KafkaArchive)
        chosen = auditor.predecessor(partition) if name is None else name
        archive.commit(partition, auditor.rolled_back(partition, chosen))
    return chosen


def begin(config: Config, environ: Mapping[str, str], warm_start: ModelFile | None) -> dict[int, int]:
    """Let the group begin with new models at what it has committed. It must have no members.

    Parameters
    ----------
    warm_start
        None: the models know nothing.

    Returns
    -------
    dict of int to int
        Committed offset by partition, of those that have one.

    Raises
    ------
    OperatorError
        It cannot be done. Nothing has changed.
    OutsideError
        Kafka or the store is unavailable. Some partitions may have changed.
    """
    model = read_warm_start(warm_start, config)
    with auditing(config, environ, None) as (auditor, archive):
        assert isinstance(archive, KafkaArchive)
        count = archive.partitions_count()
        wanted = config.model_part(count)
        found = {number: auditor.begun(number, wanted, model) for number in range(count)}
        begun = {number: committed for number, committed in found.items() if committed is not None}
        for number, committed in begun.items():
            archive.commit(number, committed)
    return {number: committed.offset for number, committed in begun.items()}
