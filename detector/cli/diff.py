"""`detector diff`: which alerts of two runs differ, and why."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from detector.cli.common import load_config, out, read_since, wrong

if TYPE_CHECKING:
    from detector.wiring.diff import Diff, Run, RunAlert

Given = Annotated[
    Path,
    typer.Argument(
        exists=True, help="A file of alerts, a folder that has its scores, too, or a configuration (.yaml)."
    ),
]


def diff(
    a: Given,
    b: Given,
    show: Annotated[
        int, typer.Option(metavar="N", min=0, max=10_000, help="Alerts shown of each side.")
    ] = 20,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Of two services: only events since, such as 2026-03-01T08:00Z, or 2h for two hours ago.",
            show_default=False,
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell which alerts of two runs over the same events differ, and why.

    Another configuration, version or model over the same events. A and B are
    what `replay --alerts A/alerts.jsonl --scores A/scores.csv` wrote, or
    `alerts export`; or the configurations of two services, such as one and
    its shadow, whose topics are read. With scores it says why a side gave no
    alert.
    """
    from detector.wiring.diff import main_reasons, why

    found = _found(a, b, since)
    if json_:
        out.print_json(json.dumps(_json(found)))
        return
    for name, side in (("A", found.a), ("B", found.b)):
        out.print(
            f"{name}: {len(side.alerts):,} alerts, configuration {', '.join(side.configs)}", highlight=False
        )
    if found.events is not None:
        out.print(f"compared: {found.events:,} events that both have read", highlight=False)
    out.print(
        f"in both: {len(found.both):,}; with another severity {found.severities:,}, "
        f"mainly for something else {found.reasons:,}",
        highlight=False,
    )
    for name, other, alerts, side in (("A", "B", found.only_a, found.b), ("B", "A", found.only_b, found.a)):
        out.print(f"only in {name}: {len(alerts):,}", highlight=False)
        _counts(f"  in {other} ", why(alerts, side))
        _counts("  mainly for ", main_reasons(alerts))
        if alerts and show:
            out.print(_table(alerts[:show], side))


def _found(a: Path, b: Path, since: str | None) -> Diff:
    from detector.wiring.diff_sides import diff_files, diff_topics

    live = [path.is_file() and path.suffix in (".yaml", ".yml") for path in (a, b)]
    if all(live):
        configs = load_config(a, None), load_config(b, None)
        return diff_topics(*configs, os.environ, read_since("--since", since))
    if any(live):
        odd = live.index(False)
        raise wrong("AB"[odd], str((a, b)[odd]), f"a configuration, as {'AB'[1 - odd]} is one")
    if since is not None:
        raise wrong("--since", since, "two configurations: files are compared as a whole")
    return diff_files(a, b)


def _counts(before: str, counts: Counter[str]) -> None:
    for what, count in counts.most_common(5):
        out.print(f"{count:8,}{before}{what}", markup=False, highlight=False)


def _table(alerts: list[RunAlert], other: Run) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("alert", "event time", "entity", "severity", "quantile", "there", "mainly for"):
        table.add_column(name, justify="right" if name in ("quantile", "there") else "left")
    for alert in alerts:
        there = other.quantiles.get(alert.event_id)
        cells = (
            alert.alert_id,
            alert.event_time,
            "" if alert.entity is None else str(alert.entity.value),
            alert.severity,
            f"{alert.score.quantile:.5f}",
            "" if there is None else f"{there:.5f}",
            alert.main,
        )
        table.add_row(*map(Text, cells))
    return table


def _json(found: Diff) -> dict[str, Any]:
    from detector.wiring.diff import why

    def one_side(alerts: list[RunAlert], own: Run, other: Run) -> dict[str, Any]:
        return {
            "alerts": len(own.alerts),
            "configs": own.configs,
            "only": [
                {
                    "alert_id": alert.alert_id,
                    "severity": alert.severity,
                    "mainly_for": alert.main,
                    "there": other.why_not(alert),
                }
                for alert in alerts
            ],
            "there": dict(why(alerts, other)),
        }

    return {
        "events": found.events,
        "a": one_side(found.only_a, found.a, found.b),
        "b": one_side(found.only_b, found.b, found.a),
        "both": {"alerts": len(found.both), "severity": found.severities, "mainly_for": found.reasons},
    }
