"""What `detector doctor` found out about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from detector.errors import EXIT_NEEDS_OPERATOR, DetectorError, OperatorError

Verdict = Literal["ok", "warning", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the report. Never holds a secret."""

    verdict: Verdict
    subject: str  # what was looked at, e.g. "topic alerts"
    text: str  # a sentence
    remedy: str | None = None  # the way out; None: there is nothing to do
    exit_code: int = 0  # of the command, if this is its worst finding

    @classmethod
    def ok(cls, subject: str, text: str) -> Self:
        """Return that all is well."""
        return cls(verdict="ok", subject=subject, text=text)

    @classmethod
    def warning(cls, subject: str, text: str, remedy: str) -> Self:
        """Return something that works, and that somebody should know."""
        return cls(verdict="warning", subject=subject, text=text, remedy=remedy)

    @classmethod
    def error(cls, subject: str, text: str, remedy: str, exit_code: int = EXIT_NEEDS_OPERATOR) -> Self:
        """Return something that does not work, or that will lose something."""
        return cls(verdict="error", subject=subject, text=text, remedy=remedy, exit_code=exit_code)

    @classmethod
    def of(cls, subject: str, error: DetectorError, remedy: str) -> Self:
        """Return an error; the exit code is that of `detector run`, 3 where it would try again."""
        code = error.exit_code if isinstance(error, OperatorError) else EXIT_NEEDS_OPERATOR
        return cls.error(subject, str(error), remedy, code)
