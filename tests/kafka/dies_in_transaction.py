"""`python -m tests.kafka.dies_in_transaction`: the service, killed within a transaction.

Once the file named by `DIE_IN_TRANSACTION` exists, the next transaction that has outputs and offsets is not
committed: the process is killed in place of it.
"""

import os
import signal
from pathlib import Path

from kafka import KafkaProducer

from detector.cli import main

DIE = "DIE_IN_TRANSACTION"
_commit = KafkaProducer.commit_transaction


def commit_or_die(self: KafkaProducer) -> None:
    """Commit, or end the process with everything of the transaction sent."""
    if Path(os.environ[DIE]).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    _commit(self)


if __name__ == "__main__":
    KafkaProducer.commit_transaction = commit_or_die
    main()
