"""A sixth set of shapes: other trades, other tools, other ways to write a time and to end a cell.

What is right about each was written down before `init-config` had read any of them.
"""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta

from tests.shapes import Shape, iso, lines, moments, price, table


def comma(amount: float, thousands: str = ".") -> str:
    """As `1.234,50`."""
    return f"{amount:,.2f}".translate(str.maketrans({",": thousands, ".": ","}))


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


def posted(n: int = 400) -> bytes:
    """A queue's messages: the event is a text of JSON inside of the notification."""
    draw = random.Random(208)
    return lines(
        [
            {
                "Type": "Notification",
                "MessageId": f"{draw.getrandbits(128):032x}",
                "TopicArn": "arn:aws:sns:eu-central-1:123456789012:payments",
                "Timestamp": iso(time + timedelta(seconds=1)),
                "Message": json.dumps(
                    {
                        "payment_id": f"p{i}",
                        "paid_at": iso(time),
                        "customer_id": f"c-{draw.randrange(60)}",
                        "amount": price(draw),
                    }
                ),
            }
            for i, time in enumerate(moments(draw, n, 300))
        ]
    )


def consumed(n: int = 400) -> bytes:
    """What a console consumer prints with keys and times in front of the values."""
    draw = random.Random(209)
    rows = []
    for i, time in enumerate(moments(draw, n, 300)):
        event = {"txId": f"t{i}", "at": iso(time), "card": f"c{draw.randrange(45)}", "amount": price(draw)}
        rows.append(f"CreateTime:{int(time.timestamp() * 1000)}\t{event['card']}\t{json.dumps(event)}")
    return ("\n".join(rows) + "\n").encode()


def thai(n: int = 400) -> bytes:
    """A Thai bank: years of the Buddhist era."""
    draw = random.Random(210)
    rows = ["วันที่,เวลา,เลขที่บัญชี,รายการ,จำนวนเงิน,ยอดคงเหลือ"]
    balance = 90_000.0
    for time in moments(draw, n, 5_000):
        amount = price(draw) * 30
        balance += amount
        rows.append(
            f"{time:%d/%m}/{time.year + 543},{time:%H:%M},{draw.randrange(45) * 7_919:010},"
            f'{draw.choice(["โอนเงิน", "ถอนเงิน"])},"{amount:,.2f}","{balance:,.2f}"'
        )
    return b"\xef\xbb\xbf" + ("\n".join(rows) + "\n").encode()


def greek(n: int = 400) -> bytes:
    """A Greek bank, in its own encoding."""
    draw = random.Random(211)
    rows = ["Α/Α;Ημερομηνία;Αιτιολογία;Λογαριασμός;Ποσό;Πρόσημο ποσού"]
    for i, time in enumerate(moments(draw, n, 5_000)):
        rows.append(
            f"{i + 1};{time:%d/%m/%Y};ΑΓΟΡΑ {draw.randrange(40)};GR{draw.randrange(45):025};"
            f"{comma(price(draw))};{draw.choice(['Χ', 'Π'])}"
        )
    return ("\r\n".join(rows) + "\r\n").encode("cp1253")


def czech(n: int = 400) -> bytes:
    """A Czech bank: cp1250, a space between thousands, day and clock with a single digit of the hour."""
    draw = random.Random(212)
    rows = ['"Datum provedení";"Protiúčet";"Název protiúčtu";"Zaúčtovaná částka";"Měna účtu";"Id transakce"']
    for i, time in enumerate(moments(draw, n, 5_000)):
        rows.append(
            f'"{time.day}.{time.month}.{time.year} {time.hour}:{time:%M}";"{draw.randrange(45) * 991}/0800";'
            f'"Příjemce {draw.randrange(45)}";"-{comma(price(draw) * 24, chr(160))}";"CZK";"{8_000_000 + i}"'
        )
    return ("\r\n".join(rows) + "\r\n").encode("cp1250")


