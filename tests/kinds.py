"""A seventh set of shapes: small, each for one rule that does without lists of names."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.shapes import Event, Shape, lines, moments, price, table

N = 240
Cell = Callable[[random.Random, datetime, int], Any]


def events(gap_s: int = 600, /, **cells: Cell) -> list[Event]:
    """Events whose fields are made from chance, a time and a number."""
    draw = random.Random(len(cells))
    return [
        {name: cell(draw, time, number) for name, cell in cells.items()}
        for number, time in enumerate(moments(draw, N, gap_s))
    ]


def named(names: str, rows: list[Event], delimiter: str = ",") -> list[Event]:
    """The same events with other names, as keywords cannot have them."""
    wanted = names.split(delimiter)
    return [dict(zip(wanted, row.values(), strict=True)) for row in rows]


def with_comma(number: float) -> str:
    """As `1.234,50`."""
    return f"{number:,.2f}".translate(str.maketrans(",.", ".,"))


def packed_hours() -> bytes:
    """Hours as eight digits, two of the year: no steps since a beginning."""
    return table(
        events(
            id=lambda draw, time, n: 10**19 + draw.getrandbits(62),
            hour=lambda draw, time, n: f"{time:%y%m%d%H}",
            device_id=lambda draw, time, n: f"{draw.randrange(40) * 104_729 * 31:08x}",
            C14=lambda draw, time, n: draw.choice([15706, 15704]),
        )
    )


def months() -> bytes:
    """Loans with the month of issue and rates in per cent; a second column has months of decades ago."""
    return table(
        events(
            id=lambda draw, time, n: 68_000_000 + n * 17,
            funded_amnt=lambda draw, time, n: draw.randrange(10, 400) * 100,
            int_rate=lambda draw, time, n: f" {draw.uniform(5, 25):.2f}%",
            zip_code=lambda draw, time, n: f"{draw.randrange(60) + 100}xx",
            cr_line=lambda draw, time, n: f"{datetime(1990 + draw.randrange(25), n % 12 + 1, 1):%b-%Y}",
            issue_d=lambda draw, time, n: f"{datetime(2024 + n // 120, n // 10 % 12 + 1, 1):%b-%Y}",
        )
    )


def tickets() -> bytes:
    """Days as 01MAR26."""
    return table(
        events(
            6_000,
            TicketNumber=lambda draw, time, n: 2_200_000_000_000 + n * 3,
            IssueDate=lambda draw, time, n: f"{time:%d%b%y}".upper(),
            IATAAgent=lambda draw, time, n: 20_000_000 + draw.randrange(30) * 7919,
            Total=lambda draw, time, n: price(draw),
        ),
        ";",
    )


def ledger() -> bytes:
    """Lines of documents, names of four letters: days and clocks in digits, amounts beside a currency."""
    rows = events(
        BUKRS=lambda draw, time, n: "1000",
        BELNR=lambda draw, time, n: 1_900_000_000 + n // 2,
        BUDAT=lambda draw, time, n: f"{time:%Y%m%d}",
        BLDAT=lambda draw, time, n: f"{time - timedelta(days=draw.randrange(9)):%Y%m%d}",
        LIFNR=lambda draw, time, n: f"{100_000 + draw.randrange(60):010}",
        DMBTR=lambda draw, time, n: with_comma(10 * price(draw)),
        WAERS=lambda draw, time, n: "EUR",
        CPUTM=lambda draw, time, n: f"{time:%H%M%S}",
    )
    return table(rows, ";", "latin-1")


def executions() -> bytes:
    """Messages of an exchange: tags by number, of which some are also elements of card messages."""
    return lines(
        named(
            "8,35,49,37,11,17,39,1,55,32,31,60",
            events(
                60,
                a=lambda draw, time, n: "FIX.4.4",
                b=lambda draw, time, n: "8",
                c=lambda draw, time, n: "BROKER",
                d=lambda draw, time, n: f"ORD{draw.getrandbits(40)}",
                e=lambda draw, time, n: f"CL{draw.getrandbits(40)}",
                f=lambda draw, time, n: f"EX{50_000 + n}",
                g=lambda draw, time, n: draw.choice("12"),
                h=lambda draw, time, n: f"ACC{draw.randrange(40):04}",
                i=lambda draw, time, n: draw.choice(["SAP", "BMW"]),
                j=lambda draw, time, n: str(draw.randrange(1, 900)),
                k=lambda draw, time, n: f"{draw.uniform(20, 200):.3f}",
                l=lambda draw, time, n: f"{time:%Y%m%d-%H:%M:%S}.{draw.randrange(1000):03}",
            ),
        )
    )


def sides() -> bytes:
    """A statement whose two sides have names that are not known."""
    rows = events(
        6_000,
        date=lambda draw, time, n: f"{time.year}年{time.month}月{time.day}日",
        text=lambda draw, time, n: draw.choice(["ATM", "カード", "給与"]),
        out=lambda draw, time, n: f"{draw.randrange(1, 900) * 100:,}" if n % 3 else "",
        back=lambda draw, time, n: "" if n % 3 else f"{draw.randrange(1, 900) * 100:,}",
    )
    return table(named("取引日,摘要,お引出し,お預入れ", rows), encoding="cp932")


def trades_of_two() -> bytes:
    """Two lines per trade: their common number is nobody's."""
    return table(
        events(
            txid=lambda draw, time, n: f"L{draw.getrandbits(60):015X}",
            refid=lambda draw, time, n: f"T{n // 2 * 104_729:09}",
            time=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S}.{draw.randrange(10**4):04}",
            asset=lambda draw, time, n: draw.choice(["ZEUR", "XXBT", "SOL"]),
            amount=lambda draw, time, n: f"{draw.lognormvariate(2, 1.5):.10f}",
        )
    )


