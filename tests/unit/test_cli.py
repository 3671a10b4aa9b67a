"""Every command ends with the right exit code and a sentence; a traceback means a bug."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from detector import __version__, cli
from detector.cli import common
from detector.cli.common import read_moment
from detector.config import extras
from detector.core.shard.shard import Shard
from detector.errors import ConfigError
from detector.shell.files import line_reader
from detector.shell.files.exchange import EXCHANGE
from tests import talkative
from tests.commands import Done, run_main

pytestmark = pytest.mark.usefixtures("logging_restored")

CONFIGS = Path(__file__).parents[2] / "configs"
HANDBOOK = str(CONFIGS / "handbook.yaml")
COMMANDS = (
    ["run"],
    ["replay"],
    ["explain"],
    ["similar"],
    ["init-config"],
    ["simulate"],
    ["check-config"],
    ["config-schema"],
    ["demo"],
    ["checkpoint"],
    ["checkpoint", "list"],
    ["checkpoint", "show"],
    ["checkpoint", "export"],
    ["checkpoint", "verify"],
    ["checkpoint", "rollback"],
    ["checkpoint", "begin"],
)


Detector = Callable[..., Done]


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Detector:
    """Run `main` in this process."""

    return partial(run_main, monkeypatch, capsys)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative paths, such as that of the default checkpoint store, lead to an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    minutes = ((n // 60, n % 60) for n in range(1200))
    path.write_text(
        "".join(
            json.dumps(
                {
                    "TRANSACTION_ID": f"t{n}",
                    "TX_DATETIME": f"2018-04-01T{hour:02}:{minute:02}:31Z",
                    "CUSTOMER_ID": f"c{n % 37}",
                    "TERMINAL_ID": f"m{n % 11}",
                    "TX_AMOUNT": 10.0 + n * 7 % 50,
                }
            )
            + "\n"
            for n, (hour, minute) in enumerate(minutes)
        )
    )
    return path


def refused(done: Done, *words: str) -> None:
    """It was the user's mistake, and is said in a sentence that names it."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    for word in words:
        assert word in " ".join(done.err.split())


def test_others_may_not_read_what_a_command_writes(detector: Detector) -> None:
    before = os.umask(0)
    try:
        detector("config-schema")
        assert os.umask(0) == 0o027
        os.umask(0o077)
        detector("config-schema")
        assert os.umask(0) == 0o077  # never less strict than it was
    finally:
        os.umask(before)


# --- every command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(detector: Detector, command: list[str]) -> None:
    done = detector(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"detector {' '.join(command)}" in done.out


def test_no_command_shows_the_help(detector: Detector) -> None:
    assert detector().code == 2
    assert "config-schema" in detector("--help").out


def test_version_prints_the_version(detector: Detector) -> None:
    done = detector("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"detector {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["run"], ["replay", "--config", HANDBOOK], ["simulate", "--seed", "x"], ["check-config"]],
    ids=" ".join,
)
def test_a_wrong_call_is_refused(detector: Detector, arguments: list[str]) -> None:
    refused(detector(*arguments), "Usage")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--config", "nope.yaml"],
        ["replay", "--config", "nope.yaml", "--events", HANDBOOK],
        ["check-config", "nope.yaml"],
        ["checkpoint", "list", "--config", "nope.yaml"],
        ["checkpoint", "show", "x", "--config", "nope.yaml"],
    ],
    ids=" ".join,
)
def test_a_missing_configuration_is_refused(detector: Detector, arguments: list[str]) -> None:
    refused(detector(*arguments), "nope.yaml", "got nothing")


def test_an_unknown_override_is_refused(detector: Detector) -> None:
    refused(detector("check-config", HANDBOOK, "--set", "kafka.grup_id=x"), "did you mean group_id?")


