"""A block of records gives the same as its records one by one, whatever they contain."""

from __future__ import annotations

import json
import math
from collections import deque
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.config.tree import Event
from detector.core.events import ParsedEvent, Parser, Rejected, id_hash
from detector.core.events.admission import Admission
from detector.core.events.block_reader import BlockReader, Events
from detector.core.events.event_time import AHEAD_MIN_S, AHEAD_PACES, MIDDLE, OLDER, WINDOW, EventTime
from detector.core.events.kinds.categorical import Categorical
from detector.core.events.values import HashCache
from detector.core.records import Record

KEY = b"a secret of the tests"
PLAIN: dict[str, Any] = {
    "id": "id",
    "time": {"path": "time"},
    "entities": [{"name": "card", "path": "card"}],
    "fields": [{"name": "amount", "path": "amount", "type": "numeric", "optional": False}],
    "duplicates": {"horizon_events": 3},
}
RICH: dict[str, Any] = {
    "id": "tx.id",
    "time": {"path": "tx.time", "zone": "Europe/Berlin", "late": {"after": 60.0, "action": "reject"}},
    "entities": [
        {"name": "card", "path": "card", "optional": True},
        {"name": "shop", "path": "shop.id", "optional": True},
    ],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric"},
        {"name": "country", "path": "shop.country", "type": "categorical"},
        {"name": "kind", "path": "kind", "type": "categorical"},
        {"name": "note", "path": "note", "type": "text"},
        {"name": "memo", "path": "tx.memo", "type": "text"},
        {"name": "fee", "path": "shop.fee", "type": "numeric", "use": "context"},
        {"name": "channel", "path": "channel", "type": "categorical", "use": "segment"},
    ],
    "duplicates": {"horizon_events": 5},
    "reversals": {"path": "kind", "values": ["reversal", "true"], "original": "tx.of"},
}
STRICT: dict[str, Any] = {
    "id": "id",
    "time": {"path": "time", "format": "epoch_ms", "late": {"after": 60.0}},
    "entities": [{"name": "card", "path": "card"}],
    "fields": [
        {"name": "kind", "path": "kind", "type": "categorical", "optional": False},
        {"name": "note", "path": "note", "type": "text", "optional": False},
    ],
    "duplicates": {"horizon_events": 4, "action": "score"},
    "limits": {
        "bytes_max": 300,
        "depth_max": 2,
        "key_chars_max": 8,
        "text_chars_max": 12,
        "members_max": 12,
        "name_chars_max": 9,
    },
}
BARE: dict[str, Any] = {
    "id": "id",
    "time": {"path": "time", "format": "iso8601"},
    "entities": [],
    "fields": [{"name": "amount", "path": "amount", "type": "numeric"}],
    "duplicates": None,
    "limits": {"members_max": None, "name_chars_max": None},
}
NAMELESS: dict[str, Any] = {
    "id": None,
    "time": {"path": None, "step": "1h"},
    "entities": [{"name": "card", "path": "card", "optional": True, "missing": ["a", "1"]}],
    "fields": [
        {"name": "amount", "path": "amount", "type": "numeric", "number": {"decimal": ",", "thousands": "."}},
        {"name": "fee", "path": "shop.fee", "type": "numeric", "optional": False},
        {"name": "kind", "path": "kind", "type": "categorical", "missing": ["", "b", "12"]},
        {"name": "note", "path": "note", "type": "text"},
        {"name": "place", "path": "lat, lon", "type": "geo"},
    ],
    "missing": ["", "1", "-1", "12"],
}
TREES = {"plain": PLAIN, "rich": RICH, "strict": STRICT, "bare": BARE, "nameless": NAMELESS}
for form in ("epoch_s", "epoch_us", "epoch_ns", "date", "steps", "%Y-%m-%d %H:%M:%S", "%Y%m%d"):
    TREES[form] = {
        **PLAIN,
        "time": {"path": "time", "format": form, "step": 60.0, "zone": "America/New_York"},
    }
SCHEMAS = {name: Event.model_validate(tree) for name, tree in TREES.items()}

