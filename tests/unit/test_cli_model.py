"""`detector model`: versions listed, a signed card, commands for a replay; the same in Python."""

from __future__ import annotations

import json
from functools import partial
from itertools import chain, islice
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import detector as package
from detector.core.model.encoder import Learned
from detector.core.shard.model_card import checksum
from detector.demo import simulation
from detector.errors import UsageError
from detector.rendering import card_markdown
from tests.unit.test_cli import HANDBOOK, Detector, detector, elsewhere, events, refused
from tests.unit.test_cli_embedding import replayed

__all__ = ["detector", "elsewhere", "events"]  # fixtures

CONFIG = Path(__file__).parents[2] / "configs" / "simulate.yaml"


def written(key: Ed25519PrivateKey | X25519PrivateKey, name: str) -> str:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Path(name).write_bytes(pem)
    return name


def test_versions_are_listed(detector: Detector, events: Path) -> None:
    list_ = partial(detector, "model", "list", *replayed(detector, events))
    printed = list_()
    assert printed.code == 0
    assert "serves" in printed.out
    assert "refused, since the model began: 0" in printed.out
    [found] = json.loads(list_("--json").out)
    assert found["partition"] == 0
    assert found["serving"] == found["versions"][-1]["number"]
    assert [one["serves"] for one in found["versions"]].count(True) == 1
    refused(list_("--partition", "7"), "--partition", "0 to 0")


def test_a_card_is_written_twice_alike_and_signed(detector: Detector, events: Path) -> None:
    show = partial(detector, "model", "show", *replayed(detector, events))
    assert "# Model card" in show().out
    key = Ed25519PrivateKey.generate()
    assert show("--card", "a.md", "--key", written(key, "key.pem")).code == 0
    assert show("--card", "b.md").code == show("--card", "c.json").code == 0
    assert Path("a.md").read_bytes() == Path("b.md").read_bytes()
    key.public_key().verify(Path("a.md.sig").read_bytes(), Path("a.md").read_bytes())
    card = json.loads(Path("c.json").read_text())
    assert card["serving"] is True
    assert card["encoder_sha256"] in Path("a.md").read_text()
    assert card["fields"]["amount"] == "numeric"
    assert card["version"]["last_time"] > card["version"]["first_time"]
    refused(show("--card", "d.txt"), "--card", ".md or .json")
    refused(show("--key", "key.pem"), "--key", "--card FILE")
    refused(show("--card", "e.md", "--key", "a.md"), "--key", "Ed25519")
    other = written(X25519PrivateKey.generate(), "other.pem")
    refused(show("--card", "f.md", "--key", other), "--key", "another kind")
    assert not Path("f.md").exists()
    gone = show("77")
    assert gone.code == 3
    assert "keeps no encoder version 77" in gone.err


def test_a_command_for_a_replay_is_appended_and_followed(detector: Detector, events: Path) -> None:
    first = json.loads(events.read_text().splitlines()[400])["TX_DATETIME"]
    ask = partial(detector, "model", "hold", "-c", HANDBOOK, "--to", "labels.jsonl")
    refused(ask(), "--at", "event time")
    refused(detector("model", "hold", "-c", HANDBOOK, "--at", first), "--at", "nothing without --to")
    refused(detector("model", "rollback", "3", "-c", HANDBOOK), "--partition", "each has its own")
    assert ask("--at", str(first), "--actor", "ann").code == 0
    kept = ("-c", HANDBOOK, "--events", str(events), "--feedback", "labels.jsonl", "--checkpoint-dir", "kept")
    assert detector("replay", *kept, "--receipts", "receipts.jsonl").code == 0
    receipt = json.loads(Path("receipts.jsonl").read_text())
    assert (receipt["outcome"], receipt["feedback"]["actor"]) == ("held", "ann")


