"""Times in published records are what `datetime` writes."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.alerts.score_record import iso

YEAR_9999_S = 253_402_300_799.0


@given(time=st.floats(0.0, YEAR_9999_S) | st.integers(0, int(YEAR_9999_S)).map(float) | st.floats(-1e9, 2.0))
@example(time=0.0)
@example(time=1.9999996)  # rounds to the next second
@example(time=-0.0000001)
@example(time=-0.25)
@example(time=0.0000005)
def test_times_are_those_of_datetime(time: float) -> None:
    assert iso(time) == datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