def claims_by_day() -> bytes:
    """Days of incidents, and days of contracts that lie decades apart."""
    return table(
        events(
            policy_bind_date=lambda draw, time, n: f"{time - timedelta(days=draw.randrange(9_000)):%Y-%m-%d}",
            policy=lambda draw, time, n: f"P{draw.randrange(60):06}",
            incident_date=lambda draw, time, n: f"{time - timedelta(days=draw.randrange(60)):%Y-%m-%d}",
            claim_amount=lambda draw, time, n: price(draw),
        )
    )


def units_beneath() -> bytes:
    """Units beneath the names."""
    rows = events(
        a=lambda draw, time, n: f"{time:%d.%m.%Y %H:%M}",
        b=lambda draw, time, n: f"DE{draw.randrange(30) * 7919 + 10**6:031}",
        c=lambda draw, time, n: with_comma(abs(draw.gauss(0.4, 0.1))),
        d=lambda draw, time, n: draw.choice("WWE"),
    )
    first, rest = table(named("Zeitstempel;Zählpunkt;Verbrauch;Status", rows, ";"), ";").split(b"\n", 1)
    return first + b"\n[MEZ];;[kWh];\n" + rest


def totals_beneath() -> bytes:
    """What is said of all events stands in the first row, with nothing in the columns of events."""
    rows = events(
        a=lambda draw, time, n: 17_394_752_601,
        b=lambda draw, time, n: "",
        c=lambda draw, time, n: f"{n // 3 * 7919:09}",
        d=lambda draw, time, n: ["Principal", "Tax", "Commission"][n % 3],
        e=lambda draw, time, n: price(draw),
        f=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S} UTC",
        g=lambda draw, time, n: f"SKU-{draw.randrange(40):04}",
    )
    rows = named("settlement-id,total-amount,order-id,kind,amount,posted-date-time,sku", rows)
    first, rest = table(rows, "\t").split(b"\n", 1)
    return first + b"\n17394752601\t21345.12\t\t\t\t\t\n" + rest


