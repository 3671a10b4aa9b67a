"""Files that are not read as they are, with what is said of each, and files that need a word to a person."""

from __future__ import annotations

import json
import random
from datetime import timedelta

from tests.shapes import iso, lines, moments, price, table
from tests.trades import proxied
from tests.written import dated, thai


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


def paged(n: int = 300) -> bytes:
    """Pages of an API, one per line."""
    events = [json.loads(line) for line in proxied(n).splitlines()]
    return lines([{"page": page, "items": events[page : page + 10]} for page in range(0, n, 10)])


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


def _texts(write: str, n: int = 30) -> bytes:
    """Lines of payments in another kind of text."""
    draw = random.Random(238)
    return "\n".join(
        write.format(i=i, t=time, card=f"c{draw.randrange(9)}", amount=price(draw))
        for i, time in enumerate(moments(draw, n, 900))
    ).encode()


REFUSED = (
    ("rows.json", listed, "a table whose rows are lists"),
    ("keyed.json", by_key, "one object that has the events by their keys"),
    ("console.txt", consumed, "JSON with something in front of it"),
)
NOTED = (
    ("posted.jsonl", posted, "jq -c '.Message | fromjson' FILE"),
    (
        "months.csv",
        lambda: dated("%d-III-%Y", "Ref,Date,Compte,Montant", "utf-8", ","),
        "looks like a time, but not all its values",
    ),
    ("pages.jsonl", paged, "items is a list: if its items are the events, take them out"),
    ("gaps.csv", gaps, "when would be the time, but 1.00% of the events have none: --time when"),
    ("garbage.csv", lambda: gaps("2026-02-30 25:00"), "it has '2026-02-30 25:00'"),
    (
        "zones.csv",
        lambda: dated("%Y-%m-%d %H:%M:%S SGT", "ref,time,account,amount", "utf-8", ","),
        "it has '2026-03-01 06:32:26 SGT'",
    ),
    ("thai.csv", thai, "years of another calendar, as 2569"),
)
"""What a person is told of files that are read."""

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