texts = st.sampled_from(
    [
        "",
        " ",
        "a",
        "b",
        "Two  COFFEES",
        "Zoë und Łukasz",
        "日本語 テキスト 😀",
        "x" * 70,
        "1",
        "true",
        "\ud800",
    ]
)
odd = st.sampled_from(
    [
        *[None, True, False, 0, 1, 1.0, -1.5, 10**20, 10**400, [], {}, "NaN", "1e999", "x" * 2000],
        *[math.nan, math.inf, -math.inf, 2**53 + 1, 2**60, 2.0**60, 12.0, -0.0, 1e300, {"x": []}],
        *["NA", "null", "-"],
    ]
)
numbers = (
    st.floats(-1e6, 1e6)
    | st.integers(-5, 5)
    | st.sampled_from(["12.5", " 7 ", "1_0", "１２", 1e308, math.nan, True])
    | st.sampled_from(["-$1.00", "(5.00)", "1.234,50 €", "12,99", "1,234.50", "NA", "--1", "$", "inf"])
)
times = st.one_of(
    st.integers(0, 200).map(lambda s: f"{datetime.fromtimestamp(1.7e9 + s, UTC):%Y-%m-%dT%H:%M:%SZ}"),
    st.datetimes(datetime(1969, 12, 31), datetime(2201, 1, 1)).map(datetime.isoformat),
    st.integers(0, 200).map(lambda s: 1.7e9 + s),
    st.integers(0, 200).map(lambda s: 1000 * (1_700_000_000 + s)),
    st.sampled_from(["2024-02-30T00:00:00", "2024-03-31 02:30:00", "20240301T120000Z", "2024-03-01", "1e9"]),
    st.integers(0, 200).map(lambda s: 1_000_003 * (1_700_000_000 + s)),
    st.integers(0, 200).map(lambda s: 1_000_000_007 * (1_700_000_000 + s)),
    st.sampled_from(
        [20240301, 20240301.0, 20240230, 202403011230, 20240301123000, 5 * 10**10, "NA", math.nan]
    ),
    st.sampled_from(
        ["20240301", "2024-03-01 12:00:00 UTC", "2024-03-01 12:00:00 UTX", "2024-02-30", "1970-01-01"]
    ),
    st.sampled_from(
        ["2024-03-01T12:00:00+01:00[Europe/Paris]", "2024-03-01Z", "1700000000000000001", 10**30]
    ),
    st.floats(0, 4e18) | st.integers(0, 4 * 10**18),
)


def mostly(usual: Any) -> Any:
    """Now and then something else, or nothing at all."""
    return st.one_of(*[usual] * 12, odd, st.just(...))


events = st.fixed_dictionaries(
    {
        "id": mostly(st.integers(0, 12) | st.integers(0, 12).map(str)),
        "time": mostly(times),
        "card": mostly(texts | st.integers(0, 3)),
        "amount": mostly(numbers),
        "kind": mostly(texts | st.just("reversal")),
        "note": mostly(texts),
        "channel": mostly(texts),
        "of": mostly(st.integers(0, 12)),
        "lat": mostly(st.floats(-91, 91)),
        "lon": mostly(st.floats(-181, 181)),
        "shop": mostly(
            st.fixed_dictionaries({"id": odd | texts, "country": odd | texts, "fee": odd | numbers})
        ),
        "more": mostly(st.none() | st.sampled_from([{"a": {"b": {}}}, [1] * 20, {"a name that is long": 1}])),
    }
)
START = b'{"id": 1, "time": "2023-11-14T22:13:20Z", "card": "a", "amount": '
broken = st.sampled_from(
    [
        *[None, b"", b"  ", b"[]", b"5", b"{", b'{"id": "\xff"}', b"\xff", b'{"id": NaN}'],
        *[b"[" * 70, b'{"a":' * 70, START + b"1" * 4200 + b"}", START + b"1" * 300 + b"}", START + b"1e999}"],
        b'{"id": "1", "time": 1700000000000, "card": "a", "kind": "k", "note": "n", "x":"'
        + b"y" * 300
        + b'"}',
        b'{"id": "a\\"b\\\\", "time": "2023-11-14T22:13:20Z", "card": "[[[{", "amount": 1}',
    ]
)


def encode(event: dict[str, Any], ascii_only: bool) -> bytes:
    fields = {name: value for name, value in event.items() if value is not ...}
    nested = {"id": "id", "time": "time", "memo": "note", "of": "of"}
    fields["tx"] = {name: fields[source] for name, source in nested.items() if source in fields}
    return json.dumps(fields, ensure_ascii=ascii_only).encode(errors="surrogatepass")


