"""The comparison of outputs finds every kind of difference."""

from __future__ import annotations

from tests.kafka.audit import Seen, compare, first_copies


def outputs(*names: str) -> Seen:
    return {("scores", 0, int(name)): [(b"key", (("h", b"1"),), name.encode())] for name in names}


def test_equal_outputs_do_not_differ() -> None:
    assert not compare(outputs("1", "2"), outputs("2", "1"))


def test_lost_surplus_and_repeated_outputs_are_reported() -> None:
    seen = outputs("1", "3")
    seen["scores", 0, 1] *= 2
    difference = compare(seen, outputs("1", "2"))
    assert difference
    assert difference.lost == [("scores", 0, 2)]
    assert difference.surplus == [("scores", 0, 3)]
    assert difference.twice == [("scores", 0, 1)]
    assert difference.different == []


def test_key_headers_and_bytes_count() -> None:
    for copy in ((None, (("h", b"1"),), b"1"), (b"key", (), b"1"), (b"key", (("h", b"1"),), b"1 ")):
        assert compare({("scores", 0, 1): [copy]}, outputs("1")).different == [("scores", 0, 1)]


def test_repeats_are_left_out_and_copies_that_differ_are_named() -> None:
    seen = outputs("1", "2", "3")
    seen["scores", 0, 1] *= 3
    seen["scores", 0, 2] += outputs("9")["scores", 0, 9]
    assert first_copies(seen) == (outputs("1", "2", "3"), 3, [("scores", 0, 2)])
