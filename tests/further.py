"""A third set of shapes: exports of banks and spreadsheets, calls, claims, chains, shops, logs.

They were written down with what is right about them before `init-config` had read any of them.
"""

from __future__ import annotations

import gzip
import random
from datetime import timedelta

from tests.shapes import Shape, iso, lines, moments, price, table


def comma(amount: float) -> str:
    """As `1.234,50`."""
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


def statement(n: int = 600) -> bytes:
    """A bank's export: lines above the names, years of two digits, money out and in, totals below."""
    draw = random.Random(61)
    rows = [
        "Umsätze Girokonto;Zeitraum: 01.03.26 - 31.03.26",
        "Kontonummer:;DE00 1234 5678 0000",
        "",
        "Buchungstag;Wertstellung;Auftraggeber / Empfänger;Verwendungszweck;Soll;Haben;Währung",
    ]
    out = into = 0.0
    for time in moments(draw, n, 9_000):
        amount = price(draw) * 20
        credit = draw.random() < 0.2
        out, into = out + amount * (not credit), into + amount * credit
        rows.append(
            f"{time:%d.%m.%y};{time + timedelta(days=1):%d.%m.%y};Firma {draw.randrange(60)} GmbH;Rechnung "
            f"{draw.randrange(10**6)};{'' if credit else '-' + comma(amount)};"
            f"{comma(amount) if credit else ''};EUR"
        )
    rows.append(f"Summe;;;;-{comma(out)};{comma(into)};EUR")
    return ("\r\n".join(rows) + "\r\n").encode("cp1252")


def terminal(n: int = 600) -> bytes:
    """A spreadsheet's text in UTF-16: card terminals, day and time of day apart."""
    draw = random.Random(62)
    rows = ["Terminal-ID\tBelegnummer\tDatum\tUhrzeit\tBetrag\tKartenart\tKartennummer"]
    for i, time in enumerate(moments(draw, n, 600)):
        rows.append(
            f"T{draw.randrange(12):04}\t{100_000 + i}\t{time:%d.%m.%Y}\t{time:%H:%M:%S}\t{comma(price(draw))}"
            f"\t{draw.choice(['girocard', 'VISA', 'Maestro'])}\t************{draw.randrange(50) * 97:04}"
        )
    return ("\r\n".join(rows) + "\r\n").encode("utf-16")


def orders(n: int = 600) -> bytes:
    """A shop's orders, with lists of items."""
    draw = random.Random(63)
    events = []
    for i, time in enumerate(moments(draw, n, 600)):
        who = draw.randrange(70)
        items = [
            {"sku": f"S{draw.randrange(90)}", "qty": 1 + draw.randrange(3), "price": price(draw)}
            for _ in range(1 + draw.randrange(3))
        ]
        events.append(
            {
                "order_id": f"W-{20_000 + i}",
                "created_at": iso(time),
                "customer": {"id": 500 + who, "tags": ["vip"] if who % 9 == 0 else []},
                "items": items,
                "total": {"amount": f"{sum(x['qty'] * x['price'] for x in items):.2f}", "currency": "EUR"},
                "shipping": {"country": draw.choice(["DE", "FR", "PL"]), "method": "parcel"},
                "client_ip": f"192.0.2.{who}",
            }
        )
    return lines(events)


