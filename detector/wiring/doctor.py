"""`detector doctor`: looks for transactions of the group that hide outputs, and ends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.shell.kafka import Hanging, Transactions, client_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What `doctor` found."""

    hanging: tuple[Hanging, ...]
    ended: tuple[Hanging, ...]
    fenced: tuple[str, ...]  # transactional ids of dead members whose transactions were open

    @property
    def left(self) -> tuple[Hanging, ...]:
        """Transactions that still hang."""
        return tuple(one for one in self.hanging if one not in self.ended)


def diagnose(config: Config, environ: Mapping[str, str], *, mend: bool) -> Diagnosis:
    """Look for transactions of the group that hide outputs, and end them if wanted.

    Raises
    ------
    OperatorError
        Credentials, or a permission is missing.
    OutsideError
        The broker is away.
    """
    password, key_password, *_ = resolve_secrets(config, environ)
    transactions = Transactions(config, client_settings(config, password, key_password))
    with transactions.connected():
        fenced = transactions.end_those_of_dead_members() if mend else []
        hanging = transactions.hanging()
        ended = transactions.mend(hanging) if mend else []
    return Diagnosis(hanging=tuple(hanging), ended=tuple(ended), fenced=tuple(fenced))