values = st.one_of(*[st.builds(encode, events, st.booleans())] * 6, broken)
STAMPS = (1_700_000_000_000, 0, 1_700_000_000_250, 1_600_000_000_001, -1, 1_700_000_100_000)
keys = st.sampled_from([None, b"", b"a", b"1", b"\xff"])
batches = st.lists(st.tuples(values, keys), max_size=24).map(
    lambda pairs: [Record(7 * n, STAMPS[n % 6], key, value) for n, (value, key) in enumerate(pairs)]
)
law = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("require_key", [False, True])
@pytest.mark.parametrize("name", SCHEMAS)
@law
@given(batch=batches)
def test_a_block_is_read_as_its_records_are(name: str, require_key: bool, batch: list[Record]) -> None:
    parser = Parser(SCHEMAS[name], KEY, require_key=require_key)
    read, rejected = BlockReader(SCHEMAS[name], KEY, require_key=require_key).read(batch)
    for row, record in enumerate(batch):
        assert repr(rejected.get(row) or read[row]) == repr(parser.parse(record))


def test_plain_events_are_read_by_columns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same law would hold if nothing were fast."""
    monkeypatch.setattr(Parser, "parse", None)
    for form in ("2024-03-01T12:00:{n:02}Z", "2024-03-01 12:00:{n:02}.250"):
        event = {
            "card": "ä",
            "amount": None,
            "kind": "k",
            "note": "Ein Text " * 40,
            "channel": "web",
            "shop": None,
            "list": [{"a": [{}]}] * 50,
        }
        batch = [
            Record(n, 0, None, encode({**event, "id": n, "time": form.format(n=n)}, False)) for n in range(50)
        ]
        assert not BlockReader(SCHEMAS["rich"], KEY).read(batch)[1]


def test_caches_of_hashes_are_bounded_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.core.events.values.CACHE_VALUES_MAX", 3)
    reader, parser = BlockReader(SCHEMAS["rich"], KEY), Parser(SCHEMAS["rich"], KEY)
    time = "2024-03-01T12:00:00Z"
    for n in [0, 1, 2, 0, 3, 4, 1, 1, 0, 100, 4]:
        batch = [
            Record(0, 0, None, encode({"id": 1, "time": time, "card": card, "kind": card}, True))
            for card in (n, str(n), "x" * n)
        ]
        read, _ = reader.read(batch)
        assert repr([read[row] for row in range(3)]) == repr([parser.parse(record) for record in batch])
        kinds = [value.kind for value in reader.parser.encoded]
        caches = [*reader._entities, *(kind.cache for kind in kinds if isinstance(kind, Categorical))]
        assert len(caches) == 4
        for cache in caches:
            assert len(cache) <= 3
            assert "x" * 100 not in cache


def test_whole_numbers_that_python_would_hash_alike_are_not_cached() -> None:
    """Thousands of them in one dict would make each look-up a search."""
    entity = BlockReader(SCHEMAS["rich"], KEY)._entities[0]
    found = HashCache(lambda number: number % 97 + 1, len, entity._texts)
    prime = (1 << 61) - 1
    numbers = [sign * n * prime for n in range(1, 50) for sign in (1, -1)]
    assert found.hash_column(numbers, set()).tolist() == [n % 97 + 1 for n in numbers]
    assert not found
    assert found.hash_column([5, prime - 1], set()).tolist() == [6, (prime - 1) % 97 + 1]
    assert len(found) == 2


def test_places_in_tables_cannot_be_chosen_without_the_key() -> None:
    """Ids with equal last bits share a place in the table of recent ids: found by search, if unkeyed."""
    ids = [f"id-{n}" for n in range(200_000)]
    chosen = [id_ for id_ in ids if id_hash(id_, b"guessed") & 0xFFF == 0]
    assert len(chosen) > 30
    places = [id_hash(id_, KEY) & 0xFFF for id_ in chosen]
    assert len(set(places)) > 0.9 * len(chosen)


# --- which enter --------------------------------------------------------------------------------------------


class Slow:
    """Admission and event time as their rules say, event by event, in plain Python."""

    def __init__(self, schema: Event) -> None:
        self.schema = schema
        self.duplicates = None if schema.id is None else schema.duplicates
        horizon = 0 if self.duplicates is None else self.duplicates.horizon_events
        self.ids: deque[tuple[int, int]] = deque(maxlen=horizon)
        self.last: deque[float] = deque(maxlen=WINDOW - 1)
        self.counts = dict.fromkeys(("out_of_order", "late", "duplicate"), 0)

    def take(self, parsed: ParsedEvent | Rejected, offset: int) -> tuple[float, float] | str:
        late, duplicates = self.schema.time.late, self.duplicates
        if isinstance(parsed, Rejected):
            if parsed.original is None or duplicates is None:
                return parsed.detail
            found = dict(self.ids).get(id_hash(parsed.original, KEY))
            where = "not among the last events" if found is None else f"at offset {found}"
            return f"{parsed.detail}, {where}"
        first = dict(self.ids).get(parsed.id_hash)
        if first is not None:
            self.counts["duplicate"] += 1
            if duplicates is not None and duplicates.action == "reject":
                return f"the event at offset {first} has the same id"
        now = float(np.median(self.last)) if self.last else -math.inf
        if now > parsed.time + late.after:
            self.counts["late"] += 1
            if late.action == "reject":
                return f"{now - parsed.time:.0f} s behind event time"
        self.counts["out_of_order"] += bool(self.last and parsed.time < self.last[-1])
        if first is None and duplicates is not None:
            self.ids.append((parsed.id_hash, offset))
        window = [*self.last, parsed.time]
        window = sorted(window + [window[0]] * (WINDOW - len(window)))
        self.last.append(parsed.time)
        ahead = max(AHEAD_MIN_S, AHEAD_PACES * (window[MIDDLE] - window[OLDER]))
        return min(parsed.time, window[MIDDLE] + ahead), window[MIDDLE]


@pytest.mark.parametrize("name", SCHEMAS)
@law
@given(batch=batches, rooms=st.lists(st.integers(1, 9), min_size=1))
def test_admission_does_not_depend_on_how_the_log_is_cut(
    name: str, batch: list[Record], rooms: list[int]
) -> None:
    schema = SCHEMAS[name]
    parser, slow = Parser(schema, KEY), Slow(schema)
    wanted = [slow.take(parser.parse(record), record.offset) for record in batch]
    reader, admission, time = (
        BlockReader(schema, KEY),
        Admission(schema, partial(id_hash, key=KEY)),
        EventTime(),
    )
    got: list[tuple[float, float] | str] = []
    turn = 0
    while len(got) < len(batch):
        room, start = rooms[turn % len(rooms)], len(got)
        admitted = admission.admit(*reader.read(batch[start:]), time, room)
        assert len(admitted.rows) == room or admitted.consumed == len(batch) - start
        assert len(admitted.rows) <= room
        assert list(admitted.refused) == sorted(admitted.refused)
        times = zip(admitted.bounded_times.tolist(), admitted.now.tolist(), strict=True)
        entered = dict(zip(admitted.rows.tolist(), times, strict=True))
        got += [
            admitted.refused[row].detail if row in admitted.refused else entered[row]
            for row in range(admitted.consumed)
        ]
        turn += 1
        again = Admission(schema, partial(id_hash, key=KEY))
        again.load(admission.to_state())
        assert again.to_state().keys() == admission.to_state().keys()
    assert got == wanted
    assert admission.collect() == {kind: count for kind, count in slow.counts.items() if count}
    assert time.to_state()["last"].tolist() == list(slow.last)
    if slow.duplicates is not None:
        state = admission.to_state()
        assert list(zip(state["hashes"].tolist(), state["offsets"].tolist(), strict=True)) == list(slow.ids)


def test_rows_can_be_taken_and_joined() -> None:
    reader = BlockReader(SCHEMAS["rich"], KEY)
    batch = [
        Record(n, 0, None, encode({"id": n, "time": "2024-03-01T12:00:00Z", "note": "n" * n}, True))
        for n in range(9)
    ]
    whole, _ = reader.read(batch)
    joined = Events.joined([whole.take(np.arange(4)), whole.take(np.arange(4, 9))])
    assert repr([joined[row] for row in range(9)]) == repr([whole[row] for row in range(9)])
    assert len(reader.read([])[0]) == 0
