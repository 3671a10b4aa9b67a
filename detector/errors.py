"""What can go wrong, and who has to act.

::

    DetectorError
    ├── OperatorError            an operator must act: one sentence and an exit code
    │   ├── ConfigError          2  the configuration is invalid; lists all problems
    │   ├── UsageError           2  a call of the Python API cannot work
    │   ├── CredentialsError     2  the broker or the store refused our credentials
    │   └── NeedsOperator        3  e.g. a journal of a newer version
    │       └── LogGone          3  a topic no longer holds what recovery needs (see `on_data_loss`)
    ├── OutsideError             an outside service is unavailable: retried with backoff
    │   ├── BrokerUnavailable
    │   ├── StoreUnavailable
    │   ├── RegistryUnavailable
    │   └── CommitFailed         refused, or of unknown outcome: rebuild from what is committed
    └── CheckpointDamaged        checksum or format is wrong: the checkpoint before it is used

A bad event is a value, not an error (`detector.core.events.Rejected`). Every other exception is a bug
of ours and ends the process with exit code 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_BUG = 1
EXIT_CONFIG = 2
EXIT_NEEDS_OPERATOR = 3


class DetectorError(Exception):
    """Root of everything this package raises on purpose."""


class OperatorError(DetectorError):
    """Only a person can resolve it. The message is a sentence for that person."""

    exit_code = EXIT_NEEDS_OPERATOR


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One mistake in a configuration."""

    path: str  # where: dotted keys, e.g. "kafka.security.protocol"
    value: str  # what was found, without secrets
    allowed: str  # what would be valid; completes "got X, expected ..."

    def __str__(self) -> str:
        return f"{self.path}: got {self.value}, expected {self.allowed}"


class ConfigError(OperatorError):
    """The configuration is invalid. Carries every problem found, not only the first."""

    exit_code = EXIT_CONFIG

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} {noun}{lines}")


class UsageError(OperatorError, ValueError):
    """A call of the Python API cannot work. The message says what was given and what is expected."""

    exit_code = EXIT_CONFIG


class CredentialsError(OperatorError):
    """A server refused us, or we do not trust it (password, certificate, permission)."""

    exit_code = EXIT_CONFIG


class NeedsOperator(OperatorError):
    """To continue would lose or repeat something. The message says what to decide."""

    exit_code = EXIT_NEEDS_OPERATOR


class LogGone(NeedsOperator):
    """A topic has deleted records that are needed, because of its retention."""


class OutsideError(DetectorError):
    """A service outside this process is unavailable. Worth another try later."""


class BrokerUnavailable(OutsideError):
    """Kafka did not answer in time."""


class StoreUnavailable(OutsideError):
    """The checkpoint store cannot be read or written now."""


class RegistryUnavailable(OutsideError):
    """The schema registry does not answer. Records wait for their schemas; none is rejected."""


class CommitFailed(OutsideError):
    """A commit was refused, or its outcome is unknown. Rebuild from what is committed."""


class CheckpointDamaged(DetectorError):
    """A checkpoint is missing, incomplete, corrupt or of an unknown format."""
