"""Whole shards fed with streams that nobody would draw: does anything fail, and does every law hold?

    python -m benchmarks.fuzz.streams --streams 200 [--first 0] [--events 6000]

The seed of a stream decides its schema and settings, and what each of its columns does in each stretch of it:
usual values, one constant, nothing, zeros, enormous or tiny ones, another unit; keys that are few, all new,
or a single one; times that stand still, jump by a month, or go back. Feedback of all kinds comes, in no
sensible way. Each stream runs twice with polls cut otherwise; the second time the state is now and then
written and read, and goes on in a new shard.

What must hold
    - nothing is raised, and numpy has nothing to warn of;
    - each record is scored or rejected, and scores are finite and not negative;
    - each alert fits its schema, and maps, reports and cards of the model can be made;
    - both runs end with the same state, by its hash.

Prints a line per stream that fails, with its seed; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from detector import rendering
from detector.config.tree import ModelPart
from detector.core.drifted import BIN_NAMES
from detector.core.records import Identity, Outputs, Record
from detector.core.shard.embedding_map import Wanted, embedding_map
from detector.core.shard.embedding_report import embedding_report
from detector.core.shard.model_card import model_card, version_list
from detector.core.shard.shard import Shard
from detector.core.shard.space import AMONG, SearchedSpace
from detector.core.state import copied, digest, pack, unpack
from detector.rendering.maps import map_file
from detector.wiring.drift_report import described
from tests.alerts import check_alert

IDENTITY = Identity(topic="strange", group="fuzz", partition=0, entity_key=b"f" * 32)
START_S = 1_700_000_000.0
STRETCH = 200, 2500  # events in which all columns go on as they do
ANSWERED = 0.01  # records of feedback, as a share of the events
Draw = Callable[[int], Any]  # a value by the event's number


# --- what columns do ----------------------------------------------------------------------------------------


def numeric(rng: np.random.Generator) -> Draw:
    """One of the ways of a number."""
    level, spread = float(np.exp(rng.normal(3.0, 3.0))), float(rng.uniform(0.01, 2.0))
    ways: list[Draw] = [
        lambda _: level * float(np.exp(rng.normal(0.0, spread))),
        lambda _: rng.normal(0.0, level),
        lambda _: level,
        lambda _: None,
        lambda _: 0,
        lambda _: 10.0 ** rng.uniform(-300, 300),
        lambda _: -level,
        lambda number: number,
        lambda _: int(rng.integers(0, 3)),
        lambda _: level if rng.random() < 0.5 else None,
        lambda _: level + 1e-9 * rng.random(),
    ]
    return ways[rng.integers(len(ways))]


def text(rng: np.random.Generator) -> Draw:
    """One of the ways of a key, a category or a text."""
    few, many = int(rng.integers(2, 9)), int(rng.integers(50, 5000))
    ways: list[Draw] = [
        lambda _: f"v{rng.integers(few)}",
        lambda _: f"v{rng.integers(many)}",
        lambda _: f"v{int(rng.zipf(1.6))}",
        lambda _: "same",
        lambda number: f"new {number}",
        lambda number: f"v{number % few}",
        lambda _: None,
        lambda _: "x" * int(rng.integers(0, 200)),
    ]
    return ways[rng.integers(len(ways))]


def place(rng: np.random.Generator) -> Draw:
    """One of the ways of a place."""
    centre = rng.uniform(-80.0, 80.0), rng.uniform(-179.0, 179.0)
    ways: list[Draw] = [
        lambda _: (float(np.clip(centre[0] + rng.normal(), -90, 90)), centre[1] + rng.normal() / 10.0),
        lambda _: (rng.uniform(-90, 90), rng.uniform(-180, 180)),
        lambda _: centre,
        lambda _: (None, None),
        lambda _: (0.0, 0.0),
        lambda _: (90.0, 180.0),
    ]
    way = ways[rng.integers(len(ways))]
    return lambda number: dict(zip(("lat", "lon"), way(number), strict=True))


def gap(rng: np.random.Generator) -> Draw:
    """Seconds until the next event."""
    usual = float(np.exp(rng.normal(2.0, 2.0)))
    ways: list[Draw] = [
        lambda _: rng.exponential(usual),
        lambda _: 0.0,
        lambda _: 30 * 86_400.0 if rng.random() < 0.002 else usual,
        lambda _: rng.normal(0.0, usual),
    ]
    return ways[rng.choice(len(ways), p=[0.7, 0.1, 0.1, 0.1])]


WAYS: dict[str, Callable[[np.random.Generator], Draw]] = {
    "numeric": numeric,
    "categorical": text,
    "text": text,
    "geo": place,
}


WISHES: tuple[Callable[[np.random.Generator], dict[str, Any]], ...] = (
    lambda rng: {"label": ("fraud", "legitimate", "retracted")[rng.choice(3, p=[0.5, 0.4, 0.1])]},
    lambda rng: {"kind": "snooze", "until": START_S + float(rng.uniform(-1e6, 1e7))},
    lambda rng: {"kind": "unsnooze"},
    lambda rng: {"kind": "close", "code": "duplicate"},
    lambda rng: {"kind": "note", "note": "x"},
    lambda rng: {"kind": "erase"},
    lambda rng: {"kind": "model", "partition": 0, "action": ("hold", "promote", "rollback")[rng.integers(3)]},
)


# --- a stream -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A configuration, its log, and feedback, each with the position from which it is there."""

    config: ModelPart
    records: list[Record]
    feedback: list[tuple[int, bytes]]


