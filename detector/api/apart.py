"""A stream in a process of its own, for a process whose numpy computes other last bits than the daemon's.

numpy chooses its kernels when it is loaded, and those for AVX-512 differ from the others in the last bit.
`detector` switches them off (see `detector/__init__.py`), but a notebook that loaded numpy or pandas before
has them on. Then one child process, whose numpy is loaded anew, computes for all detectors of this process.

    parent   [number of the stream, what to do, arguments]   msgpack, with its length in front
    child    ["", result], or [name of an error, its message]

Only plain values travel: no objects, no code.
"""

from __future__ import annotations

import atexit
import os
import signal
import struct
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

import detector
from detector import errors
from detector.api.checkpoints import to_bytes
from detector.api.stream import INTERRUPTED, LOOKED_AT_ONCE, Stream
from detector.config.tree import ModelPart
from detector.core.events import Rejected
from detector.core.records import Alert, CaseUpdate, DeadLetter, Identity, Outputs, Record, Scored
from detector.core.recovery.checkpoint import Manifest, Snapshot, read_manifest, read_state
from detector.core.recovery.journal import Journal
from detector.core.shard.embedding_map import Anchors, EmbeddingMap
from detector.core.shard.embedding_report import EmbeddingReport
from detector.core.shard.looking import Looked
from detector.core.shard.model_card import ModelCard, VersionList
from detector.core.shard.space import Among, Neighbour
from detector.errors import UsageError
from detector.wiring.similar import Wanted

_LENGTH = struct.Struct("<Q")
_SWITCHED_OFF = ("X86_V4", "AVX512_SKX", "AVX512_ICL", "AVX512_SPR")  # the second: an older name of the first
_TAKEN_AT_ONCE = 4096  # records of one message

Restored = tuple[bytes, bytes]
"""Manifest and state of a checkpoint."""


@cache
def needed() -> bool:
    """Whether numpy was loaded with kernels that `detector` would have switched off."""
    wanted = os.environ.get("NPY_DISABLE_CPU_FEATURES", "")
    features: Mapping[str, bool] = getattr(np, "_core", np)._multiarray_umath.__cpu_features__
    return "X86_V4" in wanted and any(features.get(name, False) for name in _SWITCHED_OFF)


class RemoteStream:
    """Does what `Stream` does, in the child process.

    Raises
    ------
    UsageError
        An earlier call was interrupted, or the child process has ended.
    """

    def __init__(
        self,
        model: ModelPart,
        identity: Identity,
        *,
        journal: Journal | None = None,
        configs: Mapping[str, ModelPart] | None = None,
        restored: tuple[Manifest, Mapping[str, Any]] | None = None,
    ) -> None:
        self._child = _child()
        known = {name: config.canonical() for name, config in (configs or {}).items()}
        checkpoint = None if restored is None else to_bytes(_snapshot(*restored))
        self._number: int = self._child.ask(
            0,
            "open",
            model.canonical(),
            [identity.topic, identity.group, identity.partition, identity.entity_key],
            None if journal is None else journal.to_text(),
            known,
            checkpoint,
        )
        weakref.finalize(self, self._child.close_stream, self._number)
        self.labels = RemoteLabels(self)

    def ask(self, what: str, *arguments: Any) -> Any:
        """Let the child do something with this stream."""
        return self._child.ask(self._number, what, *arguments)

    @property
    def position(self) -> int:
        """As `Stream.position`."""
        return int(self.ask("position"))

    @property
    def event_time(self) -> float:
        """As `Stream.event_time`."""
        return float(self.ask("event_time"))

    @property
    def gauges(self) -> dict[str, float]:
        """As `Stream.gauges`."""
        return dict(self.ask("gauges"))

    def take(self, records: Sequence[Record]) -> Iterator[Outputs]:
        """As `Stream.take`."""
        for start in range(0, len(records), _TAKEN_AT_ONCE):
            for found in self.ask("take", [tuple(r) for r in records[start : start + _TAKEN_AT_ONCE]]):
                yield _outputs_from(found)

    def look(self, records: Sequence[Record]) -> Iterator[Looked]:
        """As `Stream.look`."""
        for start in range(0, len(records), LOOKED_AT_ONCE):
            (found,) = self.ask("look", [tuple(r) for r in records[start : start + LOOKED_AT_ONCE]])
            scores, quantiles, alerts, rejected = found
            yield Looked(
                scores=np.frombuffer(scores),
                quantiles=np.frombuffer(quantiles),
                candidates={row: _alert(row, body) for row, body in alerts},
                rejected={row: Rejected(reason, detail) for row, reason, detail in rejected},
            )

    def similar(self, wanted: Wanted, among: Sequence[Among], count: int) -> dict[Among, list[Neighbour]]:
        """As `Stream.similar`."""
        found = self.ask("similar", [wanted.offset, wanted.event_id, wanted.record], list(among), count)
        return {kind: msgspec.convert(near, list[Neighbour]) for kind, near in found.items()}

    def embedding_map(self, *, before: Anchors | None, **wanted: Any) -> tuple[EmbeddingMap, Anchors]:
        """As `Stream.embedding_map`."""
        drawn, made = self.ask("embedding_map", wanted, None if before is None else _anchors_as_plain(before))
        return msgspec.convert(drawn, EmbeddingMap), _anchors_from(*made)

    def embedding_report(self) -> EmbeddingReport:
        """As `Stream.embedding_report`."""
        return msgspec.convert(self.ask("embedding_report"), EmbeddingReport)

    def versions(self) -> VersionList:
        """As `Stream.versions`."""
        return msgspec.convert(self.ask("versions"), VersionList)

    def model_card(self, number: int | None) -> ModelCard:
        """As `Stream.model_card`."""
        return msgspec.convert(self.ask("model_card", number), ModelCard)

    def settle(self) -> bool:
        """As `Stream.settle`."""
        return bool(self.ask("settle"))

    def snapshot(self) -> Snapshot:
        """As `Stream.snapshot`."""
        return _snapshot(*_restored(*self.ask("snapshot")))

    def rebase(self, name: str, position: int) -> None:
        """As `Stream.rebase`."""
        self.ask("rebase", name, position)

    def expect_labels(self) -> None:
        """As `Stream.expect_labels`."""
        self.ask("expect_labels")


