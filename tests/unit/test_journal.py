"""The journal: a short, exact text; any other text is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.recovery.journal import (
    FORMAT,
    NAME_BYTES_MAX,
    STATE_BYTES_MAX,
    Barrier,
    Cause,
    Journal,
    entry_bytes_max,
)
from detector.core.recovery.sides import SIDES, Side, SideRange
from detector.errors import NeedsOperator

HASHES = st.text("0123456789abcdef", min_size=12, max_size=12)
NAMES = st.just("") | st.from_regex(r"[0-9]{5}/[0-9]{20}-[0-9a-f]{12}", fullmatch=True)
OFFSETS = st.integers(0, 2**62)


STEPS = st.integers(0, 3) | st.integers(0, 2**40)
GAPS = st.just(0) | st.integers(1, 2**40)


@st.composite
def journals(draw: st.DrawFn, count_max: int = 12) -> Journal:
    used = draw(st.sets(st.sampled_from(sorted(SIDES))))
    journal = Journal(
        checkpoint=draw(NAMES),
        position=draw(OFFSETS),
        config=draw(HASHES),
        sides={side: draw(OFFSETS) for side in sorted(used)},
    )
    for _ in range(draw(st.integers(0, count_max))):
        position = journal.barriers[-1].position if journal.barriers else journal.position
        sides = {}
        for side in sorted(used):
            start = journal.end(side) + draw(GAPS)
            sides[side] = SideRange(start, start + draw(STEPS))
        cause: Cause = draw(st.sampled_from(["every", "side_input", "config", "age"]))
        barrier = Barrier(
            position=position + draw(st.integers(1, 10_000) | st.integers(1, 2**40)),
            cause=cause,
            sides={side: found for side, found in sides.items() if found.stop > journal.end(side)},
            config=draw(HASHES) if cause == "config" else None,
        )
        journal = journal.extended(barrier)
    return journal


@given(journals())
def test_a_journal_is_read_back_from_its_text(journal: Journal) -> None:
    text = journal.to_text()
    assert text.isascii()
    assert Journal.from_text(text) == journal


@given(journals(), st.data())
def test_joining_what_rebasing_dropped_restores_the_journal(journal: Journal, data: st.DataObject) -> None:
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
        config=journal.config,
        sides=journal.sides,
        barriers=journal.barriers[: index + 1],
    )
    assert earlier.joined(later) == journal
    assert later.position == barrier.position
    assert later.config == earlier.config_end
    assert {side: later.sides.get(side, 0) for side in SIDES} == earlier.ends
    assert (later.ends, later.config_end) == (journal.ends, journal.config_end)
    assert later.configs | earlier.configs == journal.configs


@given(
    journals(),
    st.integers(1, 2**62),
    st.fixed_dictionaries(dict.fromkeys(SIDES, OFFSETS)),
    HASHES,
)
def test_one_more_barrier_fits_the_bound(
    journal: Journal, step: int, skipped: Mapping[Side, int], config: str
) -> None:
    end = journal.barriers[-1].position if journal.barriers else journal.position
    starts = {side: journal.end(side) + gap for side, gap in skipped.items()}
    barrier = Barrier(
        position=end + step,
        cause="config",
        sides={side: SideRange(start, start) for side, start in starts.items() if start > journal.end(side)},
        config=config,
        state=f"{FORMAT}:0123456789ab",
    )
    assert len(journal.extended(barrier).to_text()) <= journal.bytes_next_max()


@given(journals())
def test_a_journal_that_has_room_has_room_under_any_checkpoint(journal: Journal) -> None:
    name = "00000/" + "9" * 20 + "-" + "f" * 12
    for barrier in journal.barriers:
        assert journal.rebased(name, barrier.position).bytes_next_max() <= journal.bytes_next_max()


def test_lost_labels_are_not_needed_again() -> None:
    journal = Journal(checkpoint="", position=0, config="0" * 12)
    assert journal.needed("feedback") is None
    journal = journal.extended(Barrier(position=10, cause="every"))
    assert journal.needed("feedback") is None
    barrier = Barrier(position=20, cause="side_input", sides={"feedback": SideRange(40, 45)})
    journal = journal.extended(barrier)
    assert journal.needed("feedback") == 40
    assert Journal.from_text(journal.to_text()) == journal


def test_usual_barriers_are_short() -> None:
    journal = Journal(checkpoint="", position=0, config="0" * 12)
    for number in range(1, 101):
        journal = journal.extended(Barrier(position=4096 * number, cause="every"))
    assert len(journal.to_text()) < 100 * 9
    room = entry_bytes_max() + NAME_BYTES_MAX + STATE_BYTES_MAX
    assert journal.bytes_next_max() == len(journal.to_text()) + room


def test_barriers_with_peer_messages_are_short() -> None:
    journal = Journal(checkpoint="", position=0, config="0" * 12, sides={"exchange": 70})
    for number in range(1, 101):
        sides = {"exchange": SideRange(54 + 16 * number, 70 + 16 * number)}
        journal = journal.extended(Barrier(position=4096 * number, cause="every", sides=sides))
    assert len(journal.to_text()) < 100 * 12
    assert Journal.from_text(journal.to_text()) == journal
    assert journal.needed("exchange") == 70
    assert journal.needed("feedback") is None


TEXT = (
    '{"v":1,"k":"00003/00000000000000008192-0123456789ab","p":8192,"c":"aaaaaaaaaaaa","s":[7,40],"b":'
    '[[4096],[2048,0,3,"s"],[4096,16,2],[256,"cbbbbbbbbbbbb"],[4096,1,9,"s",[0,5]],[512,9,"cdddddddddddd",[8]],'
    '[7,"a"]],"h":"1:0123456789ab"}'
)


def test_a_text_is_read_and_written_as_it_is() -> None:
    """The text of format 1: committed offsets hold it."""
    journal = Journal.from_text(TEXT)
    assert journal.to_text() == TEXT
    assert (journal.position, journal.sides) == (8192, {"exchange": 7, "feedback": 40})
    assert [(b.position, b.cause, b.config, b.sides) for b in journal.barriers] == [
        (12288, "every", None, {}),
        (14336, "side_input", None, {"feedback": (40, 43)}),
        (18432, "every", None, {"exchange": (7, 23), "feedback": (43, 45)}),
        (18688, "config", "b" * 12, {}),
        (22784, "side_input", None, {"exchange": (23, 24), "feedback": (50, 54)}),
        (23296, "config", "d" * 12, {"exchange": (32, 33)}),
        (23303, "age", None, {}),
    ]
    assert journal.ends == {"exchange": 33, "feedback": 54}
    assert journal.states == ("",) * 6 + ("1:0123456789ab",)


@pytest.mark.parametrize(
    "entry",
    [
        "[256.0]",
        "[true]",
        "[-1]",
        "[]",
        '["c"]',
        "[[1]]",
        '[1,2,0,"x"]',
        '[1,2,"s",3]',
        '[1,2,"s","s"]',
        "[1,2,[3]]",
        "[1,2,[0.5]]",
        "[1,2,[1],[1]]",
        '{"0":1}',
        "7",
    ],
)
def test_an_entry_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(NeedsOperator, match="not a journal"):
        Journal.from_text(f'{{"v":1,"k":"","p":0,"c":"000000000000","s":[],"b":[{entry}]}}')


@pytest.mark.parametrize(
    ("sides", "entry"), [("[1,2,3]", "[1]"), ("[]", "[1,2,3,4]"), ("[]", "[1,1,[0,0,1]]")]
)
def test_a_journal_with_a_side_input_that_is_not_known_is_refused(sides: str, entry: str) -> None:
    with pytest.raises(NeedsOperator, match="3 side inputs, this version knows 2"):
        Journal.from_text(f'{{"v":1,"k":"","p":0,"c":"000000000000","s":{sides},"b":[{entry}]}}')


@given(st.text(max_size=200) | st.from_regex(r'\{"v":1,"k":.{0,20}\}'))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(NeedsOperator, match="not a journal"):
        Journal.from_text(text)


@given(journals(3), st.sampled_from("vkpcsbh"), st.none() | st.booleans() | st.text(max_size=3) | st.floats())
def test_a_field_of_another_kind_is_refused_or_kept(journal: Journal, name: str, value: object) -> None:
    document = json.loads(journal.to_text()) | {name: value}
    with suppress(NeedsOperator):  # anything else would be a crash
        Journal.from_text(json.dumps(document))


def test_another_format_is_refused() -> None:
    document = json.loads(Journal(checkpoint="", position=0, config="").to_text())
    with pytest.raises(NeedsOperator, match=f"format {FORMAT + 1}"):
        Journal.from_text(json.dumps(document | {"v": FORMAT + 1}))
