"""Event time is believed by the block, not by the event."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core.event_time import AHEAD_MIN_S, EventTime

DAY_S = 86_400.0
START_S = 1.5e9


def block(start: float, length: float = 3600.0) -> np.ndarray:
    return np.linspace(start, start + length, 256)


def test_everything_is_believed_before_the_first_block() -> None:
    assert EventTime().latest == np.inf
    assert EventTime().now == -np.inf


def test_one_stray_event_moves_nothing() -> None:
    time = EventTime()
    times = block(START_S)
    times[7] = 7e9
    time.learn(times)
    assert START_S < time.now < START_S + 3600
    assert time.latest == time.now + AHEAD_MIN_S


def test_a_slow_stream_may_take_long_over_a_block() -> None:
    time = EventTime()
    time.learn(block(START_S, 30 * DAY_S))
    time.learn(block(START_S + 30 * DAY_S, 30 * DAY_S))
    assert time.latest > time.now + 60 * DAY_S


def test_after_a_long_silence_time_goes_on() -> None:
    time = EventTime()
    time.learn(block(START_S))
    time.learn(np.minimum(block(START_S + 90 * DAY_S), time.latest))
    time.learn(np.minimum(block(START_S + 90 * DAY_S), time.latest))
    for _ in range(8):
        time.learn(np.minimum(block(START_S + 91 * DAY_S), time.latest))
    assert time.now > START_S + 90 * DAY_S


@given(st.lists(st.floats(0, 7e9), min_size=1, max_size=20))
def test_time_never_goes_back(starts: list[float]) -> None:
    time = EventTime()
    before = -np.inf
    for start in starts:
        time.learn(block(start))
        assert time.now >= before
        before = time.now
        again = EventTime()
        again.load(time.to_state())
        assert again.latest == time.latest
