"""The two sides of a diff: files of replays, or the topics of services that run beside each other.

Of topics, only events are compared that both groups have committed: one of them may be behind.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.core.alerts.score_record import decode_score
from detector.errors import ConfigError, NeedsOperator, Problem
from detector.ports import Committed
from detector.shell.files.line_reader import open_lines
from detector.shell.files.outputs import SCORES_HEADER
from detector.shell.kafka import KafkaArchive
from detector.wiring.common import topic_records
from detector.wiring.diff import Diff, RunAlert, diff

_decode = msgspec.json.Decoder(RunAlert).decode


def diff_files(a: Path, b: Path) -> Diff:
    """Compare two replays: files of alerts, or folders that also have the scores of `replay --scores`.

    Raises
    ------
    ConfigError
        A file cannot be read, is none of alerts (an empty one is), or has too many.
    """
    return diff(Files("A", a), Files("B", b))


def diff_topics(a: Config, b: Config, environ: Mapping[str, str], since_s: float | None = None) -> Diff:
    """Compare two services that read the same topic.

    Parameters
    ----------
    since_s
        Only events of the log that came since, s since the epoch; None: all that are still in the log.

    Raises
    ------
    OperatorError
        The configurations are not those of two services over the same events, or there is nothing to compare.
    OutsideError
        Kafka is unavailable.
    """
    _check_pair(a, b)
    with ExitStack() as opened:
        archives = []
        for config in (a, b):
            found = resolve_secrets(config, environ)
            archives.append(KafkaArchive(config, found.password, found.key_password))
            opened.callback(archives[-1].close)
        spans = shared_spans(archives, since_s)
    if not (events := sum(map(len, spans.values()))):
        groups = f"{a.kafka.group_id} and {b.kafka.group_id}"
        raise NeedsOperator(f"groups {groups} have not both read any event{' since' * (since_s is not None)}")

    def side(name: str, config: Config) -> Topics:
        def values(topic: str) -> Iterator[bytes]:
            for batch in topic_records(config, environ, [topic], since_s):
                yield from (record.value for _, _, record in batch if record.value)

        return Topics(name, config.topics.alerts, config.topics.scores, values, spans)

    return diff(side("A", a), side("B", b), events)


def _check_pair(a: Config, b: Config) -> None:
    same, other = a.topics.transactions, b.topics.transactions
    if same != other:
        problem = Problem(path="B", value=f"topics.transactions {other}", allowed=f"the one of A, {same}")
        raise ConfigError("command line", [problem])
    if (a.topics.alerts, a.kafka.group_id) == (b.topics.alerts, b.kafka.group_id):
        allowed = "another service: set shadow in one of the two configurations"
        raise ConfigError("command line", [Problem(path="B", value="the service of A", allowed=allowed)])


class Positions(Protocol):
    """What is asked of a group and its log."""

    def partitions_count(self) -> int:
        """Number of partitions."""

    def committed(self, partition: int) -> Committed | None:
        """What the group has committed."""

    def beginning(self, partition: int) -> int:
        """Lowest offset in the log."""

    def offset_at(self, partition: int, time_s: float) -> int:
        """Offset of the first record since a time, s since the epoch."""


def shared_spans(groups: Sequence[Positions], since_s: float | None) -> dict[int, range]:
    """By partition, the offsets that every group has committed."""
    log, spans = groups[0], dict[int, range]()
    for number in range(log.partitions_count()):
        start = log.beginning(number) if since_s is None else log.offset_at(number, since_s)
        committed = [group.committed(number) for group in groups]
        spans[number] = range(start, min(0 if one is None else one.offset for one in committed))
    return spans


@dataclass(frozen=True, slots=True)
class Topics:
    """A service's topics.

    Parameters
    ----------
    values
        Gives the values of a topic's records.
    spans
        Offsets that are compared, by partition.
    """

    name: str
    alerts_topic: str
    scores_topic: str | None
    values: Callable[[str], Iterator[bytes]]
    spans: Mapping[int, range]

    def alerts(self) -> Iterator[RunAlert]:
        """Alerts of the events that are compared."""
        for value in self.values(self.alerts_topic):
            alert = _decode(value)
            _, partition, offset = alert.alert_id.rsplit("-", 2)
            if int(offset) in self.spans.get(int(partition), ()):
                yield alert

    def quantiles(self, wanted: Collection[str]) -> tuple[dict[str, float], bool]:
        """Quantiles of some events, and whether scores are published."""
        if self.scores_topic is None or not wanted:
            return {}, self.scores_topic is not None
        scores = map(decode_score, self.values(self.scores_topic))
        return {one.event_id: one.quantile for one in scores if one.event_id in wanted}, True


@dataclass(frozen=True, slots=True)
class Files:
    """A replay's files."""

    name: str
    path: Path

    def alerts(self) -> Iterator[RunAlert]:
        """Alerts in the order of the file."""
        some = False
        for file, number, line in self._lines(lambda line: b'"alert_id"' in line):
            try:
                yield _decode(line)
            except msgspec.DecodeError as error:
                raise self._problem(file, f"JSON lines; line {number}: {error}") from None
            some = True
        if not some and all(file.stat().st_size for file in self._files()):
            raise self._problem(self.path, "a file of alerts (JSON lines), or a folder with one")

    def quantiles(self, wanted: Collection[str]) -> tuple[dict[str, float], bool]:
        """Quantiles of some events, and whether there are any scores."""
        found, scored = {}, False
        for file, number, line in self._lines(lambda line: line.strip() == SCORES_HEADER.strip()):
            if number == 1:  # the header
                scored = True
                continue
            try:
                event, _, _, quantile, _ = next(csv.reader([line.decode()]))
                if event in wanted:
                    found[event] = float(quantile)
            except ValueError:
                allowed = f"what replay --scores wrote; line {number} is something else"
                raise self._problem(file, allowed) from None
        return found, scored

    def _lines(self, is_one: Callable[[bytes], bool]) -> Iterator[tuple[Path, int, bytes]]:
        """Lines of the files whose first line is one, with their numbers from 1 on."""
        for file in self._files():
            with open_lines(file) as lines:
                for number, line in enumerate(lines, start=1):
                    if number == 1 and not is_one(line):
                        break
                    yield file, number, line

    def _files(self) -> Iterable[Path]:
        if not self.path.is_dir():
            return [self.path]
        return [file for file in sorted(self.path.iterdir()) if not file.is_dir()]

    def _problem(self, path: Path, allowed: str) -> ConfigError:
        return ConfigError("command line", [Problem(path=self.name, value=str(path), allowed=allowed)])
