"""`python -m benchmarks.operations.faulty`: the service, with faults that cannot be caused from outside.

A fault is on while a file of its name is in the folder that `FAULTS` names. Those of the second group are
read when the process starts.

    stall           the loop waits for a call that does not return
    slow            each event takes a fifth of a second, as on a machine that is far too small
    slow_replay     as `slow`, of events that are processed again, and a second each
    no_ends         the broker does not tell where the log ends
    ballast         so many bytes of memory are in use, as the file says

    other_version   it says that it is another version
    other_numbers   its scores differ, as those of another CPU or library may
    control_group   it begins in the control group of this folder
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import detector
from detector.core.records import Record
from detector.core.shard.partition import Partition, Step
from detector.core.shard.scoring import Scorer
from detector.errors import BrokerUnavailable
from detector.shell.kafka.ends import KafkaEnds
from tests.kafka.next_build import mixed

FAULTS = "DETECTOR_FAULTS"
EVENT_S, REPLAYED_S = 0.2, 1.0
LOOK_S = 0.1
_take, _ask = Partition.take, KafkaEnds.ask


def _file(name: str) -> Path:
    return Path(os.environ[FAULTS]) / name


def take(self: Partition, records: Sequence[Record], **options: Any) -> Step:
    """Replaces `Partition.take`."""
    while _file("stall").exists():
        time.sleep(LOOK_S)
    if self.replaying and _file("slow_replay").exists():
        time.sleep(REPLAYED_S)
        records = records[:1]
    elif _file("slow").exists():
        time.sleep(EVENT_S * len(records))
    return _take(self, records, **options)


def ask(self: KafkaEnds, partitions: Collection[int]) -> Mapping[int, int]:
    """Replaces `KafkaEnds.ask`."""
    if _file("no_ends").exists():
        raise BrokerUnavailable("the broker does not answer")
    return _ask(self, partitions)


def hold_ballast() -> None:
    """Take memory while the file is there."""
    held = bytearray()
    while True:
        wanted = int(_file("ballast").read_text()) if _file("ballast").exists() else 0
        if wanted != len(held):
            held = bytearray(b"x") * wanted
        time.sleep(LOOK_S)


if __name__ == "__main__":
    from detector.cli import main

    if _file("control_group").exists():
        (Path(_file("control_group").read_text()) / "cgroup.procs").write_text(str(os.getpid()))
    if _file("other_version").exists():
        detector.__version__ = "9.9.9"
    if _file("other_numbers").exists():
        Scorer._mixed = mixed  # type: ignore[method-assign]
    Partition.take = take  # type: ignore[method-assign]
    KafkaEnds.ask = ask  # type: ignore[method-assign]
    threading.Thread(target=hold_ballast, daemon=True).start()
    main()
