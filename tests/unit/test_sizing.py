"""Bounds in bytes: what a partition takes at most, how keys follow from it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config.load import load
from detector.config.tree import PROCESS_BYTES, Config, Model, ModelPart
from detector.core.features import Features, FraudRates, Heat, Layout, Profiles, empty_rows
from detector.core.features.key_table import LOAD_MAX, SLOTS_MIN, WAYS, KeyTable, slots_max
from detector.core.features.levels import LEVELS
from detector.core.features.profile_table import ProfileTable
from detector.core.labels.event_buffer import EventBuffer
from detector.core.records import Identity, Record
from detector.core.shard import sizing
from detector.core.shard.expected import Seen, expected
from detector.core.shard.partition import Partition
from detector.errors import ConfigError
from detector.shell.memory_limit import MemoryLimit, memory_limit
from detector.wiring import memory

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
IDENTITY = Identity(topic="transactions", group="g", partition=0, entity_key=b"k" * 32)
MIB, GIB = 1 << 20, 1 << 30


def config(**changes: Any) -> Config:
    event = {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}, {"name": "shop", "path": "shop"}],
        "fields": [
            {"name": "amount", "path": "amount", "type": "numeric"},
            {"name": "kind", "path": "kind", "type": "categorical"},
            {"name": "place", "path": "lat, lon", "type": "geo"},
        ],
        "exposure": "amount",
    }
    return Config.model_validate({"event": event, **changes})


def keys(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.random.default_rng(seed).integers(1, 1 << 63, count, dtype=np.uint64)


# --- tables ---


@given(st.integers(1, 1 << 26))
def test_a_table_has_whole_buckets_and_room_for_its_keys(keys_max: int) -> None:
    slots = slots_max(keys_max)
    assert slots % WAYS == 0
    assert slots >= SLOTS_MIN
    assert keys_max <= slots * LOAD_MAX + WAYS
    assert slots <= max(SLOTS_MIN, keys_max / LOAD_MAX + WAYS)


@pytest.mark.parametrize("keys_max", [1, 1024, 1500, 3000])
def test_a_full_table_takes_what_it_says(keys_max: int) -> None:
    table = ProfileTable(np.array([60.0, 600.0]), 2, keys_max, 2.0)
    many = keys(4 * keys_max + 4096)
    for start in range(0, len(many), 512):
        some = many[start : start + 512]
        table.reserve(len(some))
        context = np.zeros((len(some), table.width), dtype=np.float32)
        values = np.zeros((len(some), 2))
        table.observe(some, np.full(len(some), float(start)), values, np.ones(4), context)
    assert table.nbytes == table.bytes_max
    assert len(table) <= table.bytes_max // table.row_bytes


def test_a_table_of_any_number_of_buckets_is_restored() -> None:
    table, again = (KeyTable(2, 1500, np.float32) for _ in range(2))
    table.reserve(1500)
    again.load(table.to_state().rows() | {"slots": 3008})
    assert again.nbytes == table.nbytes == table.bytes_max


@pytest.mark.parametrize("loaded", [False, True])
def test_a_table_takes_a_smaller_bound_and_keeps_the_newest_keys(loaded: bool) -> None:
    memories = np.array([60.0, 600.0])
    table, smaller = (ProfileTable(memories, 2, most, 2.0) for most in (8192, 1024))
    seen = keys(8192)
    for start in range(0, len(seen), 512):
        some = seen[start : start + 512]
        table.reserve(len(some))
        context = np.zeros((len(some), table.width), dtype=np.float32)
        times = np.arange(start, start + len(some), dtype=np.float64)
        table.observe(some, times, np.zeros((len(some), 2)), np.ones(4), context)
    state = table.to_state().rows()
    if loaded:
        smaller.load(state)
        table = smaller
    else:
        table.bound(smaller)
    kept = table.to_state().rows()
    assert table.nbytes == smaller.bytes_max
    assert 0.9 * smaller.bytes_max // table.row_bytes < len(table) == len(kept["keys"])
    rows = {key: row.tolist() for key, row in zip(state["keys"].tolist(), state["stats"], strict=True)}
    assert all(
        rows[key] == row.tolist() for key, row in zip(kept["keys"].tolist(), kept["stats"], strict=True)
    )
    oldest = np.sort(state["last"])[: len(seen) // 4]
    assert np.isin(kept["last"], oldest).mean() < 0.01
    again = ProfileTable(memories, 2, 1024, 2.0)
    again.load(kept)
    assert again.to_state().hashed == table.to_state().hashed


# --- the sum over a partition ---


def full(part: ModelPart) -> dict[str, int]:
    """Bytes of all tables of a partition once they have grown to their bounds."""
    model = sizing.fitted(part)
    layout = Layout(part.event, model.features)
    profiles = Profiles(layout, model.features)
    groups: dict[str, list[KeyTable]] = {
        "profiles": profiles.tables,
        "habits and places": profiles.habits.tables,
        "heat": Heat(layout, model.features).tables,
        "fraud rates": FraudRates(layout, model.features).tables,
    }
    for tables in groups.values():
        for table in tables:
            for _ in range(40):
                table.reserve(model.features.pairs_max)
    return {name: sum(table.nbytes for table in tables) for name, tables in groups.items()}


def test_the_tables_of_a_partition_take_what_is_said() -> None:
    bounds = {"features": {"entities_max": 1500, "pairs_max": 5000}}
    part = config(topics={"feedback": "feedback"}, model=bounds).model_part(1)
    parts, taken = sizing.bytes_max(part).parts, full(part)
    assert parts["profiles"] == taken["profiles"]
    assert parts["habits"] + parts["places"] == taken["habits and places"]
    assert parts["heat"] == taken["heat"]
    assert parts["fraud rates"] == taken["fraud rates"]
    alone = sizing.bytes_max(config(model=bounds).model_part(1))
    assert "fraud rates" not in alone.parts


def test_the_label_memory_takes_what_is_said() -> None:
    part = config(topics={"feedback": "feedback"}).model_part(1)
    layout = Layout(part.event, part.model.features)
    inputs, count = len(Features(layout)), 16_384
    labels = part.model.labels.model_copy(update={"buffer_events_max": 4096, "buffer_bytes_max": 1 << 20})
    buffer = EventBuffer(labels, layout, inputs)
    buffer.remember(
        ids=np.arange(count).astype(np.uint64),
        offsets=np.arange(count),
        rows=empty_rows(count, layout),
        inputs=np.zeros((count, inputs), dtype=np.float32),
        plain=np.zeros(count),
        labelled=np.zeros(count),
        alerted=np.arange(count) % 2 == 0,
    )
    state = buffer.to_state()
    held = [
        value for part_of in (state, state["older"]) for name, value in part_of.items() if name != "alerted"
    ]
    taken = sum(value.nbytes for value in held if isinstance(value, np.ndarray))
    said = sizing.label_memory_bytes(part, labels, layout)
    assert 0.9 * said < taken <= said
    without = config().model_part(1)
    assert sizing.label_memory_bytes(without, labels, layout) == 0


def arrays_of(root: Any) -> int:
    """Bytes of all arrays that can be reached from an object."""
    seen: set[int] = set()
    waiting, found = [root], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, np.ndarray):
            while isinstance(one.base, np.ndarray):
                one = one.base
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            found += one.nbytes
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, FunctionType):
            waiting += [cell.cell_contents for cell in one.__closure__ or ()]
        elif isinstance(one, (list, tuple, set)) or type(one).__name__ == "deque":
            waiting += one
        elif not isinstance(one, (type, ModuleType, str, bytes, int, float)):
            waiting += vars(one).values() if hasattr(one, "__dict__") else ()
            names = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [getattr(one, name) for name in names if hasattr(one, name)]
    return found


def test_the_arrays_of_a_partition_with_full_tables_lie_within_the_sum() -> None:
    """All arrays that a real partition holds, whatever part they are of: a new part cannot be forgotten."""
    bounds = {"entities_max": 1024, "pairs_max": 1024}
    part = config(
        topics={"feedback": "feedback"},
        model={
            "features": bounds,
            "labels": {"buffer_events_max": 8192, "buffer_bytes_max": 1 << 20, "labels_max": 16},
            "clusters": {"core_events": 4096},
        },
        alerts={"cases_max": 16},
    ).model_part(1)
    partition = Partition(IDENTITY, part, Partition.begin(part, 0), until=0)
    rng = np.random.default_rng(5)
    cards, shops = rng.integers(0, 9000, (2, 20_000)).tolist()
    records = [
        Record(
            number,
            0,
            None,
            b'{"id":%d,"time":%d,"card":%d,"shop":%d,"amount":%.2f,"kind":"k%d","lat":%.1f,"lon":1}'
            % (
                number,
                1_700_000_000 + 9 * number,
                card,
                shop,
                rng.exponential(9),
                number % 3000,
                number % 50,
            ),
        )
        for number, (card, shop) in enumerate(zip(cards, shops, strict=True))
    ]
    while records:
        step = partition.take(records[:1024])
        records = records[step.consumed :]
        if step.block_ended and (barrier := partition.due({})) is not None:
            partition.barrier(barrier, {})
    sizes = sizing.bytes_max(part)
    parts = sizes.parts
    filled = sum(parts[name] for name in ("profiles", "habits", "places", "heat", "label memory"))
    counted = sizes.state - parts["cases"] - parts["labels"] - parts["fraud rates"]
    assert filled < arrays_of(partition) < counted


# --- what is expected ---


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30_000), st.integers(1, 4_096), st.integers(0, 3))
def test_a_table_grows_as_expected(count: int, keys_max: int, seed: int) -> None:
    table = ProfileTable(np.array([60.0]), 1, keys_max, 2.0)
    seen = keys(count, seed)
    for start in range(0, count, 512):
        some = seen[start : start + 512]
        table.reserve(len(some))
        context = np.zeros((len(some), table.width), dtype=np.float32)
        table.observe(some, np.full(len(some), float(start)), np.zeros((len(some), 1)), np.ones(4), context)
    table.reserve(512)
    slots, held = table.expected(count, 512)
    assert slots * table.row_bytes == table.nbytes
    assert len(table) == pytest.approx(held, rel=0.05, abs=40)


def test_a_partition_holds_what_is_expected_of_what_it_has_seen() -> None:
    """Each group of tables to the byte, a snapshot to a tenth; heat is of fewer keys."""
    event = config().event.model_dump()
    event["fields"] = event["fields"][:2]
    part = Config.model_validate({"event": event}).model_part(1)
    partition = Partition(IDENTITY, part, Partition.begin(part, 0), until=0)
    cards, shops, count = 3_000, 700, 12_288
    kinds = np.random.default_rng(2).integers(0, 50, count).tolist()
    records = [
        Record(
            number,
            0,
            None,
            b'{"id":%d,"time":%d,"card":%d,"shop":%d,"amount":%d.5,"kind":"k%d"}'
            % (number, 1_700_000_000 + number, number % cards, number % shops, number % 97, kind),
        )
        for number, kind in enumerate(kinds)
    ]
    while records:
        step = partition.take(records[:1024])
        records = records[step.consumed :]
        if step.block_ended and (barrier := partition.due({})) is not None:
            partition.barrier(barrier, {})
    wanted = expected(part, Seen(count, {"card": cards, "shop": shops, "kind": 50}))
    scorer = partition._shard._scorer
    assert wanted.parts["profiles"] == sum(table.nbytes for table in scorer.profiles.tables)
    assert wanted.parts["habits"] == sum(table.nbytes for table in scorer.profiles.habits.tables)
    assert wanted.state < sizing.bytes_max(part).state
    tables = sum(wanted.parts[name] for name in ("profiles", "habits", "heat", "fraud rates"))
    assert tables < arrays_of(partition) < wanted.state


def test_more_keys_never_need_less() -> None:
    made = config(topics={"feedback": "feedback"})
    needs = [memory.expected(made, Seen(10**8, {"card": 10**power}, 1000)).total for power in range(3, 9)]
    assert needs == sorted(needs)
    assert needs[0] < needs[-1] < memory.needed(made).total


def test_the_expected_memory_is_said_in_words() -> None:
    text = memory.describe_expected(config(), 10_000, {"card": 5000})
    assert text.startswith("expected after 10,000 events: ")
    assert "2 partitions" in text


# --- keys follow from the memory ---


def test_small_tables_stay_as_they_are() -> None:
    part = config(model={"features": {"entities_max": 20_000, "pairs_max": 40_000}}).model_part(1)
    assert sizing.fitted(part) == part.model


@settings(max_examples=15, deadline=None)
@given(st.integers(1 * GIB, 40 * GIB), st.integers(1, 8))
def test_a_partition_fits_its_share_and_fills_it(bytes_: int, partitions: int) -> None:
    made = config(
        memory_bytes_max=bytes_,
        memory_partitions_max=partitions,
        model={"features": {"entities_max": 1 << 26, "pairs_max": 1 << 26}},
    )
    part = made.model_part(3)
    need = memory.needed(made)
    if sizing.fits(part):
        assert need.total <= bytes_
        smallest = sizing.fitted(part).features.entities_max == sizing.KEYS_MIN
        assert smallest or sizing.bytes_max(part).total > 0.98 * (part.memory_bytes_max or 0)


def test_more_memory_never_holds_fewer_keys() -> None:
    held = [
        sizing.fitted(config(memory_bytes_max=bytes_).model_part(1)).features.entities_max
        for bytes_ in range(1 * GIB, 12 * GIB, GIB)
    ]
    assert held == sorted(held)
    assert held[0] < held[-1]


def test_a_partition_has_the_same_tables_whoever_owns_it() -> None:
    made = config(memory_bytes_max="2GiB")
    assert {sizing.keys_of(sizing.fitted(made.model_part(count))) for count in (1, 2, 64)} == {
        sizing.keys_of(sizing.fitted(made.model_part(1)))
    }


def test_without_a_bound_keys_alone_bound_the_tables() -> None:
    part = config(memory_bytes_max=None).model_part(1)
    assert part.memory_bytes_max is None
    assert sizing.fitted(part) == part.model


@pytest.mark.parametrize(
    ("text", "bytes_"), [("2GiB", 2 << 30), ("1.5 GiB", 3 << 29), ("2GB", 2_000_000_000), (1 << 30, 1 << 30)]
)
def test_sizes_are_numbers_or_texts(text: str | int, bytes_: int) -> None:
    assert config(memory_bytes_max=text).memory_bytes_max == bytes_


# --- against the limit ---


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_configuration_fits_its_own_limit(path: Path) -> None:
    made = load(path)
    assert made.memory_bytes_max is not None
    assert sizing.fits(made.model_part(1))
    assert memory.needed(made).total <= made.memory_bytes_max


def test_what_cannot_fit_is_refused_with_the_keys_to_change() -> None:
    limit = MemoryLimit(2 << 30, "control group")
    with pytest.raises(ConfigError) as refused:
        memory.check_memory(config(), limit, "c.yaml")
    for words in (
        "4GiB",
        "2GiB (control group)",
        "memory_partitions_max",
        "entities_max",
        "memory_check: false",
    ):
        assert words in str(refused.value)
    memory.check_memory(config(memory_check=False), limit, "c.yaml")
    memory.check_memory(config(memory_bytes_max="2GiB"), limit, "c.yaml")
    memory.check_memory(config(), None, "c.yaml")


def test_a_memory_that_is_too_small_for_the_smallest_tables_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"memory_bytes_max: got 512MiB, expected at least"):
        memory.check_memory(config(memory_bytes_max="512MiB", memory_partitions_max=9), None, "c.yaml")


def test_more_partitions_than_the_memory_is_meant_for_are_a_warning() -> None:
    assert memory.owned_warning(config(memory_partitions_max=2), 2) == []
    (warning,) = memory.owned_warning(config(memory_partitions_max=2), 3)
    assert "owns 3 partitions" in warning


def test_the_need_is_said_in_words() -> None:
    text = memory.describe(config(), MemoryLimit(8 << 30, "machine"))
    assert "of 8GiB (machine) with 2 partitions" in text
    assert memory.needed(config()).total > PROCESS_BYTES


@pytest.mark.parametrize(
    ("files", "bytes_"),
    [
        ({"sys/fs/cgroup/memory.max": "2147483648\n"}, 2 << 30),
        ({"sys/fs/cgroup/memory.max": "max\n"}, 8 << 30),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 30),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"}, 1 << 30),
        (
            {
                "proc/self/cgroup": "0::/pods/one\n",
                "sys/fs/cgroup/pods/memory.max": "1073741824",
                "sys/fs/cgroup/pods/one/memory.max": "max",
            },
            1 << 30,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/one\n4:cpu:/two\n",
                "sys/fs/cgroup/memory/one/memory.limit_in_bytes": "3221225472",
            },
            3 << 30,
        ),
    ],
)
def test_the_limit_is_that_of_the_control_group_else_the_machine(
    files: dict[str, str], bytes_: int, tmp_path: Path
) -> None:
    for name, text in {"proc/meminfo": "MemTotal:        8388608 kB\n", **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = memory_limit(tmp_path)
    assert found is not None
    assert found.bytes == bytes_
    assert found.source == ("machine" if bytes_ == 8 << 30 else "control group")


def test_a_machine_that_says_nothing_has_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None


# --- the formula of the documentation ---


def explained(part: ModelPart, model: Model) -> int:
    """Bytes of the tables by docs/explanation/memory.md, without those of everything together."""
    event, features = part.event, model.features
    entities = len(event.entities)
    of = {
        kind: sum(field.type == kind for field in event.fields) for kind in ("numeric", "categorical", "geo")
    }
    numerics, categories, places = of["numeric"], of["categorical"], of["geo"]
    memories, followed = len(features.half_lives), min(numerics, 2)
    contacts = entities - 1 + categories
    by_entity = [(memories * (1 + 3 * numerics) + numerics, 4)] * entities
    by_entity += [(1 + 4 * followed, 4)] * categories
    by_entity += [(4, 8)] * entities + [(24, 4), (7, 4), (8, 4), (1 + contacts, 8)]
    by_entity += [(8, 4)] * categories
    by_entity += [(4, 8)] * 2 * (entities - 1) + [(3 * (entities - 1), 8)] * (entities - 1)
    by_entity += [(2, 8)] * entities
    by_entity += [(16 + LEVELS, 4)] * places + [(3, 4)] * places * entities
    by_entity += [(2, 4)] + [(1, 4)] * (entities - 1)
    by_entity += [(2 * memories + 4, 8)] * entities + [(6, 8)] * categories
    by_pair = [(0, 4)] * entities + [(2, 4)] * (entities - 1) + [(2 + 4 * followed, 4)] * categories
    rows = sum(16 + numbers * size for numbers, size in by_entity) * features.entities_max
    return 2 * (rows + sum(16 + numbers * size for numbers, size in by_pair) * features.pairs_max)


@pytest.mark.parametrize(
    "fields", ["numeric", "numeric categorical geo", "numeric numeric numeric categorical geo"]
)
@pytest.mark.parametrize("entities", [1, 2, 4])
def test_the_formula_of_the_documentation_gives_the_bytes_of_the_tables(fields: str, entities: int) -> None:
    event = config().event.model_dump()
    paths = {"geo": "lat, lon"}
    event["fields"] = [
        {"name": f"f{number}", "path": paths.get(kind, f"f{number}"), "type": kind}
        for number, kind in enumerate(fields.split())
    ]
    event["entities"] = [{"name": f"e{number}", "path": f"e{number}"} for number in range(entities)]
    event["exposure"] = "f0"
    topics = {"feedback": "feedback"}
    part = Config.model_validate({"event": event, "topics": topics}).model_part(1)
    parts = sizing.bytes_max(part, part.model).parts
    tables = sum(parts[name] for name in ("profiles", "habits", "places", "heat", "fraud rates"))
    assert tables == pytest.approx(explained(part, part.model), rel=0.002)
