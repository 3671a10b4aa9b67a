"""Event time is believed by the many, not by the one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.core.events.event_time import AHEAD_MIN_S, EventTime, is_behind

DAY_S = 86_400.0
START_S = 1.5e9


def minutes(start: float, count: int = 100) -> NDArray[np.float64]:
    return start + 60.0 * np.arange(count)


def test_before_the_first_event_there_is_no_time() -> None:
    assert EventTime().now == -np.inf


def test_ordinary_events_are_believed() -> None:
    times = minutes(START_S)
    believed, now = EventTime().believe(times)
    assert (believed == times).all()
    assert (np.abs(now - times) < 900).all()


@pytest.mark.parametrize("stray", [7e9, 0.0])
def test_one_stray_event_moves_nobody_elses_time(stray: float) -> None:
    times = minutes(START_S)
    times[50] = stray
    believed, now = EventTime().believe(times)
    others = np.arange(100) != 50
    assert (believed[others] == times[others]).all()
    assert (np.abs(now[20:] - minutes(START_S)[20:]) < 900).all()
    assert believed[50] <= now[50] + AHEAD_MIN_S


def test_after_a_silence_most_events_are_believed_soon() -> None:
    time = EventTime()
    time.believe(minutes(START_S))
    later = minutes(START_S + 90 * DAY_S)
    believed, now = time.believe(later)
    assert (believed[8:] == later[8:]).all()
    assert now[8] > START_S + 89 * DAY_S


def test_a_slow_stream_is_believed() -> None:
    times = START_S + 20 * DAY_S * np.arange(60)
    believed, _ = EventTime().believe(times)
    assert (believed[20:] == times[20:]).all()


def test_a_clock_that_was_wrong_from_the_start_is_forgotten() -> None:
    time = EventTime()
    time.believe(np.full(20, 7e9))
    _, now = time.believe(minutes(START_S))
    assert now[-1] < START_S + DAY_S


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 50), st.integers(1, 20), st.booleans())
def test_what_is_behind_is_behind_the_median_of_the_last_events(
    times: list[int], time: int, seconds: int, saved: bool
) -> None:
    clock = EventTime()
    clock.believe(np.array(times, dtype=np.float64))
    if saved:
        again = EventTime()
        again.load(clock.to_state())
        clock = again
    last = times[-14:]
    assert is_behind(clock.last, clock.held, time, seconds) == bool(last and np.median(last) > time + seconds)
    assert clock.latest == (times[-1] if times else -np.inf)


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 7e9), min_size=1, max_size=60),
    st.lists(st.integers(1, 10), min_size=1, max_size=60),
)
def test_it_does_not_depend_on_how_the_log_is_cut(times: list[float], cuts: list[int]) -> None:
    whole = EventTime().believe(np.array(times))
    time, pieces, start = EventTime(), [], 0
    for cut in [*cuts, len(times)]:
        piece = np.array(times[start : start + cut])
        if len(piece):
            again = EventTime()
            again.load(time.to_state())
            time = again
            pieces.append(time.believe(piece))
            start += cut
    for column in (0, 1):
        assert np.concatenate([piece[column] for piece in pieces]).tolist() == whole[column].tolist()
