"""What names of fields say: words, what they stand for, and the names of published standards.

A name is cut into words (`card.holderId`: card, holder, id; `kundennummer`: kunden, nummer). A word stands
for a concept (kunden: customer); `words.toml` has them all, by language. A word in another of its forms
(transakcji, transakcja) is the known one. Names of ISO 8583, ISO 20022, Open Banking, Stripe and Adyen are
made of such words or are listed here; only published names of fields are.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files


def word_set(text: str) -> frozenset[str]:
    """Words of a text, each once."""
    return frozenset(text.split())


def _read() -> Mapping[str, frozenset[str]]:
    """All words of `words.toml`, of all languages, by what they stand for."""
    text = files(__package__).joinpath("words.toml").read_text("utf-8")
    found: dict[str, list[str]] = {}
    for language in tomllib.loads(text).values():
        for meaning, words in language.items():
            found.setdefault(meaning, []).extend(words.split())
    return {meaning: frozenset(words) for meaning, words in found.items()}


_WORDS = _read()
ENTITY_RANKS = {
    name: rank
    for rank, name in enumerate(
        ("card", "account", "customer", "payer", "device", "email", "ip", "merchant", "payee", "terminal")
    )
}
"""Entities that are known by name, the one that is the main entity first."""
PEOPLE = ("card", "account", "customer", "payer")
"""Of these, what stands for somebody who pays."""
STAFF_WORDS = word_set("employee worker")
"""Somebody who may only serve those who pay."""
PAID_OUT_WORDS = word_set("payout payouts disbursement withdrawal")
"""Beside an account or a card: it is the one that is paid to."""
CONCEPTS: Mapping[str, frozenset[str]] = {
    name: _WORDS[name]
    for name in (
        *("card", "account", "customer", "payer", "payee", "device", "email", "ip", "merchant", "terminal"),
        *("amount", "value", "total", "stake", "currency", "time", "date", "when", "fraud", "label"),
    )
}
"""Words by what they stand for; of two meanings of a word the later one counts."""
_OF = {word: name for name, words in CONCEPTS.items() for word in words}

ID_WORDS = _WORDS["id"]
ORDER_WORDS = _WORDS["order"]
"""What a payment is for; several may be for one."""
EVENT_WORDS = _WORDS["event"] | ORDER_WORDS
TIME_WORDS = CONCEPTS["time"] | CONCEPTS["date"] | CONCEPTS["when"]
CLOCK_WORDS = CONCEPTS["time"]
DAY_WORDS = CONCEPTS["date"] - word_set("dt day dag tag jour") | {"datetime"}
LOGIN_WORDS = _WORDS["login"]
"""Whose name is what somebody is known by, not a name of a person."""
NEVER_TIME_WORDS = _WORDS["never_time"]
SHEET_WORDS = CONCEPTS["when"] - {"at"} | {"opened", "received", "processed", "updated"}
"""Beside `DAY_WORDS`: what may be counted in days and parts of them, as a spreadsheet does."""
OTHER_TIME_WORDS = _WORDS["other_time"]
"""What a time says of something other than the event's own moment."""
_QUANTITY_WORDS = _WORDS["balance"] | _WORDS["fee"] | _WORDS["tax"] | _WORDS["quantity"]
MEASURE_WORDS = _WORDS["measure"] | _QUANTITY_WORDS | CONCEPTS["amount"] - CONCEPTS["stake"]
"""Words of quantities: what has one is no key."""
ATTRIBUTE_WORDS = _WORDS["attribute"]
"""What somebody or something has: not who or what it is."""
PERSON_WORDS = _WORDS["person"]
LESS_AMOUNT_WORDS = _WORDS["less"] | _QUANTITY_WORDS
"""Beside a word for an amount: not the amount at stake."""
TAX_WORDS = _WORDS["tax"]
SAME_AMOUNT_WORDS = _WORDS["same_amount"]
"""Those of them that say the same amount at another time, place or number: the only one counts."""
CURRENCY_CODES = _WORDS["currency_code"]
OUT_WORDS = _WORDS["out"]
IN_WORDS = _WORDS["in"]
"""Names of the two columns of a statement: money that leaves, money that comes."""
CONSUMPTION_WORDS = _WORDS["consumption"]
"""What a meter counts: the amount at stake where there is no money."""
INSTRUMENT_WORDS = _WORDS["instrument"]
"""What is traded: it has a history where nothing says who trades."""
THING_WORDS = _WORDS["thing"]
"""What is bought: no entity where anything else is one."""
CODE_WORDS = (_WORDS["attribute"] | _WORDS["code"] | THING_WORDS) - word_set(
    "age exp expiry dob month year level risk first last indicator ind tier"
)
"""Names of what is a code even as a whole number, not a measure."""
TEXT_WORDS = _WORDS["text"]
"""Of texts for people, as those of a statement."""
NOT_LABEL_WORDS = _WORDS["never_label"]
KNOWN = frozenset().union(*_WORDS.values()) - CURRENCY_CODES
"""Words of which it is known what they say of a field."""
_SHORT = word_set("id no nr tx cc dt ts ip is at to 号")  # short words that compounds are made of
# The last part of a compound says what it is, also where the first part is not known: Auftragskonto.
_HEADS = ("konto", "karte", "kunde", "datum", "betrag", "nummer", "rekening", "bedrag", "wahrung")
# Signs of vowels and tones belong to words of South Asia.
_AGENT = re.compile(r"user[ _.-]?agent", re.IGNORECASE)  # a browser, no user and no agent
_CUT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[\u0900-\u0e7f]+|[^\W\d_A-Za-z]+")
_PLAIN_LETTERS = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "æ": "ae", "Æ": "Ae"}
)
"""Letters that no normal form takes apart."""
_ARTICLE = "ال"  # Arabic writes it with its word
_FIRST_IDEOGRAPH = 0x2E80  # from here on words have two letters and no spaces: Chinese, Japanese, Korean
_THAI = range(0x0E00, 0x0E80)  # no spaces either
_PIECES_MAX = 4  # of a compound
_STEMS = ((6, 2), (5, 1))  # letters that two forms of a word share, and those behind that may differ
_SHORT_CHARS_MAX = 3  # of a word that is not looked for in others: tips are no tip
_COMPOUND_CHARS_MAX = 32
_WITH_ID_CHARS_MIN = 7  # of an unknown word with `id` behind it; shorter ones are often words, as `humid`
_IN_ID = ("aid", "bid", "brid", "grid", "lid", "oid", "pid", "quid", "void")  # prepaid, hybrid, invalid
LINKED_CHARS_MIN = 5  # of a word within a German compound, with the s behind it

