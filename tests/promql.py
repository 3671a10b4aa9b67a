"""Checks PromQL against the table of metrics: names, labels, and values that the code fixes.

`labels_of` computes the labels of a query's answer as Prometheus would, so that a grouping or a legend that
names a label which is not there is found without a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql

from detector.shell.metrics import INFOS, METRICS, NOTIFY_METRICS, bounds_of
from detector.shell.metrics.bounds import PROCESS_METRICS

TARGET = frozenset({"job", "instance"})


def _series() -> Iterator[tuple[str, frozenset[str]]]:
    for metric in METRICS:
        labels = frozenset(metric.labels)
        if metric.kind == "histogram":
            yield f"{metric.name}_bucket", labels | {"le"}
            yield f"{metric.name}_sum", labels
            yield f"{metric.name}_count", labels
        else:
            yield metric.name, labels
    for info in INFOS:
        yield info.name, frozenset(info.labels)
    for name in NOTIFY_METRICS:
        yield name, frozenset({"receiver", *(["outcome"] if "messages" in name else [])})
    for name in (*PROCESS_METRICS, "up"):
        yield name, frozenset()


SERIES: Mapping[str, frozenset[str]] = dict(_series())
"""Labels by name of a series, without those that Prometheus adds."""

FIXED: Mapping[tuple[str, str], frozenset[str]] = {
    (metric.name, label): frozenset(bound.values)
    for metric in METRICS
    for label, bound in bounds_of(metric).items()
    if bound.values
}
"""All values of labels that the code fixes, by series and label."""


class Wrong(ValueError):
    """A query that cannot return what it seems to."""


def selectors(expression: Any) -> Iterator[Any]:
    """All selectors of a parsed query."""
    if isinstance(expression, promql.VectorSelector):
        yield expression
    elif isinstance(expression, promql.MatrixSelector):
        yield expression.vector_selector
    elif isinstance(expression, promql.BinaryExpr):
        yield from selectors(expression.lhs)
        yield from selectors(expression.rhs)
    elif isinstance(expression, promql.Call):
        for argument in expression.args:
            yield from selectors(argument)
    elif hasattr(expression, "expr"):
        yield from selectors(expression.expr)


def names_in(query: str) -> set[str]:
    """Names of all series in a query."""
    return {selector.name for selector in selectors(promql.parse(query))}


def labels_of(query: str, recorded: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Labels of a query's answer.

    Parameters
    ----------
    recorded
        Labels of recorded series, by name.

    Raises
    ------
    Wrong
        It names a series, a label or a value that is not there.
    """
    return _labels(promql.parse(query), {**SERIES, **recorded})


def _labels(expression: Any, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    match expression:
        case promql.VectorSelector():
            return _selected(expression, known)
        case promql.MatrixSelector():
            return _selected(expression.vector_selector, known)
        case promql.AggregateExpr():
            return _grouped(expression, _labels(expression.expr, known))
        case promql.BinaryExpr():
            return _joined(expression, _labels(expression.lhs, known), _labels(expression.rhs, known))
        case promql.Call():
            found = frozenset[str]().union(*(_labels(argument, known) for argument in expression.args))
            return found - {"le"} if expression.func.name == "histogram_quantile" else found
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
    return _labels(expression.expr, known)  # parentheses, a sign, a subquery


def _selected(selector: Any, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    if selector.name not in known:
        raise Wrong(f"there is no series {selector.name}")
    labels = known[selector.name] | TARGET
    for matcher in selector.matchers.matchers:
        if matcher.name not in labels:
            raise Wrong(f"{selector.name} has no label {matcher.name}")
        values = FIXED.get((selector.name, matcher.name))
        named = re.fullmatch(r"[\w|]+", matcher.value)  # else a pattern, or a variable of a dashboard
        if values and named and (gone := set(matcher.value.split("|")) - values):
            raise Wrong(f"{selector.name}: {matcher.name} is never {', '.join(sorted(gone))}")
    return labels


def _grouped(expression: Any, labels: frozenset[str]) -> frozenset[str]:
    modifier = expression.modifier
    if str(expression.op) in ("topk", "bottomk"):
        return labels
    if modifier is None:
        return frozenset()
    named = frozenset(modifier.labels)
    if gone := named - labels:
        raise Wrong(f"grouping by {', '.join(sorted(gone))}, which the series do not have")
    return named if modifier.type == promql.AggModifierType.By else labels - named


def _joined(expression: Any, left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    modifier = expression.modifier
    scalar = any(isinstance(side, promql.NumberLiteral) for side in (expression.lhs, expression.rhs))
    if scalar or modifier is None or modifier.matching is None:
        return left or right
    named = frozenset(modifier.matching.labels)
    if modifier.matching.type == promql.LabelModifierType.Exclude:
        raise Wrong("say the labels to match: on (...)")
    if gone := named - (left & right):
        raise Wrong(f"matching on {', '.join(sorted(gone))}, which one side does not have")
    if str(expression.op) in ("and", "or", "unless"):
        return left
    if modifier.card == promql.VectorMatchCardinality.ManyToOne:
        return left | frozenset(modifier.group_labels or ())
    return named
