"""A seventh set of shapes: the ways of countries, consoles and databases to write a time, a cell, a text.

What is right about each was written down before `init-config` had read any of them.
"""

from __future__ import annotations

import json
import random
from datetime import datetime

from tests.shapes import Shape, iso, lines, moments, price


def comma(amount: float, thousands: str = ".") -> str:
    """As `1.234,50`."""
    return f"{amount:,.2f}".translate(str.maketrans({",": thousands, ".": ","}))


def thai(n: int = 400) -> bytes:
    """A Thai bank: years of the Buddhist era."""
    draw = random.Random(210)
    rows = ["วันที่,เวลา,เลขที่บัญชี,รายการ,จำนวนเงิน,ยอดคงเหลือ"]
    balance = 90_000.0
    for time in moments(draw, n, 5_000):
        amount = price(draw) * 30
        balance += amount
        rows.append(
            f"{time:%d/%m}/{time.year + 543},{time:%H:%M},{draw.randrange(45) * 7_919:010},"
            f'{draw.choice(["โอนเงิน", "ถอนเงิน"])},"{amount:,.2f}","{balance:,.2f}"'
        )
    return b"\xef\xbb\xbf" + ("\n".join(rows) + "\n").encode()


def greek(n: int = 400) -> bytes:
    """A Greek bank, in its own encoding."""
    draw = random.Random(211)
    rows = ["Α/Α;Ημερομηνία;Αιτιολογία;Λογαριασμός;Ποσό;Πρόσημο ποσού"]
    for i, time in enumerate(moments(draw, n, 5_000)):
        rows.append(
            f"{i + 1};{time:%d/%m/%Y};ΑΓΟΡΑ {draw.randrange(40)};GR{draw.randrange(45):025};"
            f"{comma(price(draw))};{draw.choice(['Χ', 'Π'])}"
        )
    return ("\r\n".join(rows) + "\r\n").encode("cp1253")


def czech(n: int = 400) -> bytes:
    """A Czech bank: cp1250, a space between thousands, day and clock with a single digit of the hour."""
    draw = random.Random(212)
    rows = ['"Datum provedení";"Protiúčet";"Název protiúčtu";"Zaúčtovaná částka";"Měna účtu";"Id transakce"']
    for i, time in enumerate(moments(draw, n, 5_000)):
        rows.append(
            f'"{time.day}.{time.month}.{time.year} {time.hour}:{time:%M}";"{draw.randrange(45) * 991}/0800";'
            f'"Příjemce {draw.randrange(45)}";"-{comma(price(draw) * 24, chr(160))}";"CZK";"{8_000_000 + i}"'
        )
    return ("\r\n".join(rows) + "\r\n").encode("cp1250")


