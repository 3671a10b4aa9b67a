"""Files of events of every kind become the same JSON objects, or one sentence that helps."""

from __future__ import annotations

import csv
import gc
import gzip
import io
import json
import os
import random
import struct
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import NeedsOperator
from detector.shell.files import FileStream, Source, describe, line_reader, read_events
from detector.shell.files.inputs import EventFile, same_files
from tests.commands import run_main

pyarrow = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")
parquet = pytest.importorskip("pyarrow.parquet")


def rows(count: int) -> list[dict[str, Any]]:
    """Events with what files lose easily: leading zeros, long ids, quotes, accents, gaps."""
    chance = random.Random(5)
    found = []
    for n in range(count):
        found.append(
            {
                "id": f"u{n}",
                "time": f"2026-03-{1 + n // 60 // 24:02}T{n // 60 % 24:02}:{n % 60:02}:00Z",
                "account": f"A{chance.randrange(20):03}",
                "zip": f"0{chance.randrange(1000, 1020)}",
                "merchant": chance.choice(['Shop, "A"', "Käse & Co", "back\\slash;x"]),
                "amount": None if n % 50 == 3 else round(chance.lognormvariate(3.5, 1), 2),
                "count": chance.randrange(5),
                "online": chance.random() < 0.5,
            }
        )
    return found


def as_lines(events: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def as_csv(events: list[dict[str, Any]], **options: Any) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, events[0], **options)
    writer.writeheader()
    writer.writerows(events)
    return text.getvalue().encode()


def as_parquet(events: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(events), file, row_group_size=300)
    return file.getvalue()


def as_feather(events: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    feather.write_feather(pyarrow.Table.from_pylist(events), file, compression="zstd", chunksize=300)
    return file.getvalue()


def as_arrow_stream(events: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    table = pyarrow.Table.from_pylist(events)
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "jsonl": as_lines,
    "array": lambda events: json.dumps(events).encode(),
    "pretty": lambda events: json.dumps(events, indent=2, ensure_ascii=False).encode(),
    "one after another": lambda events: "\n".join(json.dumps(e, indent=1) for e in events).encode(),
    "csv": as_csv,
    "tsv": lambda events: as_csv(events, delimiter="\t"),
    "semicolons": lambda events: as_csv(events, delimiter=";", quoting=csv.QUOTE_ALL),
    "utf-16": lambda events: as_csv(events).decode().encode("utf-16"),
    "utf-16 lines": lambda events: as_lines(events).decode().encode("utf-16"),
    "latin-1": lambda events: as_csv(events).decode().encode("latin-1"),
    "bom": lambda events: b"\xef\xbb\xbf" + as_csv(events),
    "bom lines": lambda events: b"\xef\xbb\xbf" + as_lines(events),
    "framed": lambda events: b"".join(
        b"\0" + struct.pack(">I", 17) + json.dumps(event).encode() + b"\n" for event in events
    ),
    "parquet": as_parquet,
    "feather": as_feather,
    "arrow stream": as_arrow_stream,
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.compress}


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `main` in this process. Returns what it says, on lines as long as they are."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: bytes = b"", code: object = 0) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        done = run_main(monkeypatch, capsys, *arguments)
        assert (done.code or 0) == code, done.err
        return done.out + done.err

    return run


def decoded(given: Path | str) -> list[Any]:
    return [json.loads(event) for event in read_events(Source(given))]


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- the same events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["", *PACKERS])
@pytest.mark.parametrize("form", FORMS)
def test_events_are_the_same_in_every_form(tmp_path: Path, form: str, packing: str) -> None:
    events = rows(700)
    data = FORMS[form](events)
    path = tmp_path / "events"
    if packing:
        data, path = PACKERS[packing](data), tmp_path / f"events.{packing}"
    assert decoded(put(path, data)) == events


