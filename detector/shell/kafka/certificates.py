"""Until when a certificate file is valid: Python's ssl module tells it of a server's certificate only."""

from __future__ import annotations

import binascii
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _VALIDITY_PLACE = 0xA0, 3  # validity comes after serial number, algorithm and issuer
_UTC_TIME = 0x17  # with a year of two digits; the other kind, 0x18, has four


def valid_until(file: str) -> datetime | None:
    """Return the end of the first certificate in a PEM file.

    Returns
    -------
    datetime or None
        In UTC; None where the file has no certificate that can be read.
    """
    try:
        with open(file, encoding="latin-1") as stream:
            found = _PEM.search(stream.read())
        if found is None:
            return None
        [whole] = _items(ssl.PEM_cert_to_DER_cert(found[0]))
        items = list(_items(next(_items(whole[1]))[1]))
        if items[0][0] == _VERSION:
            items = items[1:]
        _, (tag, text) = _items(items[_VALIDITY_PLACE][1])
        digits = text.decode("ascii")
        if tag == _UTC_TIME:  # RFC 5280: 50 and later are of the 20th century
            digits = ("19" if digits[:2] >= "50" else "20") + digits
        return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (OSError, ValueError, IndexError, StopIteration, binascii.Error):
        return None


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of the items that follow each other in DER."""
    place = 0
    while place < len(der):
        tag, length = der[place], der[place + 1]
        place += 2
        if length >= 0x80:  # the length of the length
            count = length & 0x7F
            length = int.from_bytes(der[place : place + count], "big")
            place += count
        if place + length > len(der):
            raise ValueError("cut off")
        yield tag, der[place : place + length]
        place += length
