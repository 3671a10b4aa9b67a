"""A fifth set of shapes: what spreadsheets, old systems and packers make of a table.

What is right about each was written down before `init-config` had read any of them.
"""

from __future__ import annotations

import gzip
import io
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.shapes import Shape, iso, lines, moments, price, table


def comma(amount: float, thousands: str = ".") -> str:
    """As `1.234,50`."""
    return f"{amount:,.2f}".translate(str.maketrans({",": thousands, ".": ","}))


def dutch(n: int = 400) -> bytes:
    """Unicode text of a spreadsheet: UTF-16, tabs; days of eight digits; Af and Bij for out and in."""
    draw = random.Random(101)
    rows = ["Datum\tNaam / Omschrijving\tRekening\tTegenrekening\tCode\tAf Bij\tBedrag (EUR)\tMutatiesoort"]
    for time in moments(draw, n, 9_000):
        rows.append(
            f"{time:%Y%m%d}\tWinkel {draw.randrange(30)}\tNL20INGB0001234567\t"
            f"NL{draw.randrange(45):02}RABO{draw.randrange(10):010}\tBA\t{draw.choice(['Af', 'Af', 'Bij'])}\t"
            f"{comma(price(draw), '')}\tBetaalautomaat"
        )
    return ("\r\n".join(rows) + "\r\n").encode("utf-16")


def excel(n: int = 400) -> bytes:
    """A spreadsheet that names its separator in the first line; days as 31.12.2025."""
    draw = random.Random(102)
    rows = ["sep=;", "Buchungsdatum;Partnername;Partner IBAN;Betrag;Währung;Buchungs-ID"]
    for i, time in enumerate(moments(draw, n, 9_000)):
        rows.append(
            f"{time:%d.%m.%Y};Firma {draw.randrange(30)};AT{draw.randrange(40):018};"
            f"-{comma(price(draw) * 40)};EUR;{3_000_000 + i}"
        )
    return b"\xef\xbb\xbf" + ("\r\n".join(rows) + "\r\n").encode()


def brazilian(n: int = 400) -> bytes:
    """Pipes, quoted line breaks, reais before the amount, Latin-1."""
    draw = random.Random(103)
    rows = ["Data|Histórico|Nº Documento|Cartão|Valor"]
    for i, time in enumerate(moments(draw, n, 4_000)):
        rows.append(
            f'{time:%d/%m/%Y %H:%M}|"Compra no débito\nLoja ""{draw.randrange(30)}"""|{700_000 + i}|'
            f"5067********{draw.randrange(45) * 97:04}|R$ {comma(price(draw) * 20)}"
        )
    return ("\n".join(rows) + "\n").encode("latin-1")


def footers(n: int = 400) -> bytes:
    """A report: title, empty rows, the table, and lines of another kind below."""
    draw = random.Random(104)
    rows = ["Transaction report,,,,", "Period,2026-03-01 to 2026-03-31,,,", ",,,,"]
    rows.append("Transaction ID,Transaction Time,Account Number,Amount,Branch")
    for time in moments(draw, n, 1_500):
        rows.append(
            f"T{draw.getrandbits(40):012x},{time:%Y-%m-%d %H:%M:%S},{draw.randrange(45) * 991:08},"
            f"{price(draw):.2f},B{draw.randrange(9)}"
        )
    rows += [",,,,", f"Number of transactions,{n},,,", "*** End of report ***,,,,"]
    return ("\n".join(rows) + "\n").encode()


def two_columns(n: int = 400) -> bytes:
    """A British bank: debit and credit apart, a delimiter at the end of each line."""
    draw = random.Random(105)
    rows = [
        "Transaction Date,Transaction Type,Sort Code,Account Number,Transaction Description,"
        "Debit Amount,Credit Amount,Balance,"
    ]
    balance = 5_000.0
    for time in moments(draw, n, 9_000):
        amount, out = price(draw), draw.random() < 0.8
        balance += -amount if out else amount
        rows.append(
            f"{time:%d/%m/%Y},{draw.choice(['DEB', 'DD', 'FPO'])},'30-99-50,"
            f"{draw.randrange(40) + 10_000_000},SHOP {draw.randrange(40)},"
            f"{f'{amount:.2f},' if out else f',{amount:.2f}'},{balance:.2f},"
        )
    return ("\n".join(rows) + "\n").encode()