def test_scores_and_alerts_are_the_same_in_every_form(run: Run, tmp_path: Path) -> None:
    events = rows(1000)
    for n in (700, 850, 990):
        events[n] |= {"amount": 90_000.0, "merchant": "new"}
    results = {}
    for form in ("jsonl", "pretty", "csv", "tsv", "parquet", "feather"):
        data = FORMS[form](events)
        packed = {"pretty": gzip.compress, "csv": zstandard.compress}.get(form, bytes)(data)
        path = put(tmp_path / f"events-{form}", packed)
        config = tmp_path / "config.yaml"
        if form == "jsonl":
            run("init-config", "--events", str(path), "--out", str(config))
        scores, alerts = tmp_path / "scores.csv", tmp_path / "alerts.jsonl"
        said = run(
            *("replay", "--config", str(config), "--events", str(path)),
            *("--scores", str(scores), "--alerts", str(alerts)),
        )
        assert "1,000 events: 1,000 scored, 0 rejected" in said
        results[form] = scores.read_bytes(), [json.loads(line) for line in alerts.read_text().splitlines()]
    assert results["jsonl"][1]
    assert all(result == results["jsonl"] for result in results.values())


# --- where from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["jsonl", "pretty", "csv", "parquet"])
def test_a_pipe_works_like_a_file(tmp_path: Path, form: str) -> None:
    events = rows(300)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(FORMS[form](events),))
    writer.start()
    source = Source(pipe)
    assert source.size_bytes is None
    describe(source)  # looks at the beginning, which is not lost
    assert [json.loads(event) for event in read_events(source)] == events
    writer.join()


def test_a_pipe_can_be_read_again(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(as_csv(rows(300)),))
    writer.start()
    stream = FileStream(pipe, key_of=lambda line: None, partitions=1, folder=tmp_path / "state")
    stream.poll(0)
    for _ in range(2):
        stream.seek(0, 10)
        poll = stream.poll(0)
        assert poll.records[0][0].offset == 10
        assert json.loads(poll.records[0][0].value or b"")["id"] == "u10"
    writer.join()
    stream.close()


def test_long_words_are_read_once(tmp_path: Path) -> None:
    """A text of long words is looked at in time that grows with its length, not with its square."""
    path = tmp_path / "words"
    path.write_bytes(b"\n".join([b"e" * 1_000_000] * 4))
    assert list(read_events(Source(path)))


def test_standard_input(run: Run, tmp_path: Path) -> None:
    data = as_csv(rows(400))
    text = run("init-config", "--events", "-", stdin=data)
    assert "standard input: CSV, delimiter comma; 8 columns: id, time, account" in text
    config = tmp_path / "config.yaml"
    said = run("init-config", "--events", "-", "--out", str(config), stdin=gzip.compress(data))
    assert f"if they came from a topic:  detector run --config {config} " in said
    done = run("replay", "--config", str(config), "--events", "-", stdin=data)
    assert "400 events: 400 scored" in done


def test_a_pattern_reads_its_files_in_order(tmp_path: Path) -> None:
    events = rows(60)
    for n in range(12):
        part = events[5 * n : 5 * n + 5]
        form = as_csv(part) if n % 2 else gzip.compress(as_lines(part))
        put(tmp_path / f"part-{n}", form)
    pattern = f"{tmp_path}/part-*"
    assert decoded(pattern) == events
    assert "12 files" in describe(Source(pattern))
    assert Source(pattern).size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    with pytest.raises(NeedsOperator, match="no file fits"):
        Source(f"{tmp_path}/none-*")


def test_a_name_with_brackets_is_a_file_if_it_exists(tmp_path: Path) -> None:
    assert decoded(put(tmp_path / "events[1].jsonl", as_lines(rows(2)))) == rows(2)


def test_urls() -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/inputs/a.parquet", as_parquet(rows(10)))
    files.pipe("/inputs/b.csv", as_csv(rows(10)))
    assert decoded("memory://inputs/a.parquet") == rows(10)
    assert decoded("memory://inputs/*") == rows(10) + rows(10)
    with pytest.raises(NeedsOperator, match="cannot be read"):
        decoded("memory://inputs/missing")
    with pytest.raises(NeedsOperator, match="no-such-protocol"):
        Source("no-such-protocol://x")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.ipc", None)
    command = r"pip install 'stream-anomaly-detector\[parquet\]'"
    with pytest.raises(NeedsOperator, match=f"pyarrow is not installed: {command}"):
        describe(Source(put(tmp_path / "x.parquet", as_parquet(rows(2)))))


