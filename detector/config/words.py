"""Values in error messages: shortened, printable, and without secrets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

SHOWN_CHARS_MAX = 80
DEPTH_SHOWN_MAX = 3  # levels of a mapping or list
HIDDEN = "*** (hidden)"
# After a name and a colon, unless it is a port; greedy, because a password may contain / or @.
_LOGIN_IN_URL = re.compile(r"(?<=://)[^\s/@:?]{0,256}:(?!\d{1,5}/)\S{0,1024}@")
_QUERY = re.compile(r"(://[^\s?]{0,1024})\?[^\s'\"]*")
# Names of keys whose values are not shown, however they are spelt. Not `key_file` and `require_key`.
_SECRET_NAME = re.compile(
    r"pass?w|passphrase|pwd|(^|[_-])pass($|[_-])|secret|token|credential|private|bearer|jaas|signature"
    r"|(^|[_-])(auth|authorization|sas|pat)($|[_-])"
    r"|(entity|api|access|sasl|client|account|shared|encryption|signing|hmac|master)[_-]?key($|[_-](?!file))",
    re.IGNORECASE,
)
# Values that are secrets whatever they are called: a private key as PEM, the tokens of JWT, AWS and GitHub.
_SECRET_VALUE = re.compile(r"-----BEGIN|\beyJ[\w-]{8,}\.[\w-]+|\bAKIA[0-9A-Z]{12,}|\bgh[pousr]_\w{20,}")

Loc = tuple[str | int, ...]


def redacted(text: str) -> str:
    """Remove what may be secret in the URLs of a text: passwords and query strings.

    Examples
    --------
    >>> redacted("sftp://user:pass@host/folder and abfs://c@account/folder?sig=abc")
    'sftp://***@host/folder and abfs://c@account/folder?***'
    """
    return _QUERY.sub(r"\1?***", _LOGIN_IN_URL.sub("***@", text))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that is spelt most like `word`, if one is close."""
    close = difflib.get_close_matches(word.lower(), {k.lower(): k for k in known}, n=1)
    return next((k for k in known if close and k.lower() == close[0]), None)


def dotted(loc: Loc) -> str:
    """Write a place as the user would: ``event.fields[0].name``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{cut(step) or repr(step)}" for step in loc)
    return "".join(steps).removeprefix(".")


def shown(loc: Loc, value: Any) -> str:
    """Write a value on one short line; hidden if a key above it sounds secret."""
    return HIDDEN if any(_sounds_secret(step) for step in loc) else cut(plain(value))


def plain(value: Any, depth: int = 0) -> str:
    """Write a value as YAML would, roughly."""
    if isinstance(value, dict | list) and depth == DEPTH_SHOWN_MAX:
        return "..."
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            inside = (
                f"{k}: {HIDDEN if _sounds_secret(k) else plain(v, depth + 1)}" for k, v in value.items()
            )
            return f"{{{', '.join(inside)}}}"
        case list():
            return f"[{', '.join(plain(item, depth + 1) for item in value)}]"
        case int() if value.bit_length() > 1000:  # Python refuses to print more than 4,300 digits
            return "a whole number of hundreds of digits"
        case str() if _SECRET_VALUE.search(value):
            return HIDDEN
        case str():
            return repr(redacted(value))
        case _:
            return repr(value)


def cut(text: str) -> str:
    """Shorten a text, with a question mark for each character that cannot be printed."""
    printable = "".join(c if c.isprintable() else "?" for c in text[: SHOWN_CHARS_MAX + 1])
    return printable if len(printable) <= SHOWN_CHARS_MAX else printable[: SHOWN_CHARS_MAX - 3] + "..."


def first_of(items: Sequence[str], most: int) -> str:
    """List the first items, and say how many more there are.

    Examples
    --------
    >>> first_of(["a", "b", "c"], 2), first_of(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(2_000, "alert")
    ('1 row', '2,000 alerts')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def kind(value: Any) -> str:
    """Name the type of a YAML value."""
    kinds = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _sounds_secret(step: str | int) -> bool:
    return isinstance(step, str) and _SECRET_NAME.search(step) is not None