def vietnamese(n: int = 400) -> bytes:
    """A Vietnamese wallet: whole dong with dots between thousands."""
    draw = random.Random(213)
    rows = ["Mã giao dịch,Ngày giao dịch,Số tài khoản,Số tiền,Nội dung"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        amount = f"{int(price(draw) * 26_000):,}".replace(",", ".")
        rows.append(
            f"FT{26_060_000_000 + i},{time:%d/%m/%Y %H:%M:%S},"
            f"{draw.randrange(45) * 7_919 + 10**9},{amount},CK"
        )
    return ("\n".join(rows) + "\n").encode()


def indonesian(n: int = 400) -> bytes:
    """An Indonesian bank: rupiah before the amount."""
    draw = random.Random(214)
    rows = ["No Transaksi;Tanggal;No Rekening;Nominal;Keterangan"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        rows.append(
            f"TRX{i * 13:09};{time:%d-%m-%Y %H:%M};{draw.randrange(45) * 7_919 + 10**9};"
            f"Rp {comma(price(draw) * 9_000)};{draw.choice(['Transfer', 'Belanja'])}"
        )
    return ("\n".join(rows) + "\n").encode()


def boxed(n: int = 400) -> bytes:
    """A list of an accounting system: a frame of bars and dashes, cells filled up with spaces."""
    draw = random.Random(217)
    line = "-" * 67
    rows = [line, "|DocumentNo|Pstng Date|Account   |    Amount in LC|LCurr|Type      |", line]
    for i, time in enumerate(moments(draw, n, 5_000)):
        rows.append(
            f"|{1_900_000_000 + i}|{time:%d.%m.%Y}|{draw.randrange(45) + 400_000:<10}|"
            f"{comma(price(draw) * 50):>16}|EUR  |{draw.choice(['KR', 'SA']):<10}|"
        )
    return ("\r\n".join([*rows, line]) + "\r\n").encode()


def console(n: int = 400) -> bytes:
    """What a database's console prints."""
    draw = random.Random(218)
    rows = [
        "   id   |      created_at     | customer_id |  amount  | channel ",
        "--------+---------------------+-------------+----------+---------",
    ]
    for i, time in enumerate(moments(draw, n, 500)):
        rows.append(
            f" {i + 10_000:>6} | {time:%Y-%m-%d %H:%M:%S} | {draw.randrange(50) + 700:>11} | "
            f"{price(draw):>8.2f} | {draw.choice(['web', 'shop']):<7}"
        )
    return ("\n".join([*rows, f"({n} rows)", ""]) + "\n").encode()


def dumped(n: int = 400) -> bytes:
    r"""A database's copy: tabs, `\N` for null, no names."""
    draw = random.Random(219)
    rows = []
    for i, time in enumerate(moments(draw, n, 500)):
        paid = r"\N" if draw.random() < 0.2 else f"{price(draw):.2f}"
        channel = draw.choice(["web", "shop", r"\N"])
        rows.append(
            f"{i + 10_000}\t{time:%Y-%m-%d %H:%M:%S}.{draw.randrange(10**6):06}+00\t"
            f"c{draw.randrange(50):04}\t{paid}\t{channel}"
        )
    return ("\n".join(rows) + "\n").encode()


def control(n: int = 400) -> bytes:
    """A warehouse's text: cells end with the character of code 1."""
    draw = random.Random(220)
    rows = ["\x01".join(("txn_id", "txn_time", "account_no", "amount", "city"))]
    for i, time in enumerate(moments(draw, n, 500)):
        cells = (
            f"T{i:08}",
            f"{time:%Y-%m-%d %H:%M:%S}",
            f"A{draw.randrange(45):06}",
            f"{price(draw):.2f}",
            "x, y",
        )
        rows.append("\x01".join(cells))
    return ("\n".join(rows) + "\n").encode()


def carets(n: int = 400) -> bytes:
    """A mainframe's extract: carets between cells, times as a database of the seventies writes them."""
    draw = random.Random(221)
    rows = ["TRAN_ID^TRAN_TS^CARD_NBR^TRAN_AMT^MCC"]
    for i, time in enumerate(moments(draw, n, 500)):
        rows.append(
            f"{i * 11 + 100_000_000}^{time:%Y-%m-%d-%H.%M.%S}.{draw.randrange(10**6):06}^"
            f"5{draw.randrange(45) * 7_919:015}^{price(draw):.2f}^{draw.choice([5411, 5812, 7995])}"
        )
    return ("\n".join(rows) + "\n").encode()


def pretty(n: int = 400) -> bytes:
    """Objects over several lines, one after the other."""
    draw = random.Random(230)
    return b"\n".join(
        json.dumps(
            {"id": f"o{i}", "time": iso(time), "customer": f"c{draw.randrange(45)}", "amount": price(draw)},
            indent=2,
        ).encode()
        for i, time in enumerate(moments(draw, n, 300))
    )


def commas(n: int = 400) -> bytes:
    """Objects with a comma at the end of each line: a list whose brackets were lost."""
    draw = random.Random(231)
    events = [
        {"id": f"o{i}", "time": iso(time), "customer": f"c{draw.randrange(45)}", "amount": price(draw)}
        for i, time in enumerate(moments(draw, n, 300))
    ]
    return (",\n".join(map(json.dumps, events)) + "\n").encode()


def separated(n: int = 400) -> bytes:
    """JSON text sequences: a record separator before each object (RFC 7464)."""
    draw = random.Random(232)
    events = [
        {"id": f"o{i}", "time": iso(time), "customer": f"c{draw.randrange(45)}", "amount": price(draw)}
        for i, time in enumerate(moments(draw, n, 300))
    ]
    return b"".join(b"\x1e" + json.dumps(event).encode() + b"\n" for event in events)


def seconds_apart(n: int = 400) -> bytes:
    """A document store's times: seconds and nanoseconds as two members."""
    draw = random.Random(233)
    return lines(
        [
            {
                "orderId": f"o-{i * 7}",
                "createdAt": {"_seconds": int(time.timestamp()), "_nanoseconds": draw.randrange(10**9)},
                "buyer": {"uid": f"u{draw.randrange(50)}"},
                "grandTotal": price(draw),
            }
            for i, time in enumerate(moments(draw, n, 300))
        ]
    )


def written_out(form: str, n: int = 400) -> bytes:
    """The same events with their time in one form."""
    draw = random.Random(234)
    events = []
    for i, time in enumerate(moments(draw, n, 3_000)):
        text = {
            "web": f"{time:%a, %d %b %Y %H:%M:%S} GMT",
            "log": f"{time:%d/%b/%Y:%H:%M:%S} +0000",
            "java": f"{time:%a %b %d %H:%M:%S} UTC {time:%Y}",
            "script": f"{time:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)",
            "net": f"/Date({int(time.timestamp() * 1000)})/",
            "oracle": f"{time:%d-%b-%y %I.%M.%S}.{draw.randrange(10**6):06} {time:%p}".upper(),
            "server": f"{time:%b} {time.day:>2} {time:%Y %I:%M%p}",
        }[form]
        events.append(
            {"id": f"o{i}", "time": text, "customer": f"c{draw.randrange(45)}", "amount": price(draw)}
        )
    return lines(events)


def signs(n: int = 400) -> bytes:
    """Amounts with a real minus, thin spaces and typographic apostrophes."""
    draw = random.Random(235)
    rows = ["Referenz;Datum;Kontonummer;Betrag"]
    for i, time in enumerate(moments(draw, n, 3_000)):
        amount = f"{price(draw) * 60:,.2f}".replace(",", "’")
        rows.append(f"R{i};{time:%d.%m.%Y %H:%M};{draw.randrange(45) + 10_000};\u2212{amount}")
    return ("\n".join(rows) + "\n").encode()


def dated(form: str, names: str, encoding: str = "utf-8", delimiter: str = ";", n: int = 400) -> bytes:
    """A bank's CSV with the times, the names and the encoding of a country: number, time, account, amount."""
    draw = random.Random(239)
    rows = [names]
    for i, time in enumerate(moments(draw, n, 9_000)):
        text = time.strftime(form) if "%" in form else _plainly(form, time)
        amount = comma(price(draw), "") if delimiter == ";" else f"{price(draw):.2f}"
        rows.append(
            delimiter.join((str(70_000 + i), text, f"{draw.randrange(45) * 991 + 10**7}", f"-{amount}"))
        )
    return ("\r\n".join(rows) + "\r\n").encode(encoding)


def _plainly(form: str, time: datetime) -> str:
    """A time by its numbers without zeros in front, but for minutes: `y.m.d H:M`."""
    parts = {"y": time.year, "m": time.month, "d": time.day, "H": time.hour, "M": f"{time:%M}"}
    return "".join(str(parts.get(one, one)) for one in form)


def _csv(name: str, make: object, **more: object) -> Shape:
    return Shape(**{"name": name, "make": make, "file": "events.csv"} | more)  # type: ignore[arg-type]


def _plain(name: str, make: object, **more: object) -> Shape:
    base: dict[str, object] = {"id": "id", "time": "time", "main": "customer", "amount": "amount"}
    return Shape(**base | {"name": name, "make": make} | more)  # type: ignore[arg-type]


WRITTEN = (
    _csv("Thai bank", thai, id=None, time=None, main="เลขที่บัญชี", amount="จำนวนเงิน"),
    _csv("Greek bank", greek, id=None, time="Ημερομηνία", main="Λογαριασμός", amount="Ποσό"),
    _csv(
        "Czech bank",
        czech,
        id="Id transakce",
        time="Datum provedení",
        main="Protiúčet",
        amount="Zaúčtovaná částka",
    ),
    _csv(
        "Vietnamese wallet",
        vietnamese,
        id="Mã giao dịch",
        time="Ngày giao dịch",
        main="Số tài khoản",
        amount="Số tiền",
    ),
    _csv(
        "Indonesian bank", indonesian, id="No Transaksi", time="Tanggal", main="No Rekening", amount="Nominal"
    ),
    _csv(
        "a frame of bars",
        boxed,
        file="events.txt",
        id="DocumentNo",
        time="Pstng Date",
        main="Account",
        amount="Amount in LC",
    ),
    _csv(
        "a console's table",
        console,
        file="events.txt",
        id="id",
        time="created_at",
        main="customer_id",
        amount="amount",
    ),
    _csv(
        "a database's copy",
        dumped,
        file="events.tsv",
        id=None,
        time="column_2",
        main="column_3",
        amount=None,
    ),
    _csv("control characters", control, id="txn_id", time="txn_time", main="account_no", amount="amount"),
    _csv("carets", carets, id="TRAN_ID", time="TRAN_TS", main="CARD_NBR", amount="TRAN_AMT"),
    _plain("objects over lines", pretty, file="events.json"),
    _plain("brackets lost", commas),
    _plain("text sequences", separated),
    Shape(
        name="seconds apart",
        make=seconds_apart,
        id="orderId",
        time="createdAt._seconds",
        main="buyer.uid",
        amount="grandTotal",
    ),
    *(
        _plain(f"time: {form}", lambda form=form: written_out(form))
        for form in ("web", "log", "java", "script", "net", "oracle", "server")
    ),
    _csv("typographic signs", signs, id="Referenz", time="Datum", main="Kontonummer", amount="Betrag"),
    *(
        _csv(
            f"dates: {name}",
            lambda form=form, more=more: dated(form, *more),
            id=more[0].split(more[2] if len(more) > 2 else ";")[0],
            time=more[0].split(more[2] if len(more) > 2 else ";")[1],
            main=more[0].split(more[2] if len(more) > 2 else ";")[2],
            amount=more[0].split(more[2] if len(more) > 2 else ";")[3],
        )
        for name, form, *more in (
            (
                "Hungary",
                "%Y.%m.%d. %H:%M:%S",
                "Tranzakció azonosító;Könyvelés dátuma;Számlaszám;Összeg",
                "cp1250",
            ),
            ("Finland", "d.m.y H.M", "Viitenumero;Kirjauspäivä;Saajan tili;Summa", "cp1252"),
            ("Turkey", "%d.%m.%Y %H:%M", "İşlem No;İşlem Tarihi;Müşteri No;Tutar", "cp1254"),
            ("Germany", "%d.%m.%Y, %H:%M Uhr", "Buchungsnummer;Zeitpunkt;Kontonummer;Betrag"),
            ("France", "%d/%m/%Y à %Hh%M", "Référence;Date opération;Numéro de compte;Montant", "latin-1"),
            ("Japan", "%Y年%m月%d日 %H時%M分", "取引番号,取引日時,口座番号,金額", "cp932", ","),
            ("Korea", "%Y년 %m월 %d일 %H:%M", "거래번호,거래일시,계좌번호,금액", "cp949", ","),
            ("Israel", "%d/%m/%Y %H:%M", "אסמכתא;תאריך;מספר חשבון;סכום", "cp1255"),
            ("Ukraine", "%d.%m.%Y %H:%M", "Номер операції;Дата операції;Рахунок;Сума", "cp1251"),
            ("Iran", "%Y/%m/%d %H:%M", "شماره پیگیری,تاریخ,شماره حساب,مبلغ", "utf-8", ","),
            ("a mainframe", "%Y%j", "TRAN_ID,POST_DATE,ACCT_NBR,TRAN_AMT", "utf-8", ","),
            ("midrange", "1%y%m%d", "TRAN_ID,POST_DATE,ACCT_NBR,TRAN_AMT", "utf-8", ","),
        )
    ),
)