def test_an_input_is_never_an_output(tmp_path: Path) -> None:
    for n in range(2):
        put(tmp_path / f"{n}.csv", as_csv(rows(3)))
    from detector.shell.files import OutputFiles

    with pytest.raises(NeedsOperator, match="must be different files"):
        FileStream(
            f"{tmp_path}/*.csv", key_of=lambda line: None, outputs=OutputFiles(alerts=tmp_path / "1.csv")
        )


@pytest.mark.parametrize("url", ["s3://bucket/x.csv", "simplecache::s3://bucket/x.csv"])
def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # importing it fails, installed or not
    with pytest.raises(NeedsOperator, match=r"missing; pip install 'stream-anomaly-detector\[s3\]' \(.*s3fs"):
        Source(url)


def test_a_replay_of_a_pipe_is_known_again(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", as_csv(rows(300)))
    facts = Source(path).fingerprint()
    assert same_files(facts, facts | {"bytes": None})
    assert not same_files(facts, facts | {"bytes": 1})
    assert not same_files(facts | {"bytes": None}, facts | {"sha256_of_first_mib": ""})
    assert not same_files(facts, None)


# --- CSV ---------------------------------------------------------------------------------------------------


def table(tmp_path: Path, text: str | bytes, name: str = "x.csv") -> list[Any]:
    return decoded(put(tmp_path / name, text.encode() if isinstance(text, str) else text))


def test_types_of_columns(tmp_path: Path) -> None:
    text = (
        "plain,zeros,long,mixed,gap,flag,minus,small,date\n"
        "1,007,9007199254740993,1,,TRUE,-0.5,1e-05,2026-03-01\n"
        "2.50,010,12,x,3,false,2,0.1,2026-03-02\n"
        "NA,9,5,3,,,,nan,\n"
    )
    assert [list(row.values()) for row in table(tmp_path, text)] == [
        [1, "007", "9007199254740993", "1", None, True, -0.5, 1e-05, "2026-03-01"],
        [2.5, "010", "12", "x", 3, False, 2, 0.1, "2026-03-02"],
        [None, "9", "5", "3", None, None, None, None, None],
    ]


def test_what_the_sample_did_not_show_keeps_every_character(tmp_path: Path) -> None:
    text = "id,code\n" + "".join(f"{n},{n}\n" for n in range(60_000)) + "7,007\n8,18446744073709551617\n9,?\n"
    assert [row["code"] for row in table(tmp_path, text)[-4:]] == [59_999, "007", "18446744073709551617", "?"]


def test_a_bank_export_with_decimal_commas(tmp_path: Path) -> None:
    text = (
        "Konto;DE123\r\nZeitraum;2026\r\n\r\n"
        "Datum;Empfänger;Betrag;Saldo;Stück\r\n"
        '01.03.2026;"Müller; Söhne";-12,99;1.234,50;1,000\r\n'
        "02.03.2026;Bäcker;3;1.221;2,500\r\n"
    )
    path = put(tmp_path / "umsatz.csv", text.encode("cp1252"))
    assert decoded(path)[0] == {
        "Datum": "01.03.2026",
        "Empfänger": "Müller; Söhne",
        "Betrag": -12.99,
        "Saldo": 1234.5,
        "Stück": 1.0,
    }
    assert decoded(path)[1]["Betrag"] == 3
    assert describe(Source(path)).endswith(
        "CSV, delimiter semicolon; encoding cp1252; decimal comma in Betrag, Saldo, Stück; 2 rows before the "
        "header left out; 5 columns: Datum, Empfänger, Betrag, Saldo, Stück"
    )


def test_thousands_stay_as_they_are(tmp_path: Path) -> None:
    assert table(tmp_path, 'a,b\n"1,151.00",x\n"1,200",y\n') == [
        {"a": "1,151.00", "b": "x"},
        {"a": "1,200", "b": "y"},
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sep=;\na;b\n1;2\n", {"a": 1, "b": 2}),
        ("a|b\n1|x y\n", {"a": 1, "b": "x y"}),
        ("a, b\n1, 2\n", {"a": 1, "b": 2}),
        ("'a','b'\n'x, y','2'\n'z','3'\n", {"a": "x, y", "b": 2}),
        ('a,b\n"x \\"y\\"",2\n', {"a": 'x "y"', "b": 2}),
        ('a,b\n"x\ny",2\n', {"a": "x\ny", "b": 2}),
        ('a.b,a.b,,q"\n1,2,3,4\n', {"a_b": 1, "a_b_2": 2, "column_3": 3, "q_": 4}),
        ("0,1,2\n0.5,x,y\n", {"0": 0.5, "1": "x", "2": "y"}),
        ("one\n5\n", {"one": 5}),
    ],
)
def test_ways_of_writing(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    assert table(tmp_path, text)[0] == expected


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    text = "u1,2026-03-01,5\nu2,2026-03-02,7\n"
    assert table(tmp_path, text)[0] == {"column_1": "u1", "column_2": "2026-03-01", "column_3": 5}
    assert "no header found" in describe(Source(tmp_path / "x.csv"))


def test_a_header_that_comes_again_is_no_event(tmp_path: Path) -> None:
    assert table(tmp_path, "a,b\n1,x\na,b\n2,y\n") == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_rows_of_another_width(tmp_path: Path) -> None:
    text = "a,b,c\n" + "1,2,3\n" * 20 + "4\n5,6,7,\n8,9,10,11\n\n"
    assert table(tmp_path, text)[20:] == [
        {"a": 4, "b": None, "c": None},
        {"a": 5, "b": 6, "c": 7},
        ["8", "9", "10", "11"],  # no event: this row alone is rejected
    ]


TABLE = "day,who,amount\n" + "".join(f"2026-03-{1 + n % 28:02},A{n},{n}.5\n" for n in range(40))


@pytest.mark.parametrize("below", ["Total,,820\n", "Sum,,\n,,820\n", "rows: 40\n", "\n\nEnd of report\n"])
def test_rows_below_a_table_are_no_events(tmp_path: Path, below: str) -> None:
    assert table(tmp_path, TABLE + below) == table(tmp_path, TABLE)
    long = TABLE + TABLE.partition("\n")[2] * 150  # they are not in the sample
    assert table(tmp_path, long + below) == table(tmp_path, long)


def test_rows_below_a_table_are_said(tmp_path: Path) -> None:
    put(tmp_path / "x.csv", (TABLE + "Total,,820\n").encode())
    assert "; 1 row below the table left out" in describe(Source(tmp_path / "x.csv"))


def test_poor_rows_within_a_table_are_events(tmp_path: Path) -> None:
    assert len(table(tmp_path, TABLE + "?,?,1\n" * 3 + "2026-03-01,A1,1\n" + "?,?,1\n" * 2)) == 46
    assert len(table(tmp_path, TABLE + "?,?,1\n" * 6)) == 46


def test_a_late_letter_of_another_encoding(tmp_path: Path) -> None:
    text = b"a,b\n" + b"1,x\n" * 100_000 + "2,Käse\n".encode("latin-1")
    assert table(tmp_path, text)[-1] == {"a": 2, "b": "Käse"}


def test_csv_needs_no_name(tmp_path: Path) -> None:
    assert table(tmp_path, "a,b\n1,2\n3,4\n", "events.data") == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert list(read_events(Source(put(tmp_path / "x", b"not json, but\nsome text\n")))) == [
        b"not json, but",
        b"some text",
    ]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12)


