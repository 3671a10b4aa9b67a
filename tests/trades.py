"""A sixth set of shapes: other trades and other tools.

What is right about each was written down before `init-config` had read any of them.
"""

from __future__ import annotations

import json
import random
from datetime import timedelta

from tests.shapes import Shape, iso, lines, moments, price, table


def authorisations(n: int = 400) -> bytes:
    """A switch's dump of ISO 8583:1993: elements by number, amounts of twelve digits, `YYMMDDhhmmss`."""
    draw = random.Random(201)
    rows = []
    for i, time in enumerate(moments(draw, n, 300)):
        rows.append(
            {
                "MTI": "1100",
                "DE002": f"4{draw.randrange(45) * 7_919:015}",
                "DE003": draw.choice(["000000", "010000"]),
                "DE004": f"{int(price(draw) * 100):012}",
                "DE011": f"{(i * 7 + 31) % 1_000_000:06}",
                "DE012": f"{time:%y%m%d%H%M%S}",
                "DE022": draw.choice(["510101511146", "100000000000"]),
                "DE037": f"{600_000_000_000 + i}",
                "DE041": f"T{draw.randrange(30):07}",
                "DE042": f"M{draw.randrange(20):014}",
                "DE049": "978",
            }
        )
    return table(rows, delimiter="|")


def exchange(n: int = 400) -> bytes:
    """An exchange's statement: years of two digits first, coins, changes of balances."""
    draw = random.Random(202)
    rows = []
    for time in moments(draw, n, 900):
        rows.append(
            {
                "User_ID": 30_000_000 + draw.randrange(45) * 131,
                "UTC_Time": f"{time:%y-%m-%d %H:%M:%S}",
                "Account": draw.choice(["Spot", "Funding"]),
                "Operation": draw.choice(["Buy", "Sell", "Fee"]),
                "Coin": draw.choice(["BTC", "ETH", "USDT"]),
                "Change": f"{price(draw) / 1_000 * draw.choice([-1, 1]):.8f}",
                "Remark": "",
            }
        )
    return table(rows)


def fills(n: int = 400) -> bytes:
    """Trades with the coin behind each number."""
    draw = random.Random(203)
    rows = []
    for i, time in enumerate(moments(draw, n, 900)):
        rows.append(
            {
                "Date(UTC)": f"{time:%Y-%m-%d %H:%M:%S}",
                "Trade ID": 880_000_000 + i * 3,
                "Sub Account": f"sub{draw.randrange(30)}",
                "Pair": "BTCUSDT",
                "Side": draw.choice(["BUY", "SELL"]),
                "Price": f"{60_000 + price(draw):.2f}",
                "Executed": f"{price(draw) / 9_000:.8f}BTC",
                "Amount": f"{price(draw) * 9:.4f}USDT",
                "Fee": f"{price(draw) / 90_000:.8f}BNB",
            }
        )
    return table(rows)


def sessions(n: int = 400) -> bytes:
    """Charging data of a mobile network: `YYMMDDhhmmss+hhmm`, no price."""
    draw = random.Random(204)
    rows = []
    for i, time in enumerate(moments(draw, n, 200)):
        rows.append(
            {
                "recordType": 84,
                "servedIMSI": f"26201{draw.randrange(60) * 99_991:010}",
                "chargingID": 3_000_000_000 + i * 17,
                "servedMSISDN": f"49151{draw.randrange(60) * 99_991:08}",
                "recordOpeningTime": f"{time:%y%m%d%H%M%S}+0100",
                "duration": draw.randrange(3_600),
                "dataVolumeUplink": draw.randrange(10**6),
                "dataVolumeDownlink": draw.randrange(10**8),
                "causeForRecClosing": draw.choice([0, 16, 17]),
            }
        )
    return table(rows, delimiter=";")


def losses(n: int = 400) -> bytes:
    """Insurance: a claim inside of a message, several days, a reserve, the policy that comes back."""
    draw = random.Random(205)
    made = []
    for i, time in enumerate(moments(draw, n, 9_000)):
        loss = time - timedelta(days=draw.randrange(1, 40))
        made.append(
            {
                "header": {"schemaVersion": "2.1", "messageType": "FNOL"},
                "claim": {
                    "claimNumber": f"CLM-{2026}-{i:06}",
                    "reportedAt": iso(time),
                    "lossDate": f"{loss:%Y-%m-%d}",
                    "policy": {
                        "policyNumber": f"P{draw.randrange(60):08}",
                        "inceptionDate": "2020-01-01",
                        "product": draw.choice(["motor", "home"]),
                    },
                    "estimatedLoss": {"amount": f"{price(draw) * 70:.2f}", "currencyCode": "EUR"},
                    "cause": draw.choice(["collision", "theft", "water"]),
                    "fraudIndicator": draw.choice(["N"] * 30 + ["Y"]),
                },
            }
        )
    return lines(made)


