"""On a terminal `init-config` takes corrections; each changes what it says, and what it does not understand
changes nothing."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from detector.cli import asking
from detector.config.infer import Inference, Sample, Wishes, render
from tests import cases


def asked(lines: Iterable[str], wishes: Wishes | None = None) -> Inference | None:
    """What comes of a dialogue; at its end the person closes the terminal."""
    left = iter(lines)

    def read() -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return asking.ask(Sample(cases.persons().splitlines()), wishes or Wishes(), read)


def accepted(*lines: str) -> Inference:
    inference = asked([*lines, ""])
    assert inference is not None
    return inference


def test_enter_accepts_and_so_does_the_end_of_the_input() -> None:
    assert accepted() == asked([])


def test_quit_writes_nothing() -> None:
    assert asked(["quit"]) is None


def test_corrections_are_applied() -> None:
    inference = accepted("entity merchant, cc_num", "drop city", "time none", "id none", "use first text")
    assert [choice.path for choice in inference.entities] == ["merchant", "cc_num"]
    assert {choice.path for choice in inference.ignored} >= {"city"}
    assert (inference.id.path, inference.time.path) == ("", "")
    assert {choice.path: choice.kind for choice in inference.fields}["first"] == "text"


def test_a_field_can_be_dropped_and_taken_back() -> None:
    assert "amount" not in {choice.path for choice in accepted("drop amount").fields}
    inference = accepted("drop amount", "use amount")
    assert "amount" in {choice.path for choice in inference.fields}
    assert inference.exposure == "amount"


def test_a_label_and_an_amount_can_be_named() -> None:
    inference = accepted("label first", "amount none")
    assert [label.path for label in inference.labels] == ["first"]
    assert inference.exposure is None
    assert "named by you" in render(inference)


def test_a_field_can_be_only_copied() -> None:
    uses = {choice.path: choice.use for choice in accepted("use amount context").fields}
    assert uses["amount"] == "context"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("help", "Corrections, one per line"),
        ("hello there", "no correction: 'hello'"),
        ("drop", "'drop' needs a field"),
        ("time amnt", "expected one of the fields that fit"),
        ("amount merchant", "expected one of the fields that fit"),
        ("use merchant numeric", "a field of numbers"),
    ],
)
def test_what_is_not_understood_changes_nothing(
    capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    assert accepted(line) == accepted()
    assert words in " ".join(capsys.readouterr().err.split())