@settings(deadline=None)
@given(cells=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20))
def test_texts_come_through_whatever_they_are(
    cells: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    events: list[dict[str, Any]] = [
        {"id": f"u{n}", "first": f"x{a}", "second": f"y{b}"} for n, (a, b) in enumerate(cells)
    ]
    path = tmp_path_factory.getbasetemp() / "texts.csv"
    assert decoded(put(path, as_csv(events, quoting=csv.QUOTE_ALL))) == events


# --- tables ------------------------------------------------------------------------------------------------


def test_types_of_tables(tmp_path: Path) -> None:
    import datetime as dt
    from decimal import Decimal

    moment = dt.datetime(2026, 3, 1, 10, 0, 0, 5, tzinfo=dt.UTC)
    columns = {
        "utc": pyarrow.array([moment, None], pyarrow.timestamp("ns", "UTC")),
        "local": pyarrow.array([moment, None], pyarrow.timestamp("ms", "Europe/Berlin")),
        "bare": pyarrow.array([moment.replace(tzinfo=None), None], pyarrow.timestamp("us")),
        "day": pyarrow.array([moment.date(), None]),
        "money": pyarrow.array([Decimal("12.50"), None]),
        "long": pyarrow.array([2**63 - 1, None]),
        "longer": pyarrow.array([Decimal(10**30 + 1), None], pyarrow.decimal128(38, 0)),
        "float": pyarrow.array([float("nan"), 12.0]),
        "bytes": pyarrow.array([b"text", b"\xff"]),
        "kind": pyarrow.array(["a", None]).dictionary_encode(),
        "shop": pyarrow.array([{"name": "x"}, None]),
        "a.b": pyarrow.array([1, 2], pyarrow.int8()),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    one, two = decoded(tmp_path / "x.parquet")
    assert one == {
        "utc": "2026-03-01T10:00:00.000005Z",
        "local": "2026-03-01T10:00:00Z",
        "bare": "2026-03-01T10:00:00.000005",
        "day": "2026-03-01",
        "money": 12.5,
        "long": 2**63 - 1,
        "longer": str(10**30 + 1),
        "float": None,
        "bytes": "text",
        "kind": "a",
        "shop": {"name": "x"},
        "a_b": 1,
    }
    assert set(two.values()) == {None, 12.0, "/w==", 2}
    assert "Parquet; 12 columns: utc, local" in describe(Source(tmp_path / "x.parquet"))


# --- what cannot be read ends in a sentence ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Obj\x01\x04\x14avro.codec", "is an Avro file, .* fastavro x > events.jsonl"),
        (b"PK\x03\x04" + b"\0" * 40, "is a ZIP archive, .*unzip -p x"),
        (b"PK\x03\x04" + b"\0" * 26 + b"xl/workbook.xml", "is an Excel file, .*save the sheet as CSV"),
        (b"BZh91AY", "is a bzip2 file, .*bzcat x"),
        (b"\xfd7zXZ\0\0", "is an xz file, .*xz -dc x"),
        (b"SQLite format 3\0", "is an SQLite database, .*-csv"),
        (b"id,amount\r1,2.5\r2,3.5\r", "lines end in CR alone, .*tr "),
        (b"  <!DOCTYPE html>\n<html>", "is an HTML page, .*a login or an error page"),
        (b"<?xml version='1.0'?>\n<Document/>", "is XML, .*as JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS, .*git lfs pull"),
        (b"\0\0\0\0\x11\x02\x06abc\x10", "schema registry's header .*from their topic"),
        (bytes(range(256)) * 10 + b"\0" * 900, "binary data"),
        (b"PAR1" + b"\0" * 30, "is damaged or truncated after row 0"),
        (b"ARROW1\0\0" + b"\0" * 30, "is damaged or truncated after row 0"),
        (b"FEA1" + b"\0" * 30, "Feather file of version 1"),
    ],
)
def test_what_the_bytes_are_is_said(run: Run, tmp_path: Path, data: bytes, words: str) -> None:
    put(tmp_path / "x", data)
    with pytest.raises(NeedsOperator, match=words):
        describe(Source("x"))
    assert "x is" in " ".join(run("init-config", "--events", "x", code=3).split())


