"""Which encoding the text of a file has, found from its bytes.

A byte-order mark, or valid UTF-8, decides. Other texts are in the encoding of a language. Bytes above 127
stand alone or in pairs where a Latin alphabet has its accents: that is cp1252, or the encoding of the
language whose accents these are. Where they stand in words, the text is in another script: first the
encodings with two bytes per character are tried, then the alphabets, each by how many of its letters are the
most frequent ones of its language, and by capitals inside of words.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from itertools import pairwise

_MARKS = (
    ("utf-8", codecs.BOM_UTF8),
    ("utf-32-le", codecs.BOM_UTF32_LE),
    ("utf-32-be", codecs.BOM_UTF32_BE),
    ("utf-16-le", codecs.BOM_UTF16_LE),
    ("utf-16-be", codecs.BOM_UTF16_BE),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_GROUPED = re.compile(rb"(?<=[0-9])\xa0(?=[\x00-\x7f])")  # a space that does not break, in a number
_IN_WORDS_MIN = 0.6  # of the high bytes stand in runs of three and more: another script than Latin
_SCRIPT_MIN = 0.8  # of the characters beyond ASCII are of the alphabet
_FREQUENT_MIN = 0.3  # of the letters of a text are the most frequent ones of its language
_COMMON_MIN = 0.85  # of the two-byte characters are those that its language mostly uses
_KANA_MIN = 0.05  # of a Japanese text
_CYRILLIC = "[\u0400-\u04ff]"
_ALPHABETS = (  # with the letters that are about half of an ordinary text
    ("cp1251", _CYRILLIC, "оеаинтср"),
    ("koi8-r", _CYRILLIC, "оеаинтср"),
    ("cp866", _CYRILLIC, "оеаинтср"),
    ("cp1253", "[\u0370-\u03ff]", "αοιετσνη"),
    ("cp1255", "[\u0590-\u05ff]", "יוהלארתמ"),
    ("cp1256", "[\u0600-\u06ff]", "اليمنرتو"),
)
# The letters beyond ASCII of languages in Latin letters; cp1252 is first, and so wins where it fits as well.
_ACCENTS = (
    ("cp1252", "äöüß", "éèêëàâçùûîïôœ", "áéíóúüñ", "ãõáâàçéêíóôú", "àèéìíòóùú", "åäöæøé", "áðéíóúýþæö"),
    ("cp1250", "áčďéěíňóřšťúůýž", "áäčďéíľĺňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű", "ăâîşţ", "čćđšž"),
    ("cp1254", "çğıöşüİâî"),
    ("cp1257", "ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž"),
    ("iso8859-2", "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áéíóöőúüű"),
)
_ACCENTS_MORE = 0.05  # share of letters by which another encoding must fit better than those before it
_LATIN_MIN = 0.75  # share of accents that are of one language; with fewer the script may be another
_HANGUL = re.compile("[\uac00-\ud7a3]")
_KANA = re.compile("[\u3040-\u30ff]")
_COMMON = {  # both bytes of the characters that are mostly used, of signs, and of kana
    "gb18030": re.compile(rb"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]"),
    "cp932": re.compile(rb"[\x81-\x83\x88-\x97][\x40-\xfc]"),
    "big5": re.compile(rb"[\xa1-\xc6][\x40-\xfe]"),
}


def encoding_of(head: bytes) -> tuple[str, int]:
    """Encoding of a text as Python names it, and the length of its byte-order mark."""
    for name, mark in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    some = head[:1024]
    even, odd = some[::2].count(0), some[1::2].count(0)
    if max(even, odd) > 0.3 * len(some) / 2 and min(even, odd) < 0.05 * len(some):
        return ("utf-16-le" if odd > even else "utf-16-be"), 0
    if _decoded(head, "utf-8") is not None:
        return "utf-8", 0
    head = _GROUPED.sub(b"", head)
    runs = _HIGH.findall(head)
    in_words = sum(len(run) for run in runs if len(run) > 2)
    latin, fit = _of_accents(head)
    if in_words >= _IN_WORDS_MIN * sum(map(len, runs)) or fit < _LATIN_MIN:
        found = _of_two_bytes(head) or (_of_alphabet(head) if in_words else None)
        if found is not None:
            return found, 0
    return latin, 0


def _decoded(head: bytes, encoding: str) -> str | None:
    """The beginning of a text, which may end within a character; None: it is not in this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None


def _of_accents(head: bytes) -> tuple[str, float]:
    """The encoding of a text in Latin letters, by the language whose letters most of its accents are.

    Returns
    -------
    tuple
        Also the share of the accents that are of that language.
    """
    found = "latin-1" if _decoded(head, "cp1252") is None else "cp1252"
    best = -1.0
    for encoding, *languages in _ACCENTS:
        text = _decoded(head, encoding)
        if text is None:
            continue
        high = Counter(_small(letter) for letter in text if _tells(letter) and not letter.isspace())
        fitting = max(sum(high[letter] for letter in set(own)) for own in languages)
        fit = fitting / high.total() if high else 1.0
        if best < 0.0 or fit > best + _ACCENTS_MORE:
            best, found = fit, found if encoding == "cp1252" else encoding
    return found, best


def _small(letter: str) -> str:
    """A letter in lower case; as it is where that would be two signs."""
    lower = letter.lower()
    return lower if len(lower) == 1 else letter


def _of_two_bytes(head: bytes) -> str | None:
    """The encoding of a text in Chinese, Japanese or Korean; None: it is in none."""
    text = _decoded(head, "euc_kr")
    if text is not None and len(_HANGUL.findall(text)) >= _COMMON_MIN * _beyond_ascii(text):
        return "cp949"
    text = _decoded(head, "euc_jp")
    if text is not None and len(_KANA.findall(text)) >= _KANA_MIN * _beyond_ascii(text):
        return "euc_jp"
    for encoding, usual in _COMMON.items():
        text = _decoded(head, encoding)
        if text is None:
            continue
        telling = [one.encode(encoding) for one in text if _tells(one)]
        if sum(map(bool, map(usual.fullmatch, telling))) >= _COMMON_MIN * len(telling) > 0:
            return encoding
    return None


def _of_alphabet(head: bytes) -> str | None:
    """The encoding of a text whose alphabet is not Latin; None: no alphabet fits."""
    best, found = _FREQUENT_MIN, None
    for encoding, script, frequent in _ALPHABETS:
        text = _decoded(head, encoding)
        letters = [] if text is None else re.findall(script, text)
        if text is None or not letters or len(letters) < _SCRIPT_MIN * _beyond_ascii(text):
            continue
        good = max(sum(map(letters.count, some)) for some in (frequent, frequent.upper()))
        bad = sum(a.islower() and b.isupper() for a, b in pairwise(text))  # capitals begin words
        if good - bad > best * len(letters):
            best, found = (good - bad) / len(letters), encoding
    return found


def _tells(character: str) -> bool:
    """Whether it is of a language: signs of currencies, one for each amount, are of none, nor are ª and º."""
    return character > "\x7f" and character not in "\xaa\xba" and unicodedata.category(character) != "Sc"


def _beyond_ascii(text: str) -> int:
    return sum(character > "\x7f" for character in text)