def core_bank(n: int = 400) -> bytes:
    """A core bank: day and 12-hour clock apart, CR or DR beside the amount, names in capitals."""
    draw = random.Random(106)
    rows = []
    for i, time in enumerate(moments(draw, n, 1_500)):
        rows.append(
            {
                "POST DT": f"{time:%m/%d/%Y}",
                "POST TM": f"{time:%I:%M:%S %p}",
                "ACCT NBR": f"{draw.randrange(50) * 7_919:010}",
                "DR/CR": draw.choice(["DR", "DR", "CR"]),
                "TRAN AMT": f"{price(draw) * 9:,.2f}",
                "TRAN CD": draw.choice(["POS", "ATM", "ACH"]),
                "TRACE NBR": f"{880_000 + i:08}",
            }
        )
    return table(rows)


def minor_units(n: int = 400) -> bytes:
    """A payment provider's events: cents, nested, Unix seconds as text."""
    draw = random.Random(107)
    return lines(
        [
            {
                "event": "payment.captured",
                "created": str(int(time.timestamp())),
                "payload": {
                    "payment": {
                        "id": f"pay_{draw.getrandbits(60):015x}",
                        "amount": int(price(draw) * 100),
                        "currency": "INR",
                        "method": draw.choice(["upi", "card"]),
                        "contact": f"+9190000{draw.randrange(60):05}",
                        "fee": 12,
                    }
                },
            }
            for time in moments(draw, n, 600)
        ]
    )


def same_names(n: int = 400) -> bytes:
    """A table joined from two, so that names come twice."""
    draw = random.Random(108)
    rows = ["id,date,account,amount,currency,id,date,account"]
    for i, time in enumerate(moments(draw, n, 900)):
        rows.append(
            f"{i + 1},{time:%Y-%m-%d %H:%M:%S},A{draw.randrange(45)},{price(draw):.2f},EUR,"
            f"{draw.randrange(9)},2020-01-01,B{draw.randrange(9)}"
        )
    return ("\n".join(rows) + "\n").encode()


def empty_columns(n: int = 400) -> bytes:
    """Columns without a name or a value, between others."""
    draw = random.Random(109)
    rows = [";Ref;;Zeitpunkt;Kunde;;Preis;Reserve 1;"]
    for i, time in enumerate(moments(draw, n, 900)):
        rows.append(f";R-{i:06};;{time:%Y-%m-%dT%H:%M:%S};K{draw.randrange(45)};;{price(draw):.2f};;")
    return ("\n".join(rows) + "\n").encode()