@pytest.mark.parametrize("count", [2, 5000])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("path", ["data", "hits.hits", "_embedded.payments.items"])
def test_events_inside_of_one_object_are_found(
    tmp_path: Path, count: int, indent: int | None, path: str
) -> None:
    outer, *inner = path.split(".")
    events: Any = [{**row, "note": 'a ] and a "]"', "tags": [["x"]]} for row in rows(count)]
    around = events
    for name in reversed(inner):
        around = {"took": 3, name: around}
    document = {"page": {"links": [{"self": 1}]}, "ok": True, outer: around, "end": [{"not": "an event"}]}
    file = put(tmp_path / "x.json", json.dumps(document, indent=indent).encode())
    assert describe(Source(file)).endswith(f": one JSON object; the events are its list {path}")
    assert decoded(file) == events
    # Objects one after another are the events themselves, whatever lists they have.
    events = [{"id": n, "items": [{"sku": 1}, {"sku": 2}]} for n in range(3)]
    assert decoded(put(file, as_lines(events))) == events


@pytest.mark.parametrize(
    "event",
    [
        {"id": 1, "card": "c" * 80, "lines": [{"sku": 1}, {"sku": 2}]},
        {"schema": {"fields": [{"field": "id", "type": "int64"}] * 9}, "payload": {"id": 1}},
    ],
)
def test_one_event_alone_is_that_event(tmp_path: Path, event: dict[str, Any]) -> None:
    assert decoded(put(tmp_path / "x.json", json.dumps(event).encode())) == [event]


