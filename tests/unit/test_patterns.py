"""Times by their parts: a day, a time of day and a zone, in any combination."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.config.calendar_words import month_of
from detector.config.infer import infer, render
from detector.config.infer.times import TimeForm, time_form
from detector.config.infer.zones import _PLACES
from detector.config.load import load_text
from detector.config.patterns import UnknownZone, read_pattern
from detector.config.tree import TimeField
from detector.core.events.rejection import Bad
from detector.core.events.times import TimeReader

NAMES = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada "
    "grudnia",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
}
NUMBERS = ("%d.%m.%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d-%m-%Y", "%Y年%m月%d日", "%d/%m/%y")
WORDS = (
    *("%d {b} %Y", "%d-{b}-%Y", "{b} %d, %Y", "%d de {b} de %Y", "{b}-%d-%Y", "%Y-{b}-%d", "%d.{b}.%Y"),
    *("%a, %d {b} %Y", "%d/{b}/%Y", "%d {b} %y"),
)
GAPS = (" ", ", ", " at ", " à ", " um ", " - ")
CLOCKS = ("%H:%M:%S", "%H:%M", "%I:%M %p", "%I:%M:%S%p", "%H.%M.%S", "%H:%M:%S.%f", "%Hh%M")
ZONES = ("", "Z", "offset", "colon", "hours", " UTC", " GMT", "name", "abbreviation")
PLACES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney", "Europe/London")
moments = st.datetimes(datetime(2001, 1, 1), datetime(2060, 1, 1))


def _zone(kind: str, moment: datetime, away: int, place: str) -> tuple[str, datetime]:
    """How a zone is written, and the moment in it."""
    if kind == "abbreviation":
        local = moment.replace(tzinfo=ZoneInfo(place))
        return f" {local.tzname()}", local
    if kind == "name":
        return f" {place}", moment.replace(tzinfo=ZoneInfo(place))
    if kind in ("offset", "colon", "hours"):
        hours, minutes = (abs(away), 0) if kind == "hours" else (abs(away), 30)
        sign, colon = "-" if away < 0 else "+", ":" if kind == "colon" else ""
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if away < 0 else 1)
        rest = "" if kind == "hours" else f"{colon}{minutes:02}"
        return f" {sign}{hours:02}{rest}", moment.replace(tzinfo=timezone(offset))
    return kind, moment.replace(tzinfo=UTC)


@given(
    st.lists(moments, min_size=1, max_size=5),
    st.sampled_from(NUMBERS + WORDS),
    st.sampled_from(sorted(NAMES)),
    st.sampled_from(["whole", "cut", "point"]),
    st.sampled_from(GAPS),
    st.sampled_from(CLOCKS),
    st.sampled_from(ZONES),
    st.integers(-11, 13),
    st.sampled_from(PLACES),
)
def test_any_combination_of_parts_is_found_and_read_back(
    some: list[datetime],
    day: str,
    language: str,
    cut: str,
    gap: str,
    clock: str,
    zone: str,
    away: int,
    place: str,
) -> None:
    texts, expected = [], []
    for moment in (*some, datetime(2026, 3, 31, 14, 5), datetime(2026, 12, 25, 6, 15, 9)):
        exact = moment.replace(microsecond=moment.microsecond if "%f" in clock else 0)
        exact = exact if "%S" in clock else exact.replace(second=0)
        named = NAMES[language].split()[exact.month - 1]
        short = named[:4] if len(named) > 5 and month_of(named[:4]) else named
        name = {"whole": named, "cut": short, "point": short + "." * (short != named)}[cut]
        written, aware = _zone(zone, exact, away, place)
        texts.append(exact.strftime(day.replace("{b}", name) + gap + clock) + written)
        expected.append(aware.timestamp())
    form = time_form(texts)
    assert form is not None, texts
    field = TimeField(path="t", format=form.format, zone=form.zone)
    assert [TimeReader(field, frozenset()).unbounded(text) for text in texts] == expected


PATTERNS = (
    "%d.%m.%Y %H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f",
    "%d %b %Y %I:%M %p",
    "%a %b %d %H:%M:%S %Y",
    "%y%j",
    "%B %d, %y",
)


@given(moments, st.sampled_from(PATTERNS), st.integers(-1, 40), st.sampled_from("0 9:.aé"))
def test_what_the_standard_library_reads_is_read_alike(
    moment: datetime, pattern: str, place: int, other: str
) -> None:
    text = moment.strftime(pattern)
    text = text if place < 0 else text[:place] + other + text[place + 1 :]
    try:
        expected = datetime.strptime(text.strip(), pattern)
    except ValueError:
        return
    assert read_pattern(text, pattern, 1900) == expected


@given(st.text(max_size=200), st.sampled_from([*PATTERNS, "%d %b %Y %H:%M:%S %Z", "%d/%m/%y %H:%M%z"]))
def test_anything_else_is_no_time(text: str, pattern: str) -> None:
    with contextlib.suppress(ValueError):
        read_pattern(text, pattern, 2026, ZoneInfo("Europe/Paris"))


@given(st.lists(st.text(max_size=70), min_size=1, max_size=3))
def test_no_text_breaks_the_search_for_a_form(texts: list[str]) -> None:
    assert isinstance(time_form(texts), TimeForm | None)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-03-01 07:16:06 EST", 12),
        ("2026-07-01 07:16:06 EST", 12),  # said all year by those who do not know better
        ("2026-07-01 07:16:06 EDT", 11),
        ("2026-11-01 01:30:00 EDT", 5),  # the hour that is there twice
        ("2026-11-01 01:30:00 EST", 6),
        ("2026-07-01 07:16:06 GMT", 7),
        ("2026-07-01 07:16:06 America/Chicago", 12),
    ],
)
def test_an_abbreviation_is_that_of_the_zone(text: str, hour: int) -> None:
    moment = read_pattern(text, "%Y-%m-%d %H:%M:%S %Z", 2026, ZoneInfo("America/New_York"))
    assert moment.astimezone(UTC).hour == hour


def test_an_abbreviation_of_another_place_is_an_error_that_says_what_to_do() -> None:
    reader = TimeReader(TimeField(path="t", format="%d.%m.%Y %H:%M %Z"), frozenset())
    with pytest.raises(Bad, match=r"'IST' is not used in UTC: set `event.time.zone` to a place that uses it"):
        reader.one("01.03.2026 10:00 IST")


def test_what_an_abbreviation_is_taken_for_is_said() -> None:
    form = time_form(["01-Mar-2026 06:05:44 AM PST", "31-Mar-2026 06:05:44 AM PDT"])
    assert form is not None
    assert form.zone == "America/Los_Angeles"
    assert "PDT and PST are those of America/Los_Angeles; it is also used in the Philippines" in form.note


@pytest.mark.parametrize(("place", "names"), [(place, names.split()) for place, names, _ in _PLACES])
def test_each_place_reads_its_abbreviations(place: str, names: list[str]) -> None:
    for name in names:
        read_pattern(f"2026-01-20 12:00 {name}", "%Y-%m-%d %H:%M %Z", 2026, ZoneInfo(place))


def test_abbreviations_of_two_places_have_no_form() -> None:
    assert time_form(["2026-03-01 06:05 EST", "2026-03-01 06:05 IST"]) is None


@pytest.mark.parametrize(
    "text", ["Shop 12 May 2026", "INV-2026-03", "10.1.12.12", "Rent Mar 2026", "20260301-0007"]
)
def test_what_has_a_date_in_it_is_no_time(text: str) -> None:
    assert time_form([text]) is None


def test_pm_says_nothing_beside_fifteen_hours() -> None:
    form = time_form(["03/21/2026 15:15 PM", "03/21/2026 06:15 AM"])
    assert form is not None
    assert form.format == "%m/%d/%Y %H:%M %p"


def test_nothing_need_stand_between_pm_and_z() -> None:
    form = time_form(["31/03/2026 02:05:00PMZ"])
    assert form is not None
    assert form.format == "%d/%m/%Y %I:%M:%S%p%z"


def test_unknown_zone_is_a_value_error() -> None:
    assert issubclass(UnknownZone, ValueError)


def test_init_config_writes_the_zone_that_reads_them() -> None:
    lines = [
        f'{{"id": "p{n}", "paid": "{1 + n % 28:02}-Mar-2026 06:05:{n % 60:02} AM PST", "card": "c{n % 30}", '
        f'"amount": {n}.5}}'.encode()
        for n in range(300)
    ]
    event = load_text(render(infer(lines)), "inferred").event
    assert (event.time.path, event.time.zone) == ("paid", "America/Los_Angeles")
    assert event.time.format == "%d-%b-%Y %I:%M:%S %p %Z"


def test_the_first_time_alone_does_not_decide() -> None:
    """`mar.` is a Tuesday and a March."""
    found = time_form(["mar. 3 mars 2026", "mer. 4 mars 2026", "jeu. 5 mars 2026"])
    assert found is not None
    assert found.format == "%a %d %b %Y"


def test_a_remark_that_makes_a_pattern_too_long_is_no_failure() -> None:
    assert time_form(["Tue Mar 03 2026 06:15:00 GMT+1200 (Petropavlovsk-Kamchatski Standard Time)"]) is None
