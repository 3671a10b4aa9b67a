"""`detector embedding report`: a report on a version of the encoder, kept beside the checkpoints.

    newest checkpoint ──> report ──> reports/PARTITION/VERSION.json ──> compared with that of another version

A report is made when somebody asks for it, by a process of its own. It stays when the version and its
checkpoint are gone. The newest `REPORTS_MAX` of a partition are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import nan
from typing import Any

import msgspec

from detector.config.tree import Config
from detector.core.shard.embedded import Embedded
from detector.core.shard.embedding_report import EmbeddingReport, embedding_report
from detector.core.shard.model_card import with_encoder
from detector.errors import NeedsOperator, StoreUnavailable
from detector.shell.auditor import Auditor
from detector.shell.objects import Objects
from detector.wiring.audit import ReplayFiles, auditing, check_partition
from detector.wiring.embedding import embedded_of
from detector.wiring.similar import embedded_in

Say = Callable[[str], object]
REPORTS_MAX = 256  # of a partition, about 6 kB each


def judge(
    config: Config,
    environ: Mapping[str, str],
    partition: int,
    names: Sequence[str],
    files: ReplayFiles | None,
    say: Say,
) -> list[EmbeddingReport]:
    """Report on the embeddings of a partition; what is not kept yet is kept.

    Parameters
    ----------
    names
        Numbers of encoder versions, or names of checkpoints; none: what serves in the newest checkpoint, with
        the drift since the one before, if that is kept.
    say
        Gets a sentence where a report could not be kept.

    Raises
    ------
    ConfigError
        There is no such partition.
    NeedsOperator
        There is no such checkpoint or report, or no model in it.
    OutsideError
        Kafka or the store is not available.
    """
    with auditing(config, environ, files) as (auditor, archive):
        check_partition(partition, archive.partitions_count())
        if not names:
            return [_newest(auditor, partition, say)]
        found: list[EmbeddingReport] = []
        before: Embedded | None = None
        for name in names:
            if name.isdecimal():
                found.append(_of_version(auditor, partition, int(name), say))
                before = None
                continue
            embedded = embedded_of(auditor, partition, name)
            found.append(embedding_report(embedded, name=name, before=before))
            before = embedded
        return found


def _newest(auditor: Auditor, partition: int, say: Say) -> EmbeddingReport:
    restored = auditor.restored(partition)
    embedded, before = embedded_in(restored), None
    with suppress(NeedsOperator):  # it is not kept any more, or there was none
        before = embedded_of(auditor, partition, auditor.predecessor(partition))
    report = embedding_report(embedded, name=restored.name, before=before)
    _keep(auditor.objects, partition, report, say)
    return report


def _of_version(auditor: Auditor, partition: int, number: int, say: Say) -> EmbeddingReport:
    """The report that is kept; else one of the encoder that the newest checkpoint has, on its core."""
    if (kept := read_report(auditor.objects, partition, number)) is not None:
        return kept
    restored = auditor.restored(partition)
    embedded = embedded_in(restored)
    versions = embedded.versions
    if number in versions.older:
        embedded = with_encoder(embedded, versions.learned(number))
    elif number != versions.number:
        there = sorted({versions.number, *versions.older, *kept_reports(auditor.objects, partition)})
        raise NeedsOperator(
            f"partition {partition} has no report of encoder version {number}, nor that encoder in "
            f"{restored.name}; there are {', '.join(map(str, there))}"
        )
    report = replace(embedding_report(embedded, name=restored.name), version=number)
    _keep(auditor.objects, partition, report, say)
    return report


# --- beside the checkpoints ------------------------------------------------------------------------------


def kept_reports(objects: Objects, partition: int) -> list[int]:
    """Encoder versions of which there are reports, ascending."""
    stems = [name.rpartition("/")[2].removesuffix(".json") for name in objects.names(_folder(partition))]
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def read_report(objects: Objects, partition: int, number: int) -> EmbeddingReport | None:
    """The report of an encoder version; None: none is kept, or it cannot be read."""
    with suppress(KeyError, msgspec.DecodeError):
        decoded = msgspec.json.decode(objects.get(_name(partition, number)))
        return msgspec.convert(_with_nan(decoded), EmbeddingReport)
    return None


def _keep(objects: Objects, partition: int, report: EmbeddingReport, say: Say) -> None:
    try:
        objects.put(_name(partition, report.version), msgspec.json.encode(report))  # NaN becomes null
        for old in kept_reports(objects, partition)[:-REPORTS_MAX]:
            objects.delete(_name(partition, old))
    except StoreUnavailable as error:  # who reads it may not be allowed to write there
        say(f"the report of version {report.version} is not kept: {error}")


def _folder(partition: int) -> str:
    return f"reports/{partition:05d}/"


def _name(partition: int, number: int) -> str:
    return f"{_folder(partition)}{number:020d}.json"


def _with_nan(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _with_nan(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_with_nan(value) for value in tree]
    return nan if tree is None else tree
