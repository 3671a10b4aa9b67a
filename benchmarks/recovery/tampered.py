"""Journals and checkpoints that somebody has changed, restored by the thousand.

    python -m benchmarks.recovery.tampered
    python -m benchmarks.recovery.tampered --mutations 1000 --seed 7
    python -m benchmarks.recovery.tampered --forged --mutations 1000
    python -m benchmarks.recovery.tampered --whole --mutations 1000

A shard processes a stream and leaves two checkpoints and a journal. The second one holds what changed since
the first one, or with `--whole` its whole state. In each mutation one of them is changed, and checksums and
sizes are made right again, as somebody would who can write to the store. With `--forged`
the checkpoint's name is made right, too, and the journal names it, as somebody would who can also commit
offsets for the group: then all depends on what loads a state.

Then a restart is tried: journal, checkpoints, the shard, and for states that it took, some blocks and a
barrier. It must end in one of

    refused    a sentence for the operator (exit code 3)
    previous   the checkpoint before the changed one is used
    taken      the change is one that cannot be told from a true state

Prints the counts and the largest resident memory. Any other exception is printed with its mutation, and ends
with exit code 1; so does more than 512 MiB beyond the memory at the start.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import resource
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.fuzz.mutate import VALUES, Mutator
from benchmarks.fuzz.targets import IDENTITY, checksummed, handbook, sealed, unsealed
from detector.config.tree import ModelPart
from detector.core.records import Record
from detector.core.recovery import checkpoint
from detector.core.recovery.committed import Place, read_journal, seal
from detector.core.recovery.generations import find_origin, read_configs, write
from detector.core.shard.partition import Partition
from detector.core.state import copied, pack, unpack
from detector.errors import CheckpointDamaged, LogGone, NeedsOperator

MIB = 1 << 20
MEMORY_MAX = 512 * MIB
REPLAYED = 320  # events that a restored shard goes on with; a barrier is among them
HERE = Place(cluster="c" * 22, topic="t" * 36, entity_key="0" * 8)
NAME = re.compile(r"\d{5,10}/\d{20}-[0-9a-f]{12}")
LENGTHS = (0, 1, 2, 3, 7, 1 << 16, 1 << 31, 1 << 40, (1 << 63) - 1)
DTYPES = ("<f8", "<f4", "<f2", "<i8", "<u8", "<i4", "<u1", "|b1", ">f8", "<c16")


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a shard left behind."""

    objects: Mapping[str, bytes]
    name: str  # of the newest checkpoint
    offset: int
    metadata: str
    records: tuple[Record, ...]  # the stream
    config: ModelPart


def leave(*, whole: bool) -> Left:
    """Make two checkpoints, with two barriers after the second one."""
    config, records = handbook(events=64 * 20)
    left = records
    partition = Partition(IDENTITY, config, Partition.begin(config, 0), until=0)
    objects: dict[str, bytes] = {}
    name, count = "", 0
    while left and count < 4:
        step = partition.take(left)
        left = left[step.consumed :]
        if step.block_ended and (barrier := partition.due({})) is not None:
            partition.barrier(barrier, {})
            count += 1
            if count <= 2:
                snapshot = partition.snapshot()
                with patch.object(checkpoint, "_is_worth_it", lambda *_: not whole):
                    name = write(snapshot, objects.__setitem__, objects.__getitem__)
                partition.rebase(name, snapshot.position)
    metadata = seal(partition.journal.to_text(), partition.position, HERE)
    return Left(
        objects=objects,
        name=name,
        offset=partition.position,
        metadata=metadata,
        records=tuple(records),
        config=config,
    )