def vietnamese(n: int = 400) -> bytes:
    """A Vietnamese wallet: whole dong with dots between thousands."""
    draw = random.Random(213)
    rows = ["Mã giao dịch,Ngày giao dịch,Số tài khoản,Số tiền,Nội dung"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        amount = f"{int(price(draw) * 26_000):,}".replace(",", ".")
        rows.append(
            f"FT{26_060_000_000 + i},{time:%d/%m/%Y %H:%M:%S},"
            f"{draw.randrange(45) * 7_919 + 10**9},{amount},CK"
        )
    return ("\n".join(rows) + "\n").encode()


def indonesian(n: int = 400) -> bytes:
    """An Indonesian bank: rupiah before the amount."""
    draw = random.Random(214)
    rows = ["No Transaksi;Tanggal;No Rekening;Nominal;Keterangan"]
    for i, time in enumerate(moments(draw, n, 2_000)):
        rows.append(
            f"TRX{i * 13:09};{time:%d-%m-%Y %H:%M};{draw.randrange(45) * 7_919 + 10**9};"
            f"Rp {comma(price(draw) * 9_000)};{draw.choice(['Transfer', 'Belanja'])}"
        )
    return ("\n".join(rows) + "\n").encode()


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


def boxed(n: int = 400) -> bytes:
    """A list of an accounting system: a frame of bars and dashes, cells filled up with spaces."""
    draw = random.Random(217)
    line = "-" * 67
    rows = [line, "|DocumentNo|Pstng Date|Account   |    Amount in LC|LCurr|Type      |", line]
    for i, time in enumerate(moments(draw, n, 5_000)):
        rows.append(
            f"|{1_900_000_000 + i}|{time:%d.%m.%Y}|{draw.randrange(45) + 400_000:<10}|"
            f"{comma(price(draw) * 50):>16}|EUR  |{draw.choice(['KR', 'SA']):<10}|"
        )
    return ("\r\n".join([*rows, line]) + "\r\n").encode()


def console(n: int = 400) -> bytes:
    """What a database's console prints."""
    draw = random.Random(218)
    rows = [
        "   id   |      created_at     | customer_id |  amount  | channel ",
        "--------+---------------------+-------------+----------+---------",
    ]
    for i, time in enumerate(moments(draw, n, 500)):
        rows.append(
            f" {i + 10_000:>6} | {time:%Y-%m-%d %H:%M:%S} | {draw.randrange(50) + 700:>11} | "
            f"{price(draw):>8.2f} | {draw.choice(['web', 'shop']):<7}"
        )
    return ("\n".join([*rows, f"({n} rows)", ""]) + "\n").encode()


def dumped(n: int = 400) -> bytes:
    r"""A database's copy: tabs, `\N` for null, no names."""
    draw = random.Random(219)
    rows = []
    for i, time in enumerate(moments(draw, n, 500)):
        paid = r"\N" if draw.random() < 0.2 else f"{price(draw):.2f}"
        channel = draw.choice(["web", "shop", r"\N"])
        rows.append(
            f"{i + 10_000}\t{time:%Y-%m-%d %H:%M:%S}.{draw.randrange(10**6):06}+00\t"
            f"c{draw.randrange(50):04}\t{paid}\t{channel}"
        )
    return ("\n".join(rows) + "\n").encode()


def control(n: int = 400) -> bytes:
    """A warehouse's text: cells end with the character of code 1."""
    draw = random.Random(220)
    rows = ["\x01".join(("txn_id", "txn_time", "account_no", "amount", "city"))]
    for i, time in enumerate(moments(draw, n, 500)):
        cells = (
            f"T{i:08}",
            f"{time:%Y-%m-%d %H:%M:%S}",
            f"A{draw.randrange(45):06}",
            f"{price(draw):.2f}",
            "x, y",
        )
        rows.append("\x01".join(cells))
    return ("\n".join(rows) + "\n").encode()


def carets(n: int = 400) -> bytes:
    """A mainframe's extract: carets between cells, times as a database of the seventies writes them."""
    draw = random.Random(221)
    rows = ["TRAN_ID^TRAN_TS^CARD_NBR^TRAN_AMT^MCC"]
    for i, time in enumerate(moments(draw, n, 500)):
        rows.append(
            f"{i * 11 + 100_000_000}^{time:%Y-%m-%d-%H.%M.%S}.{draw.randrange(10**6):06}^"
            f"5{draw.randrange(45) * 7_919:015}^{price(draw):.2f}^{draw.choice([5411, 5812, 7995])}"
        )
    return ("\n".join(rows) + "\n").encode()


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


def listed(n: int = 400) -> bytes:
    """An answer of a query: names once, rows as lists."""
    draw = random.Random(228)
    rows = [
        [i + 1, iso(time), f"acc-{draw.randrange(45)}", price(draw)]
        for i, time in enumerate(moments(draw, n, 300))
    ]
    return json.dumps({"columns": ["id", "time", "account", "amount"], "rows": rows}).encode()


def by_key(n: int = 400) -> bytes:
    """A store's export: one object whose names are the ids."""
    draw = random.Random(229)
    return json.dumps(
        {
            f"-N{draw.getrandbits(72):018x}": {
                "createdAt": int(time.timestamp() * 1_000),
                "userId": f"u{draw.randrange(45)}",
                "total": price(draw),
            }
            for time in moments(draw, n, 300)
        },
        indent=1,
    ).encode()


def pretty(n: int = 400) -> bytes:
    """Objects over several lines, one after the other."""
    draw = random.Random(230)
    return b"\n".join(
        json.dumps(
            {"id": f"o{i}", "time": iso(time), "customer": f"c{draw.randrange(45)}", "amount": price(draw)},
            indent=2,
        ).encode()
        for i, time in enumerate(moments(draw, n, 300))
    )


def commas(n: int = 400) -> bytes:
    """Objects with a comma at the end of each line: a list whose brackets were lost."""
    draw = random.Random(231)
    events = [
        {"id": f"o{i}", "time": iso(time), "customer": f"c{draw.randrange(45)}", "amount": price(draw)}
        for i, time in enumerate(moments(draw, n, 300))
    ]
    return (",\n".join(map(json.dumps, events)) + "\n").encode()


def separated(n: int = 400) -> bytes:
    """JSON text sequences: a record separator before each object (RFC 7464)."""
    draw = random.Random(232)
    events = [
        {"id": f"o{i}", "time": iso(time), "customer": f"c{draw.randrange(45)}", "amount": price(draw)}
        for i, time in enumerate(moments(draw, n, 300))
    ]
    return b"".join(b"\x1e" + json.dumps(event).encode() + b"\n" for event in events)


def seconds_apart(n: int = 400) -> bytes:
    """A document store's times: seconds and nanoseconds as two members."""
    draw = random.Random(233)
    return lines(
        [
            {
                "orderId": f"o-{i * 7}",
                "createdAt": {"_seconds": int(time.timestamp()), "_nanoseconds": draw.randrange(10**9)},
                "buyer": {"uid": f"u{draw.randrange(50)}"},
                "grandTotal": price(draw),
            }
            for i, time in enumerate(moments(draw, n, 300))
        ]
    )


def written_out(form: str, n: int = 400) -> bytes:
    """The same events with their time in one form."""
    draw = random.Random(234)
    events = []
    for i, time in enumerate(moments(draw, n, 3_000)):
        text = {
            "web": f"{time:%a, %d %b %Y %H:%M:%S} GMT",
            "log": f"{time:%d/%b/%Y:%H:%M:%S} +0000",
            "java": f"{time:%a %b %d %H:%M:%S} UTC {time:%Y}",
            "script": f"{time:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)",
            "net": f"/Date({int(time.timestamp() * 1000)})/",
            "oracle": f"{time:%d-%b-%y %I.%M.%S}.{draw.randrange(10**6):06} {time:%p}".upper(),
            "server": f"{time:%b} {time.day:>2} {time:%Y %I:%M%p}",
        }[form]
        events.append(
            {"id": f"o{i}", "time": text, "customer": f"c{draw.randrange(45)}", "amount": price(draw)}
        )
    return lines(events)


def signs(n: int = 400) -> bytes:
    """Amounts with a real minus, thin spaces and typographic apostrophes."""
    draw = random.Random(235)
    rows = ["Referenz;Datum;Kontonummer;Betrag"]
    for i, time in enumerate(moments(draw, n, 3_000)):
        amount = f"{price(draw) * 60:,.2f}".replace(",", "’")
        rows.append(f"R{i};{time:%d.%m.%Y %H:%M};{draw.randrange(45) + 10_000};\u2212{amount}")
    return ("\n".join(rows) + "\n").encode()


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


def dated(form: str, names: str, encoding: str = "utf-8", delimiter: str = ";", n: int = 400) -> bytes:
    """A bank's CSV with the times, the names and the encoding of a country: number, time, account, amount."""
    draw = random.Random(239)
    rows = [names]
    for i, time in enumerate(moments(draw, n, 9_000)):
        text = time.strftime(form) if "%" in form else _plainly(form, time)
        amount = comma(price(draw), "") if delimiter == ";" else f"{price(draw):.2f}"
        rows.append(
            delimiter.join((str(70_000 + i), text, f"{draw.randrange(45) * 991 + 10**7}", f"-{amount}"))
        )
    return ("\r\n".join(rows) + "\r\n").encode(encoding)


def _plainly(form: str, time: datetime) -> str:
    """A time by its numbers without zeros in front, but for minutes: `y.m.d H:M`."""
    parts = {"y": time.year, "m": time.month, "d": time.day, "H": time.hour, "M": f"{time:%M}"}
    return "".join(str(parts.get(one, one)) for one in form)


def paged(n: int = 300) -> bytes:
    """Pages of an API, one per line."""
    events = [json.loads(line) for line in proxied(n).splitlines()]
    return lines([{"page": page, "items": events[page : page + 10]} for page in range(0, n, 10)])


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


def gaps(gap: str = "", n: int = 400) -> bytes:
    """A table in which a few rows have no time, or none that there is."""
    draw = random.Random(242)
    return table(
        [
            {
                "ref": f"R{i}",
                "when": gap if i % 100 == 50 else iso(time),
                "card": f"c{i % 45}",
                "amount": price(draw),
            }
            for i, time in enumerate(moments(draw, n, 300))
        ]
    )


def _csv(name: str, make: object, **more: object) -> Shape:
    return Shape(**{"name": name, "make": make, "file": "events.csv"} | more)  # type: ignore[arg-type]


def _plain(name: str, make: object, **more: object) -> Shape:
    base: dict[str, object] = {"id": "id", "time": "time", "main": "customer", "amount": "amount"}
    return Shape(**base | {"name": name, "make": make} | more)  # type: ignore[arg-type]


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
    _csv("Thai bank", thai, id=None, time=None, main="เลขที่บัญชี", amount="จำนวนเงิน"),
    _csv("Greek bank", greek, id=None, time="Ημερομηνία", main="Λογαριασμός", amount="Ποσό"),
    _csv(
        "Czech bank",
        czech,
        id="Id transakce",
        time="Datum provedení",
        main="Protiúčet",
        amount="Zaúčtovaná částka",
    ),
    _csv(
        "Vietnamese wallet",
        vietnamese,
        id="Mã giao dịch",
        time="Ngày giao dịch",
        main="Số tài khoản",
        amount="Số tiền",
    ),
    _csv(
        "Indonesian bank", indonesian, id="No Transaksi", time="Tanggal", main="No Rekening", amount="Nominal"
    ),
    _csv("tills", tills, id="Order Id", time="Opened", main="Server", amount="Total"),
    _csv("fuel cards", fuel, id="Invoice Line", time="Trans Date", main="Card No", amount="Total Value"),
    _csv(
        "a frame of bars",
        boxed,
        file="events.txt",
        id="DocumentNo",
        time="Pstng Date",
        main="Account",
        amount="Amount in LC",
    ),
    _csv(
        "a console's table",
        console,
        file="events.txt",
        id="id",
        time="created_at",
        main="customer_id",
        amount="amount",
    ),
    _csv(
        "a database's copy",
        dumped,
        file="events.tsv",
        id=None,
        time="column_2",
        main="column_3",
        amount=None,
    ),
    _csv("control characters", control, id="txn_id", time="txn_time", main="account_no", amount="amount"),
    _csv("carets", carets, id="TRAN_ID", time="TRAN_TS", main="CARD_NBR", amount="TRAN_AMT"),
    _csv("books", books, id=None, time="Date", main="Name", amount="Debit"),
    _csv(
        "rides",
        rides,
        id=None,
        time="pickup_datetime",
        main="hack_license",
        others=frozenset({"medallion"}),
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
    _plain("objects over lines", pretty, file="events.json"),
    _plain("brackets lost", commas),
    _plain("text sequences", separated),
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
    Shape(
        name="seconds apart",
        make=seconds_apart,
        id="orderId",
        time="createdAt._seconds",
        main="buyer.uid",
        amount="grandTotal",
    ),
    *(
        _plain(f"time: {form}", lambda form=form: written_out(form))
        for form in ("web", "log", "java", "script", "net", "oracle", "server")
    ),
    _csv("typographic signs", signs, id="Referenz", time="Datum", main="Kontonummer", amount="Betrag"),
    _csv(
        "cases",
        cases,
        id="AlertTransactionKey",
        time="PostedDateTime",
        main="AccountKey",
        amount="AmountUSD",
        labels=frozenset({"Fraud_Status", "SAR_Filed"}),
    ),
    *(
        _csv(
            f"dates: {name}",
            lambda form=form, more=more: dated(form, *more),
            id=more[0].split(more[2] if len(more) > 2 else ";")[0],
            time=more[0].split(more[2] if len(more) > 2 else ";")[1],
            main=more[0].split(more[2] if len(more) > 2 else ";")[2],
            amount=more[0].split(more[2] if len(more) > 2 else ";")[3],
        )
        for name, form, *more in (
            (
                "Hungary",
                "%Y.%m.%d. %H:%M:%S",
                "Tranzakció azonosító;Könyvelés dátuma;Számlaszám;Összeg",
                "cp1250",
            ),
            ("Finland", "d.m.y H.M", "Viitenumero;Kirjauspäivä;Saajan tili;Summa", "cp1252"),
            ("Turkey", "%d.%m.%Y %H:%M", "İşlem No;İşlem Tarihi;Müşteri No;Tutar", "cp1254"),
            ("Germany", "%d.%m.%Y, %H:%M Uhr", "Buchungsnummer;Zeitpunkt;Kontonummer;Betrag"),
            ("France", "%d/%m/%Y à %Hh%M", "Référence;Date opération;Numéro de compte;Montant", "latin-1"),
            ("Japan", "%Y年%m月%d日 %H時%M分", "取引番号,取引日時,口座番号,金額", "cp932", ","),
            ("Korea", "%Y년 %m월 %d일 %H:%M", "거래번호,거래일시,계좌번호,금액", "cp949", ","),
            ("Israel", "%d/%m/%Y %H:%M", "אסמכתא;תאריך;מספר חשבון;סכום", "cp1255"),
            ("Ukraine", "%d.%m.%Y %H:%M", "Номер операції;Дата операції;Рахунок;Сума", "cp1251"),
            ("Iran", "%Y/%m/%d %H:%M", "شماره پیگیری,تاریخ,شماره حساب,مبلغ", "utf-8", ","),
            ("a mainframe", "%Y%j", "TRAN_ID,POST_DATE,ACCT_NBR,TRAN_AMT", "utf-8", ","),
            ("midrange", "1%y%m%d", "TRAN_ID,POST_DATE,ACCT_NBR,TRAN_AMT", "utf-8", ","),
        )
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

REFUSED = (
    ("rows.json", listed, "a table whose rows are lists"),
    ("keyed.json", by_key, "one object that has the events by their keys"),
    ("console.txt", consumed, "JSON with something in front of it"),
)
NOTED = (
    ("posted.jsonl", posted, "jq -c '.Message | fromjson' FILE"),
    (
        "months.csv",
        lambda: dated("%d/mars/%Y", "Ref,Date,Compte,Montant", "utf-8", ","),
        "looks like a time, but not all its values",
    ),
    ("pages.jsonl", paged, "items is a list: if its items are the events, take them out"),
    ("gaps.csv", gaps, "when would be the time, but 1.00% of the events have none: --time when"),
    ("garbage.csv", lambda: gaps("2026-02-30 25:00"), "it has '2026-02-30 25:00'"),
    (
        "zones.csv",
        lambda: dated("%Y-%m-%d %H:%M:%S CET", "ref,time,account,amount", "utf-8", ","),
        "it has '2026-03-01 06:32:26 CET'",
    ),
    ("thai.csv", thai, "years of another calendar, as 2569"),
)
"""What a person is told of files that are read."""


def _texts(write: str, n: int = 30) -> bytes:
    """Lines of payments in another kind of text."""
    draw = random.Random(238)
    return "\n".join(
        write.format(i=i, t=time, card=f"c{draw.randrange(9)}", amount=price(draw))
        for i, time in enumerate(moments(draw, n, 900))
    ).encode()


_OBJECT = '{{"id": "p{i}", "time": "{t:%Y-%m-%dT%H:%M:%SZ}", "card": "{card}", "amount": {amount}}}'
TEXTS = (
    (
        "payments.log",
        _texts('time={t:%Y-%m-%dT%H:%M:%SZ} msg="it is paid" card={card} amount={amount}'),
        "key=value",
    ),
    (
        "access.log",
        _texts('10.0.0.1 - - [{t:%d/%b/%Y:%H:%M:%S} +0000] "GET / HTTP/1.1" 200 {i}'),
        "web server",
    ),
    ("siem.log", _texts("CEF:0|Acme|Pay|1.0|100|paid|5|rt={i} suser={card} cn1={amount}"), "CEF"),
    ("fix.log", _texts("8=FIX.4.4\x019=148\x0135=D\x0134={i}\x0149={card}\x0138={amount}\x01"), "FIX"),
    (
        "dump.sql",
        b"-- made\nCREATE TABLE t (i int, a numeric);\n" + _texts("INSERT INTO t VALUES ({i},{amount});"),
        "SQL",
    ),
    ("conn.log", b"#separator \\x09\n#fields\tts\tuid\n" + _texts("{i}.5\t{card}"), "Zeek"),
    ("iis.log", b"#Software: x\n#Fields: date time user\n" + _texts("{t:%Y-%m-%d %H:%M:%S} {card}"), "W3C"),
    (
        "influx.csv",
        b"#group,false,false\n#datatype,string,double\n,a,b\n" + _texts(",{card},{amount}"),
        "InfluxDB",
    ),
    ("bank.sta", b":20:START\n" + _texts(":61:{t:%y%m%d%m%d}DR{amount}NTRFNONREF"), "SWIFT"),
    ("bank.ofx", b"OFXHEADER:100\n" + _texts("<STMTTRN><TRNAMT>{amount}"), "OFX"),
    ("bank.qif", b"!Type:Bank\n" + _texts("D{t:%m/%d/%y}\nT-{amount}\n^"), "QIF"),
    ("bank.edi", b"UNB+UNOC:3+A+B+260301:1000+1'\n" + _texts("MOA+9:{amount}:EUR'"), "EDI"),
    ("bank.xls", b"<html><table><tr>" + _texts("<td>{amount}</td>") + b"</table></html>", "a table"),
    ("bank.txt", _texts("{i:<8}{t:%Y-%m-%d %H:%M:%S}   {card:<8}{amount:>10.2f}"), "fixed widths"),
    ("events.yaml", _texts("- id: p{i}\n  card: {card}\n  amount: {amount}"), "YAML"),
    ("events.js", b"var events = [" + _texts(_OBJECT + ",") + b"];", "JavaScript"),
    ("bulk.json", _texts('{{"index": {{"_id": {i}}}}}\n' + _OBJECT), "Elasticsearch"),
    ("events.bin", b"\x82\xa2id\x07\xa6amount\xcb\x40\x28\0\0\0\0\0\0" * 9, "MessagePack"),
    *((name, make(), what) for name, make, what in REFUSED),
)
"""Files of other kinds, and what is said of each."""
