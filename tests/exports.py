"""A fourth set of shapes: exports of payment providers, shops, banks and tools, and logs.

What is right about each was written down before `init-config` had read any of them.
"""

from __future__ import annotations

import json
import random

from tests.shapes import Shape, iso, lines, moments, price, table


def comma(amount: float, thousands: str = ".") -> str:
    """As `1.234,50`."""
    return f"{amount:,.2f}".translate(str.maketrans({",": thousands, ".": ","}))


def stripe_balance(n: int = 400) -> bytes:
    """Stripe's export of balance changes."""
    draw = random.Random(81)
    rows = []
    for time in moments(draw, n, 900):
        amount = price(draw)
        rows.append(
            {
                "id": f"txn_{draw.getrandbits(80):020x}",
                "Type": draw.choice(["charge", "charge", "charge", "refund"]),
                "Source": f"ch_{draw.getrandbits(80):020x}",
                "Amount": f"{amount:.2f}",
                "Fee": f"{amount * 0.029 + 0.3:.2f}",
                "Net": f"{amount * 0.971 - 0.3:.2f}",
                "Currency": "usd",
                "Created (UTC)": f"{time:%Y-%m-%d %H:%M:%S}",
                "Available On (UTC)": f"{time:%Y-%m-%d} 00:00:00",
                "Customer ID": f"cus_{draw.randrange(60):014}",
                "Customer Email": f"u{draw.randrange(60)}@example.com",
            }
        )
    return table(rows)


def adyen_report(n: int = 400) -> bytes:
    """Adyen's report of received payments."""
    draw = random.Random(82)
    rows = []
    for i, time in enumerate(moments(draw, n, 900)):
        who = draw.randrange(50)
        rows.append(
            {
                "Company Account": "ShopCompany",
                "Merchant Account": draw.choice(["ShopNL", "ShopDE"]),
                "Psp Reference": f"{8_800_000_000_000_000 + i * 7919}",
                "Merchant Reference": f"order-{i}",
                "Payment Method": draw.choice(["visa", "mc", "ideal"]),
                "Creation Date": f"{time:%Y-%m-%d %H:%M:%S}",
                "TimeZone": "CET",
                "Currency": "EUR",
                "Amount": f"{price(draw):.2f}",
                "Shopper Reference": f"shopper{who}",
                "Shopper Country": draw.choice(["NL", "DE"]),
                "Risk Scoring": draw.randrange(60),
            }
        )
    return table(rows)


def paypal(n: int = 400) -> bytes:
    """PayPal's activity export: day, clock and zone in three columns."""
    draw = random.Random(83)
    rows = []
    for time in moments(draw, n, 1_800):
        gross = price(draw) * 10
        rows.append(
            {
                "Date": f"{time:%m/%d/%Y}",
                "Time": f"{time:%H:%M:%S}",
                "TimeZone": "PST",
                "Name": f"Buyer {draw.randrange(60)}",
                "Type": "Express Checkout Payment",
                "Status": "Completed",
                "Currency": "USD",
                "Gross": f"{gross:,.2f}",
                "Fee": f"-{gross * 0.034:,.2f}",
                "Net": f"{gross * 0.966:,.2f}",
                "From Email Address": f"b{draw.randrange(60)}@example.com",
                "Transaction ID": f"{draw.getrandbits(64):016X}X",
            }
        )
    return table(rows, bom=True)


def square(n: int = 400) -> bytes:
    """Square's transactions: amounts with a dollar, time zone in words."""
    draw = random.Random(84)
    rows = []
    for time in moments(draw, n, 1_200):
        rows.append(
            {
                "Date": f"{time:%Y-%m-%d}",
                "Time": f"{time:%H:%M:%S}",
                "Time Zone": "Eastern Time (US & Canada)",
                "Gross Sales": f"${price(draw) * 12:,.2f}",
                "Discounts": "$0.00",
                "Card Brand": draw.choice(["Visa", "MasterCard"]),
                "PAN Suffix": f"{draw.randrange(45) * 211:04}",
                "Device Name": draw.choice(["till 1", "till 2"]),
                "Transaction ID": f"{draw.getrandbits(96):024x}",
                "Location": "High Street",
            }
        )
    return table(rows)