class RemoteLabels:
    """As `detector.api.labels.Labels`, as far as a detector uses it."""

    def __init__(self, stream: RemoteStream) -> None:
        self._ask = stream.ask

    def __len__(self) -> int:
        return int(self._ask("waiting"))

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self._ask("outcomes"))

    def receipts(self) -> list[bytes]:
        """As `Labels.receipts`."""
        return list(self._ask("receipts"))

    def give(self, records: Sequence[bytes], *, timed: bool) -> None:
        """As `Labels.give`."""
        self._ask("give", list(records), timed)


class _Child:
    """The child process."""

    def __init__(self) -> None:
        place = str(Path(detector.__file__).parents[1])
        path = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "detector.api.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._broken = False
        atexit.register(self.end)

    def ask(self, number: int, what: str, *arguments: Any) -> Any:
        """Send a request and wait for its result."""
        if self._broken:
            raise UsageError(INTERRUPTED)
        self._broken = True
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, [number, what, list(arguments)])
            reply = receive(self._process.stdout)
        except OSError:
            reply = None
        except BaseException:  # interrupted: the reply would be taken for that of a later request
            self.end()
            raise
        if reply is None:
            self.end()
            raise UsageError("the process that computes for this one has ended: make the detector anew")
        self._broken = False
        error, result = reply
        if error:
            raise getattr(errors, error, UsageError)(result)
        return result

    def close_stream(self, number: int) -> None:
        """Let go of a stream."""
        if not self._broken and self._process.poll() is None:
            self.ask(number, "close")

    def end(self) -> None:
        """End the process."""
        self._broken = True
        _child.cache_clear()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@cache
def _child() -> _Child:
    return _Child()


# A fork shares the pipes with its parent: it needs a child of its own.
os.register_at_fork(after_in_child=_child.cache_clear)


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests until there are no more; runs in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent that is interrupted
    streams: dict[int, Stream] = {}
    count = 0
    while (request := receive(requests)) is not None:
        number, what, arguments = request
        try:
            if what == "open":
                count += 1
                streams[count] = _opened(*arguments)
                result: Any = count
            elif what == "close":
                del streams[number]
                result = None
            else:
                result = _answer(streams[number], what, arguments)
        except errors.DetectorError as error:
            send(replies, [type(error).__name__, str(error)])
        else:
            send(replies, ["", result])


def _opened(
    model: bytes,
    identity: Sequence[Any],
    journal: str | None,
    configs: Mapping[str, bytes],
    restored: Restored | None,
) -> Stream:
    topic, group, partition, key = identity
    return Stream(
        ModelPart.from_canonical(model),
        Identity(topic=topic, group=group, partition=partition, entity_key=key),
        journal=None if journal is None else Journal.from_text(journal),
        configs={name: ModelPart.from_canonical(text) for name, text in configs.items()},
        restored=None if restored is None else _restored(*restored),
    )