class Tampering:
    """Seeded changes of what was left."""

    def __init__(self, left: Left, seed: int, *, forged: bool) -> None:
        self._left, self._random = left, random.Random(seed)
        self._seal = sealed if forged else checksummed
        self._journals = Mutator([left.metadata.encode()], seed)
        self._manifest = left.objects[f"{left.name}.json"]
        self._manifests = Mutator([self._manifest], seed, to_tree=unsealed, to_bytes=self._seal)
        self._state = left.objects[f"{left.name}.state"]
        self._tree = unpack(self._state)
        self._arrays = sorted(_paths(self._tree))
        # Where the zip file and the arrays say what they hold.
        self._telling = [_found(self._state, what) for what in (b"PK", b"NUMPY", b"descr", b"shape")]

    def next(self, kind: str) -> tuple[str, dict[str, bytes]]:
        """Return the committed text, and the objects."""
        metadata, objects = self._left.metadata, dict(self._left.objects)
        if kind == "journal":
            return self._journals.next().decode(errors="replace"), objects
        if kind == "manifest":
            manifest = self._manifests.next()
            state = self._state
        else:
            state = self._changed_bytes() if kind == "bytes" else self._changed_array()
            facts = unsealed(self._manifest)
            facts |= {"state_bytes": len(state), "state_sha256": hashlib.sha256(state).hexdigest()}
            manifest = self._seal(facts)
        name = _name(manifest) or self._left.name
        objects[f"{name}.state"] = state
        for place in (f"{name}.json", f"manifests/{name}.json"):
            objects[place] = manifest
        return metadata.replace(self._left.name, name), objects

    def _changed_bytes(self) -> bytes:
        changed = bytearray(self._state)
        chance = self._random
        if chance.random() < 0.2:
            del changed[chance.randrange(len(changed)) :]
        for _ in range(chance.choice((1, 1, 2, 8, 64))):
            places = chance.choice((*self._telling, [chance.randrange(max(len(changed), 1))]))
            at = min(chance.choice(places or [0]) + chance.randrange(60), len(changed) - 1)
            if at < 0:
                continue
            changed[at] = chance.randrange(256)
        return bytes(changed)

    def _changed_array(self) -> bytes:
        chance, tree = self._random, copied(self._tree)
        for _ in range(chance.choice((1, 1, 2, 4))):
            path = chance.choice(self._arrays)
            *folders, name = path.split("/")
            node = tree
            for folder in folders:
                node = node.get(folder, {})
            if name not in node:
                continue
            node[name] = self._other(node[name])
            if chance.random() < 0.1:
                node[chance.choice((name + "x", "x"))] = node.pop(name)
        return pack(tree)

    def _other(self, value: Any) -> Any:
        chance = self._random
        if not isinstance(value, np.ndarray):
            return chance.choice(VALUES[:20])
        match chance.randrange(5):
            case 0:
                with np.errstate(all="ignore"):  # it need not fit
                    return value.astype(chance.choice(DTYPES[:-1]))
            case 1:
                return np.zeros(chance.choice(LENGTHS[:6]), dtype=value.dtype)
            case 2:
                return value.reshape(-1)[: chance.randrange(value.size + 1)]
            case 3:
                return np.concatenate([value, value]) if value.ndim else value
        changed = value.copy()
        if changed.size:
            flat = changed.reshape(-1).view(np.uint8) if changed.flags.c_contiguous else None
            if flat is not None and len(flat):
                flat[chance.randrange(len(flat))] = chance.randrange(256)
        return changed


def _name(manifest: bytes) -> str:
    """Name of a checkpoint's place; empty if its manifest says none."""
    try:
        name = str(unsealed(manifest)["name"])
    except (LookupError, TypeError, ValueError):
        return ""
    return name if NAME.fullmatch(name) else ""


def _found(data: bytes, what: bytes) -> list[int]:
    places, at = [], data.find(what)
    while at >= 0:
        places.append(at)
        at = data.find(what, at + 1)
    return places


def _paths(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    paths = []
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            paths += _paths(value, f"{prefix}{name}/")
        else:
            paths.append(prefix + name)
    return paths


def restart(left: Left, metadata: str, objects: Mapping[str, bytes], *, whole: bool) -> str:
    """Try a restart; `whole`: with the shard, a block and a barrier."""
    try:
        journal = read_journal(metadata, partition=0, group="g", offset=left.offset, here=HERE)
        refused: dict[str, str] = {}
        while True:
            origin = find_origin(
                journal, objects.__getitem__, partition=0, beginning=0, committed=True, refused=refused
            )
            previous = "previous" if origin.damages else "taken"
            configs = read_configs(origin, left.config, objects.__getitem__)
            if not whole or origin.restored is None:
                return previous
            try:
                partition = Partition(
                    IDENTITY,
                    left.config,
                    origin.journal,
                    until=left.offset,
                    configs=configs,
                    restored=origin.restored,
                )
                break
            except CheckpointDamaged as error:
                refused[origin.restored[0].name] = str(error)
        begun = origin.journal.position
        waiting = left.records[begun : begun + REPLAYED]
        while waiting:
            step = partition.take(waiting)
            waiting = waiting[step.consumed :]
            if step.block_ended and (barrier := partition.due({})) is not None:
                partition.barrier(barrier, {})
        return previous
    except (NeedsOperator, LogGone):
        return "refused"


SHARES = {"journal": 0.4, "manifest": 0.3, "bytes": 0.2, "array": 0.1}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forged", action="store_true", help="names and the journal are made right, too")
    parser.add_argument("--whole", action="store_true", help="the second checkpoint is whole, too")
    arguments = parser.parse_args()
    left = leave(whole=arguments.whole)
    assert restart(left, left.metadata, left.objects, whole=True) == "taken"
    tampering = Tampering(left, arguments.seed, forged=arguments.forged)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    failed = 0
    for kind, share in SHARES.items():
        counts: Counter[str] = Counter()
        for _ in range(int(share * arguments.mutations)):
            metadata, objects = tampering.next(kind)
            try:
                counts[restart(left, metadata, objects, whole=kind == "array")] += 1
            except Exception:  # noqa: BLE001 - it is what is looked for
                failed += 1
                counts["failed"] += 1
                if failed <= 5:
                    traceback.print_exc()
        print(f"{kind:10} {dict(sorted(counts.items()))}", flush=True)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"memory: {began / MIB:.0f} MiB at the start, {largest / MIB:.0f} MiB at most")
    sys.exit(1 if failed or largest - began > MEMORY_MAX else 0)


if __name__ == "__main__":
    main()
