"""An eighth set of shapes: small, of languages and files that no rule was written for, by what was mended."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime

from tests.kinds import Cell, events, named, with_comma
from tests.shapes import Event, Shape, lines, price, table


def row_lines(*cells: Cell) -> bytes:
    """A file of commas without a header."""
    rows = events(600, **{f"c{number}": cell for number, cell in enumerate(cells)})
    return "".join(",".join(map(str, row.values())) + "\n" for row in rows).encode()


def polish() -> bytes:
    """Words in another of their forms: transakcji, terminala."""
    return table(
        events(
            600,
            nr_transakcji=lambda draw, time, n: 880_000 + n,
            data_transakcji=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S}",
            nr_karty=lambda draw, time, n: f"{4000 + (w := draw.randrange(60))}XX{w * 7919 % 10_000:04}",
            id_terminala=lambda draw, time, n: f"T{draw.randrange(24):06}",
            kwota=lambda draw, time, n: with_comma(price(draw)),
            oszustwo=lambda draw, time, n: int(n % 40 == 7),
        ),
        delimiter=";",
    )


def german_claims() -> bytes:
    """Compounds: Betrugsverdacht."""
    return table(
        named(
            "Schadennummer;Meldedatum;Policennummer;Schadenhöhe;Betrugsverdacht",
            events(
                3000,
                a=lambda draw, time, n: f"KH-2026-{n:06}",
                b=lambda draw, time, n: f"{time:%d.%m.%Y}",
                c=lambda draw, time, n: draw.randrange(70) * 7919 + 10**6,
                d=lambda draw, time, n: with_comma(30 * price(draw)),
                e=lambda draw, time, n: "ja" if n % 40 == 7 else "nein",
            ),
            ";",
        ),
        delimiter=";",
    )


def graph() -> bytes:
    """Ratings of one by another: no names, the time is the last column, with a fraction."""
    return row_lines(
        lambda draw, time, n: draw.randrange(50) * 13 + 2,
        lambda draw, time, n: draw.randrange(60) * 11 + 1,
        lambda draw, time, n: draw.choice([1, 1, 2, 5, -10]),
        lambda draw, time, n: time.timestamp() + 0.25,
    )


def connections() -> bytes:
    """Connections without names: most of the last column are normal, and that is what it says."""
    return row_lines(
        lambda draw, time, n: draw.choice([0, 0, draw.randrange(1, 5_000)]),
        lambda draw, time, n: draw.choice(["tcp", "udp"]),
        lambda draw, time, n: int(draw.lognormvariate(5, 2)),
        lambda draw, time, n: "smurf." if n % 20 == 7 else "normal.",
    )


def elements() -> bytes:
    """Numbers without names: an id in front, then steps of time that never go back."""
    return row_lines(
        lambda draw, time, n: 230_000_000 + n * 331,
        lambda draw, time, n: 1 + n // 10,
        *[lambda draw, time, n: f"{draw.gauss(0, 1):.9f}"] * 4,
    )


def ledger_of_a_year() -> bytes:
    """Days without a year and without zeros in front; what stands in brackets says nothing of who it is."""
    return table(
        named(
            "Umsatz (ohne Kennzeichen);Gegenkonto (ohne Schlüssel);Belegdatum;Buchungstext",
            events(
                9000,
                a=lambda draw, time, n: with_comma(price(draw)),
                b=lambda draw, time, n: 70_000 + draw.randrange(40),
                c=lambda draw, time, n: f"{time.day}{time:%m}",
                d=lambda draw, time, n: f"Rechnung {draw.randrange(99)}",
            ),
            ";",
        ),
        delimiter=";",
    )


def system_log() -> bytes:
    """Times of a system's log: the month by name, no year."""
    return lines(
        events(
            60,
            when=lambda draw, time, n: f"{time:%b} {time.day:2} {time:%H:%M:%S}",
            host=lambda draw, time, n: f"srv-{draw.randrange(30):02}",
            ms=lambda draw, time, n: round(draw.lognormvariate(2, 1), 2),
        )
    )


def tills() -> bytes:
    """A column is called Card and has money in it: how much was paid by card."""
    return table(
        named(
            "Date,Gross Sales,Card,Customer ID",
            events(
                a=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S}",
                b=lambda draw, time, n: f"${price(draw):,.2f}",
                c=lambda draw, time, n: f"${price(draw):,.2f}" if n % 3 else "$0.00",
                d=lambda draw, time, n: f"C{draw.randrange(50) * 7919:08}",
            ),
        )
    )


