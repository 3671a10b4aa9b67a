"""`python -m tests.kafka.dies_before_commit`: the service, which is killed when the first checkpoint is in
the store and no commit has named it."""

import os
import signal

from detector.cli import main
from detector.core.shard.partition import Partition


def die(self: Partition, *_: object) -> None:
    """Replaces `rebase`, which the loop calls between the write and the commit."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Partition.rebase = die  # type: ignore[method-assign]
    main()