def trailer() -> bytes:
    """A last line of another kind, most of whose few cells have digits."""
    rows = events(
        a=lambda draw, time, n: 31_000_000 + n,
        b=lambda draw, time, n: f"OC-{draw.getrandbits(40):010x}",
        c=lambda draw, time, n: f"{time:%d/%m/%Y %H:%M:%S}",
        d=lambda draw, time, n: price(draw),
        e=lambda draw, time, n: f"4{(w := draw.randrange(60)) * 7919 % 100_000:05}******{w * 37 % 10_000:04}",
    )
    names = "Transaction ID|Order Code|Event Date|Amount|Card Number"
    return b"# REPORT\n" + table(named(names, rows, "|"), "|") + b"TRAILER|240|9876.50\n"


def handles() -> bytes:
    """Who pays and who is paid have keys of a kind that is not known."""
    return lines(
        events(
            txnId=lambda draw, time, n: f"AXI{draw.getrandbits(120):030x}",
            at=lambda draw, time, n: time.isoformat(),
            payer=lambda draw, time, n: {
                "vpa": (vpa := f"user{draw.randrange(60)}@okaxis"),
                "device": {"id": vpa.encode().hex()},
            },
            payee=lambda draw, time, n: {"vpa": f"shop{draw.randrange(40)}@ybl"},
            amount=lambda draw, time, n: {"value": f"{price(draw):.2f}", "curr": "INR"},
        )
    )


def totals_of_parts() -> bytes:
    """Several totals: the plainest name is the whole."""
    return lines(
        events(
            id=lambda draw, time, n: 7_000 + n,
            created=lambda draw, time, n: time.isoformat(),
            customer_id=lambda draw, time, n: draw.randrange(60),
            customer_user_agent=lambda draw, time, n: f"Mozilla/5.{draw.randrange(60)}",
            shipping_total=lambda draw, time, n: draw.choice([0.0, 4.9]),
            total=lambda draw, time, n: price(draw),
        )
    )


def letters() -> bytes:
    """A name with a letter beyond ASCII that has no accent: ø."""
    rows = events(
        a=lambda draw, time, n: f"{time:%d.%m.%Y %H:%M}",
        b=lambda draw, time, n: f"ordre-{draw.getrandbits(32):08x}",
        c=lambda draw, time, n: 2 * 10**9 + n * 37,
        d=lambda draw, time, n: 10_000 + draw.randrange(25),
        e=lambda draw, time, n: with_comma(price(draw)),
    )
    return table(named("Salgsdato;OrdreID;TransaksjonsID;Kortnummer;Beløp", rows, ";"), ";", "cp1252")


def articles() -> bytes:
    """Arabic names, with an article before each."""
    rows = events(
        a=lambda draw, time, n: f"TX{700_000 + n}",
        b=lambda draw, time, n: f"{time:%d/%m/%Y %H:%M}",
        c=lambda draw, time, n: f"SA{draw.randrange(55) * 7919 + 10**9:022}",
        d=lambda draw, time, n: f"{price(draw):,.2f}",
    )
    return table(named("رقم العملية,تاريخ العملية,رقم الحساب,المبلغ", rows), bom=True)


def persons_and_keys() -> bytes:
    """A name stands before the key of the same person."""
    rows = events(
        a=lambda draw, time, n: f"Smith, Al {n // 4 % 40}",
        b=lambda draw, time, n: 20_000 + n // 4 % 40,
        c=lambda draw, time, n: f"{time:%m/%d/%Y}",
        d=lambda draw, time, n: price(draw),
    )
    return table(named("Employee,Employee ID,Transaction Date,Amount", rows))


def euros() -> bytes:
    """A sign of a currency in each row, in an encoding of one byte; accents only in the names."""
    rows = events(
        a=lambda draw, time, n: 800_001 + n,
        b=lambda draw, time, n: f"{time:%d/%m/%Y %H:%M}",
        c=lambda draw, time, n: f"CL{draw.randrange(40):05}",
        d=lambda draw, time, n: f"{with_comma(price(draw))} €",
    )
    return table(named("Nº Operación;Fecha;Cliente;Importe", rows, ";"), ";", "cp1252")


