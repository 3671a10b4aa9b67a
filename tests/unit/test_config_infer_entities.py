"""An inferred configuration: who an event is about, and what of it has a history."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from detector.config.infer import Inference, infer, render
from detector.config.load import load_text

Events = list[dict[str, Any]]
Make = Callable[[random.Random, dict[str, Any]], object]


def trade(*names: str, missing: str = "", share: float = 0.2, n: int = 600, **more: Make) -> Events:
    """Events with keys of these names, each of forty values; `missing` lacks a share of them."""
    draw = random.Random(5)
    start = datetime(2026, 1, 5, tzinfo=UTC)
    events = []
    for i in range(n):
        keys: dict[str, Any] = {name: f"{name[0]}{draw.randrange(40):04d}" for name in names}
        if missing and draw.random() < share:
            keys[missing] = None
        columns = {name: make(draw, keys) for name, make in more.items()}
        time = (start + timedelta(minutes=7 * i)).isoformat()
        events.append({"doc_id": f"d{i:05d}x", "time": time, "amount": draw.random() * 90, **keys, **columns})
    return events


def inferred(events: Events) -> Inference:
    return infer(json.dumps(event).encode() for event in events)


def kinds(events: Events) -> dict[str, str]:
    found = inferred(events)
    return {one.path: one.kind for one in (*found.entities, *found.fields, *found.ignored)}


def entities(events: Events) -> list[str]:
    return [entity.path for entity in inferred(events).entities]


def test_somebody_whom_no_event_lacks_comes_before_a_card_that_cash_has_not() -> None:
    assert entities(trade("card_no", "customer_id", missing="card_no"))[0] == "customer_id"
    assert entities(trade("card_no", "customer_id", missing="card_no", share=0.02))[0] == "card_no"
    assert entities(trade("card_no", "employee_id", missing="card_no"))[0] == "card_no"  # who serves


def test_an_account_that_each_vendor_has_is_the_vendors() -> None:
    own = trade("vendor_id", bank_iban=lambda _, keys: f"DE{keys['vendor_id']}")
    assert entities(own)[0] == "vendor_id"
    assert entities(trade("vendor_id", "bank_iban"))[0] == "bank_iban"  # whoever has it pays many vendors
    paid_to = trade("sender_id", payout_account=lambda draw, _: f"p{draw.randrange(70):05d}")
    assert entities(paid_to)[0] == "sender_id"


def test_an_account_of_a_ledger_is_a_category() -> None:
    events = trade("vendor_id", gl_account=lambda draw, _: 400_000 + draw.randrange(12))
    assert kinds(events)["gl_account"] == "categorical"


def test_an_identifier_of_few_that_come_back_often_is_used() -> None:
    """The thirty adjusters of 4,000 claims were dropped as "an identifier", as were the items of a game."""
    events = trade(
        "policy_no",
        n=4_000,
        adjuster_id=lambda draw, _: f"S{draw.randrange(30):03d}",
        item_id=lambda draw, _: 10_000 + 7 * draw.randrange(35),
        claim_ref=lambda draw, _: f"S{draw.randrange(3_900):05d}",
    )
    found = kinds(events)
    assert (found["adjuster_id"], found["item_id"]) == ("entity", "categorical")
    assert found["claim_ref"] != "categorical"


def test_a_further_number_of_a_payee_has_a_history_of_its_own() -> None:
    """Of the main entity it says nothing more; of a payee a new account is news."""
    number = {"payee_account": lambda _, keys: f"x{keys['payee_id']}9"}
    assert "payee_account" in entities(trade("customer_id", "payee_id", **number))
    again = trade("customer_id", customer_no=lambda _, keys: f"x{keys['customer_id']}9")
    assert entities(again) == ["customer_id"]


def test_entities_are_named_as_the_stream_names_them() -> None:
    events = trade("policy_no", "agent_id", "sellerIp", "buyerIp")
    assert [entity.name for entity in load_text(render(inferred(events)), "inferred").event.entities] == [
        "policy", "seller_ip", "buyer_ip", "agent",
    ]  # fmt: skip


def test_money_of_a_game_is_an_amount() -> None:
    events = [{**e, "gold": e["amount"]} for e in trade("sellerId", "buyerId")]
    for event in events:
        del event["amount"]
    assert inferred(events).exposure == "gold"