@pytest.mark.parametrize("command", ["config-schema", f"check-config --effective {HANDBOOK}"])
def test_a_closed_pipe_is_no_error(command: str) -> None:
    call = [sys.executable, "-m", "detector", *command.split()]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported() -> None:
    with open("/dev/full", "wb") as full:
        call = [sys.executable, "-m", "detector", "config-schema"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(b"detector: the output cannot be written")
    assert b"Traceback" not in done.stderr


def test_our_own_bug_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(common, "load", broken)
    monkeypatch.setattr(sys, "argv", ["detector", "check-config", HANDBOOK])
    with pytest.raises(RuntimeError, match="a bug"):  # the interpreter makes exit code 1 of it
        cli.main()


# --- configurations -----------------------------------------------------------------------------------------


def test_a_valid_configuration_is_confirmed(detector: Detector) -> None:
    done = detector("check-config", HANDBOOK)
    assert (done.code, done.err) == (0, "")
    assert "handbook.yaml: valid (model " in done.out


def test_the_memory_to_expect_is_said_for_numbers_of_keys(detector: Detector) -> None:
    done = detector(
        "check-config", HANDBOOK, "--keys", "customer=5000", "--keys", "terminal=900", "--events", "9000"
    )
    assert done.code == 0
    assert "expected after 9,000 events: " in done.out
    refused(detector("check-config", HANDBOOK, "--keys", "card=5"), "customer, terminal")
    refused(detector("check-config", HANDBOOK, "--keys", "customer=many"), "customer=many")


def test_effective_is_a_configuration_again(detector: Detector, tmp_path: Path) -> None:
    done = detector("check-config", HANDBOOK, "--effective")
    (tmp_path / "again.yaml").write_text(done.out)
    assert detector("check-config", "again.yaml", "--effective").out == done.out


def test_all_problems_of_a_configuration_are_reported(detector: Detector) -> None:
    done = detector("check-config", HANDBOOK, "--set", "http.address=x", "--set", "kafka.poll=1")
    refused(done, "2 problems", "http.address", "kafka.poll")


def test_what_is_missing_here_is_a_warning(detector: Detector) -> None:
    missing = ("--set", "entity_key={env: NO_SUCH_KEY}", "--set", "checkpoints.url=nope://x")
    missing += ("--set", "kafka.security={protocol: SSL, ca_file: /no/ca.pem}")
    done = detector("check-config", HANDBOOK, *missing)
    assert done.code == 0
    assert "valid" in done.out
    warnings = done.err.splitlines()
    assert [w.split(": ")[:3] for w in warnings] == [
        ["warning", "not on this machine", path]
        for path in ("entity_key", "kafka.security.ca_file", "checkpoints.url")
    ]


@pytest.mark.parametrize(("format", "package"), [("avro", "fastavro"), ("protobuf", "grpc_tools")])
def test_a_package_of_the_format_that_is_missing_here_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, detector: Detector, format: str, package: str
) -> None:
    settings = ("--set", f"event.format={format}", "--set", "registry.url=http://x")
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else name)
    done = detector("check-config", HANDBOOK, *settings)
    assert done.code == 0
    assert f"not on this machine: event.format: got {format}, expected its packages: pip install" in done.err
    assert f"detector[{format}]'" in done.err
    done = detector("run", "--config", HANDBOOK, *settings)  # before it looks for its topics
    refused(done, f"event.format: got {format}, expected the extra", f"detector[{format}]'")


