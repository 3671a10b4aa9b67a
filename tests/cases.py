"""Small inputs that newcomers bring: each stands for a kind of file on which something used to fail."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

from tests.shapes import Event, iso, lines, moments, price

N = 240


def _payments(seed: int, who: str, n: int = N, **more: Callable[[random.Random, int], Any]) -> list[Event]:
    draw = random.Random(seed)
    return [
        {"id": f"p{i}", "time": iso(time), who: f"K{draw.randrange(25):03}", "amount": price(draw)}
        | {name: make(draw, i) for name, make in more.items()}
        for i, time in enumerate(moments(draw, n))
    ]


def empty_texts() -> bytes:
    """Numbers as text, with nothing in a third of them."""
    tip = _payments(1, "customer", tip=lambda draw, i: f"{draw.random():.2f}" if i % 3 else "")
    return lines([event | {"amount": f"{event['amount']:.2f}"} for event in tip])


def tokens() -> bytes:
    """Numbers as text, with a word of the producer's own for none."""
    return lines(_payments(2, "customer", fee=lambda draw, i: f"{draw.random():.2f}" if i % 4 else "unknown"))


def labels(n: int = N) -> bytes:
    """Labels among the fields."""
    return lines(
        _payments(
            3,
            "customer",
            n,
            is_fraud=lambda _, i: int(i % 40 == 7),
            chargeback=lambda _, i: i % 60 == 7,
            is_weekend=lambda draw, _: int(draw.random() < 0.3),
        )
    )


def cards() -> bytes:
    """Numbered fields of a card, some of them as 12.0."""
    events = _payments(4, "card1", card6=lambda draw, _: draw.choice(["debit", "credit"]))
    rows = []
    for event in events:
        number = int(event["card1"][1:])
        rows.append(event | {"card1": 2_000 + number, "card2": float(300 + number)})
    return lines(rows)


def persons() -> bytes:
    """A card with what is always the same for its holder."""
    rows = []
    for event in _payments(5, "cc_num", merchant=lambda draw, _: f"store{draw.randrange(30)}"):
        number = int(event["cc_num"][1:])
        facts = {"first": f"Name{number}", "city": f"Village{number}", "dob": f"19{50 + number}-04-05"}
        rows.append(event | facts | {"cc_num": 5_000_000_000_000_000 + number})
    return lines(rows)


def once() -> bytes:
    """No id; a payer who comes back only after the first thousands of events; hours as time."""
    draw = random.Random(6)
    return lines(
        [
            {
                "step": 1 + i // 70,
                "type": draw.choice(["TRANSFER", "CASH_IN"]),
                "amount": price(draw),
                "nameOrig": f"C{i if i < 5_200 else draw.randrange(5_200):08}",
                "nameDest": f"M{draw.randrange(250)}",
            }
            for i in range(6_200)
        ]
    )


def thousands() -> bytes:
    """Amounts as `1,234.50`."""
    events = _payments(7, "customer")
    return lines([event | {"amount": f"{event['amount'] * 90:,.2f}"} for event in events])


def comma() -> bytes:
    """Amounts as `1.234,50`, `-12,99` and `(5,00)`."""
    rows = []
    for i, event in enumerate(_payments(8, "customer")):
        text = f"{event['amount'] * 20:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")
        rows.append(event | {"amount": f"({text})" if i % 9 == 0 else f"-{text}" if i % 7 == 0 else text})
    return lines(rows)


def dollars() -> bytes:
    """Amounts as `$1,234.50` and `-$1.00`."""
    rows = []
    for i, event in enumerate(_payments(9, "customer")):
        rows.append(event | {"amount": f"{'-' if i % 11 == 0 else ''}${event['amount'] * 30:,.2f}"})
    return lines(rows)


