"""Files in the shape of what people bring: public sets, change streams, banks' and providers' events.

All data are made up by chance. Only published names of fields are used, and the shapes of their values: no
row is copied. `SHAPES` says what an analyst would find in each.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Event = dict[str, Any]
START = datetime(2026, 3, 1, 6, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A file, and what is right about it."""

    name: str
    make: Callable[[], bytes]
    file: str = "events.jsonl"
    id: str | None
    time: str | None
    format: str = ""  # of the time
    step: float = 1.0
    main: str | None
    others: frozenset[str] = frozenset()  # further entities that must be there
    nobody: frozenset[str] = frozenset()  # fields that must be no entities
    amount: str | None
    labels: frozenset[str] = frozenset()
    context: frozenset[str] = frozenset()  # fields that must only be copied
    envelope: str | None = None
    duplicates: bool | None = None  # whether ids are compared; None: either


def lines(events: Sequence[Any]) -> bytes:
    """Events as JSON lines."""
    return b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in events)


def table(events: Sequence[Event], delimiter: str = ",", encoding: str = "utf-8", bom: bool = False) -> bytes:
    """Events as CSV; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(events[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(events)
    return (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode(encoding)


def moments(draw: random.Random, n: int, gap_s: int = 120) -> list[datetime]:
    """Times in order."""
    now, times = START, []
    for _ in range(n):
        now += timedelta(seconds=draw.randrange(1, gap_s))
        times.append(now)
    return times


def iso(time: datetime) -> str:
    """As `2026-03-01T06:00:00Z`."""
    return time.isoformat().replace("+00:00", "Z")


def price(draw: random.Random) -> float:
    """An amount."""
    return round(draw.lognormvariate(3.5, 1.0), 2)


def paysim(n: int = 2_500) -> bytes:
    """Mobile money: no id, hours as time, payers that hardly come back."""
    draw = random.Random(1)
    rows = []
    for i in range(n):
        amount, before = price(draw), round(draw.expovariate(1e-4), 2)
        fraud = draw.random() < 0.01
        rows.append(
            {
                "step": 1 + i // 150,
                "type": draw.choice(["PAYMENT", "TRANSFER", "CASH_OUT", "DEBIT", "CASH_IN"]),
                "amount": amount,
                "nameOrig": f"C{draw.randrange(1_000) * 7919:010}",
                "oldbalanceOrg": before,
                "newbalanceOrig": round(max(0.0, before - amount), 2),
                "nameDest": f"{draw.choice('CM')}{draw.randrange(400) * 104_729:010}",
                "oldbalanceDest": 0.0,
                "newbalanceDest": round(draw.expovariate(1e-4), 2) if i % 3 else 0.0,
                "isFraud": int(fraud),
                "isFlaggedFraud": int(fraud and draw.random() < 0.1),
            }
        )
    return table(rows)


def ieee(n: int = 500) -> bytes:
    """Card payments on the web with 400 columns, most of them often missing."""
    draw = random.Random(2)
    second = 86_400
    cards = [
        {
            "card1": draw.randrange(1_000, 18_400),
            "card2": float(draw.randrange(100, 600)) if draw.random() < 0.97 else None,
            "card3": 150.0,
            "card4": draw.choice(["visa", "mastercard", "discover"]),
            "card5": float(draw.choice([226, 224, 166, 102])),
            "card6": draw.choice(["debit", "credit"]),
        }
        for _ in range(250)
    ]
    rows = []
    for i in range(n):
        second += draw.randrange(0, 60)
        row: Event = {
            "TransactionID": 2_987_000 + i,
            "isFraud": int(draw.random() < 0.035),
            "TransactionDT": second,
            "TransactionAmt": price(draw),
            "ProductCD": draw.choice("WHCSR"),
            **draw.choice(cards),
            "addr1": float(draw.randrange(100, 540)) if draw.random() < 0.9 else None,
            "addr2": 87.0 if draw.random() < 0.95 else 60.0,
            "dist1": float(draw.randrange(0, 2_000)) if draw.random() < 0.4 else None,
            "P_emaildomain": draw.choice(["gmail.com", "yahoo.com", "hotmail.com", None]),
            "R_emaildomain": draw.choice(["gmail.com", None, None, None]),
        }
        row |= {f"C{k}": float(draw.randrange(0, 4 + k)) for k in range(1, 15)}
        row |= {f"D{k}": float(draw.randrange(0, 600)) if draw.random() < 0.5 else None for k in range(1, 16)}
        row |= {f"M{k}": draw.choice(["T", "F", None]) for k in range(1, 10)}
        base = draw.random()
        here = draw.random() < 0.4
        for k in range(1, 340):
            group = k // 12
            twin = round(base * (1 + group) + 0.001 * k, 4) if k % 3 else round(draw.expovariate(1.0), 3)
            row[f"V{k}"] = twin if group % 2 or here else None
        row |= {f"id_{k:02}": float(draw.randrange(-100, 0)) if here else None for k in range(1, 12)}
        row["DeviceType"] = draw.choice(["mobile", "desktop"]) if here else None
        row["DeviceInfo"] = draw.choice(["Windows", "iOS Device", "SM-J700M Build/MMB29K"]) if here else None
        rows.append(row)
    return table(rows)


def baf(n: int = 1_200) -> bytes:
    """Applications for bank accounts: no id, no time, no entity."""
    draw = random.Random(3)
    rows = [
        {
            "fraud_bool": int(draw.random() < 0.011),
            "income": round(draw.randrange(1, 10) / 10, 1),
            "name_email_similarity": draw.random(),
            "prev_address_months_count": draw.choice([-1, draw.randrange(0, 380)]),
            "current_address_months_count": draw.randrange(-1, 400),
            "customer_age": draw.randrange(10, 90, 10),
            "days_since_request": draw.expovariate(1.0),
            "intended_balcon_amount": draw.gauss(10, 20),
            "payment_type": draw.choice(["AA", "AB", "AC", "AD"]),
            "zip_count_4w": draw.randrange(1, 6_000),
            "velocity_6h": draw.gauss(5_600, 3_000),
            "bank_branch_count_8w": draw.randrange(0, 2_300),
            "date_of_birth_distinct_emails_4w": draw.randrange(0, 39),
            "employment_status": draw.choice(["CA", "CB", "CC"]),
            "credit_risk_score": draw.randrange(-170, 389),
            "email_is_free": draw.randrange(2),
            "housing_status": draw.choice(["BA", "BB", "BC"]),
            "phone_home_valid": draw.randrange(2),
            "has_other_cards": draw.randrange(2),
            "proposed_credit_limit": float(draw.choice([200, 500, 1_500, 2_000])),
            "foreign_request": int(draw.random() < 0.03),
            "source": draw.choice(["INTERNET", "TELEAPP"]),
            "session_length_in_minutes": draw.expovariate(0.2),
            "device_os": draw.choice(["linux", "windows", "macintosh", "other"]),
            "device_distinct_emails_8w": draw.randrange(0, 3),
            "device_fraud_count": 0,
            "month": i * 8 // n,
        }
        for i in range(n)
    ]
    return table(rows)


def creditcard(n: int = 1_600) -> bytes:
    """Card payments as principal components: seconds since the first, no id, no entity."""
    draw = random.Random(4)
    second, rows = 0, []
    for _ in range(n):
        second += draw.randrange(0, 3)
        row: Event = {"Time": float(second)}
        row |= {f"V{k}": draw.gauss(0.0, 2.0 / k**0.5) for k in range(1, 29)}
        rows.append(row | {"Amount": price(draw), "Class": int(draw.random() < 0.004)})
    return table(rows)


def sparkov(n: int = 1_500) -> bytes:
    """Card payments with names, addresses and places of card holders and shops."""
    draw = random.Random(5)
    people = [
        {
            "cc_num": draw.randrange(30_000_000_000, 4_999_999_999_999_999_999),
            "first": draw.choice(["Ann", "Bob", "Cid", "Dee"]),
            "last": f"{draw.choice(['Ober', 'Unter', 'Alt'])}berg",
            "gender": draw.choice("FM"),
            "street": f"{draw.randrange(1, 999)} Long Lane",
            "city": f"Town{draw.randrange(80)}",
            "state": draw.choice(["NC", "WA", "ID"]),
            "zip": draw.randrange(10_000, 99_999),
            "lat": round(draw.uniform(30, 48), 4),
            "long": round(draw.uniform(-120, -70), 4),
            "city_pop": draw.randrange(100, 900_000),
            "job": draw.choice(["Baker", "Nurse, adult", "Pilot"]),
            "dob": f"{draw.randrange(1940, 2004)}-0{draw.randrange(1, 9)}-1{draw.randrange(9)}",
        }
        for _ in range(120)
    ]
    rows = []
    for i, time in enumerate(moments(draw, n)):
        who = draw.choice(people)
        rows.append(
            {
                "": i,
                "trans_date_trans_time": time.strftime("%Y-%m-%d %H:%M:%S"),
                "cc_num": who["cc_num"],
                "merchant": f"shop_{draw.choice(['Kub', 'Rau', 'Hane'])} and Sons {draw.randrange(90)}",
                "category": draw.choice(["gas_transport", "grocery_pos", "misc_net"]),
                "amt": price(draw),
                **{name: value for name, value in who.items() if name != "cc_num"},
                "trans_num": f"{draw.getrandbits(128):032x}",
                "unix_time": int(time.timestamp()),
                "merch_lat": round(who["lat"] + draw.uniform(-1, 1), 6),
                "merch_long": round(who["long"] + draw.uniform(-1, 1), 6),
                "is_fraud": int(draw.random() < 0.006),
            }
        )
    return table(rows)


def debezium(n: int = 1_500) -> bytes:
    """Change events with their schema: decimals in base64, microseconds, ids above 2^53, deletes."""
    draw = random.Random(6)
    fields = [
        {"field": "id", "type": "int64", "optional": False},
        {"field": "account_id", "type": "string", "optional": False},
        {
            "field": "amount",
            "type": "bytes",
            "optional": True,
            "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": "2"},
        },
        {
            "field": "created_at",
            "type": "int64",
            "optional": False,
            "name": "io.debezium.time.MicroTimestamp",
        },
        {"field": "channel", "type": "string", "optional": True},
    ]
    schema = {
        "type": "struct",
        "fields": [
            {"field": "before", "type": "struct", "optional": True, "fields": fields},
            {"field": "after", "type": "struct", "optional": True, "fields": fields},
            {"field": "op", "type": "string"},
        ],
    }
    events = []
    for i, time in enumerate(moments(draw, n)):
        cents = round(price(draw) * 100)
        row = {
            "id": 9_007_199_254_740_993 + i,
            "account_id": f"DE{draw.randrange(150) * 7919:08}",
            "amount": base64.b64encode(cents.to_bytes(4, "big", signed=True)).decode(),
            "created_at": int(time.timestamp()) * 1_000_000,
            "channel": draw.choice(["app", "web", None]),
        }
        op = "d" if i % 97 == 50 else "u" if i % 10 == 0 else "c"
        payload = {
            "before": row if op != "c" else None,
            "after": None if op == "d" else row,
            "source": {"table": "transfers", "ts_ms": int(time.timestamp()) * 1_000, "txId": 700 + i},
            "op": op,
            "ts_ms": int(time.timestamp()) * 1_000 + 40,
        }
        events.append({"schema": schema, "payload": payload})
    return lines(events)


def camt(n: int = 1_500) -> bytes:
    """Entries of ISO 20022 notifications (camt.054) as JSON."""
    draw = random.Random(7)
    events = []
    for time in moments(draw, n):
        debtor = draw.randrange(140)
        events.append(
            {
                "NtryRef": f"N{draw.getrandbits(64):016X}",
                "Amt": {"Ccy": "EUR", "value": f"{price(draw):.2f}"},
                "CdtDbtInd": draw.choice(["DBIT", "CRDT"]),
                "Sts": {"Cd": "BOOK"},
                "BookgDt": {"DtTm": time.astimezone(UTC).isoformat()},
                "ValDt": {"Dt": time.date().isoformat()},
                "AcctSvcrRef": f"{draw.randrange(10**9):09}",
                "BkTxCd": {"Domn": {"Cd": "PMNT", "Fmly": {"Cd": draw.choice(["ICDT", "RCDT", "CCRD"])}}},
                "NtryDtls": {
                    "TxDtls": {
                        "Refs": {"EndToEndId": draw.choice(["NOTPROVIDED", f"E{draw.getrandbits(40)}"])},
                        "RltdPties": {
                            "Dbtr": {"Nm": f"Person {debtor}"},
                            "DbtrAcct": {"Id": {"IBAN": f"DE{debtor * 7919:020}"}},
                            "Cdtr": {"Nm": f"Firm {draw.randrange(60)} GmbH"},
                            "CdtrAcct": {"Id": {"IBAN": f"FR{draw.randrange(60) * 104_729:020}"}},
                        },
                        "RmtInf": {"Ustrd": f"Invoice {draw.randrange(10**6)} of spring"},
                    }
                },
            }
        )
    return lines(events)


def pain(n: int = 1_200) -> bytes:
    """Credit transfers of ISO 20022 (pain.001) as JSON, one transaction per line."""
    draw = random.Random(8)
    events = [
        {
            "MsgId": f"M{draw.getrandbits(48):012X}",
            "CreDtTm": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "PmtId": {"InstrId": f"I{i}", "EndToEndId": f"E-{draw.getrandbits(48)}"},
            "ReqdExctnDt": (time + timedelta(days=1)).date().isoformat(),
            "InstdAmt": {"@Ccy": draw.choice(["EUR", "USD"]), "#text": f"{price(draw):.2f}"},
            "DbtrAcct": {"Id": {"IBAN": f"NL{draw.randrange(110) * 7919:016}"}},
            "DbtrAgt": {"FinInstnId": {"BICFI": draw.choice(["ABNANL2A", "INGBNL2A"])}},
            "CdtrAcct": {"Id": {"IBAN": f"ES{draw.randrange(90) * 104_729:018}"}},
            "ChrgBr": draw.choice(["SLEV", "SHAR"]),
        }
        for i, time in enumerate(moments(draw, n))
    ]
    return lines(events)


def stripe(n: int = 1_500) -> bytes:
    """Webhook events with a charge inside."""
    draw = random.Random(9)
    events = []
    for time in moments(draw, n):
        who = draw.randrange(130)
        disputed = draw.random() < 0.01
        charge = {
            "id": f"ch_{draw.getrandbits(96):024x}",
            "object": "charge",
            "amount": round(price(draw) * 100),
            "amount_captured": round(price(draw) * 100),
            "amount_refunded": 0 if draw.random() < 0.98 else 500,
            "billing_details": {"email": f"p{who}@example.org", "name": f"Pat {who}"},
            "captured": True,
            "created": int(time.timestamp()) - 2,
            "currency": draw.choice(["eur", "eur", "usd"]),
            "customer": f"cus_{who // 2 * 7919:014x}",
            "disputed": disputed,
            "metadata": {},
            "outcome": {
                "network_status": "approved_by_network",
                "risk_level": "normal",
                "risk_score": draw.randrange(80),
            },
            "payment_method": f"pm_{draw.getrandbits(96):024x}",
            "payment_method_details": {
                "card": {
                    "brand": draw.choice(["visa", "mastercard"]),
                    "country": draw.choice(["DE", "FR", "US"]),
                    "exp_month": 1 + who % 12,
                    "exp_year": 2027 + who % 4,
                    "fingerprint": f"{who * 104_729:016x}",
                    "funding": draw.choice(["credit", "debit"]),
                    "last4": f"{who * 37 % 10_000:04}",
                },
                "type": "card",
            },
            "refunds": {"data": []},
            "status": "succeeded",
        }
        events.append(
            {
                "id": f"evt_{draw.getrandbits(96):024x}",
                "object": "event",
                "api_version": "2025-03-31",
                "created": int(time.timestamp()),
                "data": {"object": charge},
                "livemode": False,
                "pending_webhooks": 1,
                "request": {"id": f"req_{draw.getrandbits(56):014x}", "idempotency_key": None},
                "type": draw.choice(["charge.succeeded", "charge.captured"]),
            }
        )
    return lines(events)


def bank(n: int = 1_200) -> bytes:
    """A German bank's statement: semicolons, decimal comma, day before month, Windows encoding."""
    draw = random.Random(10)
    rows = []
    for time in moments(draw, n, 2_000):
        amount = f"{price(draw) * 10:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")
        rows.append(
            {
                "Auftragskonto": f"DE{draw.randrange(60) * 7919:020}",
                "Buchungstag": time.strftime("%d.%m.%Y"),
                "Valutadatum": time.strftime("%d.%m.%y"),
                "Buchungstext": draw.choice(["KARTENZAHLUNG", "GUTSCHRIFT", "LASTSCHRIFT"]),
                "Verwendungszweck": f"Rechnung {draw.randrange(10**6)} danke sehr",
                "Begünstigter/Zahlungspflichtiger": f"Müller & Söhne {draw.randrange(80)}",
                "Betrag": draw.choice(["-", ""]) + amount,
                "Währung": "EUR",
            }
        )
    return table(rows, ";", "cp1252")


