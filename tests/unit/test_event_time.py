"""Event time follows most events; a single wrong time does not move it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.core.events.event_time import AHEAD_MIN_S, EventTime, is_behind, update_time

DAY_S = 86_400.0
START_S = 1.5e9


def minutes(start: float, count: int = 100) -> NDArray[np.float64]:
    return start + 60.0 * np.arange(count)


def followed(time: EventTime, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Update with events in log order; returns their bounded times, and now after each."""
    pairs = [update_time(time.last, time.held, sent) for sent in times]
    bounded, now = np.array(pairs).reshape(-1, 2).T
    return bounded, now


def test_before_the_first_event_there_is_no_time() -> None:
    assert EventTime().now == -np.inf


def test_ordinary_times_are_kept() -> None:
    times = minutes(START_S)
    bounded, now = followed(EventTime(), times)
    assert (bounded == times).all()
    assert (np.abs(now - times) < 900).all()


@pytest.mark.parametrize("stray", [7e9, 0.0])
def test_one_stray_event_moves_no_other_events_time(stray: float) -> None:
    times = minutes(START_S)
    times[50] = stray
    bounded, now = followed(EventTime(), times)
    others = np.arange(100) != 50
    assert (bounded[others] == times[others]).all()
    assert (np.abs(now[20:] - minutes(START_S)[20:]) < 900).all()
    assert bounded[50] <= now[50] + AHEAD_MIN_S


def test_after_a_pause_times_are_kept_again_soon() -> None:
    time = EventTime()
    followed(time, minutes(START_S))
    later = minutes(START_S + 90 * DAY_S)
    bounded, now = followed(time, later)
    assert (bounded[8:] == later[8:]).all()
    assert now[8] > START_S + 89 * DAY_S


def test_times_of_a_slow_stream_are_kept() -> None:
    times = START_S + 20 * DAY_S * np.arange(60)
    bounded, _ = followed(EventTime(), times)
    assert (bounded[20:] == times[20:]).all()


def test_a_clock_that_was_wrong_from_the_start_is_forgotten() -> None:
    time = EventTime()
    followed(time, np.full(20, 7e9))
    _, now = followed(time, minutes(START_S))
    assert now[-1] < START_S + DAY_S


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 50), st.integers(1, 20), st.booleans())
def test_behind_means_before_the_median_of_the_last_events(
    times: list[int], time: int, seconds: int, saved: bool
) -> None:
    clock = EventTime()
    followed(clock, np.array(times, dtype=np.float64))
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
    whole = followed(EventTime(), np.array(times))
    time, pieces, start = EventTime(), [], 0
    for cut in [*cuts, len(times)]:
        piece = np.array(times[start : start + cut])
        if len(piece):
            again = EventTime()
            again.load(time.to_state())
            time = again
            pieces.append(followed(time, piece))
            start += cut
    for column in (0, 1):
        assert np.concatenate([piece[column] for piece in pieces]).tolist() == whole[column].tolist()