def zones(n: int = 400) -> bytes:
    """Branches of several continents, each with its own offset."""
    draw = random.Random(110)
    made = []
    for i, time in enumerate(moments(draw, n, 300)):
        hours = draw.choice([-5, 0, 1, 9])
        local = (time + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S")
        offset = "Z" if hours == 0 else f"{'-' if hours < 0 else '+'}{abs(hours):02}:00"
        made.append(
            {"tx": f"x{i}", "when": local + offset, "member": f"m{draw.randrange(50)}", "total": price(draw)}
        )
    return lines(made)


def wrapped(n: int = 400) -> bytes:
    """A page of an API: the events are in `data`, beside what is said of the page."""
    draw = random.Random(111)
    events = [
        {
            "id": f"{draw.getrandbits(64):016x}",
            "created_at": iso(time),
            "customer_id": f"c{draw.randrange(50)}",
            "amount": {"value": price(draw), "currency": "EUR"},
        }
        for time in moments(draw, n, 600)
    ]
    page = {"object": "list", "has_more": False, "data": events, "meta": {"count": n}}
    return json.dumps(page, indent=2).encode()


def parquet(n: int = 400) -> bytes:
    """A lake's table: dictionaries, decimals, a time with a zone."""
    import pyarrow
    import pyarrow.parquet

    draw = random.Random(112)
    times = moments(draw, n, 600)
    cards = pyarrow.array([f"card-{draw.randrange(45)}" for _ in times]).dictionary_encode()
    shops = pyarrow.array([f"shop-{draw.randrange(20)}" for _ in times]).dictionary_encode()
    columns = {
        "txn_id": pyarrow.array(range(10**12, 10**12 + n)),
        "event_ts": pyarrow.array(times, pyarrow.timestamp("us", tz="Europe/Paris")),
        "card_id": cards,
        "shop": shops,
        "amt": pyarrow.array([Decimal(f"{price(draw):.2f}") for _ in times], pyarrow.decimal128(18, 2)),
        "dt": pyarrow.array([time.date() for time in times]),
    }
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def packed(n: int = 400) -> bytes:
    """A packed table whose name does not say so, of two parts that were put together."""
    draw = random.Random(113)
    rows = ["tx_ref,tx_time,wallet,amount_usd"]
    rows += [
        f"W{i:07},{int(time.timestamp() * 1000)},w{draw.randrange(50)},{price(draw):.4f}"
        for i, time in enumerate(moments(draw, n, 600))
    ]
    text = ("\n".join(rows) + "\n").encode()
    half = len(text) // 2
    return gzip.compress(text[:half], mtime=0) + gzip.compress(text[half:], mtime=0)


def korean(n: int = 400) -> bytes:
    """A Korean card company, in its own encoding."""
    draw = random.Random(114)
    rows = ["승인번호,거래일시,카드번호,가맹점명,이용금액"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        rows.append(
            f"{30_000_000 + i},{time:%Y-%m-%d %H:%M:%S},9410-****-****-{draw.randrange(50) * 97:04},"
            f'가맹점{draw.randrange(25)},"{int(price(draw) * 1_300):,}"'
        )
    return ("\n".join(rows) + "\n").encode("cp949")


def russian(n: int = 400) -> bytes:
    """A Russian bank: cp1251, everything quoted."""
    draw = random.Random(115)
    names = ("Дата операции", "Номер карты", "Статус", "Сумма операции", "Валюта операции", "Категория")
    rows = [";".join(f'"{name}"' for name in names)]
    for time in moments(draw, n, 2_000):
        cells = (
            f"{time:%d.%m.%Y %H:%M:%S}",
            f"*{draw.randrange(50) * 97:04}",
            "OK",
            f"-{comma(price(draw) * 90, '')}",
            "RUB",
            draw.choice(["Супермаркеты", "Такси", "Аптеки"]),
        )
        rows.append(";".join(f'"{cell}"' for cell in cells))
    return ("\r\n".join(rows) + "\r\n").encode("cp1251")


def italian(n: int = 400) -> bytes:
    """An Italian bank: dare and avere."""
    draw = random.Random(116)
    rows = ["Data Contabile;Data Valuta;Dare;Avere;Divisa;Causale;Beneficiario"]
    for time in moments(draw, n, 9_000):
        amount = comma(price(draw) * 20)
        pair = f"-{amount};" if draw.random() < 0.85 else f";{amount}"
        rows.append(
            f"{time:%d/%m/%Y};{time:%d/%m/%Y};{pair};EUR;{draw.choice(['POS', 'BONIFICO'])};"
            f"Ditta {draw.randrange(45)}"
        )
    return ("\n".join(rows) + "\n").encode("cp1252")


def chinese(n: int = 400) -> bytes:
    """A Chinese wallet: GBK, a title of dashes, spaces and tabs behind the values."""
    draw = random.Random(117)
    rows = ["电子客户账单", "账号:[user@example.com]", "-" * 40]
    rows.append("交易号,商家订单号,交易创建时间,交易对方,金额（元）,收/支,交易状态,")
    for i, time in enumerate(moments(draw, n, 2_000)):
        rows.append(
            f"{2026_0301_0000_0000 + i}\t,{draw.getrandbits(40)}\t,{time:%Y-%m-%d %H:%M:%S},"
            f"商户{draw.randrange(40)}  ,{price(draw):.2f},{draw.choice(['支出', '收入'])},交易成功 ,"
        )
    rows.append("-" * 40)
    return ("\r\n".join(rows) + "\r\n").encode("gbk")


def tracked(n: int = 400) -> bytes:
    """Calls of a tracking library."""
    draw = random.Random(118)
    return lines(
        [
            {
                "type": "track",
                "event": "Order Completed",
                "messageId": f"ajs-{draw.getrandbits(80):020x}",
                "userId": f"u-{draw.randrange(60)}",
                "originalTimestamp": iso(time),
                "sentAt": iso(time + timedelta(seconds=1)),
                "receivedAt": iso(time + timedelta(seconds=2)),
                "context": {"ip": f"10.1.{draw.randrange(9)}.7", "library": {"name": "a.js"}},
                "properties": {"revenue": price(draw), "currency": "USD", "coupon": ""},
            }
            for time in moments(draw, n, 300)
        ]
    )


def swedish(n: int = 400) -> bytes:
    """A Swedish bank: spaces between thousands, days with slashes, year first."""
    draw = random.Random(119)
    rows = ["Bokföringsdag;Belopp;Avsändare;Mottagare;Rubrik;Saldo;Valuta"]
    balance = 90_000.0
    for time in moments(draw, n, 9_000):
        amount = price(draw) * 15
        balance -= amount
        rows.append(
            f"{time:%Y/%m/%d};-{comma(amount, ' ')};{draw.randrange(40) + 3_300:04} 12 34567;;"
            f"Kortköp {draw.randrange(40)};{comma(balance, ' ')};SEK"
        )
    return b"\xef\xbb\xbf" + ("\n".join(rows) + "\n").encode()


def formulas(n: int = 400) -> bytes:
    """Numbers kept as texts by the trick of a formula, so that a spreadsheet shows leading zeros."""
    draw = random.Random(120)
    rows = ["Order No,Order Date,Customer No,Order Value"]
    for i, time in enumerate(moments(draw, n, 900)):
        rows.append(
            f'"=""{i + 1:010}""",{time:%Y-%m-%d %H:%M},"=""{draw.randrange(50):08}""",'
            f'"{price(draw) * 30:,.2f}"'
        )
    return ("\r\n".join(rows) + "\r\n").encode()


def signs_behind(n: int = 400) -> bytes:
    """An old ledger: the minus stands behind the amount."""
    draw = random.Random(121)
    rows = ["Belegnummer;Buch.datum;Debitor;Betrag in Hauswährung;Buchungskreis"]
    for i, time in enumerate(moments(draw, n, 4_000)):
        sign = "-" if draw.random() < 0.3 else ""
        rows.append(
            f"{1_900_000_000 + i};{time:%d.%m.%Y};{draw.randrange(45) + 100_000};"
            f"{comma(price(draw) * 50)}{sign};1000"
        )
    return ("\n".join(rows) + "\n").encode("cp1252")


def credit_words(n: int = 400) -> bytes:
    """An Indian statement: Cr or Dr behind the amount."""
    draw = random.Random(122)
    rows = []
    for i, time in enumerate(moments(draw, n, 4_000)):
        rows.append(
            {
                "Tran Id": f"S{10_000_000 + i}",
                "Value Date": f"{time:%d/%m/%Y %I:%M:%S %p}",
                "Counterparty A/c": f"XXXX{draw.randrange(50) * 131:05}",
                "Amount": f"{price(draw) * 90:,.2f} {draw.choice(['Dr', 'Dr', 'Cr'])}",
                "Channel": draw.choice(["UPI", "NEFT"]),
            }
        )
    return table(rows)


def serials(n: int = 400) -> bytes:
    """Days and hours as a spreadsheet counts them."""
    draw = random.Random(123)
    rows = []
    for i, time in enumerate(moments(draw, n, 900)):
        days = (time - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1)
        rows.append(
            {
                "Ticket": 40_000 + i,
                "Opened": f"{days:.8f}",
                "Cashier": f"C{draw.randrange(40):03}",
                "Sale": f"{price(draw):.2f}",
            }
        )
    return table(rows)


def _csv(name: str, make: object, **more: object) -> Shape:
    return Shape(**{"name": name, "make": make, "file": "events.csv"} | more)  # type: ignore[arg-type]


ODD = (
    _csv(
        "Dutch bank, UTF-16",
        dutch,
        file="events.txt",
        id=None,
        time="Datum",
        format="date",
        main="Tegenrekening",
        amount="Bedrag (EUR)",
    ),
    _csv(
        "sep=",
        excel,
        id="Buchungs-ID",
        time="Buchungsdatum",
        format="%d.%m.%Y",
        main="Partner IBAN",
        amount="Betrag",
    ),
    _csv("Brazilian bank", brazilian, id="Nº Documento", time="Data", main="Cartão", amount="Valor"),
    _csv(
        "report with a foot",
        footers,
        id="Transaction ID",
        time="Transaction Time",
        main="Account Number",
        amount="Amount",
    ),
    _csv(
        "British bank",
        two_columns,
        id=None,
        time="Transaction Date",
        format="%d/%m/%Y",
        main="Account Number",
        amount="Debit Amount",
    ),
    _csv(
        "core bank",
        core_bank,
        id="TRACE NBR",
        time="POST DT",
        main="ACCT NBR",
        amount="TRAN AMT",
    ),
    Shape(
        name="minor units",
        make=minor_units,
        id="payload.payment.id",
        time="created",
        format="epoch_s",
        main="payload.payment.contact",
        amount="payload.payment.amount",
    ),
    _csv("names twice", same_names, id="id", time="date", main="account", amount="amount"),
    _csv("empty columns", empty_columns, id="Ref", time="Zeitpunkt", main="Kunde", amount="Preis"),
    Shape(name="many zones", make=zones, id="tx", time="when", main="member", amount="total"),
    Shape(
        name="a page of an API",
        make=wrapped,
        file="events.json",
        id="id",
        time="created_at",
        main="customer_id",
        amount="amount.value",
    ),
    Shape(
        name="a lake's table",
        make=parquet,
        file="part-0000.parquet",
        id="txn_id",
        time="event_ts",
        main="card_id",
        amount="amt",
    ),
    _csv(
        "packed without a word",
        packed,
        id="tx_ref",
        time="tx_time",
        format="epoch_ms",
        main="wallet",
        amount="amount_usd",
    ),
    _csv("Korean cards", korean, id="승인번호", time="거래일시", main="카드번호", amount="이용금액"),
    _csv(
        "Russian bank",
        russian,
        id=None,
        time="Дата операции",
        format="%d.%m.%Y %H:%M:%S",
        main="Номер карты",
        amount="Сумма операции",
    ),
    _csv(
        "Italian bank",
        italian,
        id=None,
        time="Data Contabile",
        format="%d/%m/%Y",
        main="Beneficiario",
        amount="Dare",
    ),
    _csv(
        "Chinese wallet",
        chinese,
        id="交易号",
        time="交易创建时间",
        main="交易对方",
        amount="金额（元）",
    ),
    Shape(
        name="tracking",
        make=tracked,
        id="messageId",
        time="originalTimestamp",
        main="userId",
        amount="properties.revenue",
    ),
    _csv("Swedish bank", swedish, id=None, time="Bokföringsdag", main="Avsändare", amount="Belopp"),
    _csv("formulas", formulas, id="Order No", time="Order Date", main="Customer No", amount="Order Value"),
    _csv(
        "minus behind",
        signs_behind,
        id="Belegnummer",
        time="Buch_datum",
        main="Debitor",
        amount="Betrag in Hauswährung",
    ),
    _csv(
        "Cr and Dr",
        credit_words,
        id="Tran Id",
        time="Value Date",
        main="Counterparty A/c",
        amount="Amount",
    ),
    _csv(
        "spreadsheet's days",
        serials,
        id="Ticket",
        time="Opened",
        step=86_400.0,
        main="Cashier",
        amount="Sale",
    ),
)