SHAPES = [
    Shape(
        name="PaySim",
        make=paysim,
        file="events.csv",
        id=None,
        time="step",
        format="steps",
        step=3_600.0,
        main="nameOrig",
        others=frozenset({"nameDest"}),
        amount="amount",
        labels=frozenset({"isFraud", "isFlaggedFraud"}),
    ),
    Shape(
        name="IEEE-CIS",
        make=ieee,
        file="events.csv",
        id="TransactionID",
        time="TransactionDT",
        format="steps",
        main="card1",
        amount="TransactionAmt",
        labels=frozenset({"isFraud"}),
        duplicates=True,
    ),
    Shape(
        name="BAF",
        make=baf,
        file="events.csv",
        id=None,
        time=None,
        main=None,
        amount="intended_balcon_amount",
        labels=frozenset({"fraud_bool"}),
    ),
    Shape(
        name="creditcard",
        make=creditcard,
        file="events.csv",
        id=None,
        time="Time",
        format="steps",
        main=None,
        amount="Amount",
        labels=frozenset({"Class"}),
    ),
    Shape(
        name="Sparkov",
        make=sparkov,
        file="events.csv",
        id="trans_num",
        time="trans_date_trans_time",
        format="iso8601",
        main="cc_num",
        others=frozenset({"merchant"}),
        amount="amt",
        labels=frozenset({"is_fraud"}),
        context=frozenset({"first", "city", "gender", "job", "zip", "lat, long"}),
        duplicates=True,
    ),
    Shape(
        name="Debezium",
        make=debezium,
        id="id",
        time="created_at",
        format="iso8601",
        main="account_id",
        amount="amount",
        envelope="debezium",
        duplicates=True,
    ),
    Shape(
        name="camt.054",
        make=camt,
        id="NtryRef",
        time="BookgDt.DtTm",
        format="iso8601",
        main="NtryDtls.TxDtls.RltdPties.DbtrAcct.Id.IBAN",
        others=frozenset({"NtryDtls.TxDtls.RltdPties.CdtrAcct.Id.IBAN"}),
        amount="Amt.value",
        context=frozenset({"NtryDtls.TxDtls.RltdPties.Dbtr.Nm"}),
    ),
    Shape(
        name="pain.001",
        make=pain,
        id="MsgId",
        time="CreDtTm",
        format="iso8601",
        main="DbtrAcct.Id.IBAN",
        others=frozenset({"CdtrAcct.Id.IBAN"}),
        amount="InstdAmt.#text",
    ),
    Shape(
        name="Stripe",
        make=stripe,
        id="id",
        time="created",
        format="epoch_s",
        main="data.object.payment_method_details.card.fingerprint",
        others=frozenset({"data.object.customer"}),
        amount="data.object.amount",
        labels=frozenset({"data.object.disputed"}),
        duplicates=True,
    ),
    Shape(
        name="bank, decimal comma",
        make=bank,
        file="events.csv",
        id=None,
        time="Buchungstag",
        format="%d.%m.%Y",
        main="Auftragskonto",
        others=frozenset({"Begünstigter/Zahlungspflichtiger"}),
        amount="Betrag",
    ),
]
