"""Files that nobody would draw, through every command: does each end well, and do they agree?

    python -m benchmarks.fuzz.commands --files 100 [--first 0] [--events 3000]

The seed of a file decides its names, the form of its values (times, numbers, what stands for a missing one),
its format, and what each column does in each stretch of it, as in `benchmarks.fuzz.streams`. `init-config
--yes` writes a configuration for it, `replay` scores it with labels and answers, and everything that reads
a replay's folder reads that: maps, reports, cards, checkpoints, `explain`, `similar`, `diff`, the console.
Commands run in this process.

What must hold
    - a command ends with 0, or with a sentence and an exit code of the user's (2) or an operator's (3);
    - each event is scored or rejected, and few are rejected of a file that `init-config` has read;
    - each alert fits its schema, each line of feedback has a receipt;
    - a replay that stops and goes on, `checkpoint verify`, `explain` and the Python API find the same scores;
    - every page of the console is served.

Prints a line per file that fails, with its seed, then every sentence that ended a command, with its number;
exit code 1 if a file failed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow
import pyarrow.parquet
import zstandard

from benchmarks.fuzz.streams import START_S, STRETCH, Draw, gap, numeric, settings, text
from detector import Detector, cli
from detector.config.load import load
from detector.config.tree import Config
from detector.console.access import Access
from detector.console.book import SqliteBook
from detector.console.database import Database
from detector.console.fold import Fold
from detector.console.web.app import make_app
from detector.shell.clock import SystemClock
from detector.shell.logs import get_logger
from detector.wiring.console.reading import read_folder, wanted
from tests.alerts import validator

NAMES = {
    "number": ("amount", "value", "Betrag", "金额", "price", "lat", "qty", "x1", "Solde (EUR)", "fee", "V3"),
    "text": ("card", "type", "Konto", "用户", "city", "mcc", "status", "user id", "Händler", "a/b", "device"),
    "time": ("time", "ts", "Datum", "date", "交易时间", "created_at", "Uhrzeit", "when"),
    "id": ("id", "tx_id", "Nr.", "reference", "uuid", "№", "event"),
    "label": ("is_fraud", "Class", "target", "fraud", "label"),
}
MISSING = ("", "NA", "null", "-", "n/a")
REJECTED_MAX = 0.1  # of the events of a file
PAGES = ("/cases", "/answers", "/audit", "/audit.csv", "/report", "/state", "/help", "/fresh")
CASES = 5  # whose pages are read
Table = list[dict[str, Any]]


# --- a file -------------------------------------------------------------------------------------------------


def _clock(rng: np.random.Generator) -> Callable[[float], Any]:
    """How times are written."""
    forms: list[Callable[[float], Any]] = [
        lambda s: datetime.fromtimestamp(s, UTC).isoformat().replace("+00:00", "Z"),
        lambda s: f"{datetime.fromtimestamp(s, UTC):%Y-%m-%d %H:%M:%S}",
        lambda s: f"{datetime.fromtimestamp(s, UTC):%d.%m.%Y %H:%M}",
        lambda s: f"{datetime.fromtimestamp(s, UTC):%m/%d/%Y %I:%M:%S %p}",
        lambda s: f"{datetime.fromtimestamp(s, UTC):%Y%m%d}",
        lambda s: int(s),
        lambda s: int(s * 1000),
        lambda s: round(s, 3),
        lambda s: int((s - START_S) // 3600),
    ]
    return forms[rng.integers(len(forms))]


def _written(rng: np.random.Generator) -> Callable[[Any], Any]:
    """How numbers are written."""

    def formatted(form: str, *swaps: tuple[str, str]) -> Callable[[Any], Any]:
        def write(value: Any) -> Any:
            if value is None or abs(value) > 1e15:
                return value
            done = form.format(float(value))
            return done.translate(str.maketrans(dict(swaps)))

        return write

    forms: list[Callable[[Any], Any]] = [
        lambda value: value,
        formatted("{:.2f}"),
        formatted("{:,.2f}"),
        formatted("{:,.2f}", (",", "."), (".", ",")),
        formatted("{:.2f}", (".", ",")),
        formatted("${:,.2f}"),
        formatted("{:.2f} EUR"),
    ]
    return forms[rng.choice(len(forms), p=[0.4, *[0.1] * 6])]


def table(seed: int, events: int) -> Table:
    """Rows of the file of a seed; each value as it is written, None: missing."""
    rng = np.random.default_rng(seed)
    numbers, texts = int(rng.integers(0, 6)), int(rng.integers(0, 6))
    kinds = {"number": max(numbers, not texts), "text": texts, "id": int(rng.random() < 0.7)}
    kinds |= {"time": int(rng.random() < 0.85), "label": int(rng.random() < 0.3)}
    columns = {
        name: kind for kind, count in kinds.items() for name in rng.permutation(NAMES[kind])[:count].tolist()
    }
    names = rng.permutation(list(columns)).tolist()
    clock = _clock(rng)
    written = {name: _written(rng) for name in names}
    identity: list[Draw] = [lambda n: n, lambda n: f"T{n:07}", lambda n: f"{n * 7919:032x}", lambda n: n // 2]
    named, frauds = (
        identity[rng.integers(len(identity))],
        (("Y", "N"), (1, 0), ("fraud", "ok"))[rng.integers(3)],
    )
    rows, time, left = Table(), START_S, 0
    draws: dict[str, Draw] = {}
    for number in range(events):
        if not left:
            left = int(rng.integers(*STRETCH))
            draws = {
                name: {"number": numeric, "text": text}.get(kind, text)(rng) for name, kind in columns.items()
            }
            ahead = gap(rng)
        left -= 1
        time = max(time + ahead(number), START_S)
        row: dict[str, Any] = {}
        for name in names:
            kind = columns[name]
            if kind == "time":
                row[name] = clock(time)
            elif kind == "id":
                row[name] = named(number)
            elif kind == "label":
                row[name] = frauds[int(rng.random() > 0.02)]
            else:
                value = draws[name](number)
                row[name] = written[name](value) if kind == "number" else value
        rows.append(row)
    return rows


def write(rows: Table, folder: Path, seed: int) -> Path:
    """Write rows in a format that the seed decides."""
    rng = np.random.default_rng(seed + 1)
    form = rng.choice(["csv", "jsonl", "json", "parquet", "nested"])
    if form == "parquet":
        columns = {name: pyarrow.array(_of_one_type([row[name] for row in rows])) for name in rows[0]}
        path = folder / "events.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return path
    if form == "csv":
        data = _csv(rows, rng)
    elif form == "json":
        data = json.dumps(rows, indent=int(rng.integers(0, 2)) or None).encode()
    else:
        shown = [{"kind": "x", "data": {"object": row}} for row in rows] if form == "nested" else rows
        data = "\n".join(json.dumps(row, ensure_ascii=bool(rng.integers(2))) for row in shown).encode()
    packed: tuple[str, Callable[[bytes], bytes]] = (
        ("", bytes),
        (".gz", gzip.compress),
        (".zst", zstandard.compress),
    )[rng.choice(3, p=[0.8, 0.1, 0.1])]
    path = folder / f"events.{'csv' if form == 'csv' else 'json' if form == 'json' else 'jsonl'}{packed[0]}"
    path.write_bytes(packed[1](data))
    return path


def _of_one_type(values: Sequence[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} and all(abs(value) < 2**63 for value in values if value is not None):
        return list(values)
    convert = float if kinds <= {int, float} else str
    return [None if value is None else convert(value) for value in values]


def _csv(rows: Table, rng: np.random.Generator) -> bytes:
    missing = MISSING[rng.integers(len(MISSING))]
    delimiter = ",;\t|"[rng.integers(4)]
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=("\n", "\r\n")[rng.integers(2)])
    writer.writerow(rows[0])
    writer.writerows([missing if value is None else value for value in row.values()] for row in rows)
    said = stream.getvalue()
    encoding = ("utf-8", "utf-8-sig", "utf-16", "latin-1")[rng.choice(4, p=[0.6, 0.2, 0.1, 0.1])]
    return said.encode(encoding, "replace")


# --- commands -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: object
    said: str  # on both streams


class Runs:
    """Commands over one file."""

    def __init__(self, folder: Path, sentences: Counter[str]) -> None:
        self.folder = folder
        self._sentences = sentences

    def run(self, *arguments: object, good: Sequence[int] = (0,)) -> Done:
        """Run a command; one of the codes is wanted."""
        words = [str(argument) for argument in arguments]
        said = io.StringIO()
        with (
            patch.object(sys, "argv", ["detector", *words]),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code
        done = Done(code, said.getvalue())
        if code != 0:
            short = re.sub(r"\s+", " ", done.said.replace(str(self.folder), "")).strip()
            self._sentences[f"{code} {words[0]} {words[1]}: {short[:300]}"] += 1
        assert code in good, f"{' '.join(words)}: {done}"
        assert code == 0 or done.said.strip(), f"{words}: ended with {code} and no word"
        return done


SAID = (0, 2, 3)


def through(rows: Table, seed: int, folder: Path, sentences: Counter[str]) -> None:
    """Take a file through all commands."""
    runs, config = Runs(folder, sentences), folder / "my.yaml"
    events, labels = write(rows, folder, seed), folder / "labels.jsonl"
    wishes = ("--labels-out", labels) if np.random.default_rng(seed).random() < 0.5 else ()
    done = runs.run("init-config", "--events", events, "--yes", "--out", config, *wishes, good=SAID)
    if done.code != 0 and wishes:
        done = runs.run("init-config", "--events", events, "--yes", "--out", config, good=SAID)
    if done.code != 0:
        return
    _settle(config, seed)
    runs.run("check-config", config)
    replayed = Replayed(runs, config, events, seed, len(rows))
    replayed.once(labels if labels.exists() else None)
    replayed.looked_at()
    _same_in_python(replayed)
    _pages(load(config), replayed.outputs)


def _settle(config: Path, seed: int) -> None:
    """Add settings that nobody would choose, to every other configuration."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        model = settings(rng)
        sections = {"alerts": model.pop("alerts"), "model": model}
        with config.open("a") as file:
            file.writelines(f"{name}: {json.dumps(section)}\n" for name, section in sections.items())


