"""The report on segments: right ratios, honest intervals, proxies by name; no model sees a segment."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from detector.cli.program import app
from detector.demo.simulation.cards import CardsConfig, simulate, to_events
from detector.fairness import Gathered, Gathering, report, sentences
from detector.fairness.rates import FOLDED, corrected, rates
from detector.rendering.bias import page

CARDS, PER_CARD = 400, 50
EVENTS = CARDS * PER_CARD
REPLAYED = 1_500


def made(seed: int, *, favoured: float = 1.0, answered: bool = False, told: bool = False) -> Gathered:
    """Cards in three regions, a few of which have most alerts; cards of `b` have `favoured` times as many."""
    rng = np.random.default_rng(seed)
    region = np.repeat(rng.integers(3, size=CARDS), PER_CARD)
    often = np.repeat(rng.gamma(0.3, 0.03, CARDS), PER_CARD) * np.where(region == 1, favoured, 1.0)
    alerted = rng.random(EVENTS) < often
    known = rng.random(EVENTS) < 0.8 if told else np.zeros(EVENTS, bool)
    branch = np.where(known, region, rng.integers(3, size=EVENTS))
    return Gathered(
        entities=np.repeat(np.arange(CARDS), PER_CARD),
        scores=rng.gamma(1.0, size=EVENTS) + 3.0 * alerted,
        alerted=alerted,
        answers=np.where(alerted & answered, rng.random(EVENTS) < 0.3, -1).astype(np.int8),
        segments={"region": (["a", "b", "c"], region)},
        sampled=np.arange(EVENTS),
        inputs={"amount": rng.gamma(2.0, size=EVENTS).tolist(), "branch": [f"b{one}" for one in branch]},
    )


def few(groups: Sequence[str], *, cards: int) -> Gathered:
    """Two events of each of some cards in each group, one of them alerted."""
    taken = Gathering(segments=["region"], expected=2 * cards * len(groups))
    for at, group in enumerate(group for group in groups for _ in range(cards)):
        for alerted in (False, True):
            taken.add(
                entity=f"C{at}", score=float(at), alerted=alerted, answer=-1, segments={"region": group},
                inputs={"amount": 1.0},
            )  # fmt: skip
    return taken.gathered()


def alerts_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {rate["group"]: rate for rate in found["fields"][0]["alerts"]}


def test_of_a_hundred_fair_streams_hardly_any_is_flagged() -> None:
    flagged = [any(one["flagged"] for one in alerts_of(report(made(seed))).values()) for seed in range(100)]
    assert sum(flagged) <= 5


def test_a_known_disparity_is_found_and_inside_of_its_interval() -> None:
    true = 3.0 / (5.0 / 3.0)  # to the mean of 1, 3 and 1
    found = [alerts_of(report(made(seed, favoured=3.0)))["b"] for seed in range(60)]
    assert sum(one["low"] <= true <= one["high"] for one in found) >= 54
    assert sum(one["flagged"] for one in found) >= 54


def test_many_alerts_of_one_card_count_once() -> None:
    groups = np.repeat([0, 1], 5_000)
    entities = np.arange(10_000) // 10
    spread = np.zeros(10_000, bool)
    spread[::100] = True
    spread[:5_000:50] = True
    together = np.zeros(10_000, bool)
    together[:100] = True  # as many, all on ten cards
    together[5_000::100] = True
    wide, narrow = (rates(["x", "y"], groups, entities, hits)[0] for hits in (together, spread))
    assert wide.high / wide.low > narrow.high / narrow.low


def test_small_groups_are_folded_and_say_nothing_of_single_customers() -> None:
    found = report(few(["large"] * 10 + ["r0", "r1", "r2"], cards=4))
    assert set(alerts_of(found)) == {"large", FOLDED}
    assert "r0" not in json.dumps(found)


def test_too_few_alerts_give_no_interval() -> None:
    [one] = rates(["x"], np.zeros(50, np.int64), np.arange(50), np.arange(50) < 2)
    assert (one.low, one.high, one.p) == (0.0, float("inf"), 1.0)


def test_a_field_that_tells_the_segment_is_named() -> None:
    with_proxy, without = (report(made(3, told=told))["fields"][0]["proxies"] for told in (True, False))
    assert with_proxy["branch"] > 0.8
    assert "amount" not in with_proxy
    assert without == {}


def test_false_alarms_are_of_answered_alerts() -> None:
    found = report(made(4, answered=True))
    assert sum(one["trials"] for one in found["fields"][0]["false_alarms"]) == found["answered"] > 0


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_corrected_values_keep_the_order_and_are_never_smaller(p_values: list[float]) -> None:
    found = corrected(p_values)
    assert all(p <= q <= 1.0 for p, q in zip(p_values, found, strict=True))
    by_p = [q for _, q in sorted(zip(p_values, found, strict=True))]
    assert by_p == sorted(by_p)


@given(st.text(max_size=20))
@settings(max_examples=30)
def test_names_of_groups_are_inert_on_the_page(name: str) -> None:
    assert "<b>" not in page(report(few([f"<b>{name}", "other"], cards=12)))


# --- a whole replay ---


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay with a segment for each card."""
    folder = tmp_path_factory.mktemp("bias")
    days = simulate(CardsConfig(seed=3, events=REPLAYED, customers=60))
    events = [event for day in days for event in to_events(day)]
    draw = random.Random(1)
    segments = {card: draw.choice(["north", "south"]) for card in sorted({one["card"] for one in events})}
    config = yaml.safe_load(Path("configs/simulate.yaml").read_text())
    region = {"name": "region", "path": "region", "type": "categorical", "use": "segment"}
    config["event"]["fields"].append(region)
    config["topics"] = {"scores": "scores"}
    (folder / "detector.yaml").write_text(yaml.safe_dump(config))
    for name, turned in (("events", False), ("turned", True)):
        with (folder / f"{name}.jsonl").open("w") as file:
            for event in events:
                region = segments[event["card"]]
                file.write(
                    json.dumps({**event, "region": draw.choice(["x", "y"]) if turned else region}) + "\n"
                )
        run(
            "replay", "--config", folder / "detector.yaml", "--events", folder / f"{name}.jsonl",
            "--checkpoint-dir", folder / name, "--scores", folder / f"{name}.csv",
        )  # fmt: skip
    return folder


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_other_segments_leave_every_score_as_it_is(replayed: Path) -> None:
    assert (replayed / "events.csv").read_bytes() == (replayed / "turned.csv").read_bytes()


def test_the_command_reports_on_a_replay(replayed: Path, tmp_path: Path) -> None:
    out = tmp_path / "bias.html"
    run(
        "report", "bias", "--config", replayed / "detector.yaml", "--events", replayed / "events.jsonl",
        "--checkpoint-dir", replayed / "events", "--scores", replayed / "events.csv", "--out", out,
    )  # fmt: skip
    found = json.loads(out.with_suffix(".json").read_text())
    assert {rate["group"] for rate in found["fields"][0]["alerts"]} == {"north", "south"}
    assert found["events"] == len((replayed / "events.csv").read_text().splitlines()) - 1
    assert sentences(found)
    assert "<h2>region</h2>" in out.read_text()
