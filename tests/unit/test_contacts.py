"""What earlier events met, beside an event: the same, something else, something new."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.config.tree import Features as FeaturesConfig
from detector.core.alerts.contacts import CONTACTS_MAX, NOTHING_MET, Contacts, MetBefore, numbers_of
from detector.core.alerts.recent import MET, History, Recent
from detector.core.alerts.words import Sentences
from detector.core.features import Layout
from detector.core.state import pack, unpack
from tests.unit.test_habits import LAYOUT, SCHEMA, key, observed, traffic

CONTACTS = Contacts(LAYOUT)


def test_the_same_another_and_a_new_one_are_told_apart() -> None:
    rows = traffic(2000)
    rows.entities[-3:, 0] = key(1)
    rows.entities[-3:, 1] = key(np.array([1_000_001, 1_000_002, 1_000_001]))
    rows.categories[-3:] = rows.categories[-1]
    rows.entities[:-3, 0][rows.entities[:-3, 0] == key(1)] = key(2)
    rows = observed(rows)
    numbers = CONTACTS.numbered(rows)
    assert CONTACTS.beside(numbers[-1], numbers[[-2, -3]]) == (
        MetBefore(same=("kind",), other=("shop",), new=("shop",)),
        MetBefore(same=("shop", "kind"), new=("shop", "kind")),
    )


def test_what_an_event_lacks_is_neither() -> None:
    rows = observed(traffic(50))
    rows.entities[-1, 1] = 0
    numbers = CONTACTS.numbered(rows)
    for now, then in ((-1, -2), (-2, -1)):
        met = CONTACTS.beside(numbers[now], numbers[[then]])[0]
        assert "shop" not in met.same + met.other
    assert CONTACTS.beside(numbers[-1], np.zeros((1, CONTACTS.numbers))) == (NOTHING_MET,)


def test_what_is_hidden_is_not_named() -> None:
    fields = [
        field.model_copy(update={"echo": False}) if field.name == "kind" else field for field in SCHEMA.fields
    ]
    hidden = Contacts(Layout(SCHEMA.model_copy(update={"fields": fields}), FeaturesConfig()))
    numbers = hidden.numbered(observed(traffic(50)))
    assert hidden.numbers == CONTACTS.numbers
    assert hidden.beside(numbers[-1], numbers[[-1]])[0].same == ("shop",)


def test_codes_are_exact_in_a_double() -> None:
    rows = observed(traffic(200))
    rows.entities[:, 1] = np.uint64(2**64 - 1) - np.arange(200, dtype=np.uint64) * np.uint64(1 << 40)
    numbers = CONTACTS.numbered(rows)
    assert numbers.max() < 2.0**48
    assert (numbers == np.floor(numbers)).all()
    same = [met.same for met in CONTACTS.beside(numbers[7], numbers)]
    assert [n for n, names in enumerate(same) if "shop" in names] == [7]


@pytest.mark.parametrize(("contacts", "numbers"), [(0, 0), (1, 1), (2, 1), (5, 3), (30, CONTACTS_MAX // 2)])
def test_an_event_has_few_numbers(contacts: int, numbers: int) -> None:
    assert numbers_of(contacts) == numbers


def test_the_ring_keeps_them_and_reads_one_from_before() -> None:
    numbers = np.arange(8.0).reshape(4, 2)
    ring = Recent(16, 8, 2)
    keys = np.full(4, 5, dtype=np.uint64)
    offsets, times = np.arange(4), np.arange(4.0)
    ring.feed(keys, offsets, times, times, times, numbers)
    again = Recent(16, 8, 2)
    again.load(unpack(pack(ring.to_state())))
    assert again.before(5, 9.0).met.tolist() == numbers[::-1].tolist()
    older = unpack(pack(ring.to_state()))
    older["events"]["stats"] = older["events"]["stats"][:, :MET]
    again.load(older)
    assert again.before(5, 9.0).met.tolist() == [[0.0, 0.0]] * 4
    assert again.before(5, 9.0).newest(2).met.shape == (2, 2)


@pytest.mark.parametrize(
    ("met", "said"),
    [
        (MetBefore(same=("shop", "kind")), ", same shop"),
        (MetBefore(other=("shop",), new=("shop",)), ", new shop"),
        (MetBefore(other=("shop",)), ", other shop"),
        (NOTHING_MET, ""),
    ],
)
def test_it_is_said_of_entities(met: MetBefore, said: str) -> None:
    assert Sentences(SCHEMA).phrases.beside(met) == said


def test_what_both_usually_meet_is_not_said() -> None:
    numbers = CONTACTS.numbered(observed(traffic(50)))
    met = CONTACTS.beside(numbers[-1], numbers[[-1]], {"shop"})[0]
    assert (met.same, met.usual) == (("shop", "kind"), ("shop",))
    assert Sentences(SCHEMA).phrases.beside(met) == ""


def test_the_latest_with_the_same_amount_says_what_it_met() -> None:
    nothing = np.zeros(3)
    amounts = np.array([5.0, 7.0, 7.0])
    past = History(nothing.astype(np.int64), nothing, amounts, nothing, 0.0, nothing.astype(np.int64))
    assert (past.beside, past.again) == ((), NOTHING_MET)

    def beside(places: NDArray[np.intp]) -> tuple[MetBefore, ...]:
        return tuple(MetBefore((str(place),)) for place in places.tolist())

    assert past.with_beside(beside, 7.0, 1).again == MetBefore(("1",))
    assert past.with_beside(beside, 7.0, 2).beside == (MetBefore(("0",)), MetBefore(("1",)))
    assert past.with_beside(beside, 1.0, 2).again == NOTHING_MET


def test_of_an_amount_that_comes_again_categories_that_differ_are_told_too() -> None:
    """A card payment, and then a reimbursement of the same amount from the same shop."""
    met = MetBefore(("shop",), ("kind",))
    say = Sentences(SCHEMA).phrases
    assert say.beside(met) == ", same shop"
    assert say.beside(met, whole=True) == ", same shop, other kind"
