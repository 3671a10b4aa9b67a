"""Shapes written after the rules of `init-config`, to see how it does on what it was not made for."""

from __future__ import annotations

import random
from datetime import timedelta, timezone
from typing import Any

from tests.shapes import Shape, iso, lines, moments, price, table


def laundering(n: int = 1_200) -> bytes:
    """Transfers between accounts of banks, two columns of the same name, in the shape of IBM's AML sets."""
    draw = random.Random(31)
    rows = [
        "Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,Amount Paid,"
        "Payment Currency,Payment Format,Is Laundering"
    ]
    for time in moments(draw, n):
        amount = price(draw)
        cells: list[Any] = [
            time.strftime("%Y/%m/%d %H:%M"),
            f"{draw.randrange(40):05}",
            f"8{draw.randrange(150) * 7919:08X}",
            f"{draw.randrange(40):05}",
            f"8{draw.randrange(250) * 7919:08X}",
            amount,
            "US Dollar",
            amount,
            draw.choice(["US Dollar", "Euro"]),
            draw.choice(["Reinvestment", "Cheque", "ACH"]),
            int(draw.random() < 0.005),
        ]
        rows.append(",".join(map(str, cells)))
    return ("\n".join(rows) + "\n").encode()


def adyen(n: int = 1_200) -> bytes:
    """Notification items of a payment provider, one per line, amounts in minor units."""
    draw = random.Random(32)
    zone = timezone(timedelta(hours=1))
    events = []
    for time in moments(draw, n):
        who = draw.randrange(120)
        events.append(
            {
                "additionalData": {
                    "cardSummary": f"{who * 37 % 10_000:04}",
                    "shopperReference": f"shopper-{who}",
                    "shopperEmail": f"s{who}@example.org",
                    "expiryDate": f"{1 + who % 12}/2029",
                    "cardBin": f"{400_000 + who % 7}",
                },
                "amount": {"currency": "EUR", "value": round(price(draw) * 100)},
                "eventCode": draw.choice(["AUTHORISATION", "CAPTURE"]),
                "eventDate": time.astimezone(zone).isoformat(),
                "merchantAccountCode": draw.choice(["ShopDE", "ShopFR"]),
                "merchantReference": f"order-{draw.getrandbits(40)}",
                "operations": ["CANCEL", "CAPTURE"],
                "paymentMethod": draw.choice(["visa", "mc", "ideal"]),
                "pspReference": f"{draw.getrandbits(64):016X}",
                "reason": f"{draw.randrange(10**6)}:{draw.randrange(10**4):04}:12/2029",
                "success": draw.choice(["true", "true", "true", "false"]),
            }
        )
    return lines(events)


def iso8583(n: int = 1_200) -> bytes:
    """Parsed authorisation messages: numbered elements, a time without a year."""
    draw = random.Random(33)
    events = [
        {
            "mti": "0100",
            "DE2": f"411111{draw.randrange(130) * 7919:010}",
            "DE3": draw.choice(["000000", "010000", "200000"]),
            "DE4": f"{round(price(draw) * 100):012}",
            "DE7": time.strftime("%m%d%H%M%S"),
            "DE11": f"{i % 1_000_000:06}",
            "DE12": time.strftime("%H%M%S"),
            "DE13": time.strftime("%m%d"),
            "DE18": draw.choice(["5411", "5812", "4111"]),
            "DE22": draw.choice(["051", "071", "812"]),
            "DE32": f"{draw.randrange(6):06}",
            "DE37": f"{draw.randrange(10**12):012}",
            "DE39": draw.choice(["00", "00", "05", "51"]),
            "DE41": f"T{draw.randrange(60):07}",
            "DE42": f"M{draw.randrange(45):014}",
            "DE49": "978",
        }
        for i, time in enumerate(moments(draw, n))
    ]
    return lines(events)


