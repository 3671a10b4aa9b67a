"""The journal: small, exact, and never guessed at."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.recovery.journal import (
    ENTRY_BYTES_MAX,
    EXCHANGE_BYTES_MAX,
    FORMAT,
    NAME_BYTES_MAX,
    STATE_BYTES_MAX,
    Barrier,
    Cause,
    Journal,
)
from detector.errors import NeedsOperator

HASHES = st.text("0123456789abcdef", min_size=12, max_size=12)
NAMES = st.just("") | st.from_regex(r"[0-9]{5}/[0-9]{20}-[0-9a-f]{12}", fullmatch=True)
OFFSETS = st.integers(0, 2**62)


STEPS = st.integers(0, 3) | st.integers(0, 2**40)
GAPS = st.just(0) | st.integers(1, 2**40)


@st.composite
def journals(draw: st.DrawFn, count_max: int = 12) -> Journal:
    told = draw(st.booleans())
    journal = Journal(
        checkpoint=draw(NAMES),
        position=draw(OFFSETS),
        labels=draw(OFFSETS),
        config=draw(HASHES),
        exchange=draw(OFFSETS) if told else 0,
    )
    for _ in range(draw(st.integers(0, count_max))):
        position = journal.barriers[-1].position if journal.barriers else journal.position
        labels_gap, exchange_gap = draw(GAPS), draw(GAPS) if told else 0
        labels, exchange = journal.end("labels") + labels_gap, journal.end("exchange") + exchange_gap
        cause: Cause = draw(st.sampled_from(["every", "labels", "config", "age"]))
        barrier = Barrier(
            position=position + draw(st.integers(1, 10_000) | st.integers(1, 2**40)),
            labels=labels + draw(STEPS),
            cause=cause,
            config=draw(HASHES) if cause == "config" else None,
            labels_from=labels if labels_gap else None,
            exchange=exchange + (draw(STEPS) if told else 0),
            exchange_from=exchange if exchange_gap else None,
        )
        journal = journal.extended(barrier)
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
        exchange=journal.exchange,
    )
    assert earlier.joined(later) == journal
    assert later.position == barrier.position
    assert (later.labels, later.config) == (earlier.end("labels"), earlier.config_end)
    assert (later.end("labels"), later.config_end) == (journal.end("labels"), journal.config_end)
    assert (later.exchange, later.end("exchange")) == (earlier.end("exchange"), journal.end("exchange"))
    assert later.configs | earlier.configs == journal.configs


@given(journals(), st.integers(1, 2**62), OFFSETS, OFFSETS, HASHES)
def test_one_more_barrier_fits_the_bound(
    journal: Journal, step: int, labels: int, exchange: int, config: str
) -> None:
    end = journal.barriers[-1].position if journal.barriers else journal.position
    barrier = Barrier(
        position=end + step,
        labels=journal.end("labels") + labels,
        cause="config",
        config=config,
        labels_from=journal.end("labels") + labels,
        exchange=journal.end("exchange") + exchange,
        exchange_from=journal.end("exchange") + exchange,
    )
    assert len(journal.extended(barrier).to_text()) <= journal.bytes_next_max()


@given(journals())
def test_a_journal_that_has_room_has_room_under_any_checkpoint(journal: Journal) -> None:
    name = "00000/" + "9" * 20 + "-" + "f" * 12
    for barrier in journal.barriers:
        assert journal.rebased(name, barrier.position).bytes_next_max() <= journal.bytes_next_max()


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
    room = ENTRY_BYTES_MAX + NAME_BYTES_MAX + EXCHANGE_BYTES_MAX + STATE_BYTES_MAX
    assert journal.bytes_next_max() == len(journal.to_text()) + room


OLD_TEXT = (
    '{"v":1,"k":"00003/00000000000000008192-0123456789ab","p":8192,"l":40,"c":"aaaaaaaaaaaa","b":'
    '[[4096],[2048,3,1],[4096,2,0],[256,0,2,"bbbbbbbbbbbb"],[4096,9,1,"",5],[512,7,2,"cccccccccccc",1],[7,0,3]]}'
)


@pytest.mark.parametrize(
    "entry", ['[256,4,2,"111111111111",1e-320]', "[256.0]", "[true]", "[1,2,0,5]", '[1,2,0,"",0,0,0,0]', "[]"]
)
def test_an_entry_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(NeedsOperator):
        Journal.from_text(f'{{"v":1,"k":"","p":0,"l":0,"c":"000000000000","b":[{entry}]}}')


def test_a_text_of_before_the_exchange_is_read_and_written_as_it_was() -> None:
    journal = Journal.from_text(OLD_TEXT)
    assert journal.to_text() == OLD_TEXT
    assert [(b.position, b.labels, b.cause, b.config, b.labels_from) for b in journal.barriers] == [
        (12288, 40, "every", None, None),
        (14336, 43, "labels", None, None),
        (18432, 45, "every", None, None),
        (18688, 45, "config", "b" * 12, None),
        (22784, 54, "labels", None, 50),
        (23296, 61, "config", "c" * 12, 55),
        (23303, 61, "age", None, None),
    ]
    assert {journal.exchange, *(barrier.exchange for barrier in journal.barriers)} == {0}
    assert journal.needed("exchange") is None


def test_a_barrier_that_heard_siblings_is_short_and_needs_this_version() -> None:
    journal = Journal(checkpoint="", position=0, labels=0, config="0" * 12, exchange=70)
    for number in range(1, 101):
        journal = journal.extended(
            Barrier(position=4096 * number, labels=0, cause="every", exchange=70 + 16 * number)
        )
    assert len(journal.to_text()) < 100 * 12
    assert json.loads(journal.to_text())["v"] == FORMAT == 2
    assert Journal.from_text(journal.to_text()) == journal
    assert journal.needed("exchange") == 70
    assert journal.needed("labels") is None


@given(st.text(max_size=200) | st.from_regex(r'\{"v":1,"k":.{0,20}\}'))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(NeedsOperator, match="not a journal"):
        Journal.from_text(text)


@given(journals(3), st.sampled_from("vkplcbe"), st.none() | st.booleans() | st.text(max_size=3) | st.floats())
def test_a_field_of_another_kind_is_refused_or_kept(journal: Journal, name: str, value: object) -> None:
    document = json.loads(journal.to_text()) | {name: value}
    with suppress(NeedsOperator):  # anything else would be a crash
        Journal.from_text(json.dumps(document))


def test_another_format_is_refused() -> None:
    document = json.loads(Journal(checkpoint="", position=0, labels=0, config="").to_text())
    with pytest.raises(NeedsOperator, match=f"format {FORMAT + 1}"):
        Journal.from_text(json.dumps(document | {"v": FORMAT + 1}))
