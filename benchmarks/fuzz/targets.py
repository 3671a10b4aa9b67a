"""The targets of fuzzing, and the invariant of each: no exception but our own errors is raised."""

from __future__ import annotations

import hashlib
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from benchmarks.fuzz import files
from benchmarks.fuzz.mutate import Mutator
from benchmarks.speed import formats
from detector.config.load import effective, load
from detector.config.tree import Config, Event, ModelPart
from detector.core.events import BlockReader, ParsedEvent, Parser, Rejected
from detector.core.labels.commands import Malformed, feedback_time, read_command
from detector.core.labels.peer_messages import Exchange
from detector.core.records import Identity, Outputs, Record
from detector.core.recovery.checkpoint import encode, name_of, read_manifest, read_state
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SideRange
from detector.core.shard.partition import Partition
from detector.core.shard.warm_start import _MAGIC as MAGIC
from detector.core.shard.warm_start import _SEAL_BYTES as SEAL_BYTES
from detector.core.shard.warm_start import export_model, read_model
from detector.core.state import pack, unpack
from detector.errors import CheckpointDamaged, ConfigError, DetectorError, NeedsOperator

CONFIGS = Path(__file__).parents[2] / "configs"
IDENTITY = Identity(topic="transactions", group="fuzz", partition=0, entity_key=b"fuzz")
BATCH = 64  # records handed to a shard in one go
SMALL: dict[str, Any] = {  # small bounds, so that growth beyond them is seen soon
    "features": {"entities_max": 4096, "pairs_max": 4096},
    "barriers": {"block_events": 64, "every_events": 4096, "early_events_min": 64},
    "calibration": {"warm_up_events": 256, "memory_events": 2048},
    "clusters": {"core_events": 512, "memory_events": 2048, "count_max": 32},
    "encoder": {"hidden": 16, "dimension": 8, "hash_rows": 256},
    "labels": {"buffer_events_max": 2048, "labels_max": 64},
}


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Broken(AssertionError):
    """An invariant was violated."""


class Target(ABC):
    """Something that reads external data."""

    name: str

    @abstractmethod
    def mutator(self, seed: int) -> Mutator:
        """The mutator of its inputs."""

    @abstractmethod
    def check(self, data: bytes) -> str:
        """Read one input; returns its outcome. Any exception is a failure."""

    def finish(self) -> dict[str, int]:
        """Counts at the end, by outcome of an input in a batch."""
        return {}


class Events(Target):
    """Records through a real partition with one preset's schema.

    Invariant: each record is scored or rejected, once; a dead letter holds the original; scores are finite.
    """

    def __init__(self, preset: str, *, alone: bool = False) -> None:
        self.name = f"events-{preset}"
        self._preset, self._alone, self._single_out = preset, False, False
        event = load(CONFIGS / f"{preset}.yaml").event
        self._seeds = [json.dumps(one).encode() for one in _examples(event, 1000)]
        tree = event.model_dump() | {"duplicates": {"horizon_events": 64}}
        self._config = ModelPart.model_validate(
            {"event": tree, "model": SMALL, "alerts": {"budget": {"share": 0.1}}}
        )
        self._parser = Parser(self._config.event, IDENTITY.entity_key)
        self._partition = Partition(IDENTITY, self._config, Partition.begin(self._config, 0), until=0)
        self._records: list[Record] = []
        self._counts: dict[str, int] = {}
        self._offset = 0
        for one in self._seeds[: 8 * BATCH]:  # a model exists, and the kernels are compiled
            self.check(one)
        self._counts = {"scored": 0, "alerts": 0}
        # One record at a time; else search a failed batch for the record.
        self._alone, self._single_out = alone, not alone

    def mutator(self, seed: int) -> Mutator:
        return Mutator(self._seeds, seed)

    def check(self, data: bytes) -> str:
        outcome = (
            "read" if isinstance(self._parser.parse(Record(0, 0, None, data)), ParsedEvent) else "not read"
        )
        headers = (("traceparent", data[:64]), ("x", data[:8])) if self._offset % 3 else ()
        self._records.append(Record(self._offset, 0, data[:16] or None, data, headers))
        self._offset += 1
        if len(self._records) == (1 if self._alone else BATCH):
            try:
                self._take()
            except Exception as error:
                error.data = data if self._alone else getattr(error, "data", data)  # type: ignore[attr-defined]
                raise
        return outcome

    def finish(self) -> dict[str, int]:
        self._take()
        return self._counts

    def _take(self) -> None:
        records, self._records = self._records, []
        try:
            self._process(records)
        except Exception as error:
            if not self._single_out:
                raise
            for record in records:  # find the one that failed
                Events(self._preset, alone=True).check(record.value or b"")
            raise Broken("only all of these records together break it") from error

    def _process(self, records: Sequence[Record]) -> None:
        while records:
            step = self._partition.take(records)
            self._look(step.outputs, records[: step.consumed])
            records = records[step.consumed :]
            if step.block_ended and (barrier := self._partition.due({})) is not None:
                self._partition.barrier(barrier, {})
            if len(self._partition.journal.barriers) > 100:  # as after a checkpoint
                self._partition.rebase("00000/0-0", self._partition.position)

    def _look(self, outputs: Outputs, taken: Sequence[Record]) -> None:
        scored = [offset for s in outputs.scored for offset in s.offsets.tolist()]
        dead = [letter.offset for letter in outputs.dead_letters]
        if sorted(scored + dead) != [record.offset for record in taken]:
            raise Broken("received is not scored + rejected")
        by_offset = {record.offset: record for record in taken}
        for letter in outputs.dead_letters:
            record = by_offset[letter.offset]
            same = letter.value == record.value and letter.key == record.key
            if not same or letter.headers[: len(record.headers)] != record.headers:
                raise Broken("a dead letter is not the original")
            self._counts[letter.reason] = self._counts.get(letter.reason, 0) + 1
        if not all(np.isfinite(s.scores).all() for s in outputs.scored):
            raise Broken("a score is not finite")
        for alert in outputs.alerts:
            json.loads(alert.body)
        for name, count in (("scored", len(scored)), ("alerts", len(outputs.alerts))):
            self._counts[name] = self._counts.get(name, 0) + count


