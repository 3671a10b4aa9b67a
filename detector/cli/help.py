"""How help pages look: a flag shows no value, so that the texts have room at 80 columns.

Every other option names its value by a short `metavar`; a test sees to that.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


def _flags_without_value(params: list[Any]) -> list[Any]:
    """Typer shows `<bool>` for a flag, also for its own --help."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class Command(TyperCommand):
    """A command with such a help page."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_value(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands with such a help page."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_value(super().get_params(ctx))