def strange(seed: int, events: int) -> Stream:
    """The stream of a seed."""
    rng = np.random.default_rng(seed)
    counts = {"numeric": 4, "categorical": 3, "text": 1, "geo": 1} if rng.random() < 0.9 else {}
    kinds = {kind: int(rng.integers(0, most + 1)) for kind, most in counts.items()}
    entities = [f"entity{n}" for n in range(rng.integers(0, 4))]
    if not entities and not any(kinds.values()):
        kinds["numeric"] = 1
    columns = [(f"{kind}{n}", kind) for kind, count in kinds.items() for n in range(count)]
    config, records = _config(rng, columns, entities), [*_log(rng, columns, entities, events)]
    return Stream(config=config, records=records, feedback=[*_feedback(rng, records)])


def _config(rng: np.random.Generator, columns: list[tuple[str, str]], entities: list[str]) -> ModelPart:
    optional = bool(rng.random() < 0.9)
    fields = [
        {
            "name": name,
            "type": kind,
            "optional": optional,
            "path": f"{name}.lat, {name}.lon" if kind == "geo" else name,
        }
        for name, kind in columns
    ]
    event: dict[str, Any] = {
        "id": "id",
        "time": {"path": "time"},
        "fields": fields,
        "entities": [{"name": name, "path": name, "optional": optional} for name in entities],
    }
    numerics = [name for name, kind in columns if kind == "numeric"]
    if numerics and rng.random() < 0.7:
        event["exposure"] = numerics[0]
    share = float(rng.choice([0.001, 0.01, 0.2]))
    model = settings(rng) if rng.random() < 0.5 else {}
    alerts = {"budget": {"share": share}, **model.pop("alerts", {})}
    return ModelPart.model_validate({"event": event, "alerts": alerts, "model": model, "feedback": True})