class FormatReader(Target):
    """Records of one format or envelope.

    Invariant: a record is an event, or there is a reason; many at once are read as each alone; an accepted
    event can be shown as JSON.
    """

    def __init__(self, name: str) -> None:
        self.name = f"format-{name.replace(', ', '-').replace(' ', '-')}"
        codec = formats.codecs()[name]
        event = Event.model_validate({**formats.TREE, **codec.changes})
        self._parser = Parser(event, IDENTITY.entity_key, resources=codec.resources)
        self._reader = BlockReader(event, IDENTITY.entity_key, resources=codec.resources)
        self._examples = formats.records(codec, formats.events(64))
        head = (self._examples[0].value or b"")[:6]
        self._frame = head[: 6 if name == "protobuf" else 5] if head[:1] == b"\0" else b""
        self._batch: list[tuple[Record, ParsedEvent | Rejected]] = []
        self._reader.read(self._examples)  # the kernels are compiled

    def mutator(self, seed: int) -> Mutator:
        frame = self._frame
        return Mutator(
            [record.value or b"" for record in self._examples],
            seed,
            lambda data: json.loads(data[len(frame) :]),
            lambda tree: frame + json.dumps(tree).encode(),
        )

    def check(self, data: bytes) -> str:
        if len(data) % 4:  # else a wrong frame hides what is behind it
            data = self._frame + data[len(self._frame) :]
        record = self._examples[0]._replace(value=data)
        if record.headers and len(data) % 3 == 0:
            headers = list(record.headers)
            one = len(data) % len(headers)
            headers[one] = headers[one][0], data[-40:]
            record = record._replace(headers=tuple(headers))
        parsed = self._parser.parse(record)
        if isinstance(parsed, ParsedEvent):
            json.loads(self._parser.view(record).document)
        self._batch.append((record, parsed))
        if len(self._batch) == BATCH:
            self.finish()
        return "read" if isinstance(parsed, ParsedEvent) else parsed.reason

    def finish(self) -> dict[str, int]:
        batch, self._batch = self._batch, []
        events, rejected = self._reader.read([record for record, _ in batch])
        for row, (record, parsed) in enumerate(batch):
            if repr(rejected.get(row) or events[row]) != repr(parsed):
                error = Broken(f"alone: {parsed!r:.500}; in a block: {rejected.get(row)!r:.500}")
                error.data = record.value  # type: ignore[attr-defined]
                raise error
        return {}


