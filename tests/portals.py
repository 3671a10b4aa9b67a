"""A tenth set of shapes: bets, ledgers, visits, chains, tills and logs of computers, by what was mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kinds import events, named
from tests.shapes import Shape, iso, lines, price, table


def bets() -> bytes:
    """What may be paid out follows from the stake."""
    return table(
        events(
            bet_id=lambda draw, time, n: 880_000_000 + n * 7,
            placed_at=lambda draw, time, n: iso(time),
            player_id=lambda draw, time, n: f"P{draw.randrange(40) * 37 + 100_000}",
            payout=lambda draw, time, n: f"{draw.choice([0.0, price(draw)]):.2f}",
            stake=lambda draw, time, n: f"{price(draw):.2f}",
        )
    )


def entries() -> bytes:
    """Two lines of each document; a few short numbers of documents come twice."""
    return table(
        events(
            AC_ENTRY_SR_NO=lambda draw, time, n: 91_000_000 + n,
            AC_NO=lambda draw, time, n: f"{145_000_000 + draw.randrange(40) * 104_729:012}",
            VOUCH_REF=lambda draw, time, n: f"101FT{n // 2 % 118 * 7919:06}",
            TRN_DT=lambda draw, time, n: f"{time:%d-%b-%y}".upper(),
            LCY_AMOUNT=lambda draw, time, n: f"{price(draw):.2f}",
        )
    )


def visits() -> bytes:
    """An id of something that no known word names, in one word."""
    return table(
        events(
            timestamp=lambda draw, time, n: int(time.timestamp() * 1000),
            wandererid=lambda draw, time, n: draw.randrange(60) * 937 + 11,
            event=lambda draw, time, n: draw.choice(["view", "view", "addtocart"]),
            itemid=lambda draw, time, n: draw.randrange(50) * 411,
        )
    )


def records() -> bytes:
    """Three lines of each payment, with the shop's reference of the order."""
    return table(
        named(
            "Merchant Reference,Shopper Reference,Booking Date,Main Amount",
            events(
                order=lambda draw, time, n: f"order-{n // 3 + 5_000}",
                shopper=lambda draw, time, n: f"shopper_{draw.randrange(50) * 37}",
                at=lambda draw, time, n: f"{time:%Y-%m-%d %H:%M:%S}",
                amount=lambda draw, time, n: f"{price(draw):.2f}",
            ),
        )
    )


def chain() -> bytes:
    """Who signs is who pays: one entity, not two."""
    rows = events(
        id=lambda draw, time, n: f"{217_000_000_000_000_000 + n * 4_294_967_296}",
        source_account=lambda draw, time, n: f"G{draw.randrange(50) * 104_729:055}",
        created_at=lambda draw, time, n: iso(time),
        amount=lambda draw, time, n: f"{price(draw):.7f}",
    )
    return lines([row | {"from": row["source_account"]} for row in rows])


def tills() -> bytes:
    """The name of a shop beside its number, in a language without spaces."""
    rows = events(
        card=lambda draw, time, n: f"622{draw.randrange(60) * 7919:013}",
        shop=lambda draw, time, n: f"898{draw.randrange(50) * 7919:012}",
        name=lambda draw, time, n: "",
        day=lambda draw, time, n: f"{time:%Y%m%d}",
        clock=lambda draw, time, n: f"{time:%H%M%S}",
        amount=lambda draw, time, n: f"{price(draw):.2f}",
    )
    rows = [row | {"name": f"杭州超市{int(row['shop'][3:]) // 7919}店"} for row in rows]
    return table(named("卡号,商户号,商户名称,交易日期,交易时间,交易金额", rows))


def statement() -> bytes:
    """Its lines are counted: the next file has the same numbers."""
    return table(
        events(
            Radnummer=lambda draw, time, n: n + 1,
            Kontonummer=lambda draw, time, n: f"{9_041_000 + draw.randrange(40) * 7919:010}",
            Transaktionsdag=lambda draw, time, n: f"{time:%Y-%m-%d}",
            Belopp=lambda draw, time, n: f"{price(draw):.2f}",
        )
    )