# ISO 8583: what its numbered data elements hold.
_ISO8583 = {
    2: "card number",
    3: "processing code",
    4: "amount",
    5: "settlement amount",
    6: "billing amount",
    7: "transmission time",
    11: "trace stan",
    12: "local time",
    13: "local date",
    14: "expiry date",
    15: "settlement date",
    18: "merchant category code",
    19: "acquirer country code",
    22: "entry mode",
    23: "card sequence number",
    24: "function code",
    25: "condition code",
    32: "acquirer id",
    33: "forwarding id",
    37: "retrieval rrn",
    38: "authorization code",
    39: "response code",
    41: "terminal id",
    42: "merchant id",
    43: "merchant name",
    49: "transaction currency",
    50: "settlement currency",
    51: "billing currency",
    102: "account number",
    103: "payee account number",
}
_ELEMENT = re.compile(r"(?:de|df|bit|field|data_?element|f(?=0\d\d$))_?0*(\d{1,3})", re.IGNORECASE)
_ELEMENTS = re.compile(r"(?:de|bits?|fields|iso(?:_?8583)?|(?:data_?)?elements)\.0*(\d{1,3})", re.IGNORECASE)
_ISO8583_SURE = {2, 3, 4, 7, 11, 12, 18, 22, 32, 37, 39, 41, 42, 49}
_ISO8583_MIN = 4  # of these beside each other


def concept(word: str) -> str:
    """What a word stands for; "" if that is not known."""
    return _OF.get(word, "")


def words_of(name: str) -> list[str]:
    """The words of a name or path, lower case, without accents, compounds cut.

    Examples
    --------
    >>> words_of("card.holderId"), words_of("Kundennummer"), words_of("isFraud"), words_of("cc_num")
    (['card', 'holder', 'id'], ['kunden', 'nummer'], ['is', 'fraud'], ['cc', 'num'])
    """
    plain = _AGENT.sub("browser", _folded(name))
    return [piece for word in _CUT.findall(plain) for piece in _pieces(word.lower())]