class ConfigFile(Target):
    """Invariant: a ConfigError, or a configuration that makes a parser and is equal after being written."""

    name = "config"

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "config.yaml"
        self._seeds = [_yaml(_brief(load(p))) for p in sorted(CONFIGS.glob("*.yaml"))]

    def mutator(self, seed: int) -> Mutator:
        return Mutator(self._seeds, seed, lambda text: yaml.load(text, _LOADER), _yaml)

    def check(self, data: bytes) -> str:
        self._path.write_bytes(data)
        try:
            config = load(self._path)
        except ConfigError as error:
            if len(str(error)) > 1 << 20:
                raise Broken("a message of more than 1 MiB") from error
            return "refused"
        Parser(config.event, IDENTITY.entity_key)
        part = config.model_part(3)
        if ModelPart.from_canonical(part.canonical()) != part:
            raise Broken("its canonical form means something else")
        if data[-1] % 8:  # writing it out takes ten times as long
            return "accepted"
        self._path.write_text(effective(config))
        if load(self._path) != config:
            raise Broken("written out it means something else")
        return "accepted"


class Overrides(Target):
    """Texts given by --set and by the environment; the same invariant as for files."""

    name = "config-set"

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "config.yaml"
        self._path.write_text("event: {id: id, time: {path: time}, entities: [{name: card, path: card}]}")

    def mutator(self, seed: int) -> Mutator:
        seeds = [
            b"kafka.group_id=x",
            b"event.fields.0={name: a, path: b, type: numeric}",
            b"http.address=[::]:1",
            b"event.entities[1].name=shop",
            b"alerts.budget={per_day: 5}",
            b"kafka.bootstrap_servers=a:1,b:2",
            b"event.time.late.after=1h",
            b"checkpoints.url=s3://bucket/x",
            b"model.features.half_lives=[1h, 2h]",
        ]
        return Mutator(seeds, seed, None)

    def check(self, data: bytes) -> str:
        text = data.decode(errors="replace")
        name, _, value = text.partition("=")
        try:
            load(self._path, [text], {"DETECTOR__" + name.upper().replace(".", "__"): value})
        except ConfigError:
            return "refused"
        return "accepted"


class Plain(Target):
    """A function from bytes, and which of our errors it may raise."""

    def __init__(
        self,
        name: str,
        seeds: Sequence[bytes],
        read: Callable[[bytes], str],
        may_raise: tuple[type[DetectorError], ...] = (),
        **trees: Any,
    ) -> None:
        self.name = name
        self._seeds, self._read, self._may_raise, self._trees = seeds, read, may_raise, trees

    def mutator(self, seed: int) -> Mutator:
        return Mutator(self._seeds, seed, **self._trees)

    def check(self, data: bytes) -> str:
        try:
            return self._read(data)
        except self._may_raise as error:
            return type(error).__name__


class Side(Target):
    """Records of a side topic, one by one and then many at a barrier of a shard.

    Invariant: each record has one outcome.
    """

    def __init__(self, name: str, seeds: Sequence[bytes], read: Callable[[bytes], str], **trees: Any) -> None:
        self.name = name
        self._seeds, self._read, self._trees = seeds, read, trees
        self._shard = _partition(events=1000)._shard
        self._waiting: list[tuple[int, bytes]] = []
        self._counts: dict[str, int] = {}

    def mutator(self, seed: int) -> Mutator:
        return Mutator(self._seeds, seed, **self._trees)

    def check(self, data: bytes) -> str:
        outcome = self._read(data)
        self._waiting.append((len(self._waiting), data))
        if len(self._waiting) == 256:
            self._apply()
        return outcome

    def finish(self) -> dict[str, int]:
        self._apply()
        return self._counts

    def _apply(self) -> None:
        waiting, self._waiting = self._waiting, []
        outcomes = self._shard.barrier({self.name: waiting})[self.name]
        if self.name == "exchange":
            outcomes = self._shard.exchange.collect()[1]
            outcomes.pop("published", None)
        outcomes.pop("read", None)
        if sum(outcomes.values()) != len(waiting):
            raise Broken("a record has no outcome, or two")
        for outcome, count in outcomes.items():
            self._counts[f"at a barrier: {outcome}"] = self._counts.get(f"at a barrier: {outcome}", 0) + count


