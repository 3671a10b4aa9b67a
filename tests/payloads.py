"""A ninth set of shapes: what payment services, ledgers, exchanges and networks send, by what was mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kinds import events, named, with_comma
from tests.shapes import Shape, iso, lines, price, table


def cards() -> bytes:
    """A card has a fingerprint and its last digits; an order of the same amount lies deeper."""
    return lines(
        events(
            id=lambda draw, time, n: f"tr_{draw.getrandbits(50):013x}",
            created=lambda draw, time, n: iso(time),
            order=lambda draw, time, n: {"amount": price(draw)},
            amount=lambda draw, time, n: price(draw),
            merchant_reference1=lambda draw, time, n: f"M-{50_000 + n}",
            details=lambda draw, time, n: {
                "cardNumber": f"{(who := draw.randrange(60)) * 37:04}",
                "cardHolder": f"T. Tester {who}",
                "fingerprint_last4": f"{who * 37:04}",
                "cardFingerprint": f"{who * 104_729:032x}",
            },
        )
    )


def authorizations() -> bytes:
    """The key of a shop, ten digits that are no time, stands behind its name."""
    return lines(
        events(
            id=lambda draw, time, n: f"iauth_{draw.getrandbits(96):024x}",
            created=lambda draw, time, n: int(time.timestamp()),
            card=lambda draw, time, n: {"id": f"ic_{draw.randrange(50) * 7919:024x}"},
            amount=lambda draw, time, n: round(100 * price(draw)),
            merchant_data=lambda draw, time, n: {
                "name": f"SHOP {(shop := draw.randrange(30))}",
                "network_id": f"{shop * 7919 + 10**9}",
            },
        )
    )


def addresses() -> bytes:
    """Addresses with spaces are no keys, also where nothing else is one."""
    return table(
        events(
            6_000,
            Date=lambda draw, time, n: f"{time:%d/%m/%Y}",
            Time=lambda draw, time, n: f"{time:%H:%M:%S}",
            Amount=lambda draw, time, n: f"-{price(draw):.2f}",
            Address=lambda draw, time, n: f"{draw.randrange(25)} High St",
            Description=lambda draw, time, n: f"SHOP {draw.randrange(25)} LONDON GBR",
        )
    )


def codes() -> bytes:
    """A code that others give never repeats in a short file, and is not the id."""
    return table(
        events(
            300,
            CardNo=lambda draw, time, n: f"4213XXXXXXXX{draw.randrange(60) * 37:04}",
            TxnDateTime=lambda draw, time, n: f"{time:%d-%m-%Y %H:%M:%S}",
            TxnAmount=lambda draw, time, n: draw.randrange(1, 40) * 100,
            AuthCode=lambda draw, time, n: f"{n * 7919 % 10**6:06}",
            RRN=lambda draw, time, n: f"{time:%j%H}{n:06}",
        )
    )


def references() -> bytes:
    """Of two ids that are no event's by name: not the reference of somebody else."""
    return table(
        events(
            EXTERNAL_REFERENCE=lambda draw, time, n: f"INSTORE-{draw.getrandbits(80):020x}",
            SOURCE_ID=lambda draw, time, n: 70_000_000_000 + n * 7919,
            TRANSACTION_DATE=lambda draw, time, n: iso(time),
            TRANSACTION_AMOUNT=lambda draw, time, n: price(draw),
            PAYER_ID_NUMBER=lambda draw, time, n: 20_000_000 + draw.randrange(60) * 7919,
        ),
        ";",
    )


def channels() -> bytes:
    """A channel of a call never repeats, and is not its id; the id is a number with a fraction."""
    return table(
        events(
            calldate=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S}",
            src=lambda draw, time, n: f"{100 + draw.randrange(40) * 13}",
            channel=lambda draw, time, n: f"SIP/trunk-{n:08x}",
            dstchannel=lambda draw, time, n: f"SIP/out-{n:08x}",
            uniqueid=lambda draw, time, n: f"{time.timestamp():.0f}.{n * 3}",
        )
    )


def fills() -> bytes:
    """Price, cost and volume: the cost is what a price comes to."""
    return table(
        events(
            txid=lambda draw, time, n: f"T{draw.getrandbits(60):015X}",
            pair=lambda draw, time, n: f"{draw.choice(['XBT', 'ETH', 'SOL', 'ADA', 'DOT'])}EUR",
            time=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S}",
            price=lambda draw, time, n: f"{n % 17 + 2.5:.2f}",
            cost=lambda draw, time, n: f"{(n % 17 + 2.5) * (n % 29 + 0.25):.5f}",
            fee=lambda draw, time, n: f"{0.01 * price(draw):.5f}",
            vol=lambda draw, time, n: f"{n % 29 + 0.25:.2f}",
        )
    )


