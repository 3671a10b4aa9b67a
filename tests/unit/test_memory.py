"""The event buffer is a list of the last events, within its limit of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.config.tree import Event
from detector.config.tree import Features as FeaturesConfig
from detector.config.tree import Labels as LabelsConfig
from detector.core.events import TEXT_GRAMS_MAX
from detector.core.features import Layout
from detector.core.labels.event_buffer import ALERTED, FRAUD, HALF_MAX, EventBuffer, halves, sizes
from detector.core.state import pack, unpack

SCHEMA = Event.model_validate(
    {
        "id": "id",
        "time": {"path": "time"},
        "entities": [{"name": "card", "path": "card"}],
        "fields": [
            {"name": "country", "path": "country", "type": "categorical"},
            {"name": "memo", "path": "memo", "type": "text"},
        ],
    }
)
LAYOUT = Layout(SCHEMA, FeaturesConfig())
INPUTS = 5
CAPACITY = 1024
IDS = 700  # different ids; each comes again while its first event is still stored


def buffer(events_max: int = CAPACITY, buffer_bytes_max: int = 1 << 28, inputs: int = INPUTS) -> EventBuffer:
    config = LabelsConfig(buffer_events_max=events_max, buffer_bytes_max=buffer_bytes_max)
    return EventBuffer(config, LAYOUT, inputs)


def columns(first: int, count: int, inputs: int = INPUTS) -> dict[str, NDArray[Any]]:
    """Columns of events first, first + 1, ...; every value is made from the event's number."""
    numbers = np.arange(first, first + count)
    return {
        "offsets": 10 + 3 * numbers,
        "ids": (numbers % IDS).astype(np.uint64) + np.uint64(1 << 63),
        "times": numbers / 2,
        "keys": np.stack([numbers + 1, numbers + 2], axis=1).astype(np.uint64),
        "inputs": np.tile(numbers[:, None] % 1000, inputs).astype(np.float16),
        "grams": np.full((count, 1, TEXT_GRAMS_MAX), numbers[:, None, None], dtype=np.uint32),
        "plain": (numbers / 4).astype(np.float32),
        "labelled": np.where(numbers % 5, numbers, np.nan).astype(np.float32),
        "flags": (numbers % 2).astype(np.uint8),
    }


def filled(pieces: list[int], made: EventBuffer | None = None) -> EventBuffer:
    made = buffer() if made is None else made
    for count in pieces:
        made.append(**columns(made.events, count))
    return made


PIECES = st.lists(st.integers(0, 300) | st.integers(0, 3000), max_size=12)


@given(pieces=PIECES, events_max=st.integers(1024, 9000))
@settings(max_examples=40, deadline=None)
def test_it_holds_the_last_events_as_they_were(pieces: list[int], events_max: int) -> None:
    made = filled(pieces, buffer(events_max))
    total = sum(pieces)
    assert made.events == total
    assert made.capacity == events_max
    assert made.size <= events_max
    assert made.oldest == max(0, total - made.size)
    assert made.oldest == 0 or made.size == events_max
    held = np.arange(made.oldest, total)
    for name, values in columns(made.oldest, len(held)).items():
        np.testing.assert_array_equal(made.column(name, held), values)
        assert made.column(name, held).dtype == values.dtype


@given(pieces=PIECES, wanted=st.lists(st.integers(0, IDS + 5), max_size=20))
@settings(max_examples=40, deadline=None)
def test_the_latest_event_with_an_id_is_found(pieces: list[int], wanted: list[int]) -> None:
    made = filled(pieces)
    model = {n % IDS + (1 << 63): n for n in made.stored().tolist()}
    ids = [value + (1 << 63) for value in wanted]
    assert made.find("ids", ids) == {value: model[value] for value in ids if value in model}
    offsets = {10 + 3 * n: n for n in made.stored().tolist()}
    assert made.find("offsets", wanted) == {value: offsets[value] for value in wanted if value in offsets}


def test_numbers_that_no_event_can_have_are_not_found() -> None:
    made = filled([100])
    assert made.find("offsets", [2**63, 2**64, 10**30, -1, 10]) == {10: 0}
    assert made.find("ids", [2**64, 0]) == {}
    assert buffer().find("ids", [1 << 63]) == {}