def targets() -> dict[str, Callable[[], Target]]:
    """All targets by name; making one may take seconds."""
    made: dict[str, Callable[[], Target]] = {
        f"events-{path.stem}": lambda preset=path.stem: Events(preset)  # type: ignore[misc]
        for path in sorted(CONFIGS.glob("*.yaml"))
    }
    for name in formats.codecs():
        reader = partial(FormatReader, name)
        made[reader().name] = reader
    may_raise = NeedsOperator, CheckpointDamaged
    return made | {
        "config": ConfigFile,
        "config-set": Overrides,
        "journal": lambda: Plain("journal", [_journal()], _read_journal, (NeedsOperator,)),
        "manifest": lambda: Plain(
            "manifest", [_checkpoint()[0]], _read_manifest, may_raise, to_tree=unsealed, to_bytes=sealed
        ),
        "state": lambda: Plain(
            "state", [_small_state()], _read_packed, (CheckpointDamaged,), to_tree=unpack, to_bytes=pack
        ),
        "model": lambda: Plain(
            "model", [_model()], _read_model, may_raise, to_tree=_model_tree, to_bytes=_model_bytes
        ),
        **{
            f"files-{kind}": lambda kind=kind: Plain(  # type: ignore[misc]
                f"files-{kind}", files.seeds(kind), files.read, (NeedsOperator,), to_tree=None
            )
            for kind in ("json", "csv", "packed", "table")
        },
        "first-config": lambda: Plain(
            "first-config",
            [*files.undated(), *files.seeds("json"), *files.seeds("csv")],
            files.first_config,
            (NeedsOperator, ConfigError),
            to_tree=None,
        ),
        "feedback": lambda: Side("feedback", _feedback(), _read_feedback),
        "exchange": lambda: Side(
            "exchange",
            _messages(),
            _read_message,
            to_tree=msgspec.msgpack.decode,
            to_bytes=msgspec.msgpack.encode,
        ),
    }


# --- valid inputs -----------------------------------------------------------------------------------------


def _examples(event: Event, count: int) -> list[dict[str, Any]]:
    """Events that a schema reads, with values of every kind."""
    rng = np.random.default_rng(0)
    examples = []
    for number in range(count):
        tree: dict[str, Any] = {}
        _put(tree, event.id, f"e-{number}" if number % 2 else number)
        _put(
            tree,
            event.time.path,
            (f"2024-03-01T{number // 60 % 24:02}:{number % 60:02}:00Z", 1.7e9 + number)[number % 2],
        )
        for entity in event.entities:
            _put(tree, entity.path, (f"k{rng.integers(50)}", int(rng.integers(50)), "käufer")[number % 3])
        for value in event.fields:
            numeric = float(np.round(rng.lognormal(3.0), 2))
            plain = {
                "numeric": numeric,
                "categorical": f"c{rng.integers(5)}",
                "text": f"some words {rng.integers(99)}",
            }
            for path in value.path.split(", "):  # a place has two
                _put(tree, path, plain.get(value.type, float(rng.uniform(-90.0, 90.0))))
        if event.reversals is not None and number % 20 == 0:
            _put(tree, event.reversals.path, event.reversals.values[0])
        tree["more"] = {"list": [1, 2.5, None, True, 'a\\"b'], "deep": {"er": {"still": []}}}
        examples.append(tree)
    return examples


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *folders, leaf = path.split(".")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[leaf] = value


def _yaml(tree: Any) -> bytes:
    return bytes(yaml.dump(tree, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, encoding="utf-8"))


def _brief(config: Config) -> dict[str, Any]:
    """A short configuration, as most of the time is spent reading YAML."""
    event = config.model_dump(mode="json", exclude_defaults=True)["event"]
    event["fields"] = list(event.get("fields", []))[:3]
    if event.get("exposure") not in {field["name"] for field in event["fields"]}:
        event.pop("exposure", None)
    return {
        "event": event,
        "alerts": {"cooldown": "1h"},
        "topics": {"feedback": "labels"},
        "log": {"level": "info"},
    }


def handbook(events: int) -> tuple[ModelPart, list[Record]]:
    """A small model's configuration, with feedback and exchange, and records for it."""
    event = load(CONFIGS / "handbook.yaml").event
    config = ModelPart.model_validate({"event": event.model_dump(), "model": SMALL, "exchange": True})
    return config, [
        Record(number, 0, None, json.dumps(one).encode())
        for number, one in enumerate(_examples(event, events))
    ]


def _partition(events: int) -> Partition:
    """A partition that has learned."""
    config, records = handbook(events)
    config = config.model_copy(update={"receipts": True})  # it answers what no shard knows, too
    partition = Partition(IDENTITY, config, Partition.begin(config, 0), until=0)
    while records:
        step = partition.take(records)
        records = records[step.consumed :]
        if step.block_ended and (barrier := partition.due({})) is not None:
            partition.barrier(barrier, {})
    return partition


