"""The journal: small, exact, and never guessed at."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.journal import ENTRY_BYTES_MAX, FORMAT, ORIGIN_BYTES_MAX, Barrier, Cause, Journal
from detector.errors import NeedsOperator

HASHES = st.text("0123456789abcdef", min_size=12, max_size=12)
NAMES = st.just("") | st.from_regex(r"[0-9]{5}/[0-9]{20}-[0-9a-f]{12}", fullmatch=True)
OFFSETS = st.integers(0, 2**62)


@st.composite
def journals(draw: st.DrawFn, count_max: int = 12) -> Journal:
    journal = Journal(
        checkpoint=draw(NAMES), position=draw(OFFSETS), labels=draw(OFFSETS), config=draw(HASHES)
    )
    position, labels = journal.position, journal.labels
    for _ in range(draw(st.integers(0, count_max))):
        position += draw(st.integers(1, 10_000) | st.integers(1, 2**40))
        labels += draw(st.integers(0, 3) | st.integers(0, 2**40))
        cause: Cause = draw(st.sampled_from(["every", "labels", "config"]))
        config = draw(HASHES) if cause == "config" else None
        journal = journal.extended(Barrier(position=position, labels=labels, cause=cause, config=config))
    return journal


@given(journals())
def test_text_tells_all(journal: Journal) -> None:
    text = journal.to_text()
    assert text.isascii()
    assert Journal.from_text(text) == journal


@given(journals(), st.data())
def test_rebased_and_joined_is_what_it_was(journal: Journal, data: st.DataObject) -> None:
    if not journal.barriers:
        with pytest.raises(ValueError, match="no barrier"):
            journal.rebased("K", journal.position)
        return
    index = data.draw(st.integers(0, len(journal.barriers) - 1))
    barrier = journal.barriers[index]
    later = journal.rebased("K", barrier.position)
    earlier = Journal(
        checkpoint=journal.checkpoint,
        position=journal.position,
        labels=journal.labels,
        config=journal.config,
        barriers=journal.barriers[: index + 1],
    )
    assert earlier.joined(later) == journal
    assert later.position == barrier.position
    assert (later.labels, later.config) == (earlier.end("labels"), earlier.config_end)
    assert (later.end("labels"), later.config_end) == (journal.end("labels"), journal.config_end)
    assert later.configs | earlier.configs == journal.configs


@given(journals(), st.integers(1, 2**40), st.integers(0, 2**40), HASHES)
def test_one_more_barrier_fits_the_bound(journal: Journal, step: int, labels: int, config: str) -> None:
    end = journal.barriers[-1].position if journal.barriers else journal.position
    barrier = Barrier(position=end + step, labels=journal.end("labels") + labels, cause="config", config=config)
    assert len(journal.extended(barrier).to_text()) <= journal.bytes_next_max()


@given(journals())
def test_a_journal_that_begins_at_a_checkpoint_still_fits_the_bound(journal: Journal) -> None:
    name = "00000/" + "9" * 20 + "-" + "f" * 12
    for barrier in journal.barriers:
        assert len(journal.rebased(name, barrier.position).to_text()) <= journal.bytes_next_max()


def test_labels_that_were_gone_before_are_not_asked_for_again() -> None:
    journal = Journal(checkpoint="", position=0, labels=0, config="0" * 12)
    assert journal.needed("labels") is None
    journal = journal.extended(Barrier(position=10, labels=0, cause="every"))
    assert journal.needed("labels") is None
    journal = journal.extended(Barrier(position=20, labels=45, cause="labels", labels_from=40))
    assert journal.needed("labels") == 40
    assert Journal.from_text(journal.to_text()) == journal


def test_a_barrier_of_the_usual_kind_is_short() -> None:
    journal = Journal(checkpoint="", position=0, labels=0, config="0" * 12)
    for number in range(1, 101):
        journal = journal.extended(Barrier(position=4096 * number, labels=0, cause="every"))
    assert len(journal.to_text()) < 100 * 9
    assert journal.bytes_next_max() == len(journal.to_text()) + ENTRY_BYTES_MAX + ORIGIN_BYTES_MAX


@given(st.text(max_size=200) | st.from_regex(r'\{"v":1,"k":.{0,20}\}'))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(NeedsOperator, match="not a journal"):
        Journal.from_text(text)


@given(journals(3), st.sampled_from("vkplcb"), st.none() | st.booleans() | st.text(max_size=3) | st.floats())
def test_a_field_of_another_kind_is_refused_or_kept(journal: Journal, name: str, value: object) -> None:
    document = json.loads(journal.to_text()) | {name: value}
    with suppress(NeedsOperator):  # anything else would be a crash
        Journal.from_text(json.dumps(document))


def test_another_format_is_refused() -> None:
    document = json.loads(Journal(checkpoint="", position=0, labels=0, config="").to_text())
    with pytest.raises(NeedsOperator, match=f"format {FORMAT + 1}"):
        Journal.from_text(json.dumps(document | {"v": FORMAT + 1}))
