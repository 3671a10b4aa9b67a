"""Every query of the dashboards on a real run: `python -m benchmarks.operations.live --pictures docs/images`.

A real broker, two daemons, `detector notify`, a real Prometheus. Traffic runs, analysts answer; amounts are
then multiplied, a producer sends records that are no events, values that cannot be read and new ones, and the
broker is killed and started again. Afterwards every query of every panel, with its variables filled in, every
recorded series and every series that an alert asks for is asked over the run:

- it must return numbers;
- what a panel is for must be seen in it (`CLAIMS`).

The exemplars that Prometheus stored name events: `detector explain` must compute the newest of them again.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from benchmarks.operations.pictures import draw
from benchmarks.operations.servers import ROOT, RULES, Hook, Prometheus, notifying
from benchmarks.operations.traffic import Analysts, Traffic
from tests.kafka.broker import PLAINTEXT, KafkaBroker
from tests.kafka.daemons import HANDBOOK_EVENT, Daemon, Deployment
from tests.kafka.waiting import poll_until

GRAFANA = ROOT / "deploy" / "grafana"
CONFIG = {
    "commit_interval_ms": 50,
    "model": {
        "barriers": {"block_events": 64, "every_events": 2048, "early_events_min": 256},
        "calibration": {"warm_up_events": 2048},
    },
    "alerts": {"budget": {"share": 0.01}, "exploration_share": 0.3},
}
MORE_FIELDS = [
    {"name": "channel", "path": "CHANNEL", "type": "categorical"},
    {"name": "distance", "path": "DISTANCE", "type": "numeric"},
]
KAFKA = {"session_timeout_ms": 8000, "transaction_timeout_ms": 4000}
STEP_S = 5
STEADY_S, DRIFT_S, OUTAGE_S, CALM_S = 120.0, 150.0, 30.0, 60.0
HISTORY_EVENTS = 130_000  # drift is judged after eight days of event time, and from panes of 2,048 events
SELECTOR = re.compile(r"\b(?:\w+:\w+:\w+|detector_\w+|process_\w+|up)\b(?:\{[^}]*\})?")
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "30s"}

Answer = list[dict[str, Any]]


def numbers(answer: Answer) -> list[float]:
    """All known values of an answer."""
    found = (float(value) for series in answer for _, value in series["values"])
    return [value for value in found if not math.isnan(value)]


def _above(limit: float) -> Callable[[list[float]], bool]:
    return lambda values: max(values) > limit


CLAIMS: dict[tuple[str, str], tuple[str, Callable[[list[float]], bool]]] = {
    ("detector-service", "Ready"): ("the outage", lambda values: min(values) == 0 < max(values)),
    ("detector-service", "Outage under way"): ("the outage", _above(OUTAGE_S / 2)),
    ("detector-service", "Is the broker telling?"): ("the outage", _above(OUTAGE_S / 2)),
    ("detector-service", "Outages that ended"): ("the outage", _above(0)),
    ("detector-service", "Rejected, by reason"): ("records that are no events", _above(0)),
    ("detector-service", "Changes of the group"): ("two members", _above(0)),
    ("detector-service", "Restores"): ("two members", _above(0)),
    ("detector-alerts", "Alerts, by severity"): ("alerts", _above(0)),
    ("detector-alerts", "Feedback, by outcome"): ("answers", _above(0)),
    ("detector-alerts", "Receipts, by status"): ("answers", _above(0)),
    ("detector-alerts", "Labels in force"): ("answers", _above(0)),
    ("detector-alerts", "Cases"): ("cases", _above(0)),
    ("detector-drift", "Promotions and training"): ("training", _above(0)),
    ("detector-drift", "Index against its threshold"): ("amounts that were multiplied", _above(1)),
    ("detector-drift", "Index of the whole group"): ("amounts that were multiplied", _above(0.1)),
    ("detector-drift", "Part in the change of alerts"): ("amounts that were multiplied", _above(0)),
    ("detector-drift", "Drifts, by kind"): ("amounts that were multiplied", _above(0)),
}
"""What must be seen, by dashboard and panel: what caused it, and a check of all values."""


def filled(query: str) -> str:
    """A query as Grafana sends it."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


def run(
    stack: ExitStack, deployment: Deployment, broker: KafkaBroker, folder: Path
) -> tuple[float, float, Prometheus]:
    """Run through everything; returns when it began and ended, and Prometheus, still running."""
    traffic = Traffic(deployment, seed=3, events_per_s=250.0)
    analysts = Analysts(deployment)
    traffic.preload(HISTORY_EVENTS)
    first = deployment.start()
    analysts.start()
    if not poll_until(first.ready, timeout_s=900):
        raise SystemExit(first.log()[-3000:])
    deployment.await_done(1200)
    traffic.start()
    notify = stack.enter_context(notifying(deployment, folder, Hook()))
    targets = {"detector": [_address(first)], "detector-notify": [notify]}
    prometheus = stack.enter_context(Prometheus(folder, targets))
    began_s = time.time()
    time.sleep(10)
    second = deployment.start()
    prometheus.target("detector", [_address(first), _address(second)])
    poll_until(lambda: second.owns() > 0, timeout_s=900)
    for what, seconds in (("steady", STEADY_S), ("drift", DRIFT_S), ("outage", OUTAGE_S), ("calm", CALM_S)):
        print(f"{what}: {seconds:.0f} s, {traffic.sent:,} events sent", flush=True)
        traffic.factor = 1.0 if what == "steady" else 3.0
        traffic.broken_share = traffic.unreadable_share = 0.02 if what == "drift" else 0.0
        traffic.unseen_share = 0.1 if what == "drift" else 0.0
        analysts.malformed = 5 if what == "drift" else 0
        if what == "outage":
            broker.kill()
        time.sleep(seconds)
        if what == "outage":
            broker.start()
            poll_until(lambda: first.ready() and second.ready(), timeout_s=900)
    traffic.finish()
    analysts.finish()
    return began_s, time.time(), prometheus


