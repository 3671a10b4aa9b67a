"""How help pages look: short names of values, so that the texts have room at 80 columns.

Typer shows a type, such as `<int range>` or, for a flag, `<bool>`. An option's own `metavar` is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from typer.core import TyperCommand, TyperGroup

_NAMES: dict[Any, str] = {Path: "FILE", str: "TEXT", int: "N", float: "N"}


def _name_values(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
        elif param.metavar is None:
            param.metavar = _NAMES.get(_type_of(param))  # None for a choice: typer shows its values
    return params


def _type_of(param: Any) -> Any:
    """The type of one value; of a list, that of its items."""
    annotation = param.type_descriptor.annotation
    return next(iter(get_args(annotation)), annotation)


def _paragraphs(help: str | None) -> str:
    return "\n\n".join(" ".join(one.split()) for one in (help or "").split("\n\n"))


class Command(TyperCommand):
    """A command with such a help page. Lines of the docstring do not end lines of the page."""

    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*args, help=_paragraphs(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return _name_values(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands with such a help page."""

    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*args, help=_paragraphs(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return _name_values(super().get_params(ctx))
