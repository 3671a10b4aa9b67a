"""What can go wrong, and who has to act.

::

    DetectorError
    ├── OperatorError            an operator must act: ends with a sentence and an exit code
    │   ├── ConfigError          2  the configuration is wrong; all problems at once
    │   ├── CredentialsError     2  the broker or store refused who we are
    │   └── NeedsOperator        3  e.g. the journal is of a newer version
    │       └── LogGone          3  a topic no longer holds what recovery needs (or `on_data_loss: skip`)
    ├── OutsideError             the world is away: retried with backoff
    │   ├── BrokerUnavailable
    │   ├── StoreUnavailable
    │   └── CommitFailed         the commit failed or its fate is unknown: rebuild from what is committed
    └── CheckpointDamaged        detected by checksum or format: the one before it is used

Bad events are not errors but values (`detector.core.events.Rejected`). Everything else that is
raised is our own bug and crashes with exit code 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_STOPPED = 0
EXIT_BUG = 1
EXIT_CONFIG = 2
EXIT_NEEDS_OPERATOR = 3


class DetectorError(Exception):
    """Root of everything this package raises on purpose."""


class OperatorError(DetectorError):
    """Only a person can mend it; the message is one sentence for that person."""

    exit_code = EXIT_NEEDS_OPERATOR


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One mistake in a configuration."""

    path: str  # where: dotted keys, e.g. "kafka.security.protocol"
    value: str  # what was found, as text; secrets are masked before they get here
    allowed: str  # what would be right

    def __str__(self) -> str:
        return f"{self.path}: found {self.value}; {self.allowed}"


class ConfigError(OperatorError):
    """The configuration is wrong. Carries every problem found, not the first one."""

    exit_code = EXIT_CONFIG

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} {noun}{lines}")


class CredentialsError(OperatorError):
    """A server was reached and refused us, or we do not trust it (password, certificate, permission)."""

    exit_code = EXIT_CONFIG


class NeedsOperator(OperatorError):
    """Going on alone would lose or repeat something; the message says what to decide."""

    exit_code = EXIT_NEEDS_OPERATOR


class LogGone(NeedsOperator):
    """A topic no longer holds records that are needed, because of its retention."""


class OutsideError(DetectorError):
    """Something outside this process is away; worth another try later."""


class BrokerUnavailable(OutsideError):
    """No answer from Kafka within the deadline."""


class StoreUnavailable(OutsideError):
    """The checkpoint store cannot be read or written now."""


class CommitFailed(OutsideError):
    """A commit was refused, or its outcome is unknown. Only what is committed counts: rebuild from there."""


class CheckpointDamaged(DetectorError):
    """A checkpoint is missing, torn, corrupt or of an unknown format."""