def _address(daemon: Daemon) -> str:
    return daemon.url.removeprefix("http://")


def ask(prometheus: Prometheus, began_s: float, ended_s: float) -> tuple[dict[str, Any], list[str]]:
    """Ask every query; returns the answers by dashboard and panel, and what is wrong."""
    answers: dict[str, Any] = {}
    wrong: list[str] = []
    asked, empty = 0, []
    for file in sorted(GRAFANA.glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            if panel["type"] == "row":
                continue
            found = [
                (target["legendFormat"], prometheus.range(filled(target["expr"]), began_s, ended_s, STEP_S))
                for target in panel["targets"]
            ]
            answers.setdefault(board["uid"], {})[panel["title"]] = found
            values = [value for _, answer in found for value in numbers(answer)]
            for target, (_, answer) in zip(panel["targets"], found, strict=True):
                asked += 1
                if not numbers(answer):
                    empty.append(f"{board['uid']}: {panel['title']}: no data: {filled(target['expr'])}")
            claim = CLAIMS.get((board["uid"], panel["title"]))
            if claim is not None and not (values and claim[1](values)):
                wrong.append(f"{board['uid']}: {panel['title']} does not show {claim[0]}")
    wrong += empty
    print(f"{asked} queries, {asked - len(empty)} returned numbers, {len(CLAIMS)} claims, {len(wrong)} wrong")
    return answers, wrong


def ask_rules(prometheus: Prometheus, began_s: float, ended_s: float) -> list[str]:
    """Ask every recorded series, and every series that an alert asks for; returns those without numbers."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    wanted = {rule["record"] for rule in rules if "record" in rule}
    wanted |= {found for rule in rules if "alert" in rule for found in SELECTOR.findall(rule["expr"])}
    empty = [one for one in sorted(wanted) if not numbers(prometheus.range(one, began_s, ended_s, STEP_S))]
    print(f"rules: {len(wanted)} series, {len(wanted) - len(empty)} returned numbers")
    return [f"rules: no data: {one}" for one in empty]


def explain(prometheus: Prometheus, deployment: Deployment, began_s: float, ended_s: float) -> list[str]:
    """Take an exemplar as a person would, and compute its event again."""
    found = prometheus.exemplars("detector_alerts_total", began_s, ended_s)
    if not found:
        return ["Prometheus has no exemplars"]
    labels = max(found, key=lambda one: float(one["timestamp"]))["labels"]  # old ones need old checkpoints
    options = [part for name in ("topic", "partition", "offset") for part in (f"--{name}", labels[name])]
    command = [sys.executable, "-m", "detector", "explain", "--config", str(deployment.config), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    published = {record.value.decode() for record in deployment.published("alerts")}
    equal = done.returncode == 0 and done.stdout.strip() in published
    outcome = "as published" if equal else done.stderr[-500:]
    print(f"{len(found)} exemplars; explain {' '.join(options)}: {outcome}")
    return [] if equal else [f"exemplar {labels}: {done.stderr[-500:]}"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, help="Folder for a PNG of each dashboard.")
    parser.add_argument("--answers", type=Path, help="File for the answers, as JSON.")
    given = parser.parse_args(arguments)
    event = {**HANDBOOK_EVENT, "fields": [*HANDBOOK_EVENT["fields"], *MORE_FIELDS]}
    sides = ("feedback", "exchange", "receipts", "case_updates")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(KafkaBroker(listeners=[PLAINTEXT]))
        config = {**CONFIG, "event": event}
        deployment = stack.enter_context(
            Deployment(broker.bootstrap, folder, "ops", partitions=2, config=config, kafka=KAFKA, sides=sides)
        )
        began_s, ended_s, prometheus = run(stack, deployment, broker, folder)
        answers, wrong = ask(prometheus, began_s, ended_s)
        wrong += ask_rules(prometheus, began_s, ended_s)
        wrong += explain(prometheus, deployment, began_s, ended_s)
        alerts = prometheus.alerts()
        firing = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
        print(f"firing at the end: {', '.join(sorted(firing)) or 'nothing'}")
    if given.answers is not None:
        given.answers.write_text(json.dumps({"began_s": began_s, "answers": answers}))
    if given.pictures is not None:
        given.pictures.mkdir(parents=True, exist_ok=True)
        for file in sorted(GRAFANA.glob("*.json")):
            board = json.loads(file.read_text())
            draw(board, answers[board["uid"]], began_s, given.pictures / f"{board['uid']}.png")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