def test_nothing_to_read_is_said(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = detector("init-config", "--events", "empty.jsonl")
    refused(done, "the sample: got no event: it is empty, expected JSON")


def test_what_notify_needs_and_is_missing_here_is_a_warning_too(detector: Detector) -> None:
    receiver = (
        "{name: desk, kind: webhook, secret_url: {env: NO_SUCH_URL}, key: {env: NO_KEY}, ca_file: /no/ca}"
    )
    done = detector("check-config", HANDBOOK, "--set", f"notify.receivers=[{receiver}]")
    assert done.code == 0
    assert [line.split(": ")[2] for line in done.err.splitlines()] == [
        f"notify.receivers[0].{key}" for key in ("secret_url", "key", "ca_file")
    ]


def test_a_secret_in_a_url_is_never_shown(detector: Detector) -> None:
    for url in ("s3://k:hunter2@b/x", "az://c/x?sig=hunter2"):
        for command in (["check-config", HANDBOOK], ["checkpoint", "list", "-c", HANDBOOK]):
            done = detector(*command, "--set", f"checkpoints.url={url}")
            refused(done, "checkpoints.url")
            assert "hunter2" not in done.err


def test_the_schema_is_json(detector: Detector) -> None:
    done = detector("config-schema")
    assert done.code == 0
    assert json.loads(done.out)["title"] == "detector configuration"


def test_init_config_writes_what_loads_and_overwrites_nothing(detector: Detector, events: Path) -> None:
    assert detector("init-config", "--events", events).out.startswith("# Written by")
    assert detector("init-config", "--events", events, "--out", "new.yaml").code == 0
    assert detector("check-config", "new.yaml").code == 0
    refused(detector("init-config", "--events", events, "--out", "new.yaml"), "nothing is overwritten")


def test_init_config_refuses(detector: Detector, events: Path, tmp_path: Path) -> None:
    refused(detector("init-config", "--events", "nope"), "nope", "No such file")
    refused(detector("init-config", "--events", tmp_path), "a readable file")
    refused(detector("init-config", "--events", events, "--id", "nope"), "one of the fields that fit")
    refused(detector("init-config", "--events", events, "--out", "no/such/x"), "--out", "an existing folder")
    (tmp_path / "x.gz").write_text("{}")
    refused(detector("init-config", "--events", "x.gz"), "x.gz")


# --- simulate -----------------------------------------------------------------------------------------------


def test_simulate_writes_events_and_labels(detector: Detector, tmp_path: Path) -> None:
    arguments = ("simulate", "--events", 20, "--customers", 50)
    done = detector(*arguments, "--out", "e.jsonl.gz", "--labels", "l.csv")
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "l.csv").read_text().startswith("event_id,event_time,kind,incident\n")
    assert (tmp_path / "e.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"
    done = detector(*arguments, "--preset", "handbook", "--labels", "h.csv")
    assert done.out.startswith('{"TRANSACTION_ID":"0"')
    assert (tmp_path / "h.csv").read_text().startswith("event_id,event_time,scenario\n")


def test_simulate_switches_scenarios_and_adds_attributes(detector: Detector, tmp_path: Path) -> None:
    arguments = ("simulate", "--events", 3_000, "--customers", 150, "--attributes", 8)
    done = detector(*arguments, "--scenarios", "none", "--labels", "none.csv", "--out", "none.jsonl")
    assert done.code == 0
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1
    assert '"branch":"branch ' in (tmp_path / "none.jsonl").read_text().splitlines()[0]
    done = detector(
        *arguments, "--scenarios", "odd_hour, card_testing", "--labels", "two.csv", "--out", "two"
    )
    kinds = {line.split(",")[2] for line in (tmp_path / "two.csv").read_text().splitlines()[1:]}
    assert kinds <= {"odd_hour", "card_testing"}


def test_simulate_refuses(detector: Detector) -> None:
    refused(detector("simulate", "--customers", 10**12), "customers must be between")
    refused(detector("simulate", "--events", 5, "--out", "no/such/x"), "--out", "an existing folder")
    refused(detector("simulate", "--scenarios", "odd_hours"), "no scenario odd_hours", "card_testing")
    refused(detector("simulate", "--preset", "handbook", "--attributes", 2), "handbook has no attributes")


def test_simulate_overwrites_nothing(detector: Detector, tmp_path: Path) -> None:
    arguments = ("simulate", "--events", 5, "--customers", 50)
    (tmp_path / "old").write_text("old")
    refused(detector(*arguments, "--out", "old"), "--out", "old", "nothing is overwritten")
    refused(detector(*arguments, "--out", "new", "--labels", "old"), "--labels", "nothing is overwritten")
    assert (tmp_path / "old").read_text() == "old"
    assert not (tmp_path / "new").exists()
    assert detector(*arguments, "--out", "/dev/null").code == 0


def test_a_dash_is_standard_output(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    call = ["detector", "simulate", "--events", "5", "--customers", "50"]
    for more, first in ((["--out", "-"], b"{"), (["--out", "events", "--labels", "-"], b"event_id,")):
        monkeypatch.setattr(sys, "argv", [*call, *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        assert capfdbinary.readouterr().out.startswith(first)
    assert not (tmp_path / "-").exists()


def test_only_one_of_two_can_be_standard_output(detector: Detector) -> None:
    refused(detector("simulate", "--labels", "-"), "--labels", "standard output")


def test_demo_refuses_too_short_a_time(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(detector("demo", "--seconds", 1), "10")
    refused(detector("demo", "--seconds", "nan"), "10")
    for seconds in ("soon", "9", "inf"):
        monkeypatch.setenv("DEMO_SECONDS", seconds)
        refused(detector("demo"), "DEMO_SECONDS")


# --- replay -------------------------------------------------------------------------------------------------


def test_replay_counts_what_it_did(detector: Detector, events: Path, tmp_path: Path) -> None:
    done = detector("replay", "-c", HANDBOOK, "--events", events, "--scores", "s.csv", "--alerts", "a.jsonl")
    assert done.code == 0
    assert "1,200 events: 1,200 scored, 0 rejected" in done.err
    assert "no alerts yet: the first 4,096 events are a warm-up" in done.err
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1201


def test_replay_says_which_events_are_a_warm_up(detector: Detector, events: Path) -> None:
    options = ["--set", "model.calibration.warm_up_events=256", "--set", "model.barriers.early_events_min=64"]
    done = detector("replay", "-c", HANDBOOK, "--events", events, *options)
    assert "  the first 256 events are a warm-up: the model first learns what is usual" in done.err
    done = detector("replay", "-c", HANDBOOK, "--events", events, "--partitions", "2", *options)
    assert "the first 256 events of each shard are a warm-up" in done.err


@pytest.mark.parametrize("option", ["--events", "--feedback"])
def test_replay_refuses_what_it_cannot_read(
    detector: Detector, events: Path, tmp_path: Path, option: str
) -> None:
    replay = ("replay", "-c", HANDBOOK, "--events", events)
    refused(detector(*replay, option, "nope"), "nope", "No such file", "a readable file")
    refused(detector(*replay, option, tmp_path), str(tmp_path), "a readable file")


@pytest.mark.parametrize("option", ["--scores", "--alerts", "--rejected"])
def test_replay_refuses_what_it_cannot_write(
    detector: Detector, events: Path, tmp_path: Path, option: str
) -> None:
    replay = ("replay", "-c", HANDBOOK, "--events", events)
    for wrong in ("no/such/x", tmp_path, "-", events):
        refused(detector(*replay, option, wrong), option, str(wrong))


def test_replay_refuses_a_checkpoint_dir_that_is_a_file(detector: Detector, events: Path) -> None:
    replay = ("replay", "-c", HANDBOOK, "--events", events)
    for folder in (events, events / "below", "/proc/nope"):
        refused(detector(*replay, "--checkpoint-dir", folder), "--checkpoint-dir", str(folder))
    refused(detector(*replay, "--resume"), "--resume")
    refused(detector(*replay, "--receipts", "r"), "--receipts", "--feedback")


def test_replay_reports_the_outcomes_of_labels(detector: Detector, events: Path, tmp_path: Path) -> None:
    label = '{{"event_id": "{}", "label": "fraud", "time": "2018-04-01T10:00:00Z"}}\n'
    (tmp_path / "feedback.jsonl").write_text(label.format("t5") + label.format("nope") + "{}\n")
    replay = ("replay", "-c", HANDBOOK, "--events", events)
    done = detector(*replay, "--feedback", "feedback.jsonl", "--receipts", "receipts.jsonl")
    receipts = [json.loads(line) for line in (tmp_path / "receipts.jsonl").read_text().splitlines()]
    found = {receipt["feedback"]["line"]: receipt["outcome"] for receipt in receipts}
    assert found == {1: "applied", 2: "unknown_event", 3: "malformed"}
    assert "feedback, applied: 1\n" in done.err
    assert "feedback, unknown_event: 1\n" in done.err
    assert "feedback, malformed: 1\n" in done.err
    assert "labels" not in detector(*replay).err


@pytest.mark.parametrize("partitions", [1, 3])
def test_an_answer_after_the_last_event_has_a_receipt_too(
    detector: Detector, events: Path, tmp_path: Path, partitions: int
) -> None:
    named = [f'"event_id": "t{number}"' for number in (5, 700, 1199)] + ['"event_id": "nope"']
    named += [f'"alert_id": "transactions-{partition}-1199"' for partition in range(3)]
    lines = [f'{{{name}, "label": "fraud", "time": "2040-01-01T00:00:00Z"}}\n' for name in named]
    (tmp_path / "feedback.jsonl").write_text("".join(lines))
    replay = ("replay", "-c", HANDBOOK, "--events", events, "--partitions", partitions)
    replay += ("--set", "topics.exchange=exchange", "--checkpoint-dir", "kept")
    done = detector(*replay, "--feedback", "feedback.jsonl", "--receipts", "receipts.jsonl")
    assert done.code == 0
    receipts = [json.loads(line) for line in (tmp_path / "receipts.jsonl").read_text().splitlines()]
    found = {receipt["feedback"]["line"]: receipt["outcome"] for receipt in receipts}
    assert len(receipts) == len(found) == len(lines)
    assert [found[line] for line in (1, 2, 3, 4)] == ["applied"] * 3 + ["unknown_event"]
    without = detector(*replay[:-2], "--feedback", "feedback.jsonl")
    assert "not used (--receipts uses it): 7\n" in without.err


def test_replay_reports_messages_between_shards_and_resumes_with_them(
    detector: Detector, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shard, "_receive_message", talkative.receive)
    monkeypatch.setattr(Shard, "_publish", talkative.publish)
    monkeypatch.setattr(line_reader, "GROUP_LINES", 128)
    replay = ("replay", "-c", HANDBOOK, "--events", events, "--partitions", 2)
    done = detector(*replay, "--set", "topics.exchange=any", "--checkpoint-dir", "kept")
    assert "messages between shards, published: 4\n" in done.err
    assert "messages between shards, applied: " in done.err
    assert (tmp_path / "kept" / EXCHANGE).stat().st_size > 0
    assert detector(*replay, "--checkpoint-dir", "kept", "--resume").code == 3
    assert "messages" not in detector(*replay).err


@pytest.mark.parametrize("partitions", [1, 3])
def test_replay_reports_why_most_events_are_rejected(
    detector: Detector, events: Path, partitions: int
) -> None:
    replay = ("replay", "-c", CONFIGS / "card.yaml", "--events", events, "--partitions", partitions)
    done = detector(*replay)
    assert done.code == 0
    assert (
        "rejected, missing: 1,200\nmost events were rejected, the first one at line 1, missing: id"
        in done.err
    )
    assert "detector init-config" in done.err


def test_a_complete_replay_is_not_repeated(detector: Detector, events: Path) -> None:
    replay = ("replay", "-c", HANDBOOK, "--events", events, "--checkpoint-dir", "kept")
    assert "1,200 events" in detector(*replay).err
    assert detector(*replay).code == 3
    done = detector(*replay, "--resume")
    # On a loaded machine it may say before that it compiles.
    assert (done.code, done.err.splitlines()[-1]) == (0, "already complete: nothing was left to do")


# --- checkpoints --------------------------------------------------------------------------------------------


def test_checkpoints_are_listed_and_shown(detector: Detector, events: Path) -> None:
    often = ("--set", "checkpoints.interval=1ms", "--set", "checkpoints.url=file://./kept")
    done = detector("replay", "-c", HANDBOOK, "--events", events, "--checkpoint-dir", "kept", *often)
    assert done.code == 0
    listed = detector("checkpoint", "list", "-c", HANDBOOK, *often)
    assert listed.code == 0
    name = listed.out.split()[-1]
    shown = detector("checkpoint", "show", name, "-c", HANDBOOK, *often)
    assert shown.code == 0
    assert json.loads(shown.out)["partition"] == 0


def test_a_replay_is_verified_and_its_events_are_explained(detector: Detector, events: Path) -> None:
    often = ("--set", "checkpoints.interval=1ms")
    kept = ("-c", HANDBOOK, "--events", events, "--checkpoint-dir", "kept")
    assert detector("replay", *kept, "--alerts", "alerts.jsonl", *often).code == 0
    verified = detector("checkpoint", "verify", *kept)
    assert verified.code == 0
    assert " 0 different, 0 without a recorded hash" in verified.out
    explained = detector("explain", *kept, "--offset", "1003")
    assert explained.code == 0
    assert "transactions-0-1003: below the threshold, score" in explained.err
    assert json.loads(explained.out)["event_id"] == "t1003"
    assert detector("explain", *kept, "--offset", "5000").code == 3
    refused(detector("explain", *kept, "--offset", "5", "--partition", "1"), "--partition", "0 to 0")
    refused(detector("explain", *kept, "--offset", "5", "--topic", "t"), "--topic", "transactions")
    refused(detector("explain", "-c", HANDBOOK, "--events", events, "--offset", "5"), "--checkpoint-dir")


def test_what_an_event_is_near_to_is_found_in_the_checkpoint_of_a_replay(
    detector: Detector, events: Path, tmp_path: Path
) -> None:
    label = {"event_id": "t60", "label": "fraud"}  # events are remembered where labels may come
    (tmp_path / "labels.jsonl").write_text(json.dumps(label))
    often = ("--set", "checkpoints.interval=1ms")
    kept = ("-c", HANDBOOK, "--events", events, "--feedback", "labels.jsonl", "--checkpoint-dir", "kept")
    assert detector("replay", *kept, *often).code == 0
    similar = partial(detector, "similar", *kept)
    by_id, by_offset = similar("--event", "t100", "--json"), similar("--offset", "100", "--json")
    assert by_id.code == by_offset.code == 0
    found = json.loads(by_id.out)
    assert found == json.loads(by_offset.out)
    assert found["offset"] == 100
    assert [len(found["near"][kind]) for kind in ("normal", "recent")] == [5, 5]
    assert found["values"]["100"]["amount"] > 0.0
    shown = similar("--alert", "transactions-0-100", "--among", "recent", "--k", "2")
    assert shown.code == 0
    assert shown.out.count("transactions-0-") == 3
    (tmp_path / "event.json").write_text(events.read_text().splitlines()[0])
    assert similar("--file", "event.json").code == 0
    (tmp_path / "event.json").write_text("{}")
    refused(similar("--file", "event.json"), "--file", "missing")
    later = similar("--offset", "1199", "--json")  # after the newest checkpoint
    assert later.code == 0
    assert json.loads(later.out)["remembered"] is False
    assert json.loads(later.out)["values"]["1199"]["amount"] > 0.0
    assert "as if it came next" in similar("--alert", "transactions-0-1199").out
    assert similar("--offset", "1200").code == 3
    assert similar("--event", "nobody").code == 3
    refused(similar("--alert", "other-0-7"), "--alert", "transactions-PARTITION-OFFSET")
    refused(similar("--event", "t100", "--offset", "7"), "--event, --alert, --offset and --file")
    refused(similar("--event", "t100", "--among", "some"), "--among", "normal, frauds, recent")
    refused(similar("--offset", "7", "--partition", "1"), "--partition", "0 to 0")


def test_a_rollback_asks_before_anything(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = detector("checkpoint", "rollback", "-c", HANDBOOK, "--partition", "0")
    assert done.code == 130
    assert "forget what was learned since the checkpoint before the newest?" in done.err


def test_a_new_beginning_asks_before_anything(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = detector("checkpoint", "begin", "-c", HANDBOOK)
    assert done.code == 130
    assert "begin with new models at the committed offsets?" in done.err


def test_a_model_is_exported_and_used_for_a_warm_start(
    detector: Detector, events: Path, tmp_path: Path
) -> None:
    often = ("--set", "checkpoints.interval=1ms", "--set", "checkpoints.url=file://./kept")
    replay = ("replay", "-c", HANDBOOK, "--events", events)
    assert detector(*replay, "--checkpoint-dir", "kept", *often).code == 0
    exported = detector("checkpoint", "export", "-c", HANDBOOK, *often, "--out", "model.bin")
    assert exported.code == 0
    assert "bytes of checkpoint 00000/" in exported.err
    refused(detector("checkpoint", "export", "-c", HANDBOOK, *often, "--out", "model.bin"), "--out")

    warm = (*replay, "--warm-start", "model.bin")
    for scores in ("first.csv", "again.csv"):
        assert detector(*warm, "--scores", scores, "--partitions", 2).code == 0
    first = (tmp_path / "first.csv").read_text()
    assert first == (tmp_path / "again.csv").read_text()
    assert all(float(row.split(",")[2]) > 0 for row in first.splitlines()[1:6])

    other = ("--set", "model.encoder.hidden=32")
    refused(detector(*warm, *other), "model.encoder.hidden: got 32, expected 64")
    refused(detector("run", "-c", HANDBOOK, "--warm-start", "model.bin", *other), "model.encoder.hidden")
    Path("model.bin").write_bytes(Path("model.bin").read_bytes()[:-9])
    refused(detector(*warm), "--warm-start", "checksum", "detector checkpoint export")
    refused(detector(*replay, "--warm-start", "nope.bin"), "--warm-start", "nope.bin", "No such file")


def test_nothing_to_export_needs_an_operator(detector: Detector) -> None:
    done = detector("checkpoint", "export", "-c", HANDBOOK, "--partition", 3, "--out", "model.bin")
    assert done.code == 3
    assert "no undamaged checkpoint of partition 3" in done.err
    assert not Path("model.bin").exists()


def test_no_checkpoints_is_no_error(detector: Detector) -> None:
    done = detector("checkpoint", "list", "-c", HANDBOOK)
    assert (done.code, done.err) == (0, "")
    assert done.out == "nothing under file://./checkpoints/detector/transactions/\n"


@pytest.mark.parametrize("name", ["0/nope", "../../x", "/etc/passwd", "", "a\\b"])
def test_an_unknown_checkpoint_is_refused(detector: Detector, name: str) -> None:
    refused(detector("checkpoint", "show", name, "-c", HANDBOOK), repr(name), "checkpoint list")


@pytest.mark.parametrize("command", [["list"], ["show", "x"]], ids=" ".join)
def test_an_unknown_store_is_refused(detector: Detector, command: list[str]) -> None:
    unknown = ("--set", "checkpoints.url=nope://x")
    refused(detector("checkpoint", *command, "-c", HANDBOOK, *unknown), "checkpoints.url", "nope://x")


# --- run ----------------------------------------------------------------------------------------------------


def test_run_refuses_to_start_without_its_secrets(detector: Detector) -> None:
    sasl = "{protocol: SASL_SSL, sasl_mechanism: PLAIN, username: u, password: {env: NO_SUCH_PASSWORD}}"
    secrets = ("--set", "entity_key={env: NO_SUCH_KEY}", "--set", f"kafka.security={sasl}")
    refused(detector("run", "-c", HANDBOOK, *secrets), "2 problems", "NO_SUCH_KEY", "NO_SUCH_PASSWORD")


def test_a_bug_of_the_daemon_is_one_record(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    from detector.wiring import daemon

    def broken(*_: object) -> None:
        raise BrokenPipeError("a bug at az://c/x?sig=hunter2")

    monkeypatch.setattr(daemon, "KafkaStream", broken)
    done = detector("run", "-c", HANDBOOK, "--set", "log.format=json")
    assert done.code == 1
    memory, record = map(json.loads, done.err.splitlines())
    assert (memory["event"], memory["level"]) == ("memory", "info")
    assert (record["event"], record["level"]) == ("bug", "error")
    assert "BrokenPipeError: a bug" in record["exception"]
    assert "hunter2" not in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-c", "nope.yaml"], "nope.yaml: 1 problem"),
        (["-c", HANDBOOK, "--set", "entity_key={env: NO_SUCH_KEY}"], "NO_SUCH_KEY"),
        (["-c", HANDBOOK, "--set", "log.format=json", "--warm-start", "model.bin"], "model.bin"),
    ],
)
def test_what_ends_the_service_is_a_record_of_its_log(
    detector: Detector, arguments: list[str], words: str
) -> None:
    done = detector("run", *arguments)
    assert done.code == 2
    (line,) = done.err.splitlines()
    record = json.loads(line)
    assert (record["event"], record["level"], record["exit_code"]) == ("fatal", "error", 2)
    assert words in record["reason"]


def test_what_ends_the_service_is_a_sentence_for_people(detector: Detector) -> None:
    keys = ("--set", "log.format=console", "--set", "entity_key={env: NO_SUCH_KEY}")
    done = detector("run", "-c", HANDBOOK, *keys)
    assert done.err.startswith("detector: ")
    refused(done, "NO_SUCH_KEY")


@pytest.mark.parametrize("option", ["--from", "--to", "--since"])
def test_options_that_are_times_are_read_by_one_rule(option: str) -> None:
    """As an event's time is read, in UTC where it says nothing else."""
    morning = datetime(2026, 3, 2, 14, tzinfo=UTC).timestamp()
    for text in (
        "2026-03-02T14:00Z", "2026-03-02T14:00", "2026-03-02 14:00:00", "2026-03-02T15:00+01:00",
        "2026-03-02 14:00:00 UTC", f"{morning:.0f}", f"{morning * 1000:.0f}",
    ):  # fmt: skip
        assert read_moment(option, text) == morning
    assert read_moment(option, "2026-03-02") == read_moment(option, "20260302") == morning - 14 * 3600
    assert read_moment(option, None) is None
    with pytest.raises(ConfigError, match=rf"{option}: got yesterday, expected a time such as 2026-03-02"):
        read_moment(option, "yesterday")