def shopify(n: int = 400) -> bytes:
    """Shopify's orders: names with #, times with an offset."""
    draw = random.Random(85)
    rows = []
    for i, time in enumerate(moments(draw, n, 1_200)):
        who = draw.randrange(60)
        total = price(draw)
        rows.append(
            {
                "Name": f"#{1001 + i}",
                "Email": f"c{who}@example.com",
                "Financial Status": draw.choice(["paid", "paid", "pending"]),
                "Paid at": f"{time:%Y-%m-%d %H:%M:%S} -0500",
                "Currency": "CAD",
                "Subtotal": f"{total:.2f}",
                "Shipping": "5.00",
                "Taxes": f"{total * 0.13:.2f}",
                "Total": f"{total * 1.13 + 5:.2f}",
                "Created at": f"{time:%Y-%m-%d %H:%M:%S} -0500",
                "Billing Country": draw.choice(["CA", "US"]),
            }
        )
    return table(rows)


def camt_as_csv(n: int = 400) -> bytes:
    """A German bank's CSV-CAMT file."""
    draw = random.Random(86)
    rows = []
    for time in moments(draw, n, 5_000):
        sign = draw.choice(["-", "-", "-", ""])
        rows.append(
            {
                "Auftragskonto": "DE11100000000123456789",
                "Buchungstag": f"{time:%d.%m.%y}",
                "Valutadatum": f"{time:%d.%m.%y}",
                "Buchungstext": draw.choice(["FOLGELASTSCHRIFT", "KARTENZAHLUNG", "GUTSCHR. UEBERWEISUNG"]),
                "Verwendungszweck": f"Rechnung {draw.randrange(10**6)}",
                "Glaeubiger ID": "",
                "Beguenstigter/Zahlungspflichtiger": f"Firma {draw.randrange(50)}",
                "Kontonummer/IBAN": f"DE{draw.randrange(50):020}",
                "BIC (SWIFT-Code)": "GENODEM1GLS",
                "Betrag": sign + comma(price(draw) * 30, ""),
                "Waehrung": "EUR",
                "Info": "Umsatz gebucht",
            }
        )
    text = table(rows, delimiter=";").decode()
    return text.encode("cp1252")


def swiss(n: int = 400) -> bytes:
    """A Swiss bank's export: thousands by an apostrophe, lines above the table."""
    draw = random.Random(87)
    rows = ["Konto:;0123 456789.01;", "Von:;01.03.2026;", ""]
    rows.append("Abschlussdatum;Abschlusszeit;Karte;Beschreibung;Währung;Belastung;Transaktions-Nr.")
    for i, time in enumerate(moments(draw, n, 3_000)):
        amount = f"{price(draw) * 60:,.2f}".replace(",", "'")
        rows.append(
            f"{time:%d.%m.%Y};{time:%H:%M:%S};XXXX XXXX XXXX {draw.randrange(40) * 131:04};"
            f"Laden {draw.randrange(30)};CHF;{amount};{7_000_000 + i * 13}"
        )
    return ("\n".join(rows) + "\n").encode()


def two_headers(n: int = 400) -> bytes:
    """A sheet with merged cells above the names."""
    draw = random.Random(88)
    rows = ["Transaction,,,Card,,Shop,", "id,posted_at,amount,number,brand,shop_id,city"]
    for i, time in enumerate(moments(draw, n, 900)):
        rows.append(
            f"{i + 1},{time:%Y-%m-%d %H:%M:%S},{price(draw):.2f},{400000 + draw.randrange(50)},visa,"
            f"s{draw.randrange(20)},Town {draw.randrange(9)}"
        )
    return ("\n".join(rows) + "\n").encode()


