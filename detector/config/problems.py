"""From pydantic's errors to problems in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from detector.config.schema import describe, plain_pattern, property_paths, schema_at
from detector.config.tree.base import LEAK, UNFIT, WRONG
from detector.config.words import HIDDEN, Loc, dotted, nearest, shown
from detector.errors import Problem


class Setting(NamedTuple):
    """One value from the environment or the command line."""

    loc: Loc
    text: str
    origin: str  # as the user wrote it


class Finding(NamedTuple):
    """A problem, before it is known which setting caused it."""

    loc: Loc
    value: str
    allowed: str
    unfit: bool = False  # the value does not fit other keys of its section


def findings(invalid: ValidationError) -> list[Finding]:
    """Describe every error of a tree, the first one of each place."""
    errors = invalid.errors(include_url=False)
    sections = {error["loc"][:-1] for error in errors}
    found: dict[Loc, Finding] = {}
    for error in errors:
        if error["type"] == "too_short" and error["loc"] in sections:
            continue  # wrong items are missing from their list
        found.setdefault(error["loc"], _finding(error))
    return list(found.values())


def problem(finding: Finding, settings: Sequence[Setting]) -> Problem:
    """Add the environment variable or the override that caused a problem, if one did."""
    path, cause = dotted(finding.loc), _cause(finding, settings)
    if cause is not None:
        path = f"{path} (from {cause.origin})"
    return Problem(path=path, value=finding.value, allowed=finding.allowed)


def _cause(finding: Finding, settings: Sequence[Setting]) -> Setting | None:
    """The last setting of the key itself or of a section around it; else one of what it has to fit."""
    loc = finding.loc
    for setting in reversed(settings):
        if loc[: len(setting.loc)] == setting.loc:
            return setting
    for section in (loc, loc[:-1]) if finding.unfit else ():
        for setting in reversed(settings):
            if section and setting.loc[: len(section)] == section:
                return setting
    return None


def _finding(error: ErrorDetails) -> Finding:
    loc, value, type_ = error["loc"], error["input"], error["type"]
    if type_ in (WRONG, UNFIT, LEAK):
        text = HIDDEN if type_ == LEAK else shown(loc, value)
        return Finding(loc, text, error["ctx"]["allowed"], unfit=type_ == UNFIT)
    if type_ == "extra_forbidden":
        return _unknown_key(loc, value)
    allowed = describe(schema_at(loc) or {})
    if type_ == "missing":
        return Finding(loc, "nothing", allowed)
    if type_ == "string_pattern_mismatch":
        allowed = plain_pattern(error["ctx"]["pattern"])
    if type_ == "string_type" and isinstance(value, bool | int | float):
        allowed += ", in quotes"
    return Finding(loc, shown(loc, value), allowed)


def _unknown_key(loc: Loc, value: Any) -> Finding:
    known = list((schema_at(loc[:-1]) or {}).get("properties", {}))
    key = str(loc[-1])
    meant = nearest(key, known) or next((p for p in property_paths() if p.rpartition(".")[2] == key), None)
    hint = f"; did you mean {meant}?" if meant else ""
    text = shown((*loc, meant) if meant else loc, value)  # hidden too if a secret's key is misspelt
    return Finding(loc, text, f"a known key ({', '.join(known)}){hint}")
