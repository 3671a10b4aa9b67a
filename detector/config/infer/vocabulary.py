"""What names of fields say: words, what they stand for, and the names of published standards.

A name is cut into words (`card.holderId`: card, holder, id; `kundennummer`: kunden, nummer). A word stands
for a concept (kunden: customer). Names of ISO 8583, ISO 20022, Open Banking, Stripe and Adyen are made of
such words or are listed here; only published names of fields are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache


def word_set(text: str) -> frozenset[str]:
    """Words of a text, each once."""
    return frozenset(text.split())


CONCEPTS: Mapping[str, frozenset[str]] = {
    name: word_set(words)
    for name, words in {
        # --- entities ---
        "card": "card cards cc pan ccn karte karten kreditkarte carte tarjeta cartao carta kaart karta karty "
        "kartya kartyaszam kart kort kartu kartica pan карта карты карте картка картки "
        "κάρτα κάρτας καρτα כרטיס บัตร कार्ड 卡 卡号 カード 카드 بطاقة",
        "account": "account acct acc acnt iban wallet konto konten compte cuenta conta conto rekening konta "
        "rachunek rachunku szamla szamlaszam hesap ucet policy contract subscription "
        "vertrag contrat contrato poliza apolice polizza protiucet uctu ucetu racun saskaita khoan tili "
        "счет счёт счета сметка рахунок рахунку λογαριασμός λογαριασμού λογαριασμος חשבון บัญชี खाता "
        "账户 账号 帐户 帐号 口座 계좌 حساب",
        "customer": "customer cust client user usr member holder cardholder subscriber shopper buyer "
        "trader investor player consumer employee worker uid debitor kunde kunden nutzer cliente klant "
        "klient utilisateur "
        "usuario username desynpuf login actor gambler nasabah pelanggan musteri asiakas "
        "patient passenger traveller traveler guest rider borrower "
        "клиент клиента клієнт πελάτης πελάτη לקוח ลูกค้า ग्राहक 客户 用户 会员 顧客 会員 고객 عميل",
        "payer": "payer from origen origem zahlungspflichtiger sender originator orig org debtor dbtr "
        "remitter emisor emissor auftraggeber absender zahler ordonnateur emetteur ordenante remitente "
        "pagador nadawca "
        "avsandare avsender afsender gonderen pengirim maksaja "
        "плательщик отправитель платник відправник 付款人 付款方",
        "payee": "payee to destino beneficiary benef bene receiver recipient creditor cdtr dest "
        "destination counterparty empfanger empfaenger zahlungsempfanger beguenstigter begunstigter "
        "beneficiaire destinataire receptor party beneficiario destinatario begunstigde odbiorca kreditor "
        "mottagare "
        "mottaker modtager alici penerima saaja prijemce получатель отримувач 收款人 收款方 对方",
        "device": "device phone mobile msisdn imei imsi meter gerat appareil dispositivo устройство телефон "
        "设备 手机",
        "email": "email mail emails",
        "ip": "ip ipaddress",
        "merchant": "merchant merch acceptor provider prvdr seller vendor shop store retailer mid "
        "haendler handler marchand commercant comercio comerciante mercante esercente winkel sklep "
        "kereskedo isyeri продавец магазин 商户 商家 加盟店 "
        "店舗 가맹점 ร้านค้า έμπορος تاجر",
        "terminal": "terminal pos atm tid branch kiosk till cashier teller agent waiter server kassierer "
        "cajero "
        "filiale терминал 终端 端末 단말기",
        # --- values ---
        "amount": "amount amt betrag montant importe importo bedrag kwota monto osszeg tutar "
        "belopp belob belop amnt castka iznos znesek summa suma jumlah tien сумма сума ποσό ποσο סכום "
        "จำนวนเงิน राशि "
        "金额 金額 금액 مبلغ",
        "value": "value val wert valeur valor valore waarde 价值",
        "total": "total gesamt summe somme suma totale price preis prix precio prezzo sum paid gross sales "
        "notional revenue sale turnover brutto",
        "stake": "stake stakes wager bet fare cost premium charge spend spent nominal change principal "
        "toll profit "
        "pnl consideration",
        "currency": "currency ccy curr wahrung waehrung devise moneda moeda divisa valuta waluta валюта 币种 "
        "货币 通貨 통화 عملة",
        # --- times ---
        "time": "time datetime timestamp ts epoch instant tm zeit uhrzeit zeitstempel heure hora ora tijd "
        "czas idopont saat klokkeslett waktu время час ώρα שעה เวลา समय 时间 時間 日時 시간",
        "date": "date dt day datum tag buchungstag jour fecha data giorno dag datuma tarih tarihi "
        "tanggal tarikh datums paivays ngay дата ημερομηνία ημερομηνια "
        "תאריך วันที่ दिनांक 日期 取引日 날짜 التاريخ",
        "when": "at when created occurred booked posted transmitted cre bookg",
        # --- labels ---
        "fraud": "fraud frauds fraudulent frd scam scams laundering chargeback chargebacks chargedback "
        "disputed dispute illicit mule sar sars betrug fraude frode мошенничество 欺诈 不正",
        "label": "label labels labelled class target truth outcome y ground groundtruth anomaly "
        "anomalous outlier malicious suspicious",
    }.items()
}
ENTITY_RANKS = {
    "card": 0,
    "account": 1,
    "customer": 2,
    "payer": 3,
    "device": 4,
    "email": 5,
    "ip": 6,
    "merchant": 7,
    "payee": 8,
    "terminal": 9,
}
"""Entities that are known by name, the one that is the main entity first."""
_OF = {word: name for name, words in CONCEPTS.items() for word in words}

ID_WORDS = word_set(
    "nbr azonosito شماره suffix identyfikator identificador identifiant identificativo kennung "
    "id ids uuid guid uetr key ref refs reference number no nr num token hash hashed fingerprint rrn stan "
    "address nummer numero numer identifier code cislo broj "
    "رقم αριθμός מספר เลขที่ รหัส क्रमांक 编号 号码 番号 号 번호 номер"
)
EVENT_WORDS = word_set(
    "event transaction trans tx txn trx message msg record payment pmt transfer order charge psp ntry entry "
    "notification auth authorization ticket receipt document documento dokument beleg operation operacion "
    "operazione buchung transaktion transaksjon transaccion transazione transacao transactie transaksi "
    "transakce islem "
    "viite tranzakcio операції پیگیری deal trade invoice dich charging אסמכתא транзакция транзакція "
    "операция платеж عملية "
    "交易 订单 流水 取引 거래"
)
TIME_WORDS = CONCEPTS["time"] | CONCEPTS["date"] | CONCEPTS["when"]
CLOCK_WORDS = CONCEPTS["time"]
DAY_WORDS = CONCEPTS["date"] - word_set("dt day dag tag jour") | {"datetime"}
LOGIN_WORDS = word_set("user usr login logon")
"""Whose name is what somebody is known by, not a name of a person."""
NEVER_TIME_WORDS = word_set(
    "dob birth birthday birthdate geburtsdatum geburtstag born expiry expires expiration exp due"
)
SHEET_WORDS = CONCEPTS["when"] - {"at"} | {"opened", "received", "processed", "updated"}
"""Beside `DAY_WORDS`: what may be counted in days and parts of them, as a spreadsheet does."""
OTHER_TIME_WORDS = word_set(
    "valid updated modified loaded ingested processed received since open opened registered settlement sttlm "
    "settled value val valuta wertstellung end until start chargeback dispute fraud refund member joined "
    "first last previous prev signup"
)
"""What a time says of something other than the event's own moment."""
MEASURE_WORDS = word_set(
    "balance saldo solde count counts age limit rate ratio score avg average mean std min max share percent "
    "pct months days hours weeks minutes seconds velocity distinct similarity length size interest quantity "
    "qty bytes guthaben kontostand คงเหลือ amount amt betrag value total sum price fee fees tax"
)
"""Words of quantities: what has one is no key."""
ATTRIBUTE_WORDS = word_set(
    "type types country city town state zip postal postcode region street status brand scheme network "
    "currency gender sex language os browser level tier segment category class channel mode present "
    "valid flag is has free domain emaildomain version model kind method name nm first last "
    "title job issuer issuing funding risk expiry exp month year dob age indicator ind"
)
"""What somebody or something has: not who or what it is."""
PERSON_WORDS = word_set(
    "dob birth birthday birthdate gender sex job occupation street firstname lastname surname"
)
LESS_AMOUNT_WORDS = word_set(
    "balance saldo solde limit fee fees tax vat tip discount old new previous prev avg average mean min max "
    "std count counts gas unit interest refunded refund captured received capturable remaining available "
    "คงเหลือ יתרה settlement sttlm conversion exchange rate cashback original kontostand loan income"
)
"""Beside a word for an amount: not the amount at stake."""
SAME_AMOUNT_WORDS = word_set(
    "settlement sttlm conversion exchange captured received submitted unit loan original"
)
"""Those of them that say the same amount at another time, place or number: the only one counts."""
CURRENCY_CODES = word_set(
    "usd eur gbp chf jpy cny inr aud nzd cad brl mxn ars clp cop sek nok dkk pln czk huf ron try zar ngn kes "
    "sgd hkd krw idr thb php vnd myr aed sar ils rub uah"
)
OUT_WORDS = word_set(
    "debit debits debet soll debe debito debita withdrawal withdrawals out outgoing ausgang belastung cargo "
    "dare расход дебет 借方 支出"
)
IN_WORDS = word_set(
    "credit credits kredit haben haber credito deposit deposits in incoming eingang gutschrift abono avere "
    "приход кредит 貸方 收入"
)
"""Names of the two columns of a statement: money that leaves, money that comes."""
NOT_LABEL_WORDS = word_set(
    "count counts score rate ratio risk velocity months days weeks probability prob rules rule time date "
    "model number previous prev history warning zone filter"
)
_OTHER = word_set(
    "is has name code type country city address category status balance count age limit old new flag "
    "unix local number card client mer first last month year data object bool info domain state zip "
    "postal street gender merchant customer account holder present method mode channel zweck verwendungs "
    "buchungs betrags konto kunden karten empfanger umsatz transaktions waehrungs laenge zeit punkt desc "
    "description text amount total value time date stamp step"
)
KNOWN = frozenset(_OF).union(
    ID_WORDS, EVENT_WORDS, OTHER_TIME_WORDS, NEVER_TIME_WORDS, MEASURE_WORDS, ATTRIBUTE_WORDS, _OTHER
)
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
_SHORT_CHARS_MAX = 3  # of a word that is not looked for in others: tips are no tip
_COMPOUND_CHARS_MAX = 32

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
            if before is None or not (piece in _SHORT or (len(piece) >= shortest and piece in KNOWN)):
                continue
            found = best[end]
            if found is None or len(before) + 1 < len(found):
                best[end] = (*before, piece)
    whole = best[-1]
    if whole is not None and len(whole) <= _PIECES_MAX:
        return whole
    if shortest == 2:  # also here the last part says what it is
        heads: Iterable[str] = (word[start:] for start in range(1, len(word) - 1) if word[start:] in KNOWN)
    else:
        heads = (head for head in _HEADS if word.endswith(head) and len(word) > len(head) + 2)
    head = next(iter(heads), None)
    return (word,) if head is None else (word.removesuffix(head), head)


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
