"""Numbers in texts: the digits of other scripts; signs, currencies, per cent, separators of groups."""

from __future__ import annotations

# Unicode's category Sc. Written out, as it grows with Python's version, and a replay must not change.
_SIGNS = "$¢£¤¥֏؋৲৳৻૱௹฿៛\u20a0-\u20cf﷼﹩＄￠￡￥￦"
CURRENCY = (
    rf"(?:[A-Za-z]{{0,3}}[{_SIGNS}]|[A-Z]{{3,5}}|kr\.?|zł|Kč|Ft|lei|Fr\.?|Rs\.?|Rp\.?|RM|R|TL|"
    r"%|K[Ss]h|руб\.?|р\.|грн\.?|лв\.?|đ)"
)
SIGN = "[-+−]"
SIDE = r"(?:[CcDd][Rr]\.?)"
"""Credit or debit, behind a number. A debit is negative."""
GROUPS = {",": ",", ".": r"\.", "'": "['’]", " ": "[ \u00a0\u2009\u202f]", "_": "_"}
"""By `NumberForm.thousands`."""
_ZEROS = "\u0660\u06f0\u0966\u09e6\u0e50\uff10"  # Arabic, Persian, Devanagari, Bengali, Thai, wide
_AS_ASCII = {ord(zero) + digit: str(digit) for zero in _ZEROS for digit in range(10)} | {
    ord(sign): plain for sign, plain in zip("\u066b\u066c\uff0e\uff0c\uff0d", ".,.,-", strict=True)
}


def with_plain_digits(text: str) -> str:
    """A text with the digits of other scripts, and the signs between them, as those of ASCII."""
    return text if text.isascii() else text.translate(_AS_ASCII)