@given(pieces=PIECES, seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_it_does_not_matter_how_many_come_at_once(pieces: list[int], seed: int) -> None:
    total = sum(pieces)
    cuts = np.sort(np.random.default_rng(seed).integers(0, total + 1, 5))
    other = np.diff([0, *cuts, total]).tolist()
    assert pack(filled(pieces).to_state()) == pack(filled(other).to_state())


def test_flags_are_put_on_one_event_and_go_with_it() -> None:
    made = filled([CAPACITY + 10])
    made.put_flags(CAPACITY + 5, ALERTED | FRAUD)
    held = np.arange(made.oldest, made.events)
    expected = (held % 2).astype(np.uint8)
    expected[held == CAPACITY + 5] = ALERTED | FRAUD
    assert made.column("flags", held).tolist() == expected.tolist()
    made.append(**columns(made.events, CAPACITY))
    held = np.arange(made.oldest, made.events)
    assert made.column("flags", held).tolist() == (held % 2).tolist()


@given(pieces=PIECES, more=PIECES)
@settings(max_examples=20, deadline=None)
def test_a_buffer_goes_on_from_its_state(pieces: list[int], more: list[int]) -> None:
    first, second = filled(pieces), buffer()
    second.load(unpack(pack(first.to_state())))
    for made in (first, second):
        filled(more, made)
    assert pack(first.to_state()) == pack(second.to_state())
    assert first.find("ids", [1 << 63]) == second.find("ids", [1 << 63])


@pytest.mark.parametrize(("there", "here"), [(4000, 1024), (1024, 4000), (5000, 4500), (9000, 5000)])
@pytest.mark.parametrize("count", [0, 700, 3000, 10_000])
def test_a_smaller_buffer_loads_the_latest_events(there: int, here: int, count: int) -> None:
    state = filled([count], buffer(there)).to_state()
    made = buffer(here)
    made.load(state)
    assert made.events == count
    assert made.events - made.oldest == min(count, there, here)
    held = np.arange(made.oldest, made.events)
    for name, values in columns(made.oldest, len(held)).items():
        np.testing.assert_array_equal(made.column(name, held), values)
    filled([50, 2000], made)
    last = np.arange(made.events - 1000, made.events)
    np.testing.assert_array_equal(made.column("offsets", last), columns(0, made.events)["offsets"][last])


@pytest.mark.parametrize("inputs", [1, 100, 1000])
def test_it_keeps_to_its_bytes(inputs: int) -> None:
    made = buffer(events_max=1 << 20, buffer_bytes_max=1 << 23, inputs=inputs)
    assert made.capacity >= CAPACITY
    limits = sizes(LabelsConfig(buffer_events_max=1 << 20, buffer_bytes_max=1 << 23), LAYOUT, inputs)
    assert 0.99 * (1 << 23) < limits.bytes_max <= 1 << 23
    while made.events < 3 * made.capacity:
        made.append(**columns(made.events, 512, inputs))
    state = made.to_state()
    held = [*state.values(), *state["older"].values()]
    used = sum(values.nbytes for values in held if isinstance(values, np.ndarray))
    assert 0.9 * limits.bytes_max < used <= limits.bytes_max


def test_some_events_are_stored_whatever_their_size() -> None:
    assert buffer(buffer_bytes_max=1 << 20, inputs=10_000).capacity == CAPACITY


def test_examples_are_what_the_encoder_saw() -> None:
    made = filled([100])
    examples = made.examples(np.array([7, 3]))
    assert len(examples) == 2
    assert examples.inputs.dtype == np.float32
    assert examples.inputs.tolist() == [[7.0] * INPUTS, [3.0] * INPUTS]
    assert examples.categories.tolist() == [[9], [5]]
    assert examples.grams[:, 0, 0].tolist() == [7, 3]
    both = examples.joined(made.examples(np.array([1])))
    assert both.take(slice(2, None)).inputs[0, 0] == 1.0
    assert len(both) == 3


def test_inputs_are_kept_finite() -> None:
    kept = halves(np.array([1e9, -1e9, 0.1, 65504.0], dtype=np.float32))
    assert kept.tolist() == pytest.approx([HALF_MAX, -HALF_MAX, 0.1, 65504.0], rel=1e-3)