def changes() -> bytes:
    """Change events without a schema: microseconds, ids above 2^53."""
    rows = []
    for i, event in enumerate(_payments(10, "account_id")):
        row = event | {"id": 9_007_199_254_740_995 + i, "amount": f"{event['amount']:.2f}"}
        update = i % 8 == 0
        rows.append(
            {
                "before": row if update else None,
                "after": row,
                "source": {"txId": 40_000 + i, "ts_ms": 1_772_000_000_000 + i},
                "op": "u" if update else "c",
            }
        )
    return lines(rows)


def float_ids() -> bytes:
    """A customer's number as 12.0, or null."""
    rows = []
    for i, event in enumerate(_payments(11, "customer_id")):
        number = float(event["customer_id"][1:])
        rows.append(event | {"customer_id": number if i % 30 else None})
    return lines(rows)


def epoch(unit: int) -> Callable[[], bytes]:
    """Times as a number of a unit since 1970; `unit` is its number in a second."""

    def make() -> bytes:
        draw = random.Random(12)
        times = moments(draw, N)
        events = _payments(12, "account")
        return lines(
            [
                event | {"time": int(time.timestamp()) * unit}
                for event, time in zip(events, times, strict=True)
            ]
        )

    return make


def written(form: str) -> Callable[[], bytes]:
    """Times in a pattern."""

    def make() -> bytes:
        times = moments(random.Random(13), N, 20_000)
        events = _payments(13, "account")
        return lines(
            [event | {"time": time.strftime(form)} for event, time in zip(events, times, strict=True)]
        )

    return make


def compact_days() -> bytes:
    """Days as 20260301."""
    times = moments(random.Random(14), N, 20_000)
    events = _payments(14, "account")
    return lines(
        [event | {"time": int(time.strftime("%Y%m%d"))} for event, time in zip(events, times, strict=True)]
    )


def zoned() -> bytes:
    """Times as `2026-03-01 10:00:00 UTC`."""
    times = moments(random.Random(15), N)
    events = _payments(15, "account")
    return lines(
        [
            event | {"time": time.strftime("%Y-%m-%d %H:%M:%S UTC")}
            for event, time in zip(events, times, strict=True)
        ]
    )


def framed() -> bytes:
    """JSON behind the header of a schema registry."""
    return b"".join(
        b"\0" + struct.pack(">I", 23) + line for line in lines(_payments(16, "account")).splitlines(True)
    )


def identical() -> bytes:
    """The same amount again and again, then a slightly larger one."""
    return lines(
        [
            {
                "id": f"p{i}",
                "time": 1_772_000_000 + 40 * i,
                "account": f"K{i % 25}",
                "amount": 20 if i != 7_500 else 20.01,
            }
            for i in range(8_000)
        ]
    )


def marked() -> bytes:
    """A byte-order mark before the first line."""
    return b"\xef\xbb\xbf" + lines(_payments(17, "account"))


def no_time() -> bytes:
    """No time at all."""
    return lines(
        [{name: v for name, v in event.items() if name != "time"} for event in _payments(18, "account")]
    )


def other_script() -> bytes:
    """Names in another script."""
    names = {"id": "交易编号", "time": "交易时间", "customer": "客户", "amount": "金额"}
    return lines(
        [{names[name]: value for name, value in event.items()} for event in _payments(19, "customer")]
    )


def places() -> bytes:
    """Latitude and longitude of the shop."""
    return lines(
        _payments(
            20,
            "card",
            shop_lat=lambda draw, _: round(draw.uniform(48, 49), 4),
            shop_lon=lambda draw, _: round(draw.uniform(2, 3), 4),
        )
    )


def cloudevents() -> bytes:
    """CloudEvents in structured mode."""
    return lines(
        [
            {
                "specversion": "1.0",
                "id": f"ce-{i}",
                "source": "/payments",
                "type": "org.example.payment",
                "time": event["time"],
                "data": {"account": event["account"], "amount": event["amount"]},
            }
            for i, event in enumerate(_payments(21, "account"))
        ]
    )