def flights() -> bytes:
    """A total of what is counted is no amount."""
    return table(
        named(
            "Loyalty Number,Posting Date,Total Flights,Points Accumulated",
            events(
                9_000,
                a=lambda draw, time, n: 100_018 + draw.randrange(50) * 7919,
                b=lambda draw, time, n: f"{time:%Y-%m-%d}",
                c=lambda draw, time, n: draw.randrange(20),
                d=lambda draw, time, n: draw.randrange(600),
            ),
        )
    )


def flows() -> bytes:
    """A label that is called so, and says benign of most events and a kind of attack of the others."""
    return table(
        named(
            " Source IP, Source Port, Timestamp, Total Fwd Packets, Label",
            events(
                60,
                a=lambda draw, time, n: f"192.168.10.{draw.randrange(20)}",
                b=lambda draw, time, n: draw.randrange(1024, 65_000),
                c=lambda draw, time, n: f"{time.day}/{time.month}/{time.year} {time.hour}:{time:%M}",
                d=lambda draw, time, n: draw.randrange(1, 60),
                e=lambda draw, time, n: "PortScan" if n % 40 == 7 else "BENIGN",
            ),
        )
    )


def documents() -> bytes:
    """A ledger with its amount in two currencies."""
    return table(
        events(
            BELNR=lambda draw, time, n: 5_100_000_000 + n // 2,
            BUDAT=lambda draw, time, n: f"{time:%Y%m%d}",
            LIFNR=lambda draw, time, n: f"{100_000 + draw.randrange(50) * 7:010}",
            DMBTR=lambda draw, time, n: f"{10 * price(draw):.2f}",
            WRBTR=lambda draw, time, n: f"{10 * price(draw):.2f}",
            WAERS=lambda draw, time, n: "EUR",
        ),
        "|",
    )


def payroll() -> bytes:
    """Pay in whole numbers."""
    return table(
        named(
            "File #,Pay Date,Reg Hours,Gross Pay",
            events(
                9_000,
                a=lambda draw, time, n: f"{1001 + draw.randrange(45) * 7:06}",
                b=lambda draw, time, n: f"{time:%m/%d/%Y}",
                c=lambda draw, time, n: draw.choice([80, 72]),
                d=lambda draw, time, n: f"{1500 + draw.randrange(900):,.2f}",
            ),
        )
    )


def payments() -> bytes:
    """What a payment was, in cents, under no other name than payment; the shop comes after the household."""
    return table(
        named(
            "STORE_ID;household_key;Datum;Zahlung",
            events(
                9_000,
                a=lambda draw, time, n: 300 + draw.randrange(30),
                b=lambda draw, time, n: draw.randrange(70),
                c=lambda draw, time, n: f"{time:%d.%m.%Y}",
                d=lambda draw, time, n: with_comma(price(draw)),
            ),
            ";",
        ),
        ";",
    )


def flagged() -> bytes:
    """A flag, and nothing else said of it."""
    return table(
        named(
            "Address,FLAG,Avg min between sent tnx,total Ether sent",
            events(
                a=lambda draw, time, n: f"0x{draw.getrandbits(160):040x}",
                b=lambda draw, time, n: int(n % 12 == 7),
                c=lambda draw, time, n: round(draw.expovariate(0.001), 2),
                d=lambda draw, time, n: round(draw.lognormvariate(5, 2), 6),
            ),
        )
    )


def invoices() -> bytes:
    """Digits of Arabic; nothing but the time of day always differs; each amount speaks of taxes."""
    arabic = str.maketrans("0123456789.,", "٠١٢٣٤٥٦٧٨٩٫٬")
    return table(
        named(
            "التاريخ;الساعة;رقم العميل;الإجمالي قبل الضريبة;الضريبة;الإجمالي شامل الضريبة",
            events(
                a=lambda draw, time, n: f"{time:%Y/%m/%d}",
                b=lambda draw, time, n: f"{n // 60:02}:{n % 60:02}:30",
                c=lambda draw, time, n: f"C{draw.randrange(40) * 31 + 20_000}",
                d=lambda draw, time, n: f"{1000 + n}٫٥٠".translate(arabic),
                e=lambda draw, time, n: f"{0.15 * (1000.5 + n):.2f}".translate(arabic),
                f=lambda draw, time, n: f"{1.15 * (1000.5 + n):,.2f}".translate(arabic),
            ),
            ";",
        ),
        ";",
    )