def settings(rng: np.random.Generator) -> dict[str, Any]:
    """Sections of settings that nobody would choose."""

    def one(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    return {
        "features": {
            "half_lives": one(["1d"], ["1h", "1d"], ["60s", "1h", "365d"]),
            "cycles": one([], ["day"], ["day", "week"]),
            "entities_max": one(1024, 100_000),
            "pairs_max": one(1024, 100_000),
            "clip_spreads": one(0.1, 2.0, 100.0),
        },
        "encoder": {
            "dimension": one(8, 32),
            "bins": one(2, 8, 32),
            "learning_rate": one(1e-5, 0.002, 1.0),
            "objectives": {"contrastive": one(0.0, 1.0), "reconstructive": one(0.0, 1.0)},
        },
        "clusters": {"core_events": one(512, 8192), "count_max": one(8, 512), "members_min": one(1, 64)},
        "index": {"exact_below": one(0, 4096), "recall": one(None, 0.95)},
        "calibration": {
            "memory_events": one(1024, 32768),
            "trim": one(0.51, 0.95, 0.999),
            "tail_from": one(0.51, 0.998, 0.99999),
            "warm_up_events": one(256, 4096),
        },
        "barriers": {"block_events": one(16, 512), "every_events": one(512, 8192), "early_events_min": 16},
        "labels": {"labels_max": one(16, 65_536), "per_barrier_max": one(1, 1024), "buffer_events_max": 1024},
        "alerts": {
            "cooldown": one("1ms", "1h"),
            "cases_max": one(16, 4096),
            "recent_events_max": one(1024, 4096),
            "exploration_share": one(0.0, 0.1),
            "echo": one("declared", "all", "coordinates"),
            "reasons_max": one(1, 16),
            "exemplars_max": one(0, 16),
        },
    }


def _log(
    rng: np.random.Generator, columns: list[tuple[str, str]], entities: list[str], events: int
) -> Iterator[Record]:
    time, left = START_S, 0
    draws: dict[str, Draw] = {}
    for number in range(events):
        if not left:
            left = int(rng.integers(*STRETCH))
            draws = {name: WAYS[kind](rng) for name, kind in columns} | {name: text(rng) for name in entities}
            ahead = gap(rng)
        left -= 1
        time = max(time + ahead(number), START_S)
        event = {"id": str(number), "time": time, **{name: draw(number) for name, draw in draws.items()}}
        yield Record(number, int(time * 1000), None, msgspec.json.encode(event))


def _feedback(rng: np.random.Generator, records: list[Record]) -> Iterator[tuple[int, bytes]]:
    for number in range(0, len(records), int(1 / ANSWERED)):
        about = records[int(rng.integers(0, number + 1))]
        main = msgspec.json.decode(about.value or b"null").get("entity0")
        wish = WISHES[rng.choice(len(WISHES), p=[0.6, *[0.4 / (len(WISHES) - 1)] * (len(WISHES) - 1)])](rng)
        time = records[number].timestamp_ms / 1000 + float(rng.choice([0.0, 3600.0, 40 * 86_400.0]))
        by_id, by_place = {"event_id": str(about.offset)}, {"partition": 0, "offset": about.offset}
        named: dict[str, Any] = by_id if rng.random() < 0.8 else by_place
        if wish.get("kind") == "erase" and main is not None and rng.random() < 0.5:
            named = {"entity": main}
        yield number, msgspec.json.encode({**named, "time": time, "actor": f"a{rng.integers(3)}", **wish})


# --- what must hold -----------------------------------------------------------------------------------------


def run(stream: Stream, rng: np.random.Generator, *, restores: bool) -> Shard:
    """Feed a shard with a stream, and check its outputs; `restores`: it is written and read now and then."""
    shard, answered, seen = Shard(stream.config, IDENTITY, position=0), 0, 0
    while shard.position < len(stream.records):
        taken = shard.take(stream.records[shard.position :][: int(rng.integers(1, 1024))], silent=False)
        seen += checked(taken.outputs)
        if taken.block_ended and shard.since_barrier >= shard.interval:
            known = sum(at <= shard.position for at, _ in stream.feedback)
            shard.barrier({"feedback": [(n, stream.feedback[n][1]) for n in range(answered, known)]})
            answered = known
            shard.case_updates()
            shard.desk.collect()
            if restores and rng.random() < 0.3:
                other = Shard(stream.config, IDENTITY, position=shard.position)
                other.load(unpack(pack(copied(shard.to_state()))))
                shard = other
    assert seen == len(stream.records), f"{seen} of {len(stream.records)} were scored or rejected"
    shard.barrier({})
    look(shard, stream)
    return shard


def look(shard: Shard, stream: Stream) -> None:
    """Draw and say all that can be asked of a model."""
    shard.look([record._replace(offset=shard.position) for record in stream.records[:64]])
    embedded, source = shard.embedded, "strange-0"
    if not embedded.ready:
        return
    drawn, _ = embedding_map(embedded, Wanted())
    map_file(drawn, source, ".html")
    report = embedding_report(embedded)
    rendering.report_page(report, source)
    listed = version_list(embedded)
    assert list(rendering.version_rows(listed))
    card = model_card(embedded, stream.config, listed.serving)
    assert card is not None
    rendering.card_markdown(card, source)
    space = SearchedSpace(embedded)
    known = space.event(offset=stream.records[-1].offset)
    if known is not None:
        for among in AMONG:
            space.similar(known[1], among, count=5)
    watch = shard._scorer.drift
    if watch.found is not None:
        said = {"partition": 0, "checkpoint": "", **described(watch, -np.inf, np.inf)}
        rendering.drift_page({"made_from": "", "bins": list(BIN_NAMES), "partitions": [said]})


def checked(outputs: Outputs) -> int:
    """Check outputs; returns how many records they account for."""
    for alert in outputs.alerts:
        check_alert(alert.body, alert.headers)
    for scored in outputs.scored:
        assert (np.isfinite(scored.scores) & (scored.scores >= 0.0)).all(), "a score is none"
    return sum(len(scored.scores) for scored in outputs.scored) + len(outputs.dead_letters)


def failure(seed: int, events: int) -> str:
    """What fails on the stream of a seed; empty: nothing."""
    stream = strange(seed, events)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one, other = (
                run(stream, np.random.default_rng(seed + number), restores=restores)
                for number, restores in enumerate((False, True))
            )
        states = digest(one.to_state()), digest(other.to_state())
        assert states[0] == states[1], "a restored shard has another state"
    except Exception:  # noqa: BLE001 - any is a find
        return traceback.format_exc()
    return ""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", type=int, default=200, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--events", type=int, default=6_000, help="of each stream")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.first, options.first + options.streams):
        if found := failure(seed, options.events):
            failed += 1
            print(f"stream {seed}: {found}", flush=True)
    print(f"{options.streams} streams of {options.events:,} events, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