def nanoseconds(n: int = 400) -> bytes:
    """Trades with epoch nanoseconds."""
    draw = random.Random(89)
    return lines(
        [
            {
                "trade_id": 10**15 + i,
                "ts": int(time.timestamp()) * 10**9 + draw.randrange(10**9),
                "trader": f"T{draw.randrange(40)}",
                "symbol": draw.choice(["AAA", "BBB", "CCC"]),
                "side": draw.choice("BS"),
                "px": round(price(draw), 4),
                "qty": draw.randrange(1, 500),
                "notional": round(price(draw) * 100, 2),
            }
            for i, time in enumerate(moments(draw, n, 60))
        ]
    )


def nested(n: int = 400) -> bytes:
    """Ledger entries with lists of objects inside."""
    draw = random.Random(90)
    return lines(
        [
            {
                "eventId": f"{draw.getrandbits(64):016x}",
                "occurredAt": iso(time),
                "debtor": {"account": {"iban": f"GB{draw.randrange(60):020}"}, "name": "x"},
                "creditor": {"account": {"iban": f"FR{draw.randrange(30):020}"}},
                "instructed": {"amount": {"value": f"{price(draw):.2f}", "currency": "GBP"}},
                "legs": [{"account": "a", "amount": 1.0}, {"account": "b", "amount": -1.0}],
                "tags": ["web"],
            }
            for time in moments(draw, n, 600)
        ]
    )


def french(n: int = 400) -> bytes:
    """A French bank: a no-break space between thousands, euro sign behind."""
    draw = random.Random(91)
    rows = ["Date opération;Libellé;Numéro de carte;Montant;Devise;Référence"]
    for i, time in enumerate(moments(draw, n, 4_000)):
        amount = comma(price(draw) * 50, "\u00a0")
        rows.append(
            f"{time:%d/%m/%Y};ACHAT {draw.randrange(40)};4970{draw.randrange(45):012};-{amount} €;EUR;R{i:07}"
        )
    return ("\n".join(rows) + "\n").encode()


def polish(n: int = 400) -> bytes:
    """A Polish bank."""
    draw = random.Random(92)
    rows = ["Data transakcji;Numer rachunku;Odbiorca;Tytuł;Kwota;Waluta;Identyfikator"]
    for i, time in enumerate(moments(draw, n, 4_000)):
        rows.append(
            f"{time:%Y-%m-%d %H:%M};PL{draw.randrange(50):026};Sklep {draw.randrange(30)};Zakup;"
            f"-{comma(price(draw), ' ')};PLN;{90_000 + i}"
        )
    return ("\n".join(rows) + "\n").encode("cp1250")