def open_banking(n: int = 1_200) -> bytes:
    """Transactions of the UK's Open Banking."""
    draw = random.Random(34)
    events = [
        {
            "AccountId": f"{22_000 + draw.randrange(90)}",
            "TransactionId": f"t{draw.getrandbits(48):012x}",
            "TransactionReference": f"Ref {draw.randrange(900)}",
            "Amount": {"Amount": f"{price(draw):.2f}", "Currency": "GBP"},
            "CreditDebitIndicator": draw.choice(["Credit", "Debit"]),
            "Status": draw.choice(["Booked", "Pending"]),
            "BookingDateTime": iso(time),
            "ValueDateTime": iso(time + timedelta(hours=2)),
            "TransactionInformation": f"Paid to {draw.choice(['Aubrey', 'Bell'])} {draw.randrange(999)}",
            "BankTransactionCode": {"Code": draw.choice(["ReceivedCreditTransfer", "IssuedCard"])},
            "MerchantDetails": {
                "MerchantName": f"Store {draw.randrange(50)}",
                "MerchantCategoryCode": draw.choice(["5411", "5999"]),
            },
            "Balance": {
                "Amount": {"Amount": f"{price(draw) * 20:.2f}", "Currency": "GBP"},
                "CreditDebitIndicator": "Credit",
                "Type": "InterimBooked",
            },
        }
        for time in moments(draw, n)
    ]
    return lines(events)


def wallet(n: int = 1_200) -> bytes:
    """Payments of a mobile wallet: amounts with a currency's code, milliseconds, reports of scams."""
    draw = random.Random(35)
    events = []
    for i, time in enumerate(moments(draw, n)):
        who = draw.randrange(140)
        events.append(
            {
                "txn_ref": f"TX{i:08}{draw.randrange(99):02}",
                "ts": int(time.timestamp() * 1_000),
                "user_id": who + 1_000_000,
                "device_id": f"{who * 7919 % 99_991:08x}",
                "agent_phone": f"+8801{draw.randrange(70):08}",
                "amount": f"BDT {price(draw) * 40:,.2f}",
                "fee": "-" if i % 5 else "BDT 5.00",
                "channel": draw.choice(["app", "ussd"]),
                "reported_scam": draw.choice([None] * 60 + ["yes"]),
                "kyc_level": who % 3,
                "signup_date": f"2024-0{1 + who % 9}-11",
            }
        )
    return lines(events)


def crypto(n: int = 1_200) -> bytes:
    """Transfers of a chain: hashes, addresses, whole numbers beyond any double."""
    draw = random.Random(36)
    rows = [
        {
            "hash": f"0x{draw.getrandbits(256):064x}",
            "block_number": 19_000_000 + i // 8,
            "from_address": f"0x{draw.randrange(120) * 7919:040x}",
            "to_address": f"0x{draw.randrange(80) * 104_729:040x}",
            "value": str(round(price(draw) * 10**6) * 10**14 + 1),
            "gas_price": draw.randrange(10**9, 9 * 10**10),
            "block_timestamp": time.strftime("%Y-%m-%d %H:%M:%S UTC"),
            "receipt_status": draw.choice([1, 1, 1, 0]),
        }
        for i, time in enumerate(moments(draw, n))
    ]
    return table(rows)


ASIDE = [
    Shape(
        name="IBM AML",
        make=laundering,
        file="events.csv",
        id=None,
        time="Timestamp",
        format="%Y/%m/%d %H:%M",
        main="Account",
        others=frozenset({"Account_2"}),
        amount="Amount Paid",
        labels=frozenset({"Is Laundering"}),
    ),
    Shape(
        name="Adyen",
        make=adyen,
        id="pspReference",
        time="eventDate",
        format="iso8601",
        main="additionalData.shopperReference",
        amount="amount.value",
    ),
    Shape(
        name="ISO 8583",
        make=iso8583,
        id="DE37",
        time=None,
        main="DE2",
        others=frozenset({"DE41", "DE42"}),
        amount="DE4",
    ),
    Shape(
        name="Open Banking",
        make=open_banking,
        id="TransactionId",
        time="BookingDateTime",
        format="iso8601",
        main="AccountId",
        others=frozenset({"MerchantDetails.MerchantName"}),
        amount="Amount.Amount",
        duplicates=True,
    ),
    Shape(
        name="wallet",
        make=wallet,
        id="txn_ref",
        time="ts",
        format="epoch_ms",
        main="user_id",
        others=frozenset({"device_id"}),
        amount="amount",
        labels=frozenset({"reported_scam"}),
        duplicates=True,
    ),
    Shape(
        name="crypto",
        make=crypto,
        file="events.csv",
        id="hash",
        time="block_timestamp",
        format="iso8601",
        main="from_address",
        others=frozenset({"to_address"}),
        amount="value",
    ),
]