class Replayed:
    """A replay, and what reads it."""

    def __init__(self, runs: Runs, config: Path, events: Path, seed: int, count: int) -> None:
        self._runs, self.config, self.events, self._count = runs, config, events, count
        self.rng = np.random.default_rng(seed)
        self.partitions = int(self.rng.choice([1, 1, 3]))
        self.outputs, self.unanswered = runs.folder / "outputs", runs.folder / "unanswered"
        self._checkpoints = runs.folder / "checkpoints"
        self.feedback: Path | None = None

    def once(self, labels: Path | None) -> None:
        """Replay, and check what was written."""
        runs = self._runs
        for folder in (self.outputs, self.unanswered):
            folder.mkdir()
        self._replay(self.unanswered, "--checkpoint-dir", runs.folder / "first")
        alerts = _lines(self.unanswered / "alerts.jsonl")
        self.feedback = runs.folder / "feedback.jsonl"
        answers = self._answers(alerts) + (labels.read_text().splitlines() if labels is not None else [])
        self.feedback.write_text("".join(f"{line}\n" for line in answers))
        said = self._replay(self.outputs, "--checkpoint-dir", self._checkpoints, "--feedback", self.feedback,
                            "--receipts", self.outputs / "receipts.jsonl").said  # fmt: skip
        self._accounted(said)
        receipts = _lines(self.outputs / "receipts.jsonl")
        assert len(receipts) == len(answers), f"{len(receipts)} receipts of {len(answers)} lines"
        for alert in _lines(self.outputs / "alerts.jsonl"):
            validator().validate(alert)

    def _replay(self, into: Path, *more: object) -> Done:
        names = ("scores.csv", "alerts.jsonl", "case-updates.jsonl", "rejected.jsonl")
        files = [word for name in names for word in (f"--{name.partition('.')[0]}", into / name)]
        shared = ("--set", "topics.exchange=exchange") if self.partitions > 1 else ()
        return self._runs.run("replay", "--config", self.config, "--events", self.events,
                              "--partitions", self.partitions, *shared, *files, *more)  # fmt: skip

    def _answers(self, alerts: Sequence[Mapping[str, Any]]) -> list[str]:
        answers = []
        for alert in alerts:
            if self.rng.random() < 0.5:
                label = ("fraud", "legitimate")[self.rng.integers(2)]
                time = alert["event_time"]
                answers.append({"alert_id": alert["alert_id"], "label": label, "time": time, "actor": "ann"})
        return [*map(json.dumps, answers), "not json", '{"kind": "label"}']

    def _accounted(self, said: str) -> None:
        scored = len(list(csv.reader((self.outputs / "scores.csv").open()))) - 1
        rejected = len(_lines(self.outputs / "rejected.jsonl"))
        assert scored + rejected == self._count, f"{scored} scored, {rejected} rejected: {said}"
        assert rejected <= REJECTED_MAX * self._count, f"{rejected} rejected: {said}"

    def looked_at(self) -> None:
        """Run everything that reads a replay."""
        runs, config, out = self._runs, ("--config", self.config), self._runs.folder / "out"
        out.mkdir()
        place: tuple[object, ...] = ("--events", self.events, "--checkpoint-dir", self._checkpoints)
        place += ("--feedback", self.feedback)
        named = (*config, "--partition", int(self.rng.integers(self.partitions)))
        for name in ("map.html", "map.svg"):
            runs.run("embedding", "map", *named, *place, "--out", out / name, good=SAID)
        for name in ("report.html", "report.json"):
            runs.run("embedding", "report", *named, *place, "--out", out / name, good=SAID)
        runs.run("model", "list", *config, *place, good=SAID)
        for name in ("card.md", "card.json"):
            runs.run("model", "show", *named, *place, "--card", out / name, good=SAID)
        runs.run("drift", "report", *config, *place[2:4], "--out", out / "drift.html", good=SAID)
        receipts, scores = self.outputs / "receipts.jsonl", self.outputs / "scores.csv"
        runs.run("report", "bias", *config, *place[:4], "--scores", scores, "--receipts", receipts,
                 "--out", out / "bias.html", good=SAID)  # fmt: skip
        runs.run("checkpoint", "verify", *named, *place, good=SAID[:2])
        for alert in _lines(self.outputs / "alerts.jsonl")[-2:]:
            source = alert["source"]
            where = ("--partition", source["partition"], "--offset", source["offset"])
            said = runs.run("explain", *config, *place, *where, good=SAID).said
            assert "published" not in said or "differ" not in said, said
            runs.run("similar", *config, *place, "--alert", alert["alert_id"], good=SAID)
        before = (self.unanswered / "alerts.jsonl").read_bytes()
        self._replay(self.unanswered, "--checkpoint-dir", self._runs.folder / "first", "--resume")
        assert (self.unanswered / "alerts.jsonl").read_bytes() == before, "a replay at its end went on"
        runs.run("diff", self.outputs / "alerts.jsonl", self.unanswered / "alerts.jsonl", good=SAID)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open()]