@cache
def _checkpoint() -> tuple[bytes, bytes]:
    """Manifest and state."""
    partition = _partition(events=64 * 15)
    assert partition.snapshot is not None
    _, manifest, state = encode(partition.snapshot())
    return manifest, state


def _model() -> bytes:
    manifest, state = _checkpoint()
    known = read_manifest(manifest)
    return export_model(known, read_state(known, state))


def _journal() -> bytes:
    barriers = (
        Barrier(
            position=356, cause="every", sides={"feedback": SideRange(3, 5), "exchange": SideRange(4, 9)}
        ),
        Barrier(position=612, cause="config", sides={"feedback": SideRange(7, 9)}, config="1" * 12),
    )
    journal = Journal(
        checkpoint="00000/00000000000000000100-0123456789ab",
        position=100,
        config="0" * 12,
        sides={"feedback": 3, "exchange": 4},
        barriers=barriers,
    )
    return journal.to_text().encode()


def _small_state() -> bytes:
    tree = {
        "a": {"b": np.arange(5), "c": np.zeros((2, 3), np.float16)},
        "n": 3,
        "t": "x",
        "none": None,
        "l": [1, "a"],
    }
    return pack(tree)


def _feedback() -> list[bytes]:
    base = {"time": "2024-03-02T00:00:00Z", "label": "fraud"}
    lines: list[dict[str, Any]] = [
        {**base, "event_id": "e-941", "feedback_id": "f", "actor": "ann", "reason": "called"},
        {**base, "event_id": 940, "label": "legitimate", "entities": {"customer": "k1"}},
        {**base, "topic": "transactions", "partition": 0, "offset": 930, "label": "retracted"},
        {**base, "kind": "note", "until": 1.7e9},
    ]
    return [json.dumps(line).encode() for line in lines]


def _messages() -> list[bytes]:
    peer = Exchange(Identity(topic="transactions", group="fuzz", partition=1, entity_key=b"fuzz"))
    messages = _partition(events=1000)._shard._peers.publish()
    peer.publish(7, [*messages, ("frauds", {"n": np.arange(3), "x": np.zeros((2, 3), np.float32)})])
    return list(peer.collect()[0])


# --- readers, with their invariants ---------------------------------------------------------------------


def _read_journal(data: bytes) -> str:
    journal = Journal.from_text(data.decode(errors="replace"))
    if Journal.from_text(journal.to_text()) != journal:
        raise Broken("a journal differs after being written and read")
    return "read"


def _read_manifest(data: bytes) -> str:
    manifest = read_manifest(data)
    if min(manifest.since.ends.values()) < 0:
        raise Broken("a position below 0")
    return "read"


def _read_packed(data: bytes) -> str:
    tree = unpack(data)
    if unpack(pack(tree)).keys() != tree.keys():
        raise Broken("a state differs after being packed and unpacked")
    return "read"


def _read_model(data: bytes) -> str:
    read_model(data)
    return "read"


def _read_feedback(data: bytes) -> str:
    time = feedback_time(data)
    if time is not None and not np.isfinite(time):
        raise Broken("a time that is not finite")
    return "nothing" if isinstance(read_command(data), Malformed) else "read"


def _read_message(data: bytes) -> str:
    alone = Exchange(IDENTITY)
    alone.receive([(0, data)], lambda kind, arrays: sum(array.nbytes for array in arrays.values()) >= 0)
    (outcome,) = alone.collect()[1]
    return outcome


# --- checksums are removed and added again, so that more than the checksum is tested ---------------------


def unsealed(manifest: bytes) -> Any:
    return json.loads(manifest.rsplit(b"\n", 2)[0])


def sealed(document: Any) -> bytes:
    """Write a manifest with the checksum of its content, and the name if it can have one."""
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        document["name"] = name_of({key: value for key, value in document.items() if key != "name"})
    return checksummed(document)


def checksummed(document: Any) -> bytes:
    """Write a manifest with the checksum of its content, and the name that it says."""
    body = json.dumps(document, indent=1)
    return f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n".encode()


def _model_tree(model: bytes) -> Any:
    return unpack(model[len(MAGIC) + SEAL_BYTES :])


def _model_bytes(tree: Any) -> bytes:
    body = pack(tree)
    return MAGIC + hashlib.sha256(body).digest() + body
