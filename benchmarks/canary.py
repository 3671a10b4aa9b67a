"""Whether anything that no field names leaves the service: events full of an e-mail address of their own.

    python -m benchmarks.canary --events 100000

The real runner takes them in memory, with feedback. Everything that it publishes, logs, counts and stores is
searched for these addresses; also keys, headers and names of fields have them. Dead letters are left out:
they are the original bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from detector.shell import logs
from detector.shell.metrics import TelemetryCollector, renderer
from tests.unit.runner_world import World, config

CANARY = "canary"
REJECTED_EVERY = 997  # events
FEEDBACK_EVERY = 500


@dataclass(kw_only=True, slots=True)
class Found:
    """What was searched, and how much of it has an address: by place."""

    searched: Counter[str] = field(default_factory=Counter)  # records, log lines, or bytes
    hits: Counter[str] = field(default_factory=Counter)

    def look(self, where: str, what: bytes, count: int = 1) -> None:
        """Search some bytes."""
        self.searched[where] += count
        self.hits[where] += what.count(CANARY.encode())


def run(events: int, seed: int = 4) -> Found:
    """Process so many events; search everything."""
    log_file = io.StringIO()
    logs.configure("debug", "json", stream=log_file)
    try:
        made = _world(events, seed)
        made.hook = lambda step: None
        made.broker.closed = True
        made.runner(log=logs.get_logger("detector")).run()
    finally:
        logs.configure("info", "json", stream=io.StringIO())
    found = Found()
    for one in made.broker.published:
        if one.topic != "dead_letter":
            found.look(one.topic, (one.key or b"") + (one.value or b"") + repr(one.headers).encode())
    written = log_file.getvalue()
    found.look("log lines", written.encode(), written.count("\n"))
    build, about = {"version": "1", "python": "3"}, {"model": "0", "delivery": "exactly_once", "shadow": ""}
    page, _ = renderer(TelemetryCollector(made.telemetry, build, about))(False)
    found.look("bytes of metrics", page, len(page))
    for stored in made.store.objects.values():
        found.look("bytes of checkpoints", stored, len(stored))
    for committed in made.broker.committed.values():
        found.look("journals", committed.metadata.encode())
    return found


def _world(events: int, seed: int) -> World:
    made = World(
        config=config(
            event={
                "id": "id",
                "time": {"path": "t", "format": "epoch_s"},
                "entities": [{"name": "card", "path": "card"}, {"name": "shop", "path": "shop"}],
                "fields": [
                    {"name": "amount", "path": "amount", "type": "numeric"},
                    {"name": "country", "path": "country", "type": "categorical"},
                    {"name": "memo", "path": "memo", "type": "text"},
                ],
                "exposure": "amount",
            },
            model={},
            alerts={"budget": {"share": 0.005}, "cooldown": "1h"},
            topics={
                "feedback": "feedback",
                "receipts": "receipts",
                "scores": "scores",
                "case_updates": "updates",
            },
            checkpoints={"interval": 5.0},
        ),
        poll_records_max=2000,
    )
    rng = np.random.default_rng(seed)
    for n in range(events):
        mail, odd = f"{CANARY}{n}@example.org", n % 100 in (0, 1)
        event = {
            "id": f"e{n}",
            "t": 1_700_000_000 + 30 * n if n % REJECTED_EVERY else "x",
            "card": f"c{rng.integers(500)}" if not odd else f"c{n // 100 % 500}",
            "shop": f"s{rng.integers(300)}",
            "amount": round(float(rng.lognormal(3.0, 0.5)) * (60 if odd else 1), 2),
            "country": "FR",
            "memo": f"order {n % 50}",
            "mail": mail,
            "person": {"mail": mail, "list": [mail]},
            mail: 1,
        }
        headers = ((mail, mail.encode()),)
        made.broker.append(0, json.dumps(event).encode(), key=mail.encode(), timestamp_ms=0, headers=headers)
        if n % FEEDBACK_EVERY == 0:
            wishes = (
                {"label": "fraud"},
                {"kind": "note", "note": mail},
                {"kind": "hush"},
                {"label": "maybe"},
            )
            for wish in wishes:
                record = {"time": 1_700_000_000 + 30 * n, "event_id": f"e{n}", "mail": mail, mail: 1, **wish}
                made.feedback.append(json.dumps(record).encode())
    return made


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    found = run(parser.parse_args().events)
    for where, count in found.searched.items():
        print(f"{where}: {found.hits[where]} addresses in {count:,}")
    return 1 if found.hits.total() else 0


if __name__ == "__main__":
    sys.exit(main())