def _same_in_python(replayed: Replayed) -> None:
    """`Detector` gives the scores of `replay`, however its calls cut the table."""
    if replayed.partitions > 1 or replayed.events.suffix != ".parquet":
        return
    frame = pyarrow.parquet.read_table(replayed.events)
    detector, found, start = Detector.from_config(replayed.config), list[float](), 0
    while start < len(frame):
        piece = frame.slice(start, int(replayed.rng.integers(1, 2000)))
        start += len(piece)
        found += [one for one in detector.replay(piece)["score"].to_pylist() if one is not None]
        detector.score(frame.slice(int(replayed.rng.integers(len(frame))), 50))
        detector.versions()
    with (replayed.unanswered / "scores.csv").open() as rows:
        published = [float(row["score"]) for row in csv.DictReader(rows)]
    assert found == published, f"{len(found)} scores in Python, {len(published)} by replay, or others"
    path = replayed.config.parent / "saved.bin"
    detector.save(path)
    last = frame.slice(max(len(frame) - 100, 0))
    here, there = detector.score(last)["score"], Detector.load(path).score(last)["score"]
    assert here.equals(there), "a loaded detector scores otherwise"


def _pages(config: Config, folder: Path) -> None:
    """Every page of the console over a folder."""
    from starlette.testclient import TestClient

    clock, log = SystemClock(), get_logger("fuzz")
    with contextlib.closing(Database(folder.parent / "console.db", "a replay")) as database:
        fold = Fold(database, wanted(config), days=365.0 * 200, rows=100_000)
        read_folder(fold, folder, log)
        book = SqliteBook(
            database, fold, clock, log, topic="transactions", send=None, originals=None, why="fuzz"
        )
        access = Access(config.console, b"k" * 32, clock)
        app = make_app(
            book=book,
            access=access,
            key=b"k" * 32,
            clock=clock,
            log=log,
            replicas=list,
            maps=None,
            masked=(),
        )
        http = TestClient(app, base_url="http://127.0.0.1:9470")
        queue = http.get("/cases").text
        cases = list(dict.fromkeys(re.findall(r"/cases/[\w.%-]+", queue)))[:CASES]
        for page in (*PAGES, *cases, *(f"{case}/originals" for case in cases)):
            answer = http.get(page)
            assert answer.status_code == 200, f"{page}: {answer.status_code} {answer.text[:300]}"


def failure(seed: int, events: int, sentences: Counter[str]) -> str:
    """What fails on the file of a seed; empty: nothing."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            through(table(seed, events), seed, Path(folder), sentences)
        except Exception:  # noqa: BLE001 - any is a find
            return traceback.format_exc()
    return ""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=100, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--events", type=int, default=3_000, help="of each file")
    options = parser.parse_args()
    failed, sentences = 0, Counter[str]()
    for seed in range(options.first, options.first + options.files):
        if found := failure(seed, options.events, sentences):
            failed += 1
            print(f"file {seed}: {found}", flush=True)
    for sentence, count in sentences.most_common():
        print(f"{count} x {sentence}")
    print(f"{options.files} files of {options.events:,} events, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
