"""`simulate` and `demo`: made-up card traffic."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.common import NEW, creating, out, wrong

DEMO_SECONDS_MAX = 86_400.0  # some 130,000 simulated days


class Preset(StrEnum):
    """Which traffic."""

    CARDS = "cards"
    HANDBOOK = "handbook"


Scenarios = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help="Kinds of fraud that are injected; else all. An unknown name lists them; none: no fraud.",
        show_default=False,
    ),
]
DriftDay = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Day from which prices are double and a fifth of the payments is at night; of cards, a tenth of "
        "the merchants also get a new category.",
        show_default=False,
    ),
]
LabelsPath = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File for the frauds (CSV: event_id,event_time,kind,incident; of handbook "
        "event_id,event_time,scenario).",
        show_default=False,
    ),
]
Events = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Number of events; else 60 days of cards, 183 of handbook.",
        show_default=False,
    ),
]
Customers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Number of customers, each with one card; else 3,000 of cards, 5,000 of handbook.",
        show_default=False,
    ),
]


def simulate(
    preset: Annotated[
        Preset,
        typer.Option(
            help="cards: habits, and patterns of fraud; handbook: the Fraud Detection Handbook's simulator.",
        ),
    ] = Preset.CARDS,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of all random draws.")] = 0,
    events: Events = None,
    customers: Customers = None,
    scenarios: Scenarios = None,
    attributes: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Number of fields that are constant per customer, up to 8 (cards only)."
        ),
    ] = 0,
    drift_day: DriftDay = None,
    out_: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File for the events, else standard output. Its name may end in .csv: CSV, not JSON lines.",
            show_default=False,
        ),
    ] = None,
    labels: LabelsPath = None,
) -> None:
    """Generate card traffic with frauds, and its labels.

    configs/simulate.yaml and configs/handbook.yaml read the events of the two presets.
    """
    from detector.demo import simulation

    try:
        traffic = simulation.traffic(
            preset.value,
            scenarios=None if scenarios is None else _names(scenarios),
            seed=seed,
            events=events,
            customers=customers,
            attributes=attributes or None,
            drift_day=drift_day,
        )
    except ValueError as error:
        raise wrong(
            "simulate", f"invalid options ({error})", "values as in detector simulate --help"
        ) from None
    if str(labels) == "-" and (out_ is None or str(out_) == "-"):
        raise wrong("--labels", "-", "a file, because the events go to standard output")
    if labels is not None and labels.is_file():  # before any event is written
        raise wrong("--labels", str(labels), NEW)
    with ExitStack() as files:
        sink = files.enter_context(creating("--out", out_))
        rows = None if labels is None else files.enter_context(creating("--labels", labels))
        simulation.write(traffic, sink, rows, as_csv=_is_csv(out_))


def _is_csv(path: Path | None) -> bool:
    return path is not None and path.name.lower().removesuffix(".gz").endswith(".csv")


def _names(text: str) -> list[str]:
    return [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]


def demo(
    seconds: Annotated[
        float, typer.Option(envvar="DEMO_SECONDS", metavar="N", help="Duration of the traffic; at least 10.")
    ] = 40.0,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A real broker; else one in this process.")
    ] = None,
    console: Annotated[
        bool | None,
        typer.Option(
            "--console/--no-console",
            help="End with the alerts in a browser, until Ctrl-C. Without either: on a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the whole service for a minute: broker, traffic, frauds, alerts, and the console."""
    from detector.demo.demo import SECONDS_MIN, run_demo

    if not SECONDS_MIN <= seconds <= DEMO_SECONDS_MAX:  # also refuses nan
        allowed = f"a number from {SECONDS_MIN:g} to {DEMO_SECONDS_MAX:g}"
        raise wrong("--seconds (DEMO_SECONDS)", f"{seconds:g}", allowed)
    run_demo(seconds, bootstrap, out, stay=console)