def logons() -> bytes:
    """Elastic's names: an event is read after it was; threads and security ids have numbers."""
    rows = events(
        time=lambda draw, time, n: iso(time),
        event=lambda draw, time, n: {"created": iso(time), "code": draw.choice(["4624", "4625"])},
        winlog=lambda draw, time, n: {
            "process": {"thread": {"id": draw.randrange(90)}},
            "event_data": {
                "IpAddress": f"10.1.0.{draw.randrange(60)}",
                "TargetUserSid": f"S-1-5-21-{1100 + draw.randrange(60)}",
            },
        },
    )
    return lines(named("@timestamp,event,winlog", rows))


def invoices() -> bytes:
    """Where a buyer lives is not who it is."""
    return lines(
        events(
            UUID=lambda draw, time, n: f"{draw.getrandbits(128):032X}",
            Fecha=lambda draw, time, n: iso(time),
            Receptor=lambda draw, time, n: {
                "Rfc": f"ABC7001{draw.randrange(50):02}XY{n % 2}",
                "DomicilioFiscalReceptor": f"{20_000 + draw.randrange(50) * 11:05}",
            },
            Total=lambda draw, time, n: f"{price(draw):.2f}",
        )
    )


def trips() -> bytes:
    """Two keys that nothing names, with about as many values: the first is first."""
    return table(
        events(
            request_datetime=lambda draw, time, n: iso(time),
            PULocationID=lambda draw, time, n: n % 60,
            DOLocationID=lambda draw, time, n: n * 7 % 57,
            base_passenger_fare=lambda draw, time, n: f"{price(draw):.2f}",
        )
    )


def _csv(name: str, make: Callable[[], bytes], **more: Any) -> Shape:
    return Shape(**{"name": name, "make": make, "file": "events.csv", "id": None, "amount": None} | more)


def _json(name: str, make: Callable[[], bytes], **more: Any) -> Shape:
    return _csv(name, make, file="events.jsonl", **more)


PORTALS = (
    _csv("bets", bets, id="bet_id", time="placed_at", main="player_id", amount="stake"),
    _csv(
        "entries of a ledger",
        entries,
        id="AC_ENTRY_SR_NO",
        time="TRN_DT",
        main="AC_NO",
        nobody=frozenset({"VOUCH_REF"}),
        amount="LCY_AMOUNT",
    ),
    _csv(
        "records of payments",
        records,
        time="Booking Date",
        main="Shopper Reference",
        nobody=frozenset({"Merchant Reference"}),
        amount="Main Amount",
    ),
    _csv("visits", visits, time="timestamp", main="wandererid"),
    _json(
        "signers",
        chain,
        id="id",
        time="created_at",
        main="source_account",
        nobody=frozenset({"from"}),
        amount="amount",
        context=frozenset({"from"}),
    ),
    _csv(
        "names of shops",
        tills,
        time="交易日期",
        main="卡号",
        others=frozenset({"商户号"}),
        nobody=frozenset({"商户名称"}),
        amount="交易金额",
    ),
    _csv("counted lines", statement, time="Transaktionsdag", main="Kontonummer", amount="Belopp"),
    _json(
        "logons of computers",
        logons,
        time="@timestamp",
        main="winlog.event_data.TargetUserSid",
        others=frozenset({"winlog.event_data.IpAddress"}),
        nobody=frozenset({"winlog.process.thread.id"}),
    ),
    _json(
        "invoices of Mexico",
        invoices,
        id="UUID",
        time="Fecha",
        main="Receptor.Rfc",
        nobody=frozenset({"Receptor.DomicilioFiscalReceptor"}),
        amount="Total",
    ),
    _csv("trips", trips, time="request_datetime", main="PULocationID", amount="base_passenger_fare"),
)
