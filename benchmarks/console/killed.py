"""Two analysts work in the console while the daemon, the console and broker connections are killed.

    python -m benchmarks.console.killed --kills 50

On a real Kafka, under steady traffic, two scripted analysts open cases from one queue and answer, snooze,
note, take and close them, some of them twice by a second click. In turn the daemon is killed (-9), the
console is, and all connections of both to the broker are reset, at random moments. An analyst who gets no
answer sends the same form again, as a browser does after a reload, until there is one.

At the end
- each act that an analyst was told of is in the feedback topic, and none that nobody did;
- no act is there twice, or a second copy had no effect: each has exactly one receipt that is no `duplicate`;
- each feedback record has exactly one receipt, and all outputs of the service are those of an undisturbed
  replay, each once;
- the console's database is that of one reading of the topics from their beginning, table by table, and shows
  the same cases.

Prints a line per kill and a summary; exit code 1 if a check fails. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.analysts import check_all
from benchmarks.chaos.killed import CONFIG, SIDES, with_feedback
from benchmarks.chaos.traffic import Traffic
from benchmarks.console.client import Answer, ConsoleProcess, Person, hidden, ids_told
from detector.console.tokens import make_token
from detector.console.views import Filter
from tests.kafka.audit import side_records
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.proxied import PORTS
from tests.kafka.proxy import Proxy
from tests.kafka.test_console import console as reading
from tests.kafka.test_console import dump
from tests.kafka.waiting import poll_until

PARTITIONS = 2
NAMES = ("ann", "bob")
EVERY = Filter(states=("open", "answered", "closed", "snoozed"))
QUEUES = ("", "order=time", "order=severity", "state=all", "state=all&order=time")
PATIENCE_S = 600.0


@dataclass(kw_only=True)
class Done:
    """What all analysts did, and what they saw."""

    ids: dict[str, str] = field(default_factory=dict)  # feedback id -> who was told of it
    acts: Counter[str] = field(default_factory=Counter)
    told: int = 0  # somebody else was faster
    again: int = 0  # forms sent again, after no answer
    twice: int = 0  # forms sent twice on purpose
    wrong: list[str] = field(default_factory=list)


class Analyst(threading.Thread):
    """Works the queue until `finish`."""

    def __init__(self, url: str, name: str, token: str, done: Done, *, seed: int, pause_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._person, self._token, self._done = Person(url, name), token, done
        self._rng, self._pause_s = random.Random(seed), pause_s
        self._stopping = threading.Event()

    def run(self) -> None:
        """Open a case, act, and go on."""
        try:
            self._person.log_in(self._token)
            while not self._stopping.wait(self._pause_s * self._rng.random() * 2):
                fields = self._form()
                if fields is not None:
                    self._act(fields)
        except BaseException as error:
            self._done.wrong.append(f"{self.name} ended: {error!r}")
            raise

    def finish(self) -> None:
        """End the thread, once its last act is answered."""
        self._stopping.set()
        self.join(300)

    def _form(self) -> dict[str, str] | None:
        """The form of a case, filled in; None: nobody answers, or there is no case."""
        try:
            ids = self._person.cases(self._rng.choice(QUEUES))[:5]  # both look at the same few
            if not ids:
                return None
            page = self._person.case(self._rng.choice(ids))
        except OSError:
            return None
        found = {name: hidden(page, name) for name in ("form", "case", "version", "queue")}
        if found["form"] is None or found["case"] is None:
            return None
        act, more = self._rng.choice(
            [
                ("fraud", {}), ("fraud", {}), ("legitimate:travel", {}), ("legitimate:other", {}),
                ("retract", {}), ("take", {}), ("close:duplicate", {}), ("snooze", {"days": "1"}),
                ("note", {"note": f"note {self._rng.randrange(1_000_000)} of {self.name}"}),
            ]
        )  # fmt: skip
        self._done.acts[act.partition(":")[0]] += 1
        return {name: value or "" for name, value in found.items()} | {"act": act, **more}

    def _act(self, fields: dict[str, str]) -> None:
        answer = self._insist(fields)
        if answer.status == 409:
            self._done.told += 1
            return
        if answer.status != 303:
            self._done.wrong.append(f"{self.name}: {fields['act']} on {fields['case']}: {answer.status}")
            return
        ids = ids_told(answer)
        self._done.ids |= dict.fromkeys(ids, self.name)
        if self._rng.random() < 0.1:
            self._done.twice += 1
            answer = self._insist(fields)
            if answer.status != 303 or ids_told(answer) != ids:
                self._done.wrong.append(f"{self.name}: a form sent twice: {answer.status}, first {ids}")

    def _insist(self, fields: dict[str, str]) -> Answer:
        """Send a form until somebody answers it."""
        began = time.monotonic()
        while True:
            try:
                answer = self._person.post("/acts", fields)
                if answer.status != 503:
                    return answer
            except OSError:
                pass
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError("nobody answers")
            self._done.again += 1
            time.sleep(0.3)


class Run:
    """The processes, and what kills them."""

    def __init__(self, deployment: Deployment, proxy: Proxy, folder: Path) -> None:
        self._deployment, self._proxy = deployment, proxy
        tokens = folder / "console.tokens"
        self.tokens = {name: make_token(tokens, name, "analyst") for name in NAMES}
        self.console = ConsoleProcess(
            deployment.config, folder, "console.mode=token", f"console.tokens={tokens}",
            module=deployment.module,
        )  # fmt: skip
        self.daemon: Daemon = deployment.start()

    def kill(self, what: str) -> None:
        """Kill one, and start it again."""
        match what:
            case "daemon":
                self.daemon.kill()
                self.daemon = self._deployment.start()
            case "console":
                self.console.kill()
                self.console.start()
            case _:
                self._proxy.reset()

    def check_alive(self, wrong: list[str]) -> None:
        """Processes must not end by themselves."""
        for name, alive, log in (
            ("daemon", self.daemon.alive, self.daemon.log()),
            ("console", self.console.process.poll() is None, self.console.log_file.read_text()),
        ):
            if not alive:
                wrong.append(f"the {name} ended: {log[-1000:]}")

    def work(self, done: Done, options: argparse.Namespace) -> None:
        """Let the analysts work, and kill."""
        rng = random.Random(options.seed)
        self.console.await_pages()
        if not poll_until(self.daemon.ready, timeout_s=PATIENCE_S):
            raise SystemExit(f"the daemon is not ready: {self.daemon.log()[-2000:]}")
        analysts = [
            Analyst(self.console.url, who, token, done, seed=options.seed * 10 + n, pause_s=options.pause)
            for n, (who, token) in enumerate(self.tokens.items())
        ]
        for analyst in analysts:
            analyst.start()
        for number in range(1, options.kills + 1):
            what = ("console", "daemon", "connections")[number % 3]
            time.sleep(rng.uniform(2.0, 8.0))
            self.check_alive(done.wrong)
            self.kill(what)
            print(f"kill {number}: {what}; {len(done.ids)} acts, load {os.getloadavg()[0]:.1f}", flush=True)
            if what == "daemon":
                poll_until(lambda: self.daemon.owns() == PARTITIONS, timeout_s=PATIENCE_S)
        self.console.await_pages()
        for analyst in analysts:
            analyst.finish()

    def finish(self, done: Done) -> None:
        """Wait until everything is processed and answered, and end both in order."""
        deployment = self._deployment
        deployment.await_done(PATIENCE_S)
        feedback = len(side_records(deployment.bootstrap, deployment.topics["feedback"]))

        def answered() -> bool:
            return len(deployment.published("receipts")) >= feedback

        if not poll_until(answered, timeout_s=120, interval_s=2):
            done.wrong.append("feedback without a receipt at the end")
        if self.console.stop() != 0:
            done.wrong.append("the console did not end with code 0")
        self.daemon.stop()

    def stop(self) -> None:
        """End the processes."""
        self.daemon.kill()
        self.console.kill()


def check_acts(deployment: Deployment, done: Done) -> list[str]:
    """Compare what analysts were told with the topics."""
    records = [
        json.loads(value)
        for _, value in side_records(deployment.bootstrap, deployment.topics["feedback"])
        if value
    ]
    ours = Counter(one["feedback_id"] for one in records if one.get("actor") in NAMES)
    counted = Counter(
        body["feedback"]["feedback_id"]
        for body in (json.loads(record.value) for record in deployment.published("receipts"))
        if body["feedback"]["actor"] in NAMES and body["outcome"] != "duplicate"
    )
    lost, foreign = done.ids.keys() - ours.keys(), ours.keys() - done.ids.keys()
    copies = sum(count - 1 for count in ours.values())
    print(
        f"{len(done.ids)} acts told as sent, {len(ours)} in the topic, {copies} second copies there; "
        f"{done.again} forms sent again, {done.twice} twice on purpose, {done.told} times told of another"
    )
    wrong = [f"{len(lost)} acts lost: {sorted(lost)[:3]}"] if lost else []
    wrong += [f"{len(foreign)} acts that nobody was told of: {sorted(foreign)[:3]}"] if foreign else []
    if counted != Counter(ours.keys()):
        more = {one: count for one, count in counted.items() if count > 1}
        wrong.append(
            f"acts without exactly one receipt that counts: {more or (ours.keys() - counted.keys())}"
        )
    return wrong


def check_fold(deployment: Deployment, folder: Path, database: Path) -> list[str]:
    """Compare the database of the killed console with one reading of the topics."""
    feedback = len(side_records(deployment.bootstrap, deployment.topics["feedback"]))
    receipts = len(deployment.published("receipts"))
    with reading(deployment, folder / "once.db") as one, reading(deployment, database) as other:
        for book in (one, other):

            def whole(book: object = book) -> bool:
                facts = dump(book._database.path)  # type: ignore[attr-defined]
                return len(facts["acts"]) >= feedback and len(facts["receipts"]) >= receipts

            if not poll_until(whole, timeout_s=120, interval_s=1.0):
                return ["the topics were not read to their ends"]
        shown = [[book.case(row.id) for row in book.queue(EVERY, limit=500).rows] for book in (one, other)]
    print(f"{len(shown[0])} cases, {sum(view.row.answer is not None for view in shown[0])} of them answered")
    wrong = [] if shown[0] == shown[1] else ["cases differ from one reading of the topics"]
    tables, expected = dump(database), dump(folder / "once.db")
    for name, rows in expected.items():
        if tables[name] != rows:
            differ = (
                [one for one in tables[name] if one not in rows][:2],
                [one for one in rows if one not in tables[name]][:2],
            )
            wrong.append(f"table {name} differs: {differ[0]}, and of one reading {differ[1]}")
    return wrong


def main() -> int:
    """Run the kills and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rate", type=float, default=60.0, help="events per s")
    parser.add_argument("--pause", type=float, default=0.5, help="between two acts of an analyst, s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends all processes
    done, began = Done(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="detector-console-killed-") as name,
        KafkaBroker() as broker,
        Deployment(
            broker.bootstrap,
            folder := Path(name),
            "killed",
            partitions=PARTITIONS,
            config=CONFIG | with_feedback(name),
            module="tests.kafka.proxied",
            sides=SIDES,
        ) as deployment,
    ):
        port = int(broker.bootstrap.rpartition(":")[2])
        proxy = Proxy(port)
        os.environ[PORTS] = f"{port}:{proxy.port}"
        traffic = Traffic(deployment, seed=options.seed, events_per_s=options.rate)
        run = Run(deployment, proxy, folder)
        try:
            traffic.start()
            run.work(done, options)
            traffic.finish()
            run.finish(done)
            done.wrong += check_acts(deployment, done)
            done.wrong += check_fold(deployment, folder, run.console.database)
            done.wrong += check_all(deployment)
        finally:
            run.stop()
            proxy.close()
    print(
        f"{options.kills} kills in {time.monotonic() - began:.0f} s, acts by kind {dict(done.acts)}; "
        f"{len(done.wrong)} wrong"
    )
    for text in done.wrong:
        print(f"- {text}")
    return 1 if done.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
