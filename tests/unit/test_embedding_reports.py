"""Reports are kept beside the checkpoints, by the encoder's version, and outlive it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from detector.core.shard.embedding_report import EmbeddingReport
from detector.errors import NeedsOperator
from detector.shell.objects import Objects
from detector.testing import MemoryStore
from detector.wiring import embedding_reports
from tests.unit.test_shard import drive, one_thread, part, partition

__all__ = ["one_thread"]  # a fixture for all tests here


class Asked:
    """What somebody asks for, of a shard whose newest checkpoint is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shard = drive(partition(part())).partition
        self.store = MemoryStore()
        self.said: list[str] = []
        auditor = SimpleNamespace(
            objects=Objects(self.store, group="g", topic="t"),
            restored=lambda number: SimpleNamespace(name="00000/newest", partition=self.shard),
            predecessor=self._none,
        )

        @contextmanager
        def auditing(*_: Any) -> Iterator[Any]:
            yield auditor, SimpleNamespace(partitions_count=lambda: 1)

        monkeypatch.setattr(embedding_reports, "auditing", auditing)

    def _none(self, number: int) -> str:
        raise NeedsOperator("there is none before")

    def __call__(self, *names: str, config: Any = None) -> Sequence[EmbeddingReport]:
        return embedding_reports.judge(config, {}, 0, names, None, self.said.append)

    @property
    def kept(self) -> list[int]:
        return sorted(int(name[-25:-5]) for name in self.store.objects if "/reports/00000/" in name)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_a_version_is_judged_once_and_then_read(asked: Asked) -> None:
    versions = asked.shard.embedded.versions
    older = max(versions.older)
    [newest] = asked()
    assert newest.version == versions.number
    assert asked.kept == [versions.number]
    first, second = asked(str(older), str(versions.number))
    assert (first.version, second.version) == (older, versions.number)
    assert first.intrinsic != second.intrinsic
    assert repr(second) == repr(newest)
    assert asked.kept == [older, versions.number]
    before = dict(asked.store.objects)
    assert repr(asked(str(older), str(versions.number))) == repr([first, second])
    assert asked.store.objects == before
    assert asked.said == []


def test_a_report_outlives_its_encoder(asked: Asked) -> None:
    versions = asked.shard.embedded.versions
    older = min(versions.older)
    [first] = asked(str(older))
    del versions.older[older]
    assert repr(asked(str(older))) == repr([first])
    asked.store.objects = {
        name: data for name, data in asked.store.objects.items() if "/reports/" not in name
    }
    with pytest.raises(
        NeedsOperator, match=f"no report of encoder version {older}, .* there are .*{versions.number}"
    ):
        asked(str(older))


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"name": 3}'])
def test_a_damaged_report_is_made_again(asked: Asked, damaged: bytes) -> None:
    [report] = asked()
    [name] = asked.store.objects
    asked.store.objects[name] = damaged
    assert asked(str(report.version))[0].intrinsic == report.intrinsic


def test_the_newest_are_kept(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_reports, "REPORTS_MAX", 2)
    versions = asked.shard.embedded.versions
    numbers = [*versions.older, versions.number]
    assert len(numbers) > 2
    asked(*map(str, numbers))
    assert asked.kept == numbers[-2:]