def _answer(stream: Stream, what: str, arguments: Sequence[Any]) -> Any:
    match what:
        case "take":
            return [_as_plain(outputs) for outputs in stream.take(_records(arguments[0]))]
        case "look":
            return [_looked_as_plain(looked) for looked in stream.look(_records(arguments[0]))]
        case "similar":
            (offset, event_id, record), among, count = arguments
            wanted = Wanted(offset=offset, event_id=event_id, record=record)
            return msgspec.to_builtins(stream.similar(wanted, among, count))
        case "embedding_map":
            wanted, before = arguments
            drawn, made = stream.embedding_map(**wanted, before=before and _anchors_from(*before))
            return [msgspec.to_builtins(drawn), _anchors_as_plain(made)]
        case "embedding_report":
            return msgspec.to_builtins(stream.embedding_report())
        case "versions":
            return msgspec.to_builtins(stream.versions())
        case "model_card":
            return msgspec.to_builtins(stream.model_card(*arguments))
        case "snapshot":
            return to_bytes(stream.snapshot())
        case "waiting":
            return len(stream.labels)
        case "outcomes":
            return dict(stream.labels.outcomes)
        case "receipts":
            return stream.labels.receipts()
        case "give":
            stream.labels.give(arguments[0], timed=arguments[1])
            return None
        case "position" | "event_time" | "gauges":
            return getattr(stream, what)
        case "settle" | "rebase" | "expect_labels":
            return getattr(stream, what)(*arguments)
    raise UsageError(f"the worker cannot {what}")


def _records(rows: Sequence[Sequence[Any]]) -> list[Record]:
    return [Record(offset, timestamp_ms, key, value) for offset, timestamp_ms, key, value, _ in rows]


def _anchors_as_plain(made: Anchors) -> list[Any]:
    return [made.name, made.rows.tobytes(), made.clusters.tobytes(), made.placed.tobytes()]


def _anchors_from(name: str, rows: bytes, clusters: bytes, placed: bytes) -> Anchors:
    return Anchors(
        name,
        np.frombuffer(rows, dtype=np.uint64),
        np.frombuffer(clusters, dtype=np.int64),
        np.frombuffer(placed).reshape(-1, 2),
    )


def _as_plain(outputs: Outputs) -> list[Any]:
    """What a detector uses of outputs."""
    scored = [
        [s.offsets.tobytes(), s.scores.tobytes(), s.quantiles.tobytes(), s.alerted.tobytes()]
        for s in outputs.scored
    ]
    alerts = [[alert.offset, alert.body] for alert in outputs.alerts]
    letters = [[letter.offset, letter.reason, letter.detail] for letter in outputs.dead_letters]
    updates = [[update.offset, update.body] for update in outputs.case_updates]
    return [scored, alerts, updates, letters]


def _outputs_from(found: Sequence[Any]) -> Outputs:
    scored, alerts, updates, letters = found
    return Outputs(
        scored=tuple(map(_scored_from, scored)),
        alerts=tuple(_alert(offset, body) for offset, body in alerts),
        case_updates=tuple(
            CaseUpdate(offset=offset, key=b"", headers=(), body=body, cause="") for offset, body in updates
        ),
        dead_letters=tuple(
            DeadLetter(offset=offset, key=None, value=None, headers=(), reason=reason, detail=detail)
            for offset, reason, detail in letters
        ),
    )


def _scored_from(found: Sequence[bytes]) -> Scored:
    offsets, scores, quantiles, alerted = found
    nothing = np.zeros(0)
    return Scored(
        offsets=np.frombuffer(offsets, dtype=np.int64),
        times=nothing,
        scores=np.frombuffer(scores),
        quantiles=np.frombuffer(quantiles),
        alerted=np.frombuffer(alerted, dtype=bool),
        timestamps_ms=nothing.astype(np.int64),
        ids=(),
        keys=(),
        model_version=0,
    )


def _looked_as_plain(looked: Looked) -> list[Any]:
    alerts = [[row, alert.body] for row, alert in looked.candidates.items()]
    rejected = [[row, why.reason, why.detail] for row, why in looked.rejected.items()]
    return [looked.scores.tobytes(), looked.quantiles.tobytes(), alerts, rejected]


def _alert(offset: int, body: bytes) -> Alert:
    return Alert(offset=offset, key=None, headers=(), body=body, severity="")


def _snapshot(manifest: Manifest, state: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        partition=manifest.partition,
        position=manifest.position,
        since=manifest.since,
        config=manifest.config,
        config_json=manifest.config_json,
        entity_key_id=manifest.entity_key_id,
        versions=manifest.versions,
        state=state,
    )


def _restored(manifest: bytes, state: bytes) -> tuple[Manifest, Mapping[str, Any]]:
    read = read_manifest(manifest)
    return read, read_state(read, state)


def send(pipe: IO[bytes], message: Any) -> None:
    """Write one message."""
    body = msgspec.msgpack.encode(message)
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read one message; None at the end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    return None if len(body) < length else msgspec.msgpack.decode(body)
