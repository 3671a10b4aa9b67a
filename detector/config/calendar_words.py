"""Names of months and of days of the week, of the languages in which banks and tools write times.

A word names a month if it is one of these names, or the beginning of the names of one month only, with three
letters or more: Febr., sept, janv. No two languages here call different months by the same name: Finnish and
Croatian ones are left out, because `mar` and `lis` would have two meanings.
"""

from __future__ import annotations

import unicodedata
from functools import cache

# One line per language, twelve names; those with / have several forms.
_MONTHS = (
    "january february march april may june july august september october november december",  # English
    "januar februar märz/mrz april mai juni juli august september oktober november dezember",  # German
    "jänner feber maerz april mai juni juli august september oktober november dezember",  # Austria
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",  # French
    "enero febrero marzo abril mayo junio julio agosto septiembre/setiembre octubre noviembre diciembre",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",  # Portuguese
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "januari februari maart/mrt april mei juni juli augustus september oktober november december",  # Dutch
    "januari februari mars april maj juni juli augusti september oktober november december",  # Swedish
    "januar februar marts/mars april maj/mai juni juli august september oktober november desember",
    "styczeń/stycznia luty/lutego marzec/marca kwiecień/kwietnia maj/maja czerwiec/czerwca lipiec/lipca "
    "sierpień/sierpnia wrzesień/września październik/października listopad/listopada grudzień/grudnia",
    "leden/ledna únor/února březen/března duben/dubna květen/května červen/června červenec/července "
    "srpen/srpna září říjen/října listopad/listopadu prosinec/prosince",  # Czech
    "január február március április május június július augusztus szeptember október november december",
    "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie",
    "ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık",  # Turkish
    "januari februari maret april mei juni juli agustus september oktober november desember",  # Indonesian
    "январь/января февраль/февраля март/марта апрель/апреля май/мая июнь/июня июль/июля август/августа "
    "сентябрь/сентября октябрь/октября ноябрь/ноября декабрь/декабря",
    "січень/січня лютий/лютого березень/березня квітень/квітня травень/травня червень/червня липень/липня "
    "серпень/серпня вересень/вересня жовтень/жовтня листопад/листопада грудень/грудня",
    "ιανουάριος/ιανουαρίου φεβρουάριος/φεβρουαρίου μάρτιος/μαρτίου απρίλιος/απριλίου μάιος/μαΐου "
    "ιούνιος/ιουνίου ιούλιος/ιουλίου αύγουστος/αυγούστου σεπτέμβριος/σεπτεμβρίου οκτώβριος/οκτωβρίου "
    "νοέμβριος/νοεμβρίου δεκέμβριος/δεκεμβρίου",
    "يناير فبراير مارس أبريل/ابريل مايو يونيو يوليو أغسطس/اغسطس سبتمبر أكتوبر/اكتوبر نوفمبر ديسمبر",
)
_WEEKDAYS = """
    monday tuesday wednesday thursday friday saturday sunday
    montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag
    lundi mardi mercredi jeudi vendredi samedi dimanche
    lunes martes miércoles jueves viernes sábado domingo
    segunda terça quarta quinta sexta
    lunedì martedì mercoledì giovedì venerdì sabato domenica
    maandag dinsdag woensdag donderdag vrijdag zaterdag zondag
    måndag tisdag onsdag torsdag fredag lördag söndag mandag tirsdag onsdag torsdag fredag lørdag søndag
    poniedziałek wtorek środa czwartek piątek sobota niedziela pondělí úterý středa čtvrtek pátek neděle
    hétfő kedd szerda csütörtök péntek szombat vasárnap
    pazartesi salı çarşamba perşembe cuma cumartesi pazar
    понедельник вторник среда четверг пятница суббота воскресенье пн вт ср чт пт сб вс
    月 火 水 木 金 土 日 一 二 三 四 五 六 월 화 수 목 금 토 일
"""
_LETTERS_MIN = 3  # of a month's name that is cut off; two of a day's


def month_of(word: str) -> int | None:
    """The number of the month that a word names; None: it names none.

    Examples
    --------
    >>> month_of("Févr."), month_of("sept"), month_of("jui")
    (2, 9, None)
    """
    return _months().get(_plain(word))


def is_weekday(word: str) -> bool:
    """Whether a word names a day of the week, whole or cut off."""
    return _plain(word) in _weekdays()


def _plain(word: str) -> str:
    """In small letters, without accents and without the point behind what is cut off."""
    letters = unicodedata.normalize("NFKD", word.replace("İ", "I").casefold().rstrip("."))
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).replace("ı", "i")


@cache
def _months() -> dict[str, int]:
    names: dict[str, int] = {}
    beginnings: dict[str, set[int]] = {}
    for language in _MONTHS:
        for number, forms in enumerate(language.split(), 1):
            for name in map(_plain, forms.split("/")):
                names[name] = number
                for end in range(_LETTERS_MIN, len(name)):
                    beginnings.setdefault(name[:end], set()).add(number)
    return {word: min(numbers) for word, numbers in beginnings.items() if len(numbers) == 1} | names


@cache
def _weekdays() -> frozenset[str]:
    names = list(map(_plain, _WEEKDAYS.split()))
    return frozenset(name[:end] for name in names for end in range(min(2, len(name)), len(name) + 1))
