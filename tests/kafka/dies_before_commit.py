"""`python -m tests.kafka.dies_before_commit`: the service, killed when a checkpoint lies in the store for the
first time and no commit has named it."""

import os
import signal

from detector.cli import main
from detector.core.shard.partition import Partition


def die(self: Partition, name: str, position: int) -> None:
    """In place of `rebase`, which the loop calls between the write and the commit."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Partition.rebase = die  # type: ignore[method-assign]
    main()