def chain(n: int = 600) -> bytes:
    """Transactions of a chain: addresses and hashes in hexadecimal digits, whole numbers of 19 digits."""
    draw = random.Random(64)
    wallets = [f"0x{draw.getrandbits(160):040x}" for _ in range(80)]
    events = []
    for i, time in enumerate(moments(draw, n, 40)):
        events.append(
            {
                "hash": f"0x{draw.getrandbits(256):064x}",
                "blockNumber": str(21_000_000 + i // 4),
                "timeStamp": str(int(time.timestamp())),
                "from": draw.choice(wallets),
                "to": draw.choice(wallets),
                "value": str(int(price(draw) * 1e16)),
                "gas": "21000",
                "gasPrice": str(draw.randrange(10**9, 9 * 10**9)),
                "nonce": str(draw.randrange(500)),
                "isError": "0",
            }
        )
    return lines(events)


def calls(n: int = 600) -> bytes:
    """Call records, packed, without names: begin, caller, called, seconds, kind, cell, price."""
    draw = random.Random(65)
    rows = [
        f"{time:%Y-%m-%d %H:%M:%S},4479{draw.randrange(60) * 7919:08},4477{draw.randrange(200) * 104_729:08},"
        f"{draw.randrange(1, 2_000)},{draw.choice(['MOC', 'MTC', 'SMS'])},{draw.randrange(40):05},"
        f"{draw.randrange(900) / 100:.2f}"
        for time in moments(draw, n, 200)
    ]
    return gzip.compress(("\n".join(rows) + "\n").encode())


def claims(n: int = 600) -> bytes:
    """Insurance claims: several dates, a policy that comes back, a label of Y and N."""
    draw = random.Random(66)
    rows = []
    for i, time in enumerate(moments(draw, n, 9_000)):
        lost = time - timedelta(days=draw.randrange(1, 30))
        rows.append(
            {
                "claim_number": f"CL{700_000 + i}",
                "policy_number": f"P{draw.randrange(150) * 37:06}",
                "incident_date": f"{lost:%m/%d/%Y}",
                "report_date": f"{time:%m/%d/%Y}",
                "policy_bind_date": f"{lost - timedelta(days=400):%m/%d/%Y}",
                "provider_id": f"H{draw.randrange(40):03}",
                "incident_type": draw.choice(["collision", "theft", "parked car"]),
                "claim_amount": f"${price(draw) * 100:,.2f}",
                "deductible": draw.choice([500, 1_000, 2_000]),
                "insured_zip": f"{draw.randrange(30) * 311:05}",
                "fraud_reported": "Y" if draw.random() < 0.05 else "N",
            }
        )
    return table(rows)


def sign_ups(n: int = 600) -> bytes:
    """Purchases just after a sign-up, two times each, in the shape of a public set of online shops."""
    draw = random.Random(67)
    rows = []
    for i, time in enumerate(moments(draw, n, 600)):
        rows.append(
            {
                "user_id": 1_000 + draw.randrange(90),
                "signup_time": f"{time - timedelta(days=draw.randrange(1, 90)):%Y-%m-%d %H:%M:%S}",
                "purchase_time": f"{time:%Y-%m-%d %H:%M:%S}",
                "purchase_value": draw.randrange(9, 150),
                "device_id": f"{draw.randrange(80) * 7919:013X}QWER",
                "source": draw.choice(["SEO", "Ads", "Direct"]),
                "browser": draw.choice(["Chrome", "Safari"]),
                "sex": draw.choice("MF"),
                "age": draw.randrange(18, 70),
                "ip_address": draw.randrange(90) * 40_000_007 + 0.5,
                "class": int(i % 11 == 3),
            }
        )
    return table(rows)


def cards_apart(n: int = 600) -> bytes:
    """A public set of cards: year, month, day and time of day in four columns, `$` before amounts."""
    draw = random.Random(68)
    rows = []
    for time in moments(draw, n, 600):
        user = draw.randrange(60)
        rows.append(
            {
                "User": user,
                "Card": draw.randrange(4),
                "Year": time.year,
                "Month": time.month,
                "Day": time.day,
                "Time": f"{time:%H:%M}",
                "Amount": f"${price(draw):.2f}",
                "Use Chip": draw.choice(["Swipe Transaction", "Online Transaction"]),
                "Merchant Name": draw.randrange(-(10**4), 10**4) * 900_719_925_474_099,
                "Merchant City": draw.choice(["La Verne", "Monterey Park", "ONLINE"]),
                "MCC": draw.choice([5_300, 5_411, 5_912]),
                "Errors?": "Bad PIN" if draw.random() < 0.03 else None,
                "Is Fraud?": "Yes" if draw.random() < 0.01 else "No",
            }
        )
    return table(rows)


def upi(n: int = 600) -> bytes:
    """A wallet's CSV: names with units in brackets, addresses of payers as ids, a status."""
    draw = random.Random(69)
    rows = []
    for i, time in enumerate(moments(draw, n, 600)):
        who, shop = draw.randrange(70), draw.randrange(90)
        rows.append(
            {
                "Transaction ID": f"TXN{10**9 + i * 7}",
                "Timestamp": f"{time:%Y-%m-%d %H:%M:%S}",
                "Sender Name": f"Person {who}",
                "Sender UPI ID": f"u{who}@okbank",
                "Receiver Name": f"Shop {shop}",
                "Receiver UPI ID": f"s{shop}@okpay",
                "Amount (INR)": price(draw),
                "Status": draw.choice(["SUCCESS", "SUCCESS", "FAILED"]),
            }
        )
    return table(rows)


def pix(n: int = 600) -> bytes:
    """Instant payments of Brazil: Portuguese names, tax numbers, decimal commas in JSON."""
    draw = random.Random(70)
    events = []
    for time in moments(draw, n, 600):
        events.append(
            {
                "endToEndId": f"E{draw.getrandbits(90):028x}",
                "horario": iso(time),
                "valor": comma(price(draw) * 10),
                "pagador": {"cpf": f"{draw.randrange(80) * 104_729:011}", "banco": f"{draw.randrange(9):03}"},
                "recebedor": {"cpf": f"{draw.randrange(200) * 7919:011}", "banco": "260"},
                "chave": f"k{draw.randrange(200)}@exemplo.br",
                "tipo": draw.choice(["PIX", "PIX_QR"]),
            }
        )
    return lines(events)


def clicks(n: int = 600) -> bytes:
    """Clicks on adverts: coded columns, a second time that is mostly empty, a label after the fact."""
    draw = random.Random(71)
    rows = []
    for time in moments(draw, n, 60):
        bought = draw.random() < 0.02
        rows.append(
            {
                "ip": draw.randrange(90) * 811,
                "app": draw.randrange(40),
                "device": draw.choice([1, 1, 1, 2]),
                "os": draw.randrange(30),
                "channel": draw.randrange(60),
                "click_time": f"{time:%Y-%m-%d %H:%M:%S}",
                "attributed_time": f"{time + timedelta(hours=3):%Y-%m-%d %H:%M:%S}" if bought else None,
                "is_attributed": int(bought),
            }
        )
    return table(rows)


def old_bank(n: int = 600) -> bytes:
    """A bank's public set of the nineties: dates as `260301`, quoted codes, an empty column often."""
    draw = random.Random(72)
    rows = [
        '"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"'
    ]
    for i, time in enumerate(moments(draw, n, 9_000)):
        amount = price(draw) * 10
        rows.append(
            f'{695_247 + 13 * i};{2_000 + draw.randrange(80)};{time:%y%m%d};"'
            f'{draw.choice(["PRIJEM", "VYDAJ"])}";"{draw.choice(["VKLAD", "VYBER"])}";{amount:.2f};'
            f'{amount * 9:.2f};"{draw.choice(["SLUZBY", "UROK", ""])}";;'
        )
    return ("\r\n".join(rows) + "\r\n").encode()


def bank_sim(n: int = 600) -> bytes:
    """A bank simulation's set: single quotes around everything, days as time, no id."""
    draw = random.Random(73)
    rows = ["step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud"]
    for i in range(n):
        who = draw.randrange(120)
        rows.append(
            f"{i // 20},'C{who * 7919:010}','{who % 6}','{'MF'[who % 2]}','28007','M{draw.randrange(50):09}',"
            f"'28007','es_{draw.choice(['food', 'health', 'travel'])}',{price(draw)},{int(i % 60 == 7)}"
        )
    return ("\n".join(rows) + "\n").encode()


def requests(n: int = 600) -> bytes:
    """A web server's log in JSON: nobody pays, an address is who."""
    draw = random.Random(74)
    return lines(
        [
            {
                "@timestamp": iso(time),
                "client": {"ip": f"198.51.100.{draw.randrange(90)}"},
                "http": {"method": draw.choice(["GET", "POST"]), "status": draw.choice([200, 200, 404])},
                "url": f"/p/{draw.randrange(40)}",
                "bytes": draw.randrange(200, 90_000),
                "user_agent": draw.choice(["curl/8", "Firefox/140"]),
            }
            for time in moments(draw, n, 20)
        ]
    )


def card_account(n: int = 600) -> bytes:
    """One person's credit card: no id, no entity, `MM/DD/YYYY`, payments below zero."""
    draw = random.Random(75)
    rows = []
    for time in moments(draw, n, 60_000):
        rows.append(
            {
                "Transaction Date": f"{time:%m/%d/%Y}",
                "Post Date": f"{time + timedelta(days=2):%m/%d/%Y}",
                "Description": f"SQ *CAFE {draw.randrange(300)} SEATTLE WA",
                "Category": draw.choice(["Food & Drink", "Travel", "Shopping"]),
                "Type": draw.choice(["Sale", "Sale", "Payment"]),
                "Amount": f"-{price(draw):.2f}",
                "Memo": None,
            }
        )
    return table(rows)


def sheet_days(n: int = 600) -> bytes:
    """A spreadsheet's CSV whose times are its own numbers of days."""
    draw = random.Random(76)
    rows = []
    for i, time in enumerate(moments(draw, n, 900)):
        days = time.timestamp() / 86_400 + 25_569
        rows.append(
            {
                "Invoice No": f"RE-{i + 1:06}",
                "Posting Date": f"{days:.5f}",
                "Vendor No": f"V{draw.randrange(60):05}",
                "Amount LCY": f"{price(draw):.2f}",
                "User": f"clerk{draw.randrange(12)}",
            }
        )
    return table(rows)


def sheet(n: int = 300) -> bytes:
    """A spreadsheet's CSV in Hungarian: `sep=;`, a byte-order mark, spaces within numbers, masked cards."""
    draw = random.Random(77)
    rows = ["sep=;", "Sorszám;Könyvelés dátuma;Időpont;Kártyaszám;Összeg;Pénznem;Kereskedő"]
    for i, time in enumerate(moments(draw, n, 6_000)):
        amount = f"-{draw.randrange(1, 90)} {draw.randrange(100, 999)},{draw.randrange(10, 99)}"
        card, shop = f"5412********{i % 37:04}", f'"Bolt {draw.randrange(40)} Kft."'
        rows.append(f"{i + 1};{time:%Y.%m.%d};{time:%H:%M:%S};{card};{amount};HUF;{shop}")
    return ("\r\n".join(rows) + "\r\n").encode("utf-8-sig")


def transfers(n: int = 300) -> bytes:
    """Tabs and UTF-16 in Turkish."""
    draw = random.Random(78)
    rows = ["İşlem Tarihi\tSaat\tHesap No\tTutar\tAçıklama"]
    for i, time in enumerate(moments(draw, n, 6_000)):
        account, amount = f"TR{33 + i % 23:02}0006", comma(price(draw) * 100)
        rows.append(f"{time:%d.%m.%Y}\t{time:%H:%M}\t{account}\t{amount}\tHavale {draw.randrange(30)}")
    return ("\r\n".join(rows) + "\r\n").encode("utf-16")


def shop(n: int = 300) -> bytes:
    """Orders nested four deep, ids with a sign in front."""
    draw = random.Random(79)
    events = []
    for i, time in enumerate(moments(draw, n, 600)):
        who = i % 61
        order = {
            "id": f"#{1_000 + i}",
            "placedAt": iso(time),
            "customer": {"id": who, "email": f"u{who}@example.org"},
            "totals": {"grandTotal": {"value": f"{price(draw):.2f}", "currency": "EUR"}},
            "shippingAddress": {"countryCode": draw.choice(["DE", "FR"])},
        }
        events.append({"order": order, "payment": {"method": draw.choice(["card", "paypal"])}})
    return lines(events)


def tokens(n: int = 300) -> bytes:
    """A processor's file: a day and a time of day as numbers, tokens of cards, Y and N."""
    draw = random.Random(80)
    rows = ['"TRAN_DT","TRAN_TM","PAN_TOKEN","MCC","TRAN_AMT","RESP_CD","FRAUD_IND"']
    for i, time in enumerate(moments(draw, n, 6_000)):
        code, fraud = draw.choice([5_411, 5_812, 4_829]), "Y" if i % 50 == 7 else "N"
        rows.append(
            f'{time:%Y%m%d},{int(f"{time:%H%M%S}")},"tok{i % 47:06}",{code},{price(draw)},"00","{fraud}"'
        )
    return ("\n".join(rows) + "\n").encode()


FURTHER = [
    Shape(
        name="Hungarian sheet",
        make=sheet,
        file="events.csv",
        id=None,
        time="Könyvelés dátuma",
        format="%Y.%m.%d",
        main="Kártyaszám",
        amount="Összeg",
    ),
    Shape(
        name="Turkish transfers",
        make=transfers,
        file="events.txt",
        id=None,
        time="İşlem Tarihi",
        format="%d.%m.%Y",
        main="Hesap No",
        amount="Tutar",
    ),
    Shape(
        name="nested orders",
        make=shop,
        id="order.id",
        time="order.placedAt",
        main="order.customer.id",
        amount="order.totals.grandTotal.value",
    ),
    Shape(
        name="processor's file",
        make=tokens,
        file="events.csv",
        id=None,
        time="TRAN_DT",
        format="date",
        main="PAN_TOKEN",
        amount="TRAN_AMT",
        labels=frozenset({"FRAUD_IND"}),
    ),
    Shape(
        name="bank statement with totals",
        make=statement,
        file="events.csv",
        id=None,
        time="Buchungstag",
        format="%d.%m.%y",
        main="Auftraggeber / Empfänger",
        amount="Soll",
    ),
    Shape(
        name="terminals, UTF-16",
        make=terminal,
        file="events.txt",
        id="Belegnummer",
        time="Datum",
        format="%d.%m.%Y",
        main="Kartennummer",
        others=frozenset({"Terminal-ID"}),
        amount="Betrag",
    ),
    Shape(
        name="orders with items",
        make=orders,
        id="order_id",
        time="created_at",
        format="iso8601",
        main="customer.id",
        amount="total.amount",
    ),
    Shape(
        name="chain",
        make=chain,
        id="hash",
        time="timeStamp",
        format="epoch_s",
        main="from",
        others=frozenset({"to"}),
        amount="value",
    ),
    Shape(
        name="calls without names",
        make=calls,
        file="calls.csv.gz",
        id=None,
        time="column_1",
        main="column_2",
        others=frozenset({"column_3"}),
        amount=None,
    ),
    Shape(
        name="claims",
        make=claims,
        file="events.csv",
        id="claim_number",
        time="report_date",
        format="%m/%d/%Y",
        main="policy_number",
        others=frozenset({"provider_id"}),
        amount="claim_amount",
        labels=frozenset({"fraud_reported"}),
    ),
    Shape(
        name="sign-ups",
        make=sign_ups,
        file="events.csv",
        id=None,
        time="purchase_time",
        format="iso8601",
        main="user_id",
        others=frozenset({"device_id"}),
        amount="purchase_value",
        labels=frozenset({"class"}),
    ),
    Shape(
        name="time in four columns",
        make=cards_apart,
        file="events.csv",
        id=None,
        time="Year, Month, Day",
        format="apart",
        main="User",
        others=frozenset({"Merchant Name"}),
        amount="Amount",
        labels=frozenset({"Is Fraud?"}),
    ),
    Shape(
        name="UPI",
        make=upi,
        file="events.csv",
        id="Transaction ID",
        time="Timestamp",
        main="Sender UPI ID",
        others=frozenset({"Receiver UPI ID"}),
        amount="Amount (INR)",
    ),
    Shape(
        name="Pix",
        make=pix,
        id="endToEndId",
        time="horario",
        main="pagador.cpf",
        others=frozenset({"recebedor.cpf"}),
        amount="valor",
    ),
    Shape(
        name="clicks",
        make=clicks,
        file="events.csv",
        id=None,
        time="click_time",
        main="ip",
        amount=None,
        labels=frozenset({"is_attributed"}),
    ),
    Shape(
        name="dates of six digits",
        make=old_bank,
        file="events.asc",
        id="trans_id",
        time="date",
        format="%y%m%d",
        main="account_id",
        amount="amount",
    ),
    Shape(
        name="BankSim",
        make=bank_sim,
        file="events.csv",
        id=None,
        time="step",
        format="steps",
        step=3_600.0,
        main="customer",
        others=frozenset({"merchant"}),
        amount="amount",
        labels=frozenset({"fraud"}),
    ),
    Shape(
        name="requests",
        make=requests,
        id=None,
        time="@timestamp",
        main="client.ip",
        amount=None,
    ),
    Shape(
        name="one person's card",
        make=card_account,
        file="events.csv",
        id=None,
        time="Transaction Date",
        format="%m/%d/%Y",
        main=None,
        amount="Amount",
    ),
    Shape(
        name="days of a spreadsheet",
        make=sheet_days,
        file="events.csv",
        id="Invoice No",
        time="Posting Date",
        format="steps",
        step=86_400.0,
        main="User",
        others=frozenset({"Vendor No"}),
        amount="Amount LCY",
    ),
]