@pytest.mark.parametrize(
    "frame",
    [
        {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]},
        {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]},
        {"a": {"0": 1, "1": 3}, "b": {"0": 2, "1": 4}},
    ],
)
def test_a_data_frame_by_columns_is_named(tmp_path: Path, frame: object) -> None:
    path = put(tmp_path / "x.json", json.dumps(frame).encode())
    with pytest.raises(NeedsOperator, match=r"a table of pandas .* orient='records', lines=True"):
        describe(Source(path))


LANGUAGES = (
    ("cp1252", "Datum;Empfänger;Betrag", "Müller & Söhne, Überweisung"),
    ("cp1251", "Дата;Получатель;Сумма", "Перевод между счетами"),
    ("koi8-r", "Дата;Получатель;Сумма", "Перевод между счетами"),
    ("cp866", "Дата;Получатель;Сумма", "Перевод между счетами"),
    ("cp1253", "Ημερομηνία;Δικαιούχος;Ποσό", "Αγορά σε κατάστημα"),
    ("cp1255", "תאריך;שם המוטב;סכום", "העברה לחשבון אחר"),
    ("cp1256", "التاريخ;المستفيد;المبلغ", "تحويل إلى حساب آخر"),
    ("cp949", "거래일시;가맹점명;이용금액", "온라인 결제 가맹점"),
    ("cp932", "利用日;加盟店;利用金額", "オンラインのお支払い"),
    ("euc_jp", "利用日;加盟店;利用金額", "オンラインのお支払い"),
    ("gb18030", "交易时间;交易对方;金额", "网上购物付款"),
    ("big5", "交易時間;商店名稱;金額", "網路購物付款"),
)


@pytest.mark.parametrize(("encoding", "names", "text"), LANGUAGES, ids=[row[0] for row in LANGUAGES])
def test_the_encoding_of_a_language_is_found(tmp_path: Path, encoding: str, names: str, text: str) -> None:
    table = names + "\n" + "".join(f"2026-03-{day:02};{text} {day};{day}.50\n" for day in range(1, 29))
    path = put(tmp_path / "x.csv", table.encode(encoding))
    assert f"encoding {encoding};" in describe(Source(path))
    found = decoded(path)
    assert list(found[0]) == names.split(";")
    assert found[27][names.split(";")[1]] == f"{text} 28"


def test_spaces_in_numbers_do_not_hide_words_of_another_alphabet(tmp_path: Path) -> None:
    rows = "".join(f"США;ИМ{day};1\xa0{day}34\xa0567,89;2\xa0{day}00,00\n" for day in range(10, 60))
    path = put(tmp_path / "x.csv", f"Страна;Пост;Стоимость;Сумма\n{rows}".encode("cp1251"))
    assert "encoding cp1251;" in describe(Source(path))
    assert list(decoded(path)[0]) == ["Страна", "Пост", "Стоимость", "Сумма"]


