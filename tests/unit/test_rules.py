"""The rules for Prometheus: each alert fires on its fault, and it alone; it is silent without it, and resolves.

They run in `promtool`. It comes with Debian's package `prometheus`, which `.ci/run` installs. Without it these
tests are skipped.
"""
# ruff: noqa: E501

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detector.core.drift.law import psi
from tests.promql import labels_of

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
RUNBOOKS = ROOT / "docs" / "how-to" / "runbooks.md"
SITE = "https://docs.example.com/detector/how-to/runbooks/#"
DAY = 24 * 60

BIN_EVENTS = "detector_drift_bin_events"
M0 = 'job="detector",instance="a:9464"'
P0 = f'{M0},partition="0"'
P1 = f'{M0},partition="1"'
PARTITION = 'job="detector",partition="0"'


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


# --- what the texts say ---


def test_names_are_said_once() -> None:
    names = [rule.get("alert", rule.get("record")) for rule in rules()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("Detector[A-Z][A-Za-z]+", name) for name in ALERTS)


def recorded() -> dict[str, frozenset[str]]:
    """Labels of the recorded series, by name; a rule may use those before it."""
    found: dict[str, frozenset[str]] = {}
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = labels_of(rule["expr"], found)
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert", rule.get("record")))
def test_a_rule_names_series_labels_and_values_that_exist(rule: dict[str, Any]) -> None:
    labels = labels_of(rule["expr"], recorded())
    texts = " ".join(rule.get("annotations", {}).values())
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels
    if "record" in rule:
        assert set(rule["record"].split(":")[0].split("_")) <= labels | {"partition"}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert all(text.endswith(".") for key, text in rule["annotations"].items() if key != "runbook_url")
    assert rule["annotations"]["runbook_url"] == SITE + name.lower()


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    headings = re.findall(r"^### (Detector\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_says_what_people_notice_what_to_run_what_to_decide_and_how_it_ends(name: str) -> None:
    section = RUNBOOKS.read_text().split(f"\n### {name}\n")[1].split("\n##")[0]
    for part in ("**Analysts notice:**", "**Look:**", "**Decide:**", "**It ends** "):
        assert section.count(part) == 1, part
    look = section.split("**Look:**")[1].split("**Decide:**")[0]
    assert re.search(r"^    [$#>] .+\n    .+", look, re.MULTILINE)  # a command, and what it says


def test_the_commands_of_the_runbooks_exist() -> None:
    commands = set(re.findall(r"^    \$ (detector .+)$", RUNBOOKS.read_text(), re.MULTILINE))
    assert len(commands) > 5
    pages = (ROOT / "docs" / "reference" / "commands.md").read_text().split("\n## ")[1:]
    known = {page.split("\n")[0]: page for page in pages}
    for command in commands:
        [name] = [name for name in known if f"{command} ".startswith(f"{name} ")]
        for option in re.findall(r"--[a-z-]+", command):
            assert f"`{option}" in known[name], command


# --- what the rules do ---


def gauge(*steps: tuple[float, int]) -> str:
    """Values, each for so many minutes."""
    return " ".join(" ".join([f"{value}"] * minutes) for value, minutes in steps)


def counter(*steps: tuple[float, int], start: float = 1000) -> str:
    """Growth a minute, each for so many minutes."""
    grown = [growth for growth, minutes in steps for _ in range(minutes)]
    return " ".join(f"{value:g}" for value in accumulate(grown, initial=start))


GONE = "_"  # no sample


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What differs from a healthy service, minute by minute, and what is told of it."""

    series: Mapping[str, str]
    fires: int  # minute
    before: int  # minute at which it does not fire yet
    ends: int  # minute at which it does not fire any more
    labels: Mapping[str, str] = field(default_factory=dict)


def healthy(minutes: int) -> dict[str, str]:
    """The series of two members with a partition or two each, all well."""
    always = {
        "up{%s}": 1, "detector_ready{%s}": 1, "detector_loop_heartbeat_age_seconds{%s}": 0.1,
        "process_resident_memory_bytes{%s}": 1e9, "detector_memory_limit_bytes{%s}": 2e9,
        'detector_build_info{%s,version="1.0.0",python="3.11.9"}': 1,
        'detector_config_info{%s,model="abc",delivery="exactly_once",shadow=""}': 1,
        'detector_config_info{%s,model="def",delivery="exactly_once",shadow="v2"}': 1,
        "detector_recovery_retention_seconds{%s}": 518400,
        'detector_topic_retention_seconds{%s,topic="transactions"}': 604800,
        "detector_checkpoint_store_free_bytes{%s}": 1e10,
        'detector_output_stable_offset_age_seconds{%s,topic="alerts",partition="0"}': 0,
    }  # fmt: skip
    of_partition = {
        "detector_partition_lag_seconds": 0.5, "detector_partition_lag_records": 10,
        "detector_partition_lag_age_seconds": 3, "detector_partition_event_age_seconds": 0.2,
        "detector_partition_newest_record_age_seconds": 3, "detector_checkpoint_age_seconds": 40,
        "detector_checkpoint_bytes": 1e7, "detector_journal_bytes": 300, "detector_feedback_oldest_age_seconds": 8,
        "detector_alert_budget_per_day": 20, "detector_alert_budget_used_ratio": 0.5,
        "detector_warming_up": 0, "detector_events_per_day": 144000,
    }  # fmt: skip
    growing = {
        "detector_events_received_total{%s}": 100, "detector_events_scored_total{%s}": 100,
        "detector_events_lost_total{%s}": 0,
        "detector_state_mismatches_total{%s}": 0, 'detector_checkpoint_failures_total{%s,kind="full"}': 0,
        'detector_alerts_total{%s,severity="high"}': 20 / DAY,
    }  # fmt: skip
    count = minutes + 1
    found = {name % M0: gauge((value, count)) for name, value in always.items()}
    for where in (P0, P1):
        found |= {f"{name}{{{where}}}": gauge((value, count)) for name, value in of_partition.items()}
        found |= {name % where: counter((growth, minutes)) for name, growth in growing.items()}
        for state in ("restoring", "replaying", "running", "waiting"):
            value = int(state == "running")
            found[f'detector_partition_state{{{where},state="{state}"}}'] = gauge((value, count))
    found[f'detector_events_rejected_total{{{M0},reason="malformed"}}'] = counter((0, minutes))
    found[f"detector_commit_failures_total{{{M0}}}"] = counter((0, minutes))
    for outcome, growth in {"read": 1, "applied": 1, "malformed": 0}.items():
        found[f'detector_labels_total{{{M0},outcome="{outcome}"}}'] = counter((growth, minutes))
    notify = 'job="notify",instance="n:9465",receiver="chat"'
    found[f"detector_notify_oldest_age_seconds{{{notify}}}"] = gauge((0, count))
    found[f'detector_notify_messages_total{{{notify},outcome="refused"}}'] = counter((0, minutes))
    return found


def state(name: str, *steps: tuple[int, int], where: str = P0) -> dict[str, str]:
    """Partition in this state (1) or running (0), each for so many minutes."""
    return {
        f'detector_partition_state{{{where},state="{name}"}}': gauge(*steps),
        f'detector_partition_state{{{where},state="running"}}': gauge(*((1 - on, n) for on, n in steps)),
    }


def without(where: str, minutes: int) -> dict[str, str]:
    """Nothing of a partition."""
    return {name: GONE for name in healthy(minutes) if where in name}


MEMBER = {"job": "detector", "instance": "a:9464"}
OF_0 = MEMBER | {"partition": "0"}
JOB = {"job": "detector"}


def drift(kind: str, field: str = "") -> Fault:
    """Drift of one kind, for ten minutes."""
    return Fault(
        series={f'detector_drift_active{{{P0},kind="{kind}",field="{field}"}}': gauge((0, 5), (1, 10), (0, 5))},
        before=4, fires=7, ends=16, labels=JOB | ({"field": field} if field else {}),
    )  # fmt: skip


FAULTS: dict[str, Fault] = {
    "DetectorTargetDown": Fault(
        series={f"up{{{M0}}}": gauge((1, 10), (0, 10), (1, 10)),
                f'detector_build_info{{{M0},version="1.0.0",python="3.11.9"}}': gauge((1, 10), (GONE, 10), (1, 10))},
        before=11, fires=13, ends=21, labels=MEMBER,
    ),
    "DetectorGone": Fault(
        series={name: gauge((1, 10), (GONE, 20), (1, 10)) for name in
                (f"up{{{M0}}}", f'detector_build_info{{{M0},version="1.0.0",python="3.11.9"}}')},
        before=14, fires=22, ends=31, labels=JOB,
    ),
    "DetectorLoopStalled": Fault(
        series={f"detector_loop_heartbeat_age_seconds{{{M0}}}": gauge((0.1, 10), (60, 5), (0.1, 5)),
                f"detector_ready{{{M0}}}": gauge((1, 10), (0, 5), (1, 5))},
        before=9, fires=11, ends=16, labels=MEMBER,
    ),
    "DetectorNotReady": Fault(
        series={f"detector_ready{{{M0}}}": gauge((1, 10), (0, 10), (1, 10)),
                # the broker is away: these grow, and are no alerts of their own
                f"detector_partition_lag_age_seconds{{{P0}}}": gauge((3, 10), (300, 10), (3, 10)),
                f"detector_partition_event_age_seconds{{{P0}}}": gauge((0.2, 10), (300, 10), (0.2, 10)),
                f"detector_partition_lag_seconds{{{P0}}}": gauge((0.5, 10), (300, 10), (0.5, 10)),
                f"detector_commit_failures_total{{{M0}}}": counter((0, 10), (1, 2), (0, 18))},
        before=14, fires=16, ends=21, labels=MEMBER,
    ),
    "DetectorRestoreSlow": Fault(
        series={**state("replaying", (0, 5), (1, 15), (0, 5)),
                f"detector_ready{{{M0}}}": gauge((1, 5), (0, 15), (1, 5)),
                f"detector_partition_lag_seconds{{{P0}}}": gauge((0.5, 5), (900, 15), (0.5, 5))},
        before=14, fires=16, ends=21, labels=OF_0,
    ),
    "DetectorPartitionStalled": Fault(
        series={f"detector_partition_event_age_seconds{{{P0}}}": gauge((0.2, 5), (100, 5), (0.2, 5))},
        before=6, fires=8, ends=11, labels=OF_0,
    ),
    "DetectorLag": Fault(
        series={f"detector_partition_lag_seconds{{{P0}}}": gauge((0.5, 5), (100, 10), (0.5, 5))},
        before=9, fires=11, ends=16, labels=JOB,
    ),
    "DetectorLagOfOnePartition": Fault(
        series={**without(P1, 25), f"detector_partition_lag_seconds{{{P0}}}": gauge((0.5, 5), (100, 15), (0.5, 5))},
        before=14, fires=16, ends=21, labels=JOB | {"partition": "0"},
    ),
    "DetectorLagUnknown": Fault(
        series={f"detector_partition_lag_age_seconds{{{P0}}}": gauge((3, 5), (60, 5), (3, 5))},
        before=5, fires=7, ends=11, labels=MEMBER,
    ),
    "DetectorNoTraffic": Fault(
        series={f"detector_events_received_total{{{P0}}}": counter((100, 8 * DAY), (0, 40), (100, 30)),
                f"detector_events_received_total{{{P1}}}": counter((100, 8 * DAY), (0, 40), (100, 30)),
                **{f"detector_partition_newest_record_age_seconds{{{where}}}":
                   gauge((3, 8 * DAY), (1000, 40), (3, 30)) for where in (P0, P1)}},
        before=8 * DAY, fires=8 * DAY + 30, ends=8 * DAY + 60, labels=JOB,
    ),
    "DetectorMemoryNearBound": Fault(
        series={f"process_resident_memory_bytes{{{M0}}}": gauge((1e9, 5), (1.9e9, 15), (1e9, 5))},
        before=14, fires=16, ends=21, labels=MEMBER,
    ),
    "DetectorVersionsMixed": Fault(
        series={'detector_build_info{job="detector",instance="b:9464",version="1.1.0",python="3.11.9"}':
                gauge((GONE, 5), (1, 70), (GONE, 15))},
        before=60, fires=67, ends=85, labels=JOB,
    ),
    "DetectorConfigsMixed": Fault(
        series={'detector_config_info{job="detector",instance="b:9464",model="other",delivery="exactly_once"}':
                gauge((GONE, 5), (1, 70), (GONE, 15))},
        before=60, fires=67, ends=85, labels=JOB,
    ),
    "DetectorOutputsHidden": Fault(
        series={f'detector_output_stable_offset_age_seconds{{{M0},topic="alerts",partition="0"}}':
                gauge((0, 5), (60, 5), (0, 5))},
        before=4, fires=6, ends=11, labels=JOB | {"topic": "alerts", "partition": "0"},
    ),
    "DetectorCommitsFail": Fault(
        series={f"detector_commit_failures_total{{{M0}}}": counter((0, 5), (1, 10), (0, 15)),
                f"detector_ready{{{M0}}}": gauge((1, 5), *[(0, 1), (1, 1)] * 5, (1, 15))},
        before=8, fires=12, ends=27, labels=MEMBER,
    ),
    "DetectorEventsLost": Fault(
        series={f"detector_events_lost_total{{{P0}}}": counter((0, 5), (7, 1), (0, 70))},
        before=4, fires=7, ends=70, labels=JOB | {"partition": "0"},
    ),
    "DetectorRejectedShare": Fault(
        series={f'detector_events_rejected_total{{{M0},reason="malformed"}}': counter((0, 15), (10, 25), (0, 20))},
        before=20, fires=32, ends=55, labels=JOB,
    ),
    "DetectorMostRejected": Fault(
        series={f'detector_events_rejected_total{{{M0},reason="malformed"}}': counter((0, 15), (180, 8), (0, 30))},
        before=15, fires=23, ends=34, labels=JOB,
    ),
    "DetectorNotifyBehind": Fault(
        series={'detector_notify_oldest_age_seconds{job="notify",instance="n:9465",receiver="chat"}':
                gauge((0, 5), (400, 10), (0, 5))},
        before=9, fires=11, ends=16, labels={"job": "notify", "receiver": "chat"},
    ),
    "DetectorNotifyRefused": Fault(
        series={'detector_notify_messages_total{job="notify",instance="n:9465",receiver="chat",outcome="refused"}':
                counter((0, 5), (1, 1), (0, 70))},
        before=4, fires=7, ends=70, labels={"job": "notify", "receiver": "chat"},
    ),
    "DetectorCheckpointsFail": Fault(
        series={f'detector_checkpoint_failures_total{{{P0},kind="full"}}': counter((0, 5), (1, 3), (0, 20))},
        before=4, fires=7, ends=22, labels=JOB | {"partition": "0", "kind": "full"},
    ),
    "DetectorCheckpointOld": Fault(
        series={f"detector_events_scored_total{{{P0}}}": counter((1000, 150)),
                f"detector_checkpoint_age_seconds{{{P0}}}": gauge((40, 70), (4000, 20), (40, 60))},
        before=74, fires=76, ends=91, labels=OF_0,
    ),
    "DetectorJournalNearLimit": Fault(
        series={f"detector_journal_bytes{{{P0}}}": gauge((300, 5), (3500, 10), (300, 5))},
        before=9, fires=11, ends=16, labels=OF_0,
    ),
    "DetectorCheckpointStoreNearlyFull": Fault(
        series={f"detector_checkpoint_store_free_bytes{{{M0}}}": gauge((1e10, 5), (1.5e8, 10), (1e10, 5)),
                f"detector_checkpoint_bytes{{{P0}}}": gauge((1e8, 1), (1e6, 19))},  # a whole one, and what changed
        before=9, fires=11, ends=16, labels=MEMBER,
    ),
    "DetectorRetentionShort": Fault(
        series={f'detector_topic_retention_seconds{{{M0},topic="transactions"}}':
                gauge((604800, 5), (86400, 10), (604800, 5))},
        before=9, fires=11, ends=16, labels=JOB | {"topic": "transactions"},
    ),
    "DetectorStatesDiffer": Fault(
        series={f"detector_state_mismatches_total{{{P0}}}": counter((0, 5), (1, 1), (0, 70))},
        before=4, fires=7, ends=70, labels=JOB | {"partition": "0"},
    ),
    "DetectorFeedbackRefused": Fault(
        series={f'detector_labels_total{{{M0},outcome="malformed"}}': counter((0, 60), (1, 40), (0, 80))},
        before=70, fires=99, ends=160, labels=JOB,
    ),
    "DetectorFeedbackPending": Fault(
        series={f"detector_feedback_oldest_age_seconds{{{P0}}}": gauge((8, 10), (400, 25), (8, 5))},
        before=19, fires=21, ends=36, labels=OF_0,
    ),
    "DetectorBudgetHigh": Fault(
        series={f'detector_alerts_total{{{P0},severity="critical"}}': counter((0, DAY), (1, 120), (0, DAY + 60))},
        before=DAY + 30, fires=DAY + 100, ends=2 * DAY + 130, labels=JOB,
    ),
    "DetectorBudgetUsedUp": Fault(
        series={f"detector_alert_budget_used_ratio{{{P0}}}": gauge((0.5, 5), (1, 70), (0.5, 5))},
        before=64, fires=66, ends=76, labels=OF_0,
    ),
    "DetectorDriftOfField": drift("feature", "amount"),
    "DetectorDriftOfUnseenValues": drift("unseen", "amount"),
    "DetectorDriftOfEntities": drift("new_entities"),
    "DetectorDriftOfEmbedding": drift("embedding"),
    "DetectorDriftOfScore": drift("score"),
    "DetectorDriftOfLabels": drift("labels"),
    "DetectorBudgetSilent": Fault(
        series={f'detector_alerts_total{{{where},severity="high"}}':
                counter((20 / DAY, DAY), (0, DAY), (20 / DAY, DAY)) for where in (P0, P1)},
        before=2 * DAY - 500, fires=2 * DAY - 10, ends=3 * DAY - 10, labels=JOB,
    ),
}  # fmt: skip


def test_every_alert_has_its_fault() -> None:
    assert FAULTS.keys() == ALERTS.keys()


LONG = {"DetectorNoTraffic", "DetectorBudgetHigh", "DetectorBudgetSilent"}
"""These look back for days: they are tested apart from the others, every ten minutes."""
MATTER = re.compile(
    "up|detector_(ready|build_info|events_|alert|warming_up|partition_newest|partition_lag_sec|labels_total)"
)


def length(fault: Fault) -> int:
    return max(fault.ends, *(len(values.split()) - 1 for values in fault.series.values()))


def cases() -> Iterator[dict[str, Any]]:
    for name, fault in FAULTS.items():
        minutes = length(fault)
        series = healthy(minutes) | fault.series
        if name in LONG:
            series = {
                one: " ".join(values.split()[::3]) for one, values in series.items() if MATTER.match(one)
            }
        given = [{"series": series_name, "values": values} for series_name, values in series.items()]
        checks = []
        for minute, firing in ((fault.before, False), (fault.fires, True), (fault.ends, False)):
            for other in LONG if name in LONG else ALERTS:
                expected = []
                if other == name and firing:
                    expected = [{"exp_labels": {**fault.labels, **ALERTS[name]["labels"]}}]
                checks.append({"eval_time": f"{minute}m", "alertname": other, "exp_alerts": expected})
        yield {
            "name": name,
            "interval": "3m" if name in LONG else "1m",
            "input_series": given,
            "alert_rule_test": checks,
        }


def index_of_a_fleet() -> dict[str, Any]:
    """Bins of two members add, and the recorded index is that of the sums, as a shard computes it."""
    current, usual = [[30.0, 70.0, 0.0], [10.0, 60.0, 20.0]], [[50.0, 50.0, 0.0], [40.0, 50.0, 0.0]]
    given = [
        {"series": f'{BIN_EVENTS}{{job="detector",instance="{m}",field="amount",side="{side}",bin="{b}"}}',
         "values": gauge((counts[m][b], 10))}
        for side, counts in {"current": current, "reference": usual}.items() for m in (0, 1) for b in (0, 1, 2)
    ]  # fmt: skip
    now, before = np.sum(current, axis=0), np.sum(usual, axis=0)
    expected = float(psi(now, before / before.sum()))
    assert expected > 0.3
    check = {
        "expr": f"abs(job_field:detector_drift_psi:fleet - {expected}) < bool 1e-9",
        "eval_time": "9m",
        "exp_samples": [{"labels": '{field="amount", job="detector"}', "value": 1}],
    }
    return {"name": "fleet", "interval": "1m", "input_series": given, "promql_expr_test": [check]}


def partition_being_restored() -> dict[str, Any]:
    """Its budget is not known for 40 minutes, and its alerts of the day are no more than that."""
    minutes, gone = DAY + 60, 40
    given = {
        f"detector_alert_budget_per_day{{{P0}}}": gauge((20, minutes)),
        f"detector_alert_budget_per_day{{{P1}}}": f"{gauge((20, minutes - gone))} {gauge((GONE, gone))}",
        f'detector_alerts_total{{{P1},severity="low"}}': counter((45 / DAY, minutes)),
    }
    check = {"eval_time": f"{minutes - 1}m", "alertname": "DetectorBudgetHigh", "exp_alerts": []}
    return {
        "name": "restored",
        "interval": "3m",
        "input_series": [
            {"series": name, "values": " ".join(values.split()[::3])} for name, values in given.items()
        ],
        "alert_rule_test": [check],
    }


def counted_before_the_first_scrape() -> Iterator[dict[str, Any]]:
    """What is counted while a process starts shows no increase, and is told all the same, for an hour."""
    of_notify = 'job="notify",instance="n:9465",receiver="chat"'
    started = {
        "DetectorEventsLost": (M0, f"detector_events_lost_total{{{P0}}}", {"partition": "0"}),
        "DetectorStatesDiffer": (M0, f"detector_state_mismatches_total{{{P0}}}", {"partition": "0"}),
        "DetectorNotifyRefused": (
            'job="notify",instance="n:9465"',
            f'detector_notify_messages_total{{{of_notify},outcome="refused"}}',
            {"receiver": "chat", "job": "notify"},
        ),
    }
    for name, (process, series, labels) in started.items():
        told = [{"exp_labels": {**JOB, **labels, "severity": ALERTS[name]["labels"]["severity"]}}]
        given = {f"process_start_time_seconds{{{process}}}": 180, series: 5}
        yield {
            "name": f"{name} at the start",
            "interval": "1m",
            "input_series": [
                {"series": one, "values": f"{gauge((GONE, 3))} {gauge((value, 100))}"}
                for one, value in given.items()
            ],
            "alert_rule_test": [
                {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": alerts}
                for minute, alerts in {2: [], 4: told, 62: told, 64: []}.items()
            ],
        }


def notify_that_is_down() -> dict[str, Any]:
    """A process of `detector notify` that is down sends no alerts, and has no metrics that could say so."""
    told = [{"exp_labels": {"job": "notify", "instance": "n:9465", "severity": "critical"}}]
    given = {
        'up{job="notify",instance="n:9465"}': gauge((1, 10), (0, 10), (1, 5)),
        'detector_notify_up{job="notify",instance="n:9465",receiver="chat"}': gauge(
            (1, 10), (GONE, 10), (1, 5)
        ),
        'detector_notify_up{job="notify",instance="n:9465",receiver="mail"}': gauge(
            (1, 10), (GONE, 10), (1, 5)
        ),
    }
    return {
        "name": "notify",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": "DetectorTargetDown", "exp_alerts": alerts}
            for minute, alerts in {11: [], 13: told, 21: []}.items()
        ],
    }


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool (Debian's package prometheus)")
    return found


def run(promtool: str, *arguments: str) -> str:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules(promtool: str) -> None:
    assert f"{len(rules())} rules found" in run(promtool, "check", "rules", str(RULES))


def test_each_alert_fires_on_its_fault_alone_and_resolves(promtool: str, tmp_path: Path) -> None:
    groups = yaml.safe_load(RULES.read_text())
    for group in groups["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)  # promtool would compare their texts
    every = [*cases(), index_of_a_fleet(), partition_being_restored(), notify_that_is_down()]
    every += counted_before_the_first_scrape()
    orders = [group["name"] for group in groups["groups"]]
    for name, minutes in {"short": 1, "long": 10}.items():  # rules are evaluated so often
        if name == "long":
            for group in groups["groups"]:
                group["rules"] = [
                    rule for rule in group["rules"] if rule.get("alert", "DetectorNoTraffic") in LONG
                ]
        (tmp_path / f"rules-{name}.yaml").write_text(yaml.safe_dump(groups))
        file = {
            "rule_files": [f"rules-{name}.yaml"],
            "evaluation_interval": f"{minutes}m",
            "group_eval_order": orders,
            "tests": [case for case in every if (case["name"] in {*LONG, "restored"}) == (name == "long")],
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.dump(file, Dumper=yaml.CSafeDumper))
    run(promtool, "test", "rules", str(tmp_path / "short.yaml"), str(tmp_path / "long.yaml"))
