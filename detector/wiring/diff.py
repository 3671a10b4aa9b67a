"""What two runs over the same events alerted differently, and why.

    alerts of A ─┐
    alerts of B ─┴─> those of one side only ─┐
    scores of A, B ──────────────────────────┴─> why the other side gave no alert

A run is a file of alerts, or a folder that also has the scores that `replay --scores` wrote. An alert is
known by its id, which is the event's place; a score by the event's id. Without the scores of a side nothing
says why it gave no alert.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from detector.errors import ConfigError, Problem
from detector.shell.files.line_reader import open_lines
from detector.shell.files.outputs import SCORES_HEADER

ALERTS_MAX = 200_000  # of each side
UNKNOWN, UNSCORED = "its scores are not given", "it has no score"
BELOW, HELD = (
    "its score is below those of all alerts",
    "its score would do: held back, or the threshold was higher then",
)


class Entity(msgspec.Struct, frozen=True):
    """The main entity of an alert."""

    name: str
    value: str | int


class Rank(msgspec.Struct, frozen=True):
    """Where the score of an event lies."""

    quantile: float


class Reason(msgspec.Struct, frozen=True):
    """What an alert is for."""

    field: str
    code: str


class Model(msgspec.Struct, frozen=True):
    """What scored an event."""

    version: int
    config: str


class RunAlert(msgspec.Struct, frozen=True):
    """What of an alert is compared."""

    alert_id: str
    event_id: str
    severity: str
    event_time: str
    score: Rank
    model: Model
    selection: str = "score"
    entity: Entity | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def main(self) -> str:
        """What it is mainly for."""
        return f"{self.reasons[0].field} ({self.reasons[0].code})" if self.reasons else "nothing by itself"


@dataclass(frozen=True, slots=True)
class Run:
    """One of the two."""

    alerts: Mapping[str, RunAlert]  # by id, in the order of the file
    quantiles: Mapping[str, float]  # of events that the other one alone alerted, by the event's id
    scored: bool  # whether there is a file of scores
    lowest: float  # quantile from which on there were alerts for their score

    def why_not(self, alert: RunAlert) -> str:
        """Why it gave no such alert."""
        if not self.scored:
            return UNKNOWN
        if (quantile := self.quantiles.get(alert.event_id)) is None:
            return UNSCORED
        return BELOW if quantile < self.lowest else HELD

    @property
    def configs(self) -> list[str]:
        """Fingerprints of the configurations that gave its alerts."""
        return sorted({alert.model.config for alert in self.alerts.values()})


@dataclass(frozen=True, slots=True)
class Diff:
    """Two runs beside each other."""

    a: Run
    b: Run
    only_a: list[RunAlert] = field(default_factory=list)
    only_b: list[RunAlert] = field(default_factory=list)
    both: list[tuple[RunAlert, RunAlert]] = field(default_factory=list)

    @property
    def severities(self) -> int:
        """Alerts of both with another severity."""
        return sum(a.severity != b.severity for a, b in self.both)

    @property
    def reasons(self) -> int:
        """Alerts of both that are mainly for something else."""
        return sum(a.main != b.main for a, b in self.both)


def diff(a: Path, b: Path) -> Diff:
    """Compare the alerts of two runs.

    Raises
    ------
    ConfigError
        A file cannot be read, is none of alerts (an empty one is), or has more than `ALERTS_MAX`.
    """
    alerts = {name: _alerts(name, path) for name, path in (("A", a), ("B", b))}
    of_a, of_b = alerts["A"], alerts["B"]
    only_a = [alert for name, alert in of_a.items() if name not in of_b]
    only_b = [alert for name, alert in of_b.items() if name not in of_a]
    return Diff(
        Run(of_a, *_quantiles("A", a, {alert.event_id for alert in only_b}), _lowest(of_a)),
        Run(of_b, *_quantiles("B", b, {alert.event_id for alert in only_a}), _lowest(of_b)),
        only_a,
        only_b,
        [(alert, of_b[name]) for name, alert in of_a.items() if name in of_b],
    )


def why(alerts: Collection[RunAlert], other: Run) -> Counter[str]:
    """How many alerts the other side did not give, by why."""
    return Counter(map(other.why_not, alerts))


def main_reasons(alerts: Collection[RunAlert]) -> Counter[str]:
    """How many alerts, by what they are mainly for."""
    return Counter(alert.main for alert in alerts)


def _alerts(name: str, path: Path) -> dict[str, RunAlert]:
    decode = msgspec.json.Decoder(RunAlert).decode
    found: dict[str, RunAlert] = {}
    for file, number, line in _lines(path, lambda line: b'"alert_id"' in line):
        try:
            alert = decode(line)
        except msgspec.DecodeError as error:
            raise _problem(name, file, f"JSON lines; line {number}: {error}") from None
        found[alert.alert_id] = alert
        if len(found) > ALERTS_MAX:
            raise _problem(name, path, f"at most {ALERTS_MAX:,} alerts")
    if not found and all(file.stat().st_size for file in _files(path)):
        raise _problem(name, path, "a file of alerts (JSON lines), or a folder with one")
    return found


def _lowest(alerts: Mapping[str, RunAlert]) -> float:
    return min((one.score.quantile for one in alerts.values() if one.selection == "score"), default=1.0)


def _quantiles(name: str, path: Path, wanted: Collection[str]) -> tuple[dict[str, float], bool]:
    """Quantiles of some events, and whether there are any scores."""
    found, scored = {}, False
    for file, number, line in _lines(path, lambda line: line.strip() == SCORES_HEADER.strip()):
        if number == 1:  # the header
            scored = True
            continue
        try:
            event, _, _, quantile, _ = next(csv.reader([line.decode()]))
            if event in wanted:
                found[event] = float(quantile)
        except ValueError:
            raise _problem(
                name, file, f"what replay --scores wrote; line {number} is something else"
            ) from None
    return found, scored


def _lines(path: Path, is_one: Callable[[bytes], bool]) -> Iterator[tuple[Path, int, bytes]]:
    """Lines of the files whose first line is one, with their numbers from 1 on."""
    for file in _files(path):
        with open_lines(file) as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1 and not is_one(line):
                    break
                yield file, number, line


def _files(path: Path) -> list[Path]:
    return [file for file in sorted(path.iterdir()) if not file.is_dir()] if path.is_dir() else [path]


def _problem(name: str, path: Path, allowed: str) -> ConfigError:
    return ConfigError("command line", [Problem(path=name, value=str(path), allowed=allowed)])