def bets(n: int = 400) -> bytes:
    """A casino: milliseconds, stakes and wins."""
    draw = random.Random(206)
    return lines(
        [
            {
                "roundId": f"{draw.getrandbits(64):016x}",
                "ts": int(time.timestamp() * 1_000),
                "playerId": 70_000 + draw.randrange(60),
                "game": {"code": draw.choice(["roulette", "slots-7"]), "provider": "acme"},
                "stake": price(draw) / 10,
                "win": draw.choice([0, 0, 0, price(draw)]),
                "currency": "EUR",
                "bonus": False,
            }
            for time in moments(draw, n, 60)
        ]
    )


def bus(n: int = 400) -> bytes:
    """A cloud's event bus: the event is the detail, around it account, region and resources."""
    draw = random.Random(207)
    return lines(
        [
            {
                "version": "0",
                "id": f"{draw.getrandbits(128):032x}",
                "detail-type": "Payment Captured",
                "source": "com.shop.payments",
                "account": "123456789012",
                "time": iso(time),
                "region": "eu-central-1",
                "resources": [],
                "detail": {
                    "customerId": f"c-{draw.randrange(60)}",
                    "amount": price(draw),
                    "method": draw.choice(["card", "sepa"]),
                },
            }
            for time in moments(draw, n, 300)
        ]
    )


def tills(n: int = 400) -> bytes:
    """A restaurant's tills: `3/1/26 9:05 AM`, a dollar, tips and taxes."""
    draw = random.Random(215)
    rows = []
    for i, time in enumerate(moments(draw, n, 600)):
        total = price(draw)
        rows.append(
            {
                "Order Id": 5_000_000_000_000_000 + i * 31,
                "Order #": i % 200 + 1,
                "Opened": f"{time.month}/{time.day}/{time:%y} {int(f'{time:%I}')}:{time:%M %p}",
                "Server": f"Server {draw.randrange(20)}",
                "Table": draw.randrange(30),
                "Discount Amount": "$0.00",
                "Tax": f"${total * 0.08:.2f}",
                "Tip": f"${total * 0.2:.2f}",
                "Total": f"${total:,.2f}",
                "Voided": "false",
            }
        )
    return table(rows)


def fuel(n: int = 400) -> bytes:
    """Fuel cards: a day of eight digits and a clock of four, litres, an odometer."""
    draw = random.Random(216)
    rows = []
    for i, time in enumerate(moments(draw, n, 3_000)):
        rows.append(
            {
                "Invoice Line": f"{900_000 + i}",
                "Card No": f"7077{draw.randrange(45) * 97_919:012}",
                "Reg No": f"AB{draw.randrange(45):02} XYZ",
                "Trans Date": f"{time:%Y%m%d}",
                "Trans Time": f"{time:%H%M}",
                "Site": f"Site {draw.randrange(25)}",
                "Product": draw.choice(["DIESEL", "UNLEADED"]),
                "Litres": f"{20 + draw.random() * 50:.2f}",
                "Odometer": draw.randrange(10_000, 200_000),
                "Total Value": f"{price(draw):.2f}",
            }
        )
    return table(rows)