def spanish(n: int = 400) -> bytes:
    """A Spanish export of card movements."""
    draw = random.Random(93)
    rows = ["Fecha;Hora;Tarjeta;Comercio;Importe;Divisa;Operación"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        rows.append(
            f"{time:%d/%m/%Y};{time:%H:%M};{draw.randrange(50) + 5400:016};Tienda {draw.randrange(30)};"
            f"{comma(price(draw) * 20)};EUR;{500_000 + i}"
        )
    return ("\n".join(rows) + "\n").encode()


def japanese(n: int = 400) -> bytes:
    """A Japanese card statement: whole yen with commas."""
    draw = random.Random(94)
    rows = ["取引番号,利用日時,カード番号,加盟店,利用金額,通貨"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        rows.append(
            f"{800_000 + i},{time:%Y/%m/%d %H:%M:%S},****-{draw.randrange(50) * 97:04},"
            f"店{draw.randrange(25)},"
            f'"{int(price(draw) * 150):,}",JPY'
        )
    return ("\n".join(rows) + "\n").encode()


def indian(n: int = 400) -> bytes:
    """An Indian bank: lakhs, and a month in letters."""
    draw = random.Random(95)

    def lakhs(amount: float) -> str:
        whole, part = f"{amount:.2f}".split(".")
        head, tail = whole[:-3], whole[-3:]
        groups = []
        while head:
            groups.insert(0, head[-2:])
            head = head[:-2]
        return ",".join([*groups, tail]) + "." + part

    rows = []
    for i, time in enumerate(moments(draw, n, 2_000)):
        rows.append(
            {
                "Txn Date": f"{time:%d-%b-%Y %H:%M:%S}",
                "Txn Ref No": f"UTR{10**9 + i}",
                "Account No": f"XX{draw.randrange(50):06}",
                "Beneficiary": f"Name {draw.randrange(60)}",
                "Mode": draw.choice(["NEFT", "IMPS", "RTGS"]),
                "Amount (INR)": lakhs(price(draw) * 5_000),
            }
        )
    return table(rows)


def american_clock(n: int = 400) -> bytes:
    """A US tool: 12-hour clock, negative amounts in parentheses, a row of totals below."""
    draw = random.Random(96)
    rows = ["Posted,Reference #,Cardholder,Merchant,Amount"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        amount = f"{price(draw) * 20:,.2f}"
        shown = f'"(${amount})"' if draw.random() < 0.1 else f'"${amount}"'
        rows.append(
            f"{time:%m/%d/%Y %I:%M %p},{60_000 + i},Holder {draw.randrange(40)},"
            f"Store {draw.randrange(30)},{shown}"
        )
    rows.append('Total,,,,"$99,999.00"')
    return ("\n".join(rows) + "\n").encode()


def elastic(n: int = 400) -> bytes:
    """Hits of a search engine."""
    draw = random.Random(97)
    return lines(
        [
            {
                "_index": "payments-2026.03",
                "_id": f"{draw.getrandbits(80):020x}",
                "_score": 1.0,
                "_source": {
                    "@timestamp": iso(time),
                    "user": {"id": f"u{draw.randrange(60)}"},
                    "payment": {"amount": round(price(draw), 2), "method": draw.choice(["card", "wallet"])},
                    "source": {"ip": f"10.0.{draw.randrange(9)}.{draw.randrange(250)}"},
                },
            }
            for time in moments(draw, n, 300)
        ]
    )


def braintree(n: int = 400) -> bytes:
    """A provider's search export: many names, most of them empty."""
    draw = random.Random(98)
    rows = []
    for time in moments(draw, n, 900):
        rows.append(
            {
                "Transaction ID": f"{draw.getrandbits(40):010x}",
                "Subscription ID": "",
                "Transaction Type": "sale",
                "Transaction Status": draw.choice(["settled", "settled", "processor_declined"]),
                "Created Datetime": f"{time:%m/%d/%Y %H:%M:%S}",
                "Created Timezone": "UTC",
                "Settlement Date": f"{time:%m/%d/%Y}",
                "Amount Submitted For Settlement": f"{price(draw):.2f}",
                "Currency ISO Code": "USD",
                "Payment Instrument Type": "Credit Card",
                "Card Number": f"411111******{draw.randrange(55) * 101:04}",
                "Customer ID": f"{70_000 + draw.randrange(60)}",
                "Refunded Transaction ID": "",
            }
        )
    return table(rows)


def wise(n: int = 400) -> bytes:
    """A money transfer app's statement: day first with dashes, signed amounts."""
    draw = random.Random(99)
    rows = []
    for i, time in enumerate(moments(draw, n, 3_000)):
        rows.append(
            {
                "TransferWise ID": f"TRANSFER-{900_000 + i}",
                "Date": f"{time:%d-%m-%Y}",
                "Date Time": f"{time:%d-%m-%Y %H:%M:%S}.{draw.randrange(1000):03}",
                "Amount": f"-{price(draw) * 4:.2f}",
                "Currency": "GBP",
                "Description": f"Sent money to person {draw.randrange(40)}",
                "Payee Account Number": f"{draw.randrange(40) * 7919:08}",
                "Total fees": "0.40",
            }
        )
    return table(rows)


def mongo(n: int = 400) -> bytes:
    """Extended JSON of a document database."""
    draw = random.Random(100)
    events = [
        {
            "_id": {"$oid": f"{draw.getrandbits(96):024x}"},
            "createdAt": {"$date": f"{time:%Y-%m-%dT%H:%M:%S}.000Z"},
            "customerId": {"$numberLong": str(10**12 + draw.randrange(60))},
            "amount": {"$numberDecimal": f"{price(draw):.2f}"},
            "channel": draw.choice(["web", "app"]),
        }
        for time in moments(draw, n, 300)
    ]
    return json.dumps(events, indent=1).encode()


def _csv(name: str, make: object, **more: object) -> Shape:
    return Shape(name=name, make=make, file="events.csv", **more)  # type: ignore[arg-type]


EXPORTS = (
    _csv(
        "Stripe balance", stripe_balance, id="id", time="Created (UTC)", main="Customer ID", amount="Amount"
    ),
    _csv(
        "Adyen report",
        adyen_report,
        id="Psp Reference",
        time="Creation Date",
        main="Shopper Reference",
        amount="Amount",
    ),
    _csv(
        "PayPal activity", paypal, id="Transaction ID", time="Date", main="From Email Address", amount="Gross"
    ),
    _csv("Square", square, id="Transaction ID", time="Date", main="PAN Suffix", amount="Gross Sales"),
    _csv("Shopify orders", shopify, id="Name", time="Created at", main="Email", amount="Total"),
    _csv("CSV-CAMT", camt_as_csv, id=None, time="Buchungstag", main="Kontonummer/IBAN", amount="Betrag"),
    _csv("Swiss bank", swiss, id="Transaktions-Nr_", time="Abschlussdatum", main="Karte", amount="Belastung"),
    _csv(
        "two rows of names",
        two_headers,
        id="Transaction id",
        time="Transaction posted_at",
        main="Card number",
        amount="Transaction amount",
    ),
    Shape(name="trades in ns", make=nanoseconds, id="trade_id", time="ts", main="trader", amount="notional"),
    Shape(
        name="ledger",
        make=nested,
        id="eventId",
        time="occurredAt",
        main="debtor.account.iban",
        amount="instructed.amount.value",
    ),
    _csv(
        "French bank", french, id="Référence", time="Date opération", main="Numéro de carte", amount="Montant"
    ),
    _csv(
        "Polish bank",
        polish,
        id="Identyfikator",
        time="Data transakcji",
        main="Numer rachunku",
        amount="Kwota",
    ),
    _csv("Spanish cards", spanish, id="Operación", time="Fecha", main="Tarjeta", amount="Importe"),
    _csv("Japanese cards", japanese, id="取引番号", time="利用日時", main="カード番号", amount="利用金額"),
    _csv("Indian bank", indian, id="Txn Ref No", time="Txn Date", main="Account No", amount="Amount (INR)"),
    _csv(
        "12-hour clock", american_clock, id="Reference #", time="Posted", main="Cardholder", amount="Amount"
    ),
    Shape(
        name="search hits",
        make=elastic,
        id="_id",
        time="_source.@timestamp",
        main="_source.user.id",
        amount="_source.payment.amount",
    ),
    _csv(
        "Braintree",
        braintree,
        id="Transaction ID",
        time="Created Datetime",
        main="Card Number",
        amount="Amount Submitted For Settlement",
    ),
    _csv(
        "transfer app",
        wise,
        id="TransferWise ID",
        time="Date Time",
        main="Payee Account Number",
        amount="Amount",
    ),
    Shape(
        name="extended JSON",
        make=mongo,
        file="events.json",
        id="_id.$oid",
        time="createdAt.$date",
        main="customerId.$numberLong",
        amount="amount.$numberDecimal",
    ),
)