def claims() -> bytes:
    """A number of something unknown; of several amounts with a currency the others are parts of one."""
    return table(
        named(
            "Číslo PU;Nahlášeno;Číslo smlouvy;Spoluúčast;Plnění",
            events(
                a=lambda draw, time, n: f"2026{n:06}",
                b=lambda draw, time, n: f"{time:%d.%m.%Y %H:%M}",
                c=lambda draw, time, n: 6_200_000_000 + draw.randrange(60) * 104_729,
                d=lambda draw, time, n: f"{with_comma(500 + n)} Kč",
                e=lambda draw, time, n: f"{with_comma(9000 + n)} Kč",
            ),
            ";",
        ),
        ";",
    )


def tills() -> bytes:
    """An id that ends in one, behind letters that are no word; games that were played are no player."""
    return lines(
        events(
            JPKID=lambda draw, time, n: 90_311_000 + 7 * n,
            at=lambda draw, time, n: iso(time),
            games_played=lambda draw, time, n: draw.randrange(1, 60),
            asset_no=lambda draw, time, n: f"{10_000 + draw.randrange(40) * 3}",
        )
    )


def remittances() -> bytes:
    """Names of X12's segments: NM1 is not a name; the number of a claim has the lines of that claim."""
    return table(
        named(
            "DTM*472 Service Date,CLP07 Payer Claim No,NM1*QC Member ID,SVC02 Charge",
            events(
                9_000,
                a=lambda draw, time, n: f"{time:%Y%m%d}",
                b=lambda draw, time, n: f"2026{n // 3 * 7919 + 10**6:09}",
                c=lambda draw, time, n: f"W{draw.randrange(40) * 104_729 + 10**8}",
                d=lambda draw, time, n: price(draw),
            ),
        )
    )


def _csv(name: str, make: Callable[[], bytes], **more: Any) -> Shape:
    return Shape(**{"name": name, "make": make, "file": "events.csv", "id": None, "amount": None} | more)


def _json(name: str, make: Callable[[], bytes], **more: Any) -> Shape:
    return _csv(name, make, file="events.jsonl", **more)


PAYLOADS = (
    _json(
        "last digits of cards",
        cards,
        id="id",
        time="created",
        main="details.cardFingerprint",
        nobody=frozenset({"details.cardHolder", "details.fingerprint_last4", "merchant_reference1"}),
        amount="amount",
    ),
    _json(
        "keys behind names",
        authorizations,
        id="id",
        time="created",
        main="card.id",
        others=frozenset({"merchant_data.network_id"}),
        nobody=frozenset({"merchant_data.name"}),
        amount="amount",
    ),
    _csv("addresses", addresses, time="Date", main="Description", amount="Amount"),
    _csv("codes", codes, id="RRN", time="TxnDateTime", main="CardNo", amount="TxnAmount"),
    _csv(
        "references",
        references,
        id="SOURCE_ID",
        time="TRANSACTION_DATE",
        main="PAYER_ID_NUMBER",
        amount="TRANSACTION_AMOUNT",
    ),
    _csv("channels", channels, time="calldate", main="src"),
    _csv("costs of trades", fills, id="txid", time="time", main="pair", amount="cost"),
    _csv("totals of counts", flights, time="Posting Date", main="Loyalty Number"),
    _csv("flows", flows, time="Timestamp", main="Source IP", labels=frozenset({"Label"})),
    _csv("documents", documents, time="BUDAT", main="LIFNR", amount="DMBTR"),
    _csv("payroll", payroll, time="Pay Date", main="File #", amount="Gross Pay"),
    _csv("payments", payments, time="Datum", main="household_key", amount="Zahlung"),
    _csv(
        "flagged",
        flagged,
        id="Address",
        time=None,
        main=None,
        amount="total Ether sent",
        labels=frozenset({"FLAG"}),
    ),
    _csv(
        "invoices in Arabic",
        invoices,
        time="التاريخ",
        main="رقم العميل",
        amount="الإجمالي شامل الضريبة",
    ),
    _csv("numbers of claims", claims, id="Číslo PU", time="Nahlášeno", main="Číslo smlouvy", amount="Plnění"),
    _json("games played", tills, id="JPKID", time="at", main="asset_no"),
    _csv(
        "remittance advice",
        remittances,
        time="DTM*472 Service Date",
        main="NM1*QC Member ID",
        nobody=frozenset({"CLP07 Payer Claim No"}),
        amount="SVC02 Charge",
    ),
)
