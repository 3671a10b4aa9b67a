"""Names of time zones within times, and the place that each abbreviation is taken for."""

from __future__ import annotations

from collections.abc import Collection

from detector.config.patterns import UNIVERSAL, named_zone

# A place, its abbreviations, and the other places that mean another offset by one of them. All of them are
# abbreviations of the time zone database, so that the place reads them.
_PLACES = (
    ("America/New_York", "EST EDT", ""),
    ("America/Chicago", "CST CDT", "China and Cuba"),
    ("America/Denver", "MST MDT", ""),
    ("America/Los_Angeles", "PST PDT", "the Philippines"),
    ("America/Anchorage", "AKST AKDT", ""),
    ("Pacific/Honolulu", "HST", ""),
    ("America/Halifax", "AST ADT", "Arabia"),
    ("America/St_Johns", "NST NDT", ""),
    ("Europe/London", "GMT BST", "Bangladesh"),
    ("Europe/Berlin", "CET CEST", ""),
    ("Europe/Lisbon", "WET WEST", ""),
    ("Europe/Athens", "EET EEST", ""),
    ("Europe/Moscow", "MSK", ""),
    ("Asia/Kolkata", "IST", "Israel and Ireland"),
    ("Asia/Karachi", "PKT", ""),
    ("Asia/Jakarta", "WIB", ""),
    ("Asia/Hong_Kong", "HKT", ""),
    ("Asia/Tokyo", "JST", ""),
    ("Asia/Seoul", "KST", ""),
    ("Asia/Jerusalem", "IST IDT", ""),
    ("Australia/Perth", "AWST", ""),
    ("Australia/Adelaide", "ACST ACDT", ""),
    ("Australia/Sydney", "AEST AEDT", ""),
    ("Pacific/Auckland", "NZST NZDT", ""),
    ("Africa/Johannesburg", "SAST", ""),
    ("Africa/Lagos", "WAT", ""),
    ("Africa/Maputo", "CAT", ""),
    ("Africa/Nairobi", "EAT", ""),
)
_KNOWN = UNIVERSAL.union(*(names.split() for _, names, _ in _PLACES))


def is_zone(word: str) -> bool:
    """Whether a word is the abbreviation of a zone."""
    return word in _KNOWN


def is_place(name: str) -> bool:
    """Whether a name is one of the time zone database."""
    return named_zone(name) is not None


def place_of(words: Collection[str]) -> tuple[str, str] | None:
    """The place whose abbreviations these are, with what is said of it; None: no place has all of them."""
    local = set(words) - UNIVERSAL
    if not local:
        return "UTC", ""
    for place, names, others in _PLACES:
        if local <= set(names.split()):
            named = " and ".join(sorted(local))
            also = f"; it is also used in {others}. Check it" if others else ""
            return place, f"{named} {'are those' if len(local) > 1 else 'is that'} of {place}{also}"
    return None