def receipts() -> bytes:
    """Weekdays before the dates."""
    rows = events(
        a=lambda draw, time, n: f"#{40_000 + n}",
        b=lambda draw, time, n: f"{time:%a %d %b %Y %I:%M %p}",
        c=lambda draw, time, n: f"Cust {draw.randrange(40)}",
        d=lambda draw, time, n: f"€ {price(draw):,.2f}",
    )
    return table(named("Receipt;Date;Customer;Total", rows, ";"), ";", bom=True)


def costs() -> bytes:
    """Totals of several things; that of the costs is with taxes and without."""
    return lines(
        events(
            id=lambda draw, time, n: f"CDR{n:06}",
            started=lambda draw, time, n: time.isoformat(),
            contract_id=lambda draw, time, n: f"C{draw.randrange(40):08}",
            total_energy=lambda draw, time, n: round(draw.uniform(2, 70), 3),
            total_cost=lambda draw, time, n: {"excl_vat": (a := price(draw)), "incl_vat": round(a * 1.19, 2)},
        )
    )


def _csv(name: str, make: Callable[[], bytes], **more: Any) -> Shape:
    return Shape(**{"name": name, "make": make, "file": "events.csv", "id": None, "amount": None} | more)


KINDS = (
    _csv("packed hours", packed_hours, id="id", time="hour", format="%y%m%d%H", main="device_id"),
    _csv("months", months, id="id", time="issue_d", format="%b-%Y", main=None, amount="funded_amnt"),
    _csv(
        "tickets",
        tickets,
        id="TicketNumber",
        time="IssueDate",
        format="%d%b%y",
        main="IATAAgent",
        amount="Total",
    ),
    _csv("ledger", ledger, time="BUDAT", format="date", main="LIFNR", amount="DMBTR"),
    _csv("executions", executions, file="events.jsonl", id="17", time="60", main="1"),
    _csv("unknown sides", sides, time="取引日", main=None, amount="お引出し"),
    _csv("two lines per trade", trades_of_two, id="txid", time="time", main=None, amount="amount"),
    _csv("claims by day", claims_by_day, time="incident_date", main="policy", amount="claim_amount"),
    _csv("units beneath", units_beneath, time="Zeitstempel", main="Zählpunkt"),
    _csv("totals beneath", totals_beneath, time="posted-date-time", main="sku", amount="amount"),
    _csv("trailer", trailer, id="Transaction ID", time="Event Date", main="Card Number", amount="Amount"),
    _csv(
        "handles",
        handles,
        file="events.jsonl",
        id="txnId",
        time="at",
        main="payer.vpa",
        others=frozenset({"payee.vpa"}),
        amount="amount.value",
    ),
    _csv(
        "totals of parts",
        totals_of_parts,
        file="events.jsonl",
        id="id",
        time="created",
        main="customer_id",
        amount="total",
    ),
    _csv("letters", letters, id="TransaksjonsID", time="Salgsdato", main="Kortnummer", amount="Beløp"),
    _csv("articles", articles, id="رقم العملية", time="تاريخ العملية", main="رقم الحساب", amount="المبلغ"),
    _csv(
        "persons and keys",
        persons_and_keys,
        time="Transaction Date",
        main="Employee ID",
        amount="Amount",
    ),
    _csv("euros", euros, id="Nº Operación", time="Fecha", main="Cliente", amount="Importe"),
    _csv("receipts", receipts, id="Receipt", time="Date", main="Customer", amount="Total"),
    _csv(
        "costs",
        costs,
        file="events.jsonl",
        id="id",
        time="started",
        main="contract_id",
        amount="total_cost.excl_vat",
    ),
)