def costs() -> bytes:
    """A used amount is not what it costs."""
    return table(
        events(
            UsageStart=lambda draw, time, n: f"{time:%Y-%m-%dT%H:%M:%SZ}",
            UsageAccountId=lambda draw, time, n: draw.randrange(12) * 7919 + 10**11,
            UsageAmount=lambda draw, time, n: f"{draw.random():.10f}",
            UnblendedCost=lambda draw, time, n: f"{draw.lognormvariate(-3, 1):.10f}",
        )
    )


def meters() -> bytes:
    """No money, but what a meter counts."""
    return table(
        named(
            "LCLid,DateTime,KWH/hh (per half hour)",
            events(
                a=lambda draw, time, n: f"MAC{draw.randrange(20) * 7 + 2:06}",
                b=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S}",
                c=lambda draw, time, n: f"{draw.random():.3f}",
            ),
        )
    )


def statement() -> bytes:
    """A statement: what it is for comes back, and says who it was."""
    return table(
        events(
            9000,
            Dato=lambda draw, time, n: f"{time:%d.%m.%Y}",
            Tekst=lambda draw, time, n: f"{draw.choice(['NETTO', 'IRMA', 'Q8'])} {draw.randrange(9)}",
            Beløb=lambda draw, time, n: with_comma(price(draw)),
        ),
        delimiter=";",
    )


def trades() -> bytes:
    """Trades: what is traded has a history, where nothing says who trades."""
    return lines(
        events(
            20,
            trade_id=lambda draw, time, n: 10**10 + n * 7,
            symbol=lambda draw, time, n: draw.choice(["btcusd", "ethusd", "solusd", "xrpusd"]),
            date=lambda draw, time, n: int(time.timestamp() * 1000),
            price=lambda draw, time, n: round(draw.uniform(100, 60_000), 4),
            amount=lambda draw, time, n: draw.lognormvariate(-2, 1),
        )
    )


def once() -> bytes:
    """A contract of which no event of 600 has one of another: it is the number of the event."""
    draw = random.Random(5)
    return table([one_claim(draw, n) for n in range(600)])


def one_claim(draw: random.Random, n: int) -> Event:
    """A claim."""
    return {
        "policy_number": 100_000 + (n * 7919) % 899_999,
        "incident_date": f"{datetime(2026, 1 + n // 300, 1 + n % 28):%Y-%m-%d}",
        "total_claim_amount": draw.randrange(1, 900) * 10,
    }


def _shape(name: str, make: Callable[[], bytes], file: str = "events.csv", **right: object) -> Shape:
    nothing: dict[str, object] = {"id": None, "time": None, "main": None, "amount": None}
    return Shape(name=name, make=make, file=file, **{**nothing, **right})  # type: ignore[arg-type]


FRESH: list[Shape] = [
    _shape(
        "Polish terminals",
        polish,
        id="nr_transakcji",
        time="data_transakcji",
        main="nr_karty",
        others=frozenset({"id_terminala"}),
        amount="kwota",
        labels=frozenset({"oszustwo"}),
    ),
    _shape(
        "German claims",
        german_claims,
        id="Schadennummer",
        time="Meldedatum",
        main="Policennummer",
        amount="Schadenhöhe",
        labels=frozenset({"Betrugsverdacht"}),
    ),
    _shape("a graph", graph, time="column_4", main="column_1", others=frozenset({"column_2"})),
    _shape("connections", connections, labels=frozenset({"column_4"})),
    _shape("elements without names", elements, id="column_1", time="column_2", format="steps"),
    _shape(
        "days without a year",
        ledger_of_a_year,
        time="Belegdatum",
        format="%d%m",
        main="Gegenkonto (ohne Schlüssel)",
        amount="Umsatz (ohne Kennzeichen)",
    ),
    _shape("a system's log", system_log, "events.jsonl", time="when", format="%b %d %H:%M:%S", main="host"),
    _shape("paid by card", tills, time="Date", main="Customer ID", amount="Gross Sales"),
    _shape("used and paid", costs, time="UsageStart", main="UsageAccountId", amount="UnblendedCost"),
    _shape("half hours", meters, time="DateTime", main="LCLid", amount="KWH/hh (per half hour)"),
    _shape("what it is for", statement, time="Dato", main="Tekst", amount="Beløb"),
    _shape(
        "what is traded", trades, "events.jsonl", id="trade_id", time="date", main="symbol", amount="amount"
    ),
    _shape(
        "contracts once",
        once,
        id="policy_number",
        time="incident_date",
        amount="total_claim_amount",
        duplicates=False,
    ),
]
