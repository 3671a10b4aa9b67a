"""What a panel of a dashboard is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

JOB = 'job=~"$job"'
SELECTED = 'job=~"$job",instance=~"$instance"'


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query and how its series are called."""

    expr: str
    legend: str = ""  # with {{label}}; empty: the labels
    exemplars: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel."""

    title: str
    unit: str  # of Grafana, e.g. "s", "bytes", "percentunit"
    about: str  # what it shows and what to look for
    queries: tuple[Query, ...]
    runbook: str = ""  # name of the alert that watches this
    kind: Literal["timeseries", "stat", "table", "states"] = "timeseries"
    width: int = 8  # of 24
    height: int = 7
    stack: bool = False
    red_from: float | None = None  # a line from which on it is bad
    needs: str = ""  # what must be in use for there to be data; empty: there always are


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    excused: dict[str, str] = field(default_factory=dict)


def rate(name: str, by: str = "", where: str = SELECTED) -> str:
    """Sum of a counter's rate."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({name}{{{where}}}[$__rate_interval]))"


def top(name: str, by: str, what: str = "max", where: str = SELECTED) -> str:
    """The largest (or other) value of a gauge."""
    return f"{what} by ({by}) ({name}{{{where}}})"


def quantile(q: float, name: str) -> str:
    """A quantile of a histogram, over all members."""
    return f"histogram_quantile({q:g}, sum by (le) (rate({name}_bucket{{{SELECTED}}}[$__rate_interval])))"


def one(expr: str, legend: str = "", *, exemplars: bool = False) -> Query:
    """A query."""
    return Query(expr=expr, legend=legend, exemplars=exemplars)


def quantiles(name: str) -> tuple[Query, ...]:
    """Median and 99 % of a histogram."""
    return (one(quantile(0.5, name), "median"), one(quantile(0.99, name), "99 %"))
