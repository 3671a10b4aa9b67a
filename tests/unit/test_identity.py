"""What only says whose event it is: found from events, kept from the encoders."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.config.tree import Event, Model
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import (
    Features,
    Layout,
    Rows,
    empty_rows,
    explained_surprises,
    find_identity,
    mostly_known,
)
from detector.core.features.identity import PAIRS_MIN, SHARED_BY, Identity
from detector.core.model import learned_part
from detector.core.model.encoder import Encoder, LabelLearner, Looked, PlainLearner
from detector.core.model.training import Trainer

FIELDS = [("amount", "numeric"), ("age", "numeric"), ("city", "categorical"), ("mcc", "categorical")]
SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}, {"name": "shop", "path": "shop"}],
        "fields": [{"name": name, "path": name, "type": kind} for name, kind in FIELDS]
        + [{"name": "street", "path": "street", "type": "text"}],
    }
)
MODEL = Model.model_validate({"encoder": {"hidden": 8, "dimension": 8, "hash_rows": 64, "bins": 4}})
LAYOUT = Layout(SCHEMA, MODEL.features)
FEATURES = Features(LAYOUT)
CARDS, SHOPS, EVENTS = 200, 80, 4000
CITY, MCC, STREET = 0, 1, 2  # slots


def events(changed: float = 0.0, shops_per_mcc: int = 4) -> Rows:
    """Each card has an age, a city and a street of its own, each shop a category."""
    rng = np.random.default_rng(5)
    rows = empty_rows(EVENTS, LAYOUT)
    card, shop = rng.integers(0, CARDS, EVENTS), rng.integers(0, SHOPS, EVENTS)
    rows.entities[:, 0], rows.entities[:, 1] = card + 1, shop + 1
    lives = np.where(rng.random(EVENTS) < changed, rng.integers(0, CARDS, EVENTS), card)
    rows.numerics[:, 0], rows.numerics[:, 1] = rng.normal(size=EVENTS), lives / CARDS
    rows.categories[:, 0] = lives // 4 + 1
    rows.categories[:, 1] = shop // shops_per_mcc + 1
    rows.grams[:, 0] = (lives[:, None] * TEXT_GRAMS_MAX + np.arange(TEXT_GRAMS_MAX) + 1).astype(np.uint32)
    return rows


def found(rows: Rows) -> tuple[Identity, set[str]]:
    identity = find_identity(rows.keys(), FEATURES.compute(rows), rows.grams, FEATURES, LAYOUT)
    return identity, {name for name, own in zip(FEATURES.names, identity.inputs, strict=True) if own}


@pytest.mark.parametrize("changed", [0.0, 0.02])
def test_what_is_constant_per_card_is_found(changed: float) -> None:
    identity, names = found(events(changed))
    assert identity.slots[[CITY, STREET]].all()
    assert {"age", "city count 60d", "city gap", "city new"} <= names
    assert not any(name.startswith(("amount", "card", "shop")) for name in names)
    assert "age against card 60d" not in names  # says that it has changed


def test_what_often_changes_is_not() -> None:
    identity, names = found(events(changed=0.5))
    assert not identity.slots[[CITY, STREET]].any()
    assert not any(name.startswith(("age", "city")) for name in names)


def test_a_value_that_many_shops_share_says_what_they_are() -> None:
    assert found(events(shops_per_mcc=4))[0].slots[MCC]
    shared, names = found(events(shops_per_mcc=2 * SHARED_BY))
    assert not shared.slots[MCC]
    assert not any(name.startswith("mcc") for name in names)


def test_fraud_rates_of_values_that_few_cards_share_are_hidden() -> None:
    assert "city fraud rate 60d" in found(events())[1]  # 4 cards a city
    rows = events()
    rows.categories[:, 0] = rows.categories[:, 0] % 4 + 1
    identity, names = found(rows)
    assert identity.slots[CITY]
    assert "city fraud rate 60d" not in names


def test_without_repeated_keys_nothing_is_known() -> None:
    rows = events()
    rows.entities[PAIRS_MIN:, :] = np.arange(EVENTS - PAIRS_MIN)[:, None] + 10_000
    identity, _ = found(rows)
    assert not identity.inputs.any()
    assert not identity.slots.any()


def test_without_entities_nothing_is_hidden() -> None:
    schema = SCHEMA.model_copy(update={"entities": ()})
    layout = Layout(schema, MODEL.features)
    features, rows = Features(layout), empty_rows(100, layout)
    identity = find_identity(rows.keys(), features.compute(rows), rows.grams, features, layout)
    assert not identity.inputs.any()


# --- the learner -------------------------------------------------------------------------------------------


def learner() -> LabelLearner:
    rng = np.random.default_rng(1)
    return LabelLearner(MODEL.encoder, len(FEATURES), 2, 1, LAYOUT.fraud_rate_ends, rng)


def taught(made: LabelLearner, rows: Rows, steps: int = 5) -> None:
    inputs = FEATURES.compute(rows)
    fraud = (np.arange(len(rows)) % 7 == 0).astype(np.float32)
    for _ in range(steps):
        made.learn(inputs, rows, fraud, np.ones(len(rows), dtype=np.float32))


def hidden(*names: str) -> NDArray[np.bool_]:
    return np.isin(FEATURES.names, names)


def test_what_is_hidden_changes_no_embedding() -> None:
    made, rows = learner(), events().take(slice(0, 256))
    taught(made, rows)
    made.hide(hidden("age"), np.array([True, False, True]))
    taught(made, rows)
    other = rows.copy()
    other.numerics[:, 1] += 3.0
    other.categories[:, 0] += 7
    other.grams[:] += 1
    inputs = FEATURES.compute(rows)
    changed = inputs.copy()
    changed[:, hidden("age")] += 3.0
    assert made.encode(changed, other).tobytes() == made.encode(inputs, rows).tobytes()
    other.categories[:, 1] += 7
    assert made.encode(changed, other).tobytes() != made.encode(inputs, rows).tobytes()


def test_what_is_shown_again_is_learned_again() -> None:
    made, rows = learner(), events().take(slice(0, 256))
    made.hide(hidden("age"), np.zeros(3, dtype=np.bool_))
    taught(made, rows)
    made.hide(hidden(), np.zeros(3, dtype=np.bool_))
    taught(made, rows)
    inputs = FEATURES.compute(rows)
    changed = inputs.copy()
    changed[:, hidden("age")] += 3.0
    assert made.encode(changed, rows).tobytes() != made.encode(inputs, rows).tobytes()


def test_a_learner_that_is_restored_or_adopted_hides_the_same() -> None:
    made, rows = learner(), events().take(slice(0, 256))
    made.hide(hidden("age"), np.array([True, False, True]))
    taught(made, rows)
    restored, adopting = learner(), learner()
    restored.load(made.to_state())
    adopting.adopt(made.edges, made.weights)
    for other in (restored, adopting):
        taught(other, rows)
        blank = ~made.weights["hidden"].any(axis=1)
        assert not other.weights["hidden"][blank].any()


# --- without labels ----------------------------------------------------------------------------------------


def test_a_history_takes_away_the_surprise_of_what_is_constant() -> None:
    rows = events()
    everything, card = LAYOUT.kind_of(None).count(-1), LAYOUT.kind_of(0).count(-1)
    rows.context[:, everything], rows.context[:, card] = 10_000.0, 20.0
    for column, of_card in ((2, 20.0), (3, 1.0)):  # its city is always the same, shops are of any category
        rows.context[:, LAYOUT.kind_of(column).count(-1)] = 400.0
        rows.context[:, LAYOUT.kind_of(0, column).count(-1)] = of_card
    city, mcc = explained_surprises(rows, LAYOUT)
    assert city > 0.95
    assert mcc < 0.3
    rows.context[:, card] = 0.0
    assert not explained_surprises(rows, LAYOUT).any()


def test_histories_of_one_event_are_enough_to_tell_what_is_constant() -> None:
    rows = events()
    rows.context[:, LAYOUT.kind_of(None).count(-1)], rows.context[:, LAYOUT.kind_of(0).count(-1)] = 1e4, 1.0
    for column in (2, 3):
        rows.context[:, LAYOUT.kind_of(column).count(-1)] = 400.0
        rows.context[:, LAYOUT.kind_of(0, column).count(-1)] = 1.0
    assert explained_surprises(rows, LAYOUT) == pytest.approx(1.0)


def plain_learner() -> PlainLearner:
    return PlainLearner(MODEL.encoder, FEATURES.plain_count, 2, 1, np.random.default_rng(1))


def contrasted(made: PlainLearner, rows: Rows) -> None:
    real = np.arange(len(rows)) % 2 == 0
    hashes = Looked(rows.categories[None], rows.grams[None])
    made.learn_each(FEATURES.compute(rows)[None], hashes, real, np.ones((1, len(rows)), dtype=np.float32))


def test_a_plain_encoder_neither_learns_from_nor_serves_what_is_hidden() -> None:
    made, rows = plain_learner(), events().take(slice(0, 256))
    away = hidden("age")[: FEATURES.plain_count]
    made.hide(away, np.array([True, False, True]))
    other = rows.copy()
    other.numerics[:, 1], other.categories[:, 0], other.grams[:] = 9.0, 7, 3
    twin = plain_learner()
    twin.load(made.to_state())
    contrasted(made, rows)
    changed = rows.copy()
    changed.categories[:, 0], changed.grams[:] = 7, 3
    contrasted(twin, changed)
    served = Encoder(MODEL.encoder, FEATURES.plain_count, 2, 1, np.random.default_rng(2))
    encoded = []
    for learner, seen in ((made, rows), (twin, changed), (made, changed)):
        assert learner.learned().combines
        served.serve(learner.learned())
        encoded.append(served.encode(FEATURES.compute(rows), seen).tobytes())
    assert len(set(encoded)) == 1
    made.hide(away, np.ones(3, dtype=np.bool_))
    assert not made.learned().combines


def test_where_most_cards_come_once_their_fields_count() -> None:
    rows = events()
    rows.context[:, LAYOUT.kind_of(None).count(-1)] = 10_000.0
    rows.context[: EVENTS // 3, LAYOUT.kind_of(0).count(-1)] = 20.0
    for column in (2, 3):
        rows.context[:, LAYOUT.kind_of(column).count(-1)] = 400.0
        rows.context[: EVENTS // 3, LAYOUT.kind_of(0, column).count(-1)] = 20.0
    assert not explained_surprises(rows, LAYOUT).any()
    rows.context[:, LAYOUT.kind_of(0).count(-1)] = 20.0
    assert mostly_known(rows, LAYOUT).tolist() == [True, False]


def test_the_trainer_neither_shows_nor_swaps_what_only_says_who() -> None:
    rows = events(shops_per_mcc=2 * SHARED_BY)
    rng = np.random.default_rng(1)
    trainer = Trainer(MODEL, LAYOUT, FEATURES, rng, rng)
    everything = {LAYOUT.groups[number].name for number in trainer._swapped()}
    trainer._hide(rows)  # of cards without a history
    assert {LAYOUT.groups[number].name for number in trainer._swapped()} == everything
    rows.context[:, LAYOUT.kind_of(0).count(-1)] = 20.0
    trainer._hide(rows)
    swapped = {LAYOUT.groups[number].name for number in trainer._swapped()}
    assert everything - swapped == {"age", "city", "street"}


def test_the_learned_part_has_no_say_where_nothing_is_left_to_combine() -> None:
    assert learned_part.learned_weight(LAYOUT) == learned_part.LEARNED_WEIGHT
    assert learned_part.learned_weight(LAYOUT, combines=False) == 0.0
