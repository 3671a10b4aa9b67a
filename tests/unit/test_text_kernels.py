"""Columns of text give the same as single texts, or report that a text is not of the usual form."""

from __future__ import annotations

import math
import zlib
from bisect import bisect_left
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.events.kinds.text import TextGrams
from detector.core.events.text_kernels import IsoTimes, PatternTimes, beyond, split_grams

PATTERNS = [
    *["%d.%m.%Y %H:%M:%S", "%Y%m%d", "%Y%m%d%H%M%S%f", "%m/%d/%y %H:%M", "%d-%b-%Y", "%H%%%M %d %m %Y"],
    *["%Y-%m-%d %I:%M:%S %p", "%A %d %B %Y", "%Y-%j", "%Y-%m-%d %H:%M:%S %z", "%d\u00a0%m %Y"],
]
zones = st.sampled_from(sorted(available_timezones()))
forms = st.sampled_from(
    [
        *["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ"],
        *[
            "%Y-%m-%dT%H:%M",
            "%Y-%m-%d",
            "%Y%m%dT%H%M%S",
            "%y-%m",
            "%Y-%m-%dT%H:%M:%S.",
            "%Y-%m-%dT%H:%M:%S.2",
        ],
        *["%Y-%m-%d %H:%M:%S.250", "%Y-%m-%d %H:%M:%S+05:30", "%Y-%m-%dT%H:%M:%S.%f-23:59"],
        *["%Y-%m-%dT%H:%M:%S+24:00", "%Y-%m-%dT%H:%M:%S+01", "%Y-%m-%dT%H:%M:%S.2500Z"],
    ]
)
usual = settings(max_examples=600, deadline=None)


def seconds(text: str, zone: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()


@usual
@given(
    st.lists(st.tuples(st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 31)), forms), max_size=8),
    zones,
    st.randoms(use_true_random=False),
)
def test_times_are_those_of_the_standard_library(given_times: Any, zone: str, random: Any) -> None:
    column = [moment.strftime(form) for moment, form in given_times]
    column += ["".join(random.choices("0129-:TZ+. ", k=4)) + text[4:] for text in column[:2]]
    for text, found in zip(column, IsoTimes(ZoneInfo(zone)).read(column).tolist(), strict=True):
        if math.isnan(found):
            continue
        assert found == seconds(text, zone), text
    assert not np.isnan(
        IsoTimes(ZoneInfo("UTC")).read(["2024-02-29T23:59:59.999999Z", "2024-01-01 00:00:00+01:00"])
    ).any()


@usual
@given(
    st.sampled_from(PATTERNS),
    st.lists(
        st.tuples(st.datetimes(datetime(1968, 1, 1), datetime(2201, 1, 1)), st.integers(-1, 30)), max_size=6
    ),
    zones,
    st.sampled_from("0 9:.xüA"),
)
def test_patterns_are_those_of_the_standard_library(
    pattern: str, moments: list[tuple[datetime, int]], zone: str, other: str
) -> None:
    column = [moment.strftime(pattern.replace("%z", "+0130")) for moment, _ in moments]
    column = [
        text if place < 0 else text[:place] + other + text[place + 1 :]
        for text, (_, place) in zip(column, moments, strict=True)
    ]
    read = PatternTimes(pattern, ZoneInfo(zone)).read(column)
    for text, found in zip(column, read.tolist(), strict=True):
        if math.isnan(found):
            continue
        moment = datetime.strptime(text, pattern).replace(tzinfo=ZoneInfo(zone))
        assert found == moment.timestamp()


@pytest.mark.parametrize("pattern", PATTERNS[:6])
def test_usual_texts_of_numeric_patterns_are_read_at_once(pattern: str) -> None:
    column = [datetime(2026, month, 17, 9, 8, 7).strftime(pattern) for month in range(1, 13)]
    assert not np.isnan(PatternTimes(pattern, ZoneInfo("Asia/Tokyo")).read(column)).any()


@usual
@given(zones, st.integers(0, 400), st.integers(-5400, 5400))
def test_local_times_near_a_change_of_offset(zone: str, which: int, around: int) -> None:
    changes = _changes(zone)
    if changes:
        moment = changes[which % len(changes)] + timedelta(seconds=around)
        text = moment.isoformat()
        found = float(IsoTimes(ZoneInfo(zone)).read([text])[0])
        assert math.isnan(found) or found == seconds(text, zone)


@cache
def _changes(zone: str) -> list[datetime]:
    """Local times at which a zone's offset changes, to the hour, over some decades."""
    info = ZoneInfo(zone)
    days = [datetime(1970, 1, 2) + timedelta(days=day) for day in range(0, 365 * 60, 20)]
    offsets = [day.replace(tzinfo=info).utcoffset() for day in days]
    hours = [timedelta(hours=hour) for hour in range(20 * 24 + 1)]

    def changed(moment: datetime, before: timedelta | None) -> bool:
        return moment.replace(tzinfo=info).utcoffset() != before

    return [
        day + hours[bisect_left(hours, True, key=lambda hour: changed(day + hour, before))]
        for day, before, after in zip(days, offsets, offsets[1:], strict=False)
        if before != after
    ]


@given(
    st.lists(st.none() | st.text(max_size=60) | st.text("aäI 😀ß", max_size=60), max_size=6),
    st.binary(max_size=8),
)
@settings(deadline=None)
def test_trigrams_are_those_of_single_texts(column: list[str | None], key: bytes) -> None:
    split = TextGrams(key, "note")
    grams = np.full((len(column), 1, 32), 9, dtype=np.uint32)
    split_grams(["" if text is None else split.padded(text) for text in column], split.salt, grams[:, 0])
    for row, text in enumerate(column):
        assert tuple(grams[row, 0][grams[row, 0] != 0].tolist()) == split(text)
    whole = " abc "
    assert split("abc") == tuple(sorted(zlib.crc32(whole[i : i + 3].encode(), split.salt) for i in range(3)))


@settings(deadline=None)
@given(
    st.lists(
        st.binary(max_size=20) | st.sampled_from([b'{"a": [1, {"b": "\\"[["}]}', "ä".encode()]), max_size=6
    )
)
def test_documents_that_are_not_utf_8_are_found(documents: list[bytes]) -> None:
    rows = beyond(documents, 99, None, None, 99)
    assert [_is_text(document) for document in documents] == [
        row not in rows for row in range(len(documents))
    ]


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("limits", "fits"),
    [
        ((4, 5, 3, 2), True),
        ((3, 5, 3, 2), False),
        ((4, 4, 3, 2), False),
        ((4, 5, 2, 2), False),
        ((4, 5, 3, 1), False),
    ],
)
def test_documents_beyond_a_limit_are_found(limits: tuple[int, int, int, int], fits: bool) -> None:
    document = b'{"abc" : [{"d": [12, "not a [name, 12\\\\"]}]}'
    assert beyond([b"{}", document, b"5"], *limits) == ([] if fits else [1])
