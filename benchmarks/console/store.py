"""The console's database with many alerts: what reading and pages take, and whether kills change it.

    python -m benchmarks.console.store
    python -m benchmarks.console.store --alerts 20000 --kills 5

Made-up alerts, as large as real ones (some 3 kB), three to a case, with updates, and answers to a fifth of
the cases. They are read in batches of 500, as Kafka gives them, in a process of its own, whose peak memory is
that of rebuilding. Then the queue is asked in every order, with each kind of filter and behind a cursor, and
cases are opened. At last the same records are read by processes that are killed at random moments, and the
tables are compared with those of one reading.

Times are CPU time, as the machine may be busy; those of the wall stand beside them.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.speed.common import about
from detector.console import filters, queries, statistics
from detector.console.database import Database
from detector.console.fold import Fold
from detector.console.reading import Told
from detector.console.views import Filter
from detector.core.alerts.score_record import iso
from tests.unit.console_world import T0, TABLES, WANTED, alert, labelled, told, update

BATCH = 500
RECENT = 20
TIMES = 5  # of each query
LATER_S = T0 + 1e9  # the time of all queries; every snooze is over by then


def records(count: int) -> Iterator[Told]:
    """Records of `count` alerts, with updates and answers."""
    rng = random.Random(7)
    offsets = {"alerts": 0, "case_updates": 0, "feedback": 0}
    codes = ("window", "earlier", "speed", "first_contact", "little_history", "small", "frauds_there")

    def one(kind: Any, body: Any, at_s: float) -> Told:
        offsets[kind] += 1
        return told(kind, offsets[kind] - 1, body, at_s=at_s)

    for n in range(count):
        case, at_s = n - n % 3, T0 + 20.0 * n
        body = alert(
            n,
            case,
            time_s=at_s - 2,
            number=n % 3 + 1,
            severity=rng.choice(("low", "low", "medium", "high", "critical")),
            amount=round(rng.lognormvariate(5, 1), 2),
            priority=round(rng.lognormvariate(2, 2), 6),
            card=f"C{rng.randrange(count // 4)}",
            merchant=f"M{rng.randrange(count // 20)}",
            channel=rng.choice(("web", "pos", "atm")),
            codes=rng.sample(codes, 3),
        )
        body["recent"] = [
            {"offset": n - k, "time": iso(at_s - 900.0 * k), "amount": round(rng.lognormvariate(4, 1), 2),
             "score": rng.random() * 3}
            for k in range(RECENT)
        ]  # fmt: skip
        body["summary"]["sentences"] = [
            f"This is sentence {k} of an alert, as long as they are." for k in range(6)
        ]
        yield one("alerts", body, at_s)
        if n % 3 == 2 and n % 2:
            yield one("case_updates", update(case, 1, events=6, time_s=at_s), at_s + 1)
        if n % 15 == 2:
            label = labelled(case, rng.choice(("fraud", "legitimate")), at_s=at_s + 60, id_=f"f{n}")
            yield one("feedback", label, at_s + 60)


def read(path: Path, count: int) -> None:
    """Read all records that were not read yet."""
    began_s = time.process_time()
    database = Database(path, "a benchmark")
    fold = Fold(database, WANTED, days=3650, rows=10_000_000)
    reached = fold.positions()
    batch: list[Told] = []
    for one in records(count):
        if one.offset >= reached.get((one.topic, one.partition), 0):
            batch.append(one)
        if len(batch) == BATCH:
            fold.add(batch)
            batch = []
    fold.add(batch)
    database.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time() - began_s)


def reading(path: Path, count: int) -> subprocess.Popen[str]:
    """A process that reads."""
    command = [sys.executable, "-m", "benchmarks.console.store", "--read", str(path), "--alerts", str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def timed(database: Database, ask: Callable[[Any], object]) -> list[tuple[float, float]]:
    """Milliseconds of a query, by the CPU and by the wall, several times."""
    found = []
    for _ in range(TIMES):
        began = time.process_time(), time.perf_counter()
        with database.reading() as connection:
            ask(connection)
        found.append((1000 * (time.process_time() - began[0]), 1000 * (time.perf_counter() - began[1])))
    return found


def measure(path: Path) -> None:
    """Print what pages take."""
    database = Database(path, "a benchmark")
    every = tuple(filters.STATES)
    asked = [Filter(order=order, descending=way) for order in filters.ORDERS for way in (True, False)]
    asked += [
        Filter(states=every), Filter(severity=3), Filter(code="speed"), Filter(segment=("channel", "atm")),
        Filter(text="C77"), Filter(text="nothing"), Filter(assignee="ann", states=every), Filter(assignee=""),
        Filter(amount_min=100, amount_max=200), Filter(since_s=T0 + 1e6), Filter(states=("answered",)),
        Filter(code="speed", severity=2, text="C1", order="sum"),
    ]  # fmt: skip
    rng = random.Random(3)
    with database.reading() as connection:
        ids = queries.selected(connection, Filter(states=every), 1_000_000, LATER_S)
        places = {one: queries.queue(connection, one, None, 500, LATER_S).next for one in asked}
    queue: list[tuple[float, float]] = []
    for one in asked:
        for after in (None, places[one]):
            queue += timed(
                database, lambda c, one=one, after=after: queries.queue(c, one, after, 50, LATER_S)
            )
    cases = [
        took
        for id_ in rng.sample(ids, 40)
        for took in timed(database, lambda c, id_=id_: queries.case(c, id_, Filter(), LATER_S))
    ]
    parts: Sequence[tuple[str, list[tuple[float, float]]]] = (
        ("queue, a page of 50", queue),
        ("case, with the next of the queue", cases),
        ("choices of filters", timed(database, statistics.choices)),
        ("statistics of answers", timed(database, statistics.answered)),
        ("audit, a page of 100", timed(database, lambda c: queries.acts(
            c, actor=None, case_id=None, entity=None, after=None, limit=100))),
    )  # fmt: skip
    for name, took in parts:
        (middle, high), (_, wall) = (
            (median(one), quantiles(one, n=20)[-1]) for one in zip(*took, strict=True)
        )
        print(
            f"{name}: median {middle:.1f} ms, p95 {high:.1f} ms (by the wall {wall:.1f}), {len(took)} times"
        )
    database.close()


def dump(path: Path) -> list[Any]:
    """All that a database holds."""
    database = Database(path, "a benchmark")
    with database.reading() as connection:
        found = [
            sorted((tuple(row) for row in connection.execute(f"SELECT * FROM {table}")), key=repr)
            for table in (*TABLES, "positions")
        ]
    database.close()
    return found


def kill(folder: Path, count: int, kills: int) -> None:
    """Read with kills, and compare."""
    whole, killed, rng, done = folder / "whole.db", folder / "killed.db", random.Random(1), 0
    began_s = time.perf_counter()
    assert reading(whole, count).wait() == 0
    lasts_s = time.perf_counter() - began_s
    while done < kills:
        process = reading(killed, count)
        try:
            process.wait(rng.uniform(0.2, 1.0) * lasts_s)
            killed.unlink()  # it was done: begin anew
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
    assert reading(killed, count).wait() == 0
    print(
        f"{done} kills while {count:,} alerts are read: "
        f"{'equal' if dump(killed) == dump(whole) else 'DIFFERENT'}"
    )


def main() -> None:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--alerts", type=int, default=100_000)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.read is not None:
        read(given.read, given.alerts)
        return
    print(about())
    with TemporaryDirectory() as name:
        path = Path(name) / "console.db"
        sizes = [len(one.value or b"") for one in records(3000) if one.kind == "alerts"]
        began_s = time.perf_counter()
        process = reading(path, given.alerts)
        peak, cpu = map(float, process.communicate()[0].split())
        took_s = time.perf_counter() - began_s
        print(
            f"{given.alerts:,} alerts of {sum(sizes) / len(sizes):,.0f} bytes: "
            f"read in {cpu:.1f} s of CPU time ({took_s:.0f} s by the wall), "
            f"peak memory {peak / 1024:.0f} MiB, file {os.path.getsize(path) / 2**20:.0f} MiB"
        )
        measure(path)
        kill(Path(name), min(given.alerts, 5000), given.kills)


if __name__ == "__main__":
    main()