def test_python_lists_and_commands_the_same() -> None:
    made = simulation.traffic("cards", seed=3, customers=80)
    rows = list(islice(chain.from_iterable(map(made.to_events, made.days)), 6_000))
    taught = package.Detector.from_config(CONFIG)
    with pytest.raises(UsageError):
        taught.versions()
    taught.learn(rows[:4_000])
    before = taught.versions()
    older = before.versions[-2].number
    assert taught.govern("rollback", actor="ann") == 1
    taught.settle()
    [receipt] = taught.receipts()
    assert receipt["outcome"] == "rolled_back"
    assert (taught.versions().serving, taught.versions().held) == (older, True)
    card = taught.model_card(before.serving)
    assert not card.serving
    assert card.version.number == before.serving
    assert "is kept" in card_markdown(card, "rows")
    taught.learn(rows[4_000:])
    assert taught.versions().serving == older
    with pytest.raises(UsageError, match="pause"):
        taught.govern("pause")
    with pytest.raises(UsageError, match="99"):
        taught.model_card(99)


def test_looking_at_another_version_changes_nothing() -> None:
    made = simulation.traffic("cards", seed=4, customers=80)
    rows = list(islice(chain.from_iterable(map(made.to_events, made.days)), 4_000))
    looked, other = (package.Detector.from_config(CONFIG) for _ in range(2))
    scores = []
    for one in (looked, other):
        one.learn(rows[:3_000])
        if one is looked:
            for version in one.versions().versions:
                one.model_card(version.number)
        scores.append(one.score(rows[3_000:]))
        one.learn(rows[3_000:])
        one.settle()
    assert scores[0] == scores[1]
    assert looked.versions() == other.versions()


def test_a_checksum_is_that_of_names_forms_and_values() -> None:
    import numpy as np

    def learned(**weights: float) -> Learned:
        arrays = {name: np.full((2, 2), value, dtype=np.float32) for name, value in weights.items()}
        return Learned(np.zeros((1, 3), dtype=np.float32), arrays, 1)

    assert checksum(learned(out=1.0)) == checksum(learned(out=1.0))
    assert len({checksum(learned(**{name: 1.0})) for name in ("out", "hidden")}) == 2
    assert checksum(learned(out=1.0)) != checksum(learned(out=2.0))


OTHER = """
event:
  id: TRANSACTION_ID
  time: {path: TX_DATETIME}
  entities: [{name: customer, path: CUSTOMER_ID}]
  fields:
    - {name: amount, path: TX_AMOUNT, type: numeric}
    - {name: where, path: TERMINAL_ID, type: categorical}
"""


def test_a_stream_with_other_fields_begins_with_the_encoder_of_a_model_file(
    detector: Detector, events: Path, tmp_path: Path
) -> None:
    kept = replayed(detector, events)
    store = ("--set", f"checkpoints.url=file://{tmp_path}/kept")
    assert detector("checkpoint", "export", *kept[:2], *store, "--out", "model.bin").code == 0
    Path("other.yaml").write_text(OTHER)
    there = ("-c", "other.yaml", "--events", str(events), "--checkpoint-dir", "other")
    replay = ("replay", *there, "--set", "checkpoints.interval=1ms")
    warm = ("--warm-start", "model.bin")
    assert detector(*replay, *warm, "--scores", "scores.csv").code == 0
    said = " ".join(detector("model", "list", *there).out.split())
    assert "for amount, customer; new: where; left out: terminal" in said
    [listed] = json.loads(detector("model", "list", *there, "--json").out)
    assert listed["origin"]["fresh"] == ["where"]
    assert "left out: terminal" in detector("model", "show", *there).out

    rows = [json.loads(line) for line in events.read_text().splitlines()]
    same = package.Detector.from_config("other.yaml", warm_start="model.bin")
    scores = [float(line.split(",")[2]) for line in Path("scores.csv").read_text().splitlines()[1:]]
    assert [row["score"] for row in same.replay(rows)] == pytest.approx(scores, rel=1e-9)
    assert same.versions().origin == same.model_card().origin
    assert same.versions().origin is not None

    refused(detector(*replay, "--encoder-only"), "--encoder-only", "no --warm-start")
    Path("other.yaml").write_text(OTHER.replace("name: amount", "name: value"))
    refused(detector(*replay, *warm), "event.fields: got [value, where], expected at least one name")
    Path("other.yaml").write_text(OTHER.replace("name: where", "name: terminal"))
    refused(detector(*replay, *warm), "type of terminal: got categorical, expected entity, as in the model")
