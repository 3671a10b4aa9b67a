"""A checkpoint of each format goes on as the version that wrote it did.

tests/data/checkpoints/format-N holds a manifest, the state (gzip), and the raw scores by offset of the alerts
that the same version published after it. To write the folder of the current format again:

    python -m tests.unit.test_checkpoint_formats

Do so only as long as no release has written this format; later a change of the state raises `FORMAT`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from detector.config.tree import ModelPart
from detector.core.records import Identity, Record
from detector.core.recovery.checkpoint import Snapshot, encode, read_manifest, read_state
from detector.core.recovery.journal import Journal
from detector.core.recovery.sides import SideRange
from detector.core.recovery.upgrade import FORMAT, STEPS
from detector.core.shard.partition import Partition
from detector.demo.simulation.handbook import SimulationConfig, label_rows, simulate, to_events
from tests.sides import named

DATA = Path(__file__).parents[1] / "data" / "checkpoints"
IDENTITY = Identity(topic="transactions", group="detector", partition=0, entity_key=b"of the tests")
EVENTS = 7000
TAKEN_AT = 4000  # the first barrier from here on is the checkpoint's
LABELLED_AFTER = 400  # events from a fraud to its label

SMALL: dict[str, Any] = {
    "event": {
        "id": "TRANSACTION_ID",
        "time": {"path": "TX_DATETIME"},
        "duplicates": {"horizon_events": 64},
        "entities": [
            {"name": "customer", "path": "CUSTOMER_ID"},
            {"name": "terminal", "path": "TERMINAL_ID"},
        ],
        "fields": [{"name": "amount", "path": "TX_AMOUNT", "type": "numeric"}],
    },
    "model": {
        "barriers": {"block_events": 64, "every_events": 512, "early_events_min": 128},
        "calibration": {"warm_up_events": 256, "memory_events": 1024},
        "clusters": {"core_events": 512, "count_max": 16, "members_min": 3},
        "encoder": {"hidden": 8, "dimension": 8, "hash_rows": 64, "hash_width": 2},
        "features": {"entities_max": 1024, "pairs_max": 1024, "half_lives": ["2d"]},
        "labels": {"buffer_events_max": 1024, "labels_max": 64},
    },
    "alerts": {"budget": {"share": 0.02}, "exploration_share": 0.1, "cooldown": "1h"},
    "feedback": True,
    "exchange": True,
}


@cache
def stream() -> tuple[Sequence[Record], Sequence[tuple[int, bytes]]]:
    """Records, and feedback with the offset from which it is visible."""
    traffic = SimulationConfig(seed=5, customers=40, events=EVENTS, customer_share_per_day=0.01)
    lines: list[bytes] = []
    feedback: list[tuple[int, bytes]] = []
    for day in simulate(traffic):
        frauds = {event_id for event_id, _, _ in label_rows(day)}
        for event in to_events(day):
            if event["TRANSACTION_ID"] in frauds:
                label = {
                    "time": event["TX_DATETIME"],
                    "label": "fraud",
                    "event_id": event["TRANSACTION_ID"],
                }
                feedback.append((len(lines) + LABELLED_AFTER, json.dumps(label).encode()))
            lines.append(json.dumps(event).encode())
    return [Record(offset, 0, None, line) for offset, line in enumerate(lines)], feedback


def drive(partition: Partition, *, take_at: int | None = None) -> tuple[dict[int, float], Snapshot | None]:
    """Process the stream to its end, or to a snapshot; returns scores of alerts by offset."""
    records, feedback = stream()
    left = records[partition.position :]
    topic = [(position, line) for position, (_, line) in enumerate(feedback)]
    scores: dict[int, float] = {}
    while left:
        step = partition.take(left)
        left = left[step.consumed :]
        for alert in step.outputs.alerts:
            scores[alert.offset] = json.loads(alert.body)["score"]["raw"]
        visible = sum(offset <= partition.position for offset, _ in feedback)
        available = {"feedback": SideRange(0, visible)}
        if step.block_ended and (barrier := partition.due(available)) is not None:
            partition.barrier(barrier, named(barrier, {"feedback": topic}))
            if take_at is not None and partition.position >= take_at:
                return scores, partition.snapshot()
    return scores, None


def restored(folder: Path) -> Partition:
    manifest = read_manifest((folder / "manifest.json").read_bytes())
    state = read_state(manifest, gzip.decompress((folder / "state.gz").read_bytes()))
    config = ModelPart.from_canonical(manifest.config_json)
    journal = Journal(
        checkpoint=manifest.name,
        position=manifest.position,
        config=manifest.config,
        sides=manifest.since.ends,
    )
    return Partition(
        IDENTITY,
        config,
        journal,
        until=manifest.position,
        configs={manifest.config: config},
        restored=(manifest, state),
    )


@pytest.mark.parametrize("number", [*STEPS, FORMAT])
def test_a_checkpoint_goes_on_as_the_version_that_wrote_it_did(number: int) -> None:
    folder = DATA / f"format-{number}"
    with threadpool_limits(1):
        scores, _ = drive(restored(folder))
    published = {
        int(offset): score for offset, score in json.loads((folder / "alerts.json").read_text()).items()
    }
    assert len(published) > 20
    assert scores.keys() == published.keys()
    # Other CPU families and library versions give other last bits, which training makes larger.
    assert list(scores.values()) == pytest.approx(list(published.values()), rel=1e-2)


def test_the_checkpoint_covers_labels() -> None:
    """Else the test above would not see a change of what they leave in the state."""
    folder = DATA / f"format-{FORMAT}"
    manifest = read_manifest((folder / "manifest.json").read_bytes())
    state = read_state(manifest, gzip.decompress((folder / "state.gz").read_bytes()))
    assert manifest.since.end("feedback") > 5
    assert len(state["book"]["labels"]) > 5
    assert state["served"]


def main() -> None:
    """Write the folder of the current format."""
    folder = DATA / f"format-{FORMAT}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = ModelPart.model_validate(SMALL)
    with threadpool_limits(1):
        partition = Partition(IDENTITY, wanted, Partition.begin(wanted, 0), until=0)
        _, snapshot = drive(partition, take_at=TAKEN_AT)
        assert snapshot is not None
        _, manifest, state = encode(snapshot)
        (folder / "manifest.json").write_bytes(manifest)
        (folder / "state.gz").write_bytes(gzip.compress(state, mtime=0))
        scores, _ = drive(partition)
    text = json.dumps({str(offset): score for offset, score in sorted(scores.items())}, indent=1)
    (folder / "alerts.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
