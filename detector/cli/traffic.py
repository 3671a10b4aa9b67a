"""`simulate` and `demo`: made-up card traffic."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from detector.cli.common import NEW, creating, out, wrong

DEMO_SECONDS_MAX = 86_400.0  # the traffic ends after 183 simulated days


def simulate(
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    events: Annotated[
        int | None, typer.Option(min=0, help="Number of events; else 183 days of traffic.")
    ] = None,
    customers: Annotated[int, typer.Option(min=1, help="Number of customers.")] = 5_000,
    drift_day: Annotated[int | None, typer.Option(min=0, help="Day on which all prices double.")] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="File for the events, instead of standard output.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File for the frauds (CSV: event_id,event_time,scenario).")
    ] = None,
) -> None:
    """Generate card traffic with three kinds of fraud. Labels go to a file of their own."""
    from detector.demo.simulation.handbook import LABEL_FIELDS, SimulationConfig, label_rows, to_events
    from detector.demo.simulation.handbook import simulate as days

    try:
        plan = SimulationConfig(seed=seed, events=events, customers=customers, drift_day=drift_day)
    except ValueError as error:
        raise wrong(
            "simulate", f"invalid options ({error})", "values as in detector simulate --help"
        ) from None
    if str(labels) == "-" and (out_ is None or str(out_) == "-"):
        raise wrong("--labels", "-", "a file, because the events go to standard output")
    if labels is not None and labels.is_file():  # before any event is written
        raise wrong("--labels", str(labels), NEW)
    encode = msgspec.json.Encoder().encode_lines
    with ExitStack() as files:
        sink = files.enter_context(creating("--out", out_))
        rows = None
        if labels is not None:
            text = files.enter_context(creating("--labels", labels))
            rows = csv.writer(_Text(text), lineterminator="\n")
            rows.writerow(LABEL_FIELDS)
        for day in days(plan):
            sink.write(encode(to_events(day)))
            if rows is not None:
                rows.writerows(label_rows(day))


def demo(
    seconds: Annotated[
        float, typer.Option(envvar="DEMO_SECONDS", help="Duration of the traffic; at least 10.")
    ] = 40.0,
    bootstrap: Annotated[
        str | None, typer.Option(help="HOST:PORT of a real broker; else one in this process.")
    ] = None,
) -> None:
    """Show the whole service for a minute: broker, traffic with frauds, service, alerts."""
    from detector.demo.demo import SECONDS_MIN, run_demo

    if not SECONDS_MIN <= seconds <= DEMO_SECONDS_MAX:  # also refuses nan
        allowed = f"a number from {SECONDS_MIN:g} to {DEMO_SECONDS_MAX:g}"
        raise wrong("--seconds (DEMO_SECONDS)", f"{seconds:g}", allowed)
    run_demo(seconds, bootstrap, out)


class _Text:
    """Lets csv write to a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())