def books(n: int = 400) -> bytes:
    """A small firm's books: two lines per entry, debit and credit apart."""
    draw = random.Random(222)
    rows = []
    for i, time in enumerate(moments(draw, n // 2, 9_000)):
        amount, who = f"{price(draw) * 10:,.2f}", f"Vendor {draw.randrange(40)}"
        for account, debit, credit in (("Expenses:Office", amount, ""), ("Checking", "", amount)):
            rows.append(
                {
                    "Date": f"{time:%m/%d/%Y}",
                    "Transaction Type": draw.choice(["Bill Payment", "Expense"]),
                    "Num": 1_000 + i,
                    "Name": who,
                    "Memo/Description": "",
                    "Account": account,
                    "Debit": debit,
                    "Credit": credit,
                }
            )
    return table(rows)


def rides(n: int = 400) -> bytes:
    """Taxi rides: cars and drivers, two times, places, many sums."""
    draw = random.Random(223)
    rows = []
    for time in moments(draw, n, 120):
        fare, after = price(draw), time + timedelta(seconds=draw.randrange(60, 4_000))
        rows.append(
            {
                "medallion": f"{draw.randrange(60) * 7_919_777:032X}",
                "hack_license": f"{draw.randrange(60) * 9_919_773:032X}",
                "vendor_id": draw.choice(["CMT", "VTS"]),
                "pickup_datetime": f"{time:%Y-%m-%d %H:%M:%S}",
                "dropoff_datetime": f"{after:%Y-%m-%d %H:%M:%S}",
                "passenger_count": draw.randrange(1, 5),
                "trip_distance": f"{draw.random() * 20:.2f}",
                "pickup_longitude": f"{-74 + draw.random() / 5:.6f}",
                "pickup_latitude": f"{40.6 + draw.random() / 5:.6f}",
                "fare_amount": f"{fare:.2f}",
                "tip_amount": f"{fare * 0.1:.2f}",
                "total_amount": f"{fare * 1.1:.2f}",
            }
        )
    return table(rows)


def care(n: int = 400) -> bytes:
    """Claims of a health insurer: names in capitals without vowels, days of eight digits."""
    draw = random.Random(224)
    rows = []
    for i, time in enumerate(moments(draw, n, 9_000)):
        rows.append(
            {
                "DESYNPUF_ID": f"{draw.randrange(60) * 99_999_989:016X}",
                "CLM_ID": 196_661_176_988_405 + i * 10**6,
                "SEGMENT": 1,
                "CLM_FROM_DT": f"{time:%Y%m%d}",
                "CLM_THRU_DT": f"{time + timedelta(days=draw.randrange(9)):%Y%m%d}",
                "PRVDR_NUM": f"26{draw.randrange(30):03}DE",
                "CLM_PMT_AMT": f"{price(draw) * 100:.0f}",
                "ICD9_DGNS_CD_1": draw.choice(["4019", "2724", "V5883"]),
            }
        )
    return table(rows)


def deals(n: int = 400) -> bytes:
    """A trading terminal's report: days with dots, year first; spaces between thousands."""
    draw = random.Random(225)
    rows = []
    for i, time in enumerate(moments(draw, n, 600)):
        rows.append(
            {
                "Time": f"{time:%Y.%m.%d %H:%M:%S}",
                "Deal": 70_000_000 + i * 3,
                "Login": 500_000 + draw.randrange(50),
                "Symbol": draw.choice(["EURUSD", "XAUUSD"]),
                "Type": draw.choice(["buy", "sell"]),
                "Volume": f"{draw.randrange(1, 50) / 100:.2f}",
                "Commission": "-0.70",
                "Profit": f"{price(draw) * draw.choice([-30, 30]):,.2f}".replace(",", " "),
            }
        )
    return table(rows, delimiter="\t")


def sign_ins(n: int = 400) -> bytes:
    """A directory's log: nobody pays; who acts is nested."""
    draw = random.Random(226)
    return lines(
        [
            {
                "uuid": f"{draw.getrandbits(128):032x}",
                "published": iso(time),
                "eventType": draw.choice(["user.session.start", "user.mfa.attempt"]),
                "actor": {"id": f"00u{draw.randrange(60) * 7_919_777:017x}", "type": "User"},
                "client": {
                    "ipAddress": f"10.{draw.randrange(9)}.7.{draw.randrange(200)}",
                    "device": draw.choice(["Computer", "Mobile"]),
                    "geographicalContext": {"country": draw.choice(["US", "DE"])},
                },
                "outcome": {"result": draw.choice(["SUCCESS", "SUCCESS", "FAILURE"])},
                "target": [{"id": "app", "type": "AppInstance"}],
            }
            for time in moments(draw, n, 100)
        ]
    )


def audited(n: int = 400) -> bytes:
    """A cloud's audit log: one object with all records."""
    draw = random.Random(227)
    records = [
        {
            "eventVersion": "1.08",
            "userIdentity": {"type": "IAMUser", "userName": f"user{draw.randrange(40)}"},
            "eventTime": iso(time),
            "eventSource": draw.choice(["s3.amazonaws.com", "iam.amazonaws.com"]),
            "eventName": draw.choice(["GetObject", "ListUsers", "PutObject"]),
            "sourceIPAddress": f"198.51.100.{draw.randrange(90)}",
            "eventID": f"{draw.getrandbits(128):032x}",
            "readOnly": draw.choice([True, False]),
        }
        for time in moments(draw, n, 100)
    ]
    return json.dumps({"Records": records}).encode()


def cases(n: int = 400) -> bytes:
    """Alerts that people decided: the decision is a word."""
    draw = random.Random(236)
    rows = []
    for i, time in enumerate(moments(draw, n, 600)):
        rows.append(
            {
                "AlertTransactionKey": f"K{i:07}",
                "PostedDateTime": iso(time),
                "AccountKey": f"A{draw.randrange(50):05}",
                "AmountUSD": f"{price(draw):.2f}",
                "Fraud_Status": draw.choice(["genuine"] * 20 + ["fraud"]),
                "SAR_Filed": draw.choice(["0"] * 40 + ["1"]),
            }
        )
    return table(rows)


def meters(n: int = 400) -> bytes:
    """Prepaid electricity: a token per purchase, a meter that comes back."""
    draw = random.Random(237)
    rows = []
    for time in moments(draw, n, 600):
        rows.append(
            {
                "Vend Token": f"{draw.randrange(10**20):020}",
                "Vend Date Time": f"{time:%d-%m-%Y %H:%M:%S}",
                "Meter Number": f"0426{draw.randrange(50) * 7_919:07}",
                "Vendor": f"Agent {draw.randrange(15)}",
                "Units (kWh)": f"{price(draw) / 3:.1f}",
                "Tendered Amount (ZAR)": f"R{price(draw):.2f}",
            }
        )
    return table(rows)


def proxied(n: int = 400) -> bytes:
    """Records as a proxy hands them out: the event is the value."""
    draw = random.Random(240)
    return lines(
        [
            {
                "topic": "payments",
                "key": f"c{i % 45}",
                "value": {
                    "ref": f"{{{draw.getrandbits(128):032X}}}",
                    "time": iso(time),
                    "card": f"c{i % 45}",
                    "amount": price(draw),
                },
                "partition": 0,
                "offset": i,
            }
            for i, time in enumerate(moments(draw, n, 300))
        ]
    )


def elements(n: int = 400) -> bytes:
    """Parsed authorisations, their elements by bare numbers in an object."""
    draw = random.Random(241)
    return lines(
        [
            {
                "mti": "0100",
                "fields": {
                    "2": f"4{draw.randrange(60):015}",
                    "3": draw.choice(["000000", "010000"]),
                    "4": f"{int(price(draw) * 100):012}",
                    "7": f"{time:%m%d%H%M%S}",
                    "11": f"{(i * 7) % 1_000_000:06}",
                    "37": f"{600_000_000_000 + i}",
                    "41": f"T{draw.randrange(20):07}",
                    "42": f"M{draw.randrange(30):014}",
                    "49": "978",
                },
            }
            for i, time in enumerate(moments(draw, n, 300))
        ]
    )


def _csv(name: str, make: object, **more: object) -> Shape:
    return Shape(**{"name": name, "make": make, "file": "events.csv"} | more)  # type: ignore[arg-type]


TRADES = (
    _csv("authorisations", authorisations, id="DE037", time="DE012", main="DE002", amount="DE004"),
    _csv("exchange", exchange, id=None, time="UTC_Time", main="User_ID", amount="Change"),
    _csv("fills", fills, id="Trade ID", time="Date(UTC)", main="Sub Account", amount="Amount"),
    _csv(
        "sessions",
        sessions,
        id="chargingID",
        time="recordOpeningTime",
        main="servedIMSI",
        others=frozenset({"servedMSISDN"}),
        amount=None,
    ),
    Shape(
        name="losses",
        make=losses,
        id="claim.claimNumber",
        time="claim.reportedAt",
        main="claim.policy.policyNumber",
        amount="claim.estimatedLoss.amount",
        labels=frozenset({"claim.fraudIndicator"}),
    ),
    Shape(
        name="bets", make=bets, id="roundId", time="ts", format="epoch_ms", main="playerId", amount="stake"
    ),
    Shape(name="event bus", make=bus, id="id", time="time", main="detail.customerId", amount="detail.amount"),
    _csv("tills", tills, id="Order Id", time="Opened", main="Server", amount="Total"),
    _csv("fuel cards", fuel, id="Invoice Line", time="Trans Date", main="Card No", amount="Total Value"),
    _csv("books", books, id=None, time="Date", main="Name", amount="Debit"),
    _csv(
        "rides",
        rides,
        id=None,
        time="pickup_datetime",
        main="medallion",
        others=frozenset({"hack_license"}),
        amount="total_amount",
    ),
    _csv("care", care, id="CLM_ID", time="CLM_FROM_DT", main="DESYNPUF_ID", amount="CLM_PMT_AMT"),
    _csv("deals", deals, id="Deal", time="Time", main="Login", amount="Profit"),
    Shape(name="sign-ins", make=sign_ins, id="uuid", time="published", main="actor.id", amount=None),
    Shape(
        name="audit log",
        make=audited,
        file="events.json",
        id="eventID",
        time="eventTime",
        main="userIdentity.userName",
        amount=None,
    ),
    Shape(
        name="elements",
        make=elements,
        id="fields.37",
        time=None,
        main="fields.2",
        others=frozenset({"fields.42", "fields.41"}),
        amount="fields.4",
    ),
    Shape(
        name="records of a proxy",
        make=proxied,
        id="value.ref",
        time="value.time",
        main="value.card",
        amount="value.amount",
    ),
    _csv(
        "cases",
        cases,
        id="AlertTransactionKey",
        time="PostedDateTime",
        main="AccountKey",
        amount="AmountUSD",
        labels=frozenset({"Fraud_Status", "SAR_Filed"}),
    ),
    _csv(
        "meters",
        meters,
        id="Vend Token",
        time="Vend Date Time",
        main="Meter Number",
        amount="Tendered Amount (ZAR)",
    ),
)