def test_a_currency_in_each_line_is_no_letter_of_another_alphabet(tmp_path: Path) -> None:
    rows = "".join(f"{day:06};Gazole;{day},50 €;{day},20 €\n" for day in range(10, 60))
    path = put(tmp_path / "x.csv", f"N° carte;Produit;Montant HT;Payé\n{rows}".encode("cp1252"))
    assert "encoding cp1252;" in describe(Source(path))
    assert list(decoded(path)[0]) == ["N° carte", "Produit", "Montant HT", "Payé"]


def test_titles_filled_up_with_empty_cells_are_no_names(tmp_path: Path) -> None:
    table = "Report,,,\nPeriod 3,,,\n , , ,\nid,time,,amount\n" + "7,2026-03-01,,2.50\n" * 20
    path = put(tmp_path / "x.csv", table.encode())
    assert "2 rows before the header left out" in describe(Source(path))
    assert decoded(path)[0] == {"id": 7, "time": "2026-03-01", "column_3": None, "amount": 2.5}


def test_a_damaged_array_names_the_line(tmp_path: Path) -> None:
    path = put(tmp_path / "x.json", b'[\n {"a": 1},\n {"a": 2},\n {"a": }\n]')
    events = read_events(Source(path))
    with pytest.raises(NeedsOperator, match=r"x\.json, line 4: event 3 is not a complete JSON value"):
        list(events)


def test_a_quote_without_end_names_the_line(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", b'a,b\n1,2\n3,"4\n' + b"5,6\n" * 50_000)
    with pytest.raises(NeedsOperator, match=r"x\.csv, line \d+, .* a quote in it is opened and not closed"):
        list(read_events(Source(path)))


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_truncated_file_is_not_taken_for_whole(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    data = pack(as_lines(rows(20_000)))
    path = put(tmp_path / "x", data[: len(data) // 2])
    found: list[bytes] = []
    with closing(line_reader.LineReader(Source(path))) as lines:

        def read() -> None:
            while not lines.at_end:
                found.extend(lines.read(100))

        with pytest.raises(NeedsOperator, match="is damaged or truncated after line"):
            read()
    assert found[:100] == as_lines(rows(100)).splitlines()


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
@pytest.mark.parametrize("kind", ["lines", "array", "table"])
def test_a_damaged_file_is_freed_at_once(pack: Callable[[bytes], bytes], kind: str) -> None:
    kinds = {"lines": as_lines, "array": lambda events: json.dumps(events).encode(), "table": as_parquet}
    data = pack(kinds[kind](rows(200)))

    class Given(io.BytesIO):
        """What a file's objects hold, as long as one of them lives."""

    class OneFile:
        def name(self, _: int) -> str:
            return "x"

        def open(self, _: int) -> io.BufferedReader:
            given = Given(data[:-6])
            alive.append(weakref.ref(given))
            return io.BufferedReader(given)

    def trouble() -> str:  # not by pytest.raises, which keeps the exception
        try:
            with closing(EventFile(cast(Source, OneFile()), 0, 1 << 16)) as file:
                while file.read(100, 1 << 20):
                    pass
        except NeedsOperator as error:
            return str(error)
        return ""

    alive: list[weakref.ref[Given]] = []
    gc.disable()
    try:
        assert "is damaged or truncated" in trouble()
        assert [ref() for ref in alive] == [None]
    finally:
        gc.enable()


def test_names_say_what_is_packed(tmp_path: Path) -> None:
    for suffix, what in (("gz", "gzip"), ("zst", "zstd")):
        with pytest.raises(NeedsOperator, match=f"ends in .{suffix} but is not a {what} file"):
            describe(Source(put(tmp_path / f"x.{suffix}", b"{}")))


def test_several_frames_and_members_are_one_file(tmp_path: Path) -> None:
    for name, pack in PACKERS.items():
        data = pack(as_lines(rows(3))) + pack(as_lines(rows(2)))
        assert decoded(put(tmp_path / f"x.{name}", data)) == rows(3) + rows(2)


def test_a_folder_is_named_as_one(run: Run, tmp_path: Path) -> None:
    assert "/*.csv" in run("init-config", "--events", str(tmp_path), code=2)
