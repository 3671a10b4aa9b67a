"""What stands beside the digits of numbers in texts: signs, currencies, per cent, separators of groups."""

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
