"""`python -m tests.kafka.dies_in_transaction`: the service, killed within a transaction.

Once the file named by `DIE_IN_TRANSACTION` exists, the next transaction that has outputs and offsets is not
committed: the process is killed in place of it.

With `KEPT_MANIFESTS` manifests of checkpoints that are deleted are copied to this folder before: a check that
follows the journal from the beginning needs them also after entities were erased.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

from kafka import KafkaProducer

from detector.cli import main
from detector.errors import StoreUnavailable
from detector.shell.store import FsspecStore

DIE = "DIE_IN_TRANSACTION"
KEPT = "KEPT_MANIFESTS"
_commit = KafkaProducer.commit_transaction
_delete = FsspecStore.delete


def commit_or_die(self: KafkaProducer) -> None:
    """Commit, or end the process with everything of the transaction sent."""
    if Path(os.environ[DIE]).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    _commit(self)


def keep_and_delete(self: FsspecStore, name: str) -> None:
    """Delete an object; a manifest is copied before."""
    if name.endswith(".json"):
        with suppress(StoreUnavailable):
            data = self.get(name)
            place = Path(os.environ[KEPT]) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    _delete(self, name)


if __name__ == "__main__":
    KafkaProducer.commit_transaction = commit_or_die
    if KEPT in os.environ:
        FsspecStore.delete = keep_and_delete  # type: ignore[method-assign]
    main()
