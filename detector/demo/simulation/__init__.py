"""Simulated card traffic with frauds, from presets.

    cards       cards with habits, and patterns of fraud that are injected beside them
    handbook    the simulator of the Fraud Detection Handbook with its three scenarios

`traffic` makes the traffic of a preset and `write` writes it. Both presets work day by day and keep the same
laws: same configuration, same bytes; a shorter run is a prefix of a longer one; a scenario that is switched
off changes nothing else.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from detector.demo.simulation import cards, handbook
from detector.demo.simulation.patterns import PATTERNS

_HANDBOOK_OFF: dict[str, dict[str, float]] = {
    "amount": {"amount_limit": math.inf},
    "terminal": {"terminal_share_per_day": 0.0},
    "customer": {"customer_share_per_day": 0.0},
}
SCENARIOS = {"cards": tuple(PATTERNS), "handbook": tuple(_HANDBOOK_OFF)}
"""Names of the scenarios of each preset. The presets are its keys."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Traffic that is made as it is read."""

    days: Iterator[Any]  # each has a length, its number of events
    to_events: Callable[[Any], list[dict[str, object]]]
    label_rows: Callable[[Any], Sequence[Sequence[object]]]  # of the frauds of a day
    label_fields: tuple[str, ...]  # header of these rows
    optional_fields: tuple[str, ...] = ()  # of events, which some of them lack


def traffic(preset: str, *, scenarios: Sequence[str] | None = None, **settings: Any) -> Traffic:
    """Make the traffic of a preset.

    Parameters
    ----------
    preset : str
        A key of `SCENARIOS`.
    scenarios : sequence of str, optional
        The scenarios that are on; None: all of the preset.
    **settings
        Fields of `cards.CardsConfig` or `handbook.SimulationConfig`; None stands for the default.

    Raises
    ------
    ValueError
        There is no such preset, scenario or setting, or a value is out of range.
    """
    if preset not in SCENARIOS:
        raise ValueError(f"preset must be {' or '.join(SCENARIOS)}, not {preset!r}")
    known = SCENARIOS[preset]
    if unknown := [name for name in scenarios or () if name not in known]:
        raise ValueError(f"no scenario {', '.join(unknown)}; there are {', '.join(known)}")
    on = known if scenarios is None else tuple(name for name in known if name in scenarios)
    given = {name: value for name, value in settings.items() if value is not None}
    config = cards.CardsConfig if preset == "cards" else handbook.SimulationConfig
    if foreign := [name for name in given if name not in config.__dataclass_fields__]:
        raise ValueError(f"the preset {preset} has no {', '.join(foreign)}")
    if preset == "cards":
        return Traffic(
            days=cards.simulate(cards.CardsConfig(patterns=on, **given)),
            to_events=cards.to_events,
            label_rows=cards.label_rows,
            label_fields=cards.LABEL_FIELDS,
            optional_fields=("device",),
        )
    for name in set(known) - set(on):
        given = _HANDBOOK_OFF[name] | given
    return Traffic(
        days=handbook.simulate(handbook.SimulationConfig(**given)),
        to_events=handbook.to_events,
        label_rows=handbook.label_rows,
        label_fields=handbook.LABEL_FIELDS,
    )


def write(made: Traffic, events: IO[bytes], labels: IO[bytes] | None = None, *, as_csv: bool = False) -> None:
    """Write the events as JSON, one a line, or as CSV; and the frauds as CSV. CSV has a header."""
    write_events = _csv_writer(events, made.optional_fields) if as_csv else _json_writer(events)
    rows = None
    if labels is not None:
        rows = csv.writer(_Text(labels), lineterminator="\n")
        rows.writerow(made.label_fields)
    for day in made.days:
        write_events(made.to_events(day))
        if rows is not None:
            rows.writerows(made.label_rows(day))


def _json_writer(file: IO[bytes]) -> Callable[[list[dict[str, object]]], None]:
    encode = msgspec.json.Encoder().encode_lines

    def write_events(events: list[dict[str, object]]) -> None:
        file.write(encode(events))

    return write_events


def _csv_writer(file: IO[bytes], optional: tuple[str, ...]) -> Callable[[list[dict[str, object]]], None]:
    """Columns are the fields of the first event, then those that it may lack."""
    writer: csv.DictWriter[str] | None = None

    def write_events(events: list[dict[str, object]]) -> None:
        nonlocal writer
        if writer is None and events:
            fields = [*(name for name in events[0] if name not in optional), *optional]
            writer = csv.DictWriter(_Text(file), fields, lineterminator="\n")
            writer.writeheader()
        if writer is not None:
            writer.writerows(events)

    return write_events


class _Text:
    """Lets csv write to a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())