def _folded(text: str) -> str:
    """A text with Latin letters without accents; other scripts stay as they are."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text.translate(_PLAIN_LETTERS))
    parts = [unicodedata.normalize("NFKD", letter)[0] for letter in text]
    return "".join(part if part.isascii() else letter for part, letter in zip(parts, text, strict=True))


@cache
def _pieces(word: str) -> tuple[str, ...]:
    """A word as the known words it is made of, the fewest; itself if it is not made of such."""
    if word in KNOWN or len(word) > _COMPOUND_CHARS_MAX or word.isdigit():
        return (word,)
    bare = word.removeprefix(_ARTICLE).removesuffix("s")  # also a plural, or a genitive within a compound
    if bare in KNOWN and len(bare) > _SHORT_CHARS_MAX:
        return (bare,)
    shortest = 2 if ord(word[0]) >= _FIRST_IDEOGRAPH or ord(word[0]) in _THAI else 3
    best: list[tuple[str, ...] | None] = [()] + [None] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(end):
            before, piece = best[start], word[start:end]
            if end < len(word) and piece[-1] == "s" and len(piece) > LINKED_CHARS_MIN:
                piece = piece if piece in KNOWN else piece[:-1]  # Betrugs|verdacht
            if before is None or not (piece in _SHORT or (len(piece) >= shortest and piece in KNOWN)):
                continue
            found = best[end]
            if found is None or len(before) + 1 < len(found):
                best[end] = (*before, piece)
    whole = best[-1]
    if whole is None and (known := _other_form(word)):
        return (known,)
    if whole is not None and len(whole) <= _PIECES_MAX:
        return whole
    if ord(word[0]) in _THAI:  # what it is comes first
        first = next((word[:end] for end in range(len(word) - 1, 1, -1) if word[:end] in KNOWN), "")
        return (first, word.removeprefix(first)) if first else (word,)
    if shortest == 2:  # also here the last part says what it is
        heads: Iterable[str] = (word[start:] for start in range(1, len(word) - 1) if word[start:] in KNOWN)
    else:
        heads = (head for head in _HEADS if word.endswith(head) and len(word) > len(head) + 2)
    head = next(iter(heads), None)
    with_id = word.endswith("id") and not word.endswith(_IN_ID) and len(word) >= _WITH_ID_CHARS_MIN
    if head is None and with_id and word.isascii():
        head = "id"  # wandererid: of something unknown
    return (word,) if head is None else (word.removesuffix(head), head)


def _other_form(word: str) -> str:
    """The known word that this one is a form of: the same beginning, and only a few letters behind it."""
    for stem, behind in _STEMS:
        for end in range(len(word), len(word) - behind - 1, -1):
            known = _beginnings().get(word[:end], "") if end >= stem else ""
            if known and not (word.endswith("ed") and known.endswith("er")):  # played is no player
                return known
    return ""


@cache
def _beginnings() -> Mapping[str, str]:
    """Known words, also without their last letter; of two that begin alike the shorter one."""
    found: dict[str, str] = {}
    for word in sorted(KNOWN, key=lambda word: (len(word), word)):
        if word.isalpha() and ord(word[0]) < _THAI.start:
            found.setdefault(word, word)
            found.setdefault(word[:-1], word)
    return found


def iso8583_names(paths: Iterable[str]) -> dict[str, str]:
    """What the numbered data elements of ISO 8583 among these paths hold; empty if it is not ISO 8583."""
    numbers: dict[str, int] = {}
    for path in paths:
        own, two = path.rpartition(".")[2], ".".join(path.split(".")[-2:])
        found = _ELEMENT.fullmatch(own) or _ELEMENTS.fullmatch(two)
        if found:
            numbers[path] = int(found[1])
    if set(range(1, 11)) <= set(numbers.values()):
        return {}  # numbered columns of something else: no message has all of these
    if len(_ISO8583_SURE & set(numbers.values())) < _ISO8583_MIN or not {2, 4} & set(numbers.values()):
        return {}  # who pays, or how much, is in every message
    return {path: _ISO8583[number] for path, number in numbers.items() if number in _ISO8583}
