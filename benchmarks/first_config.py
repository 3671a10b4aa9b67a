"""How `init-config --yes` and `replay` do on files in the shape of public sets: a table.

    python -m benchmarks.first_config

The shapes are those of tests/shapes.py and, written after the rules of their time, tests/aside.py,
tests/further.py, tests/exports.py, tests/odd.py, tests/trades.py, tests/written.py, tests/kinds.py,
tests/fresh.py, tests/payloads.py and tests/portals.py.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from detector.config.load import load
from tests.aside import ASIDE
from tests.exports import EXPORTS
from tests.fresh import FRESH
from tests.further import FURTHER
from tests.kinds import KINDS
from tests.odd import ODD
from tests.payloads import PAYLOADS
from tests.portals import PORTALS
from tests.shapes import SHAPES, Shape
from tests.trades import TRADES
from tests.written import WRITTEN

HEADER = "| shape | events | id | time | main entity | amount | labels | scored | rejected | s |"


def main() -> None:
    """Print one row per shape; what is not as expected has a question mark."""
    print(HEADER)
    print("|" + "---|" * (HEADER.count("|") - 1))
    sets = (SHAPES, ASIDE, FURTHER, EXPORTS, ODD, TRADES, WRITTEN, KINDS, FRESH, PAYLOADS, PORTALS)
    for shape in itertools.chain.from_iterable(sets):
        print(row(shape), flush=True)


def row(shape: Shape) -> str:
    """Configure and replay one shape."""
    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder, shape.file), Path(folder, "my.yaml")
        path.write_bytes(shape.make())
        began = time.monotonic()
        said = command("init-config", "--events", path, "--yes", "--out", config)
        replayed = command("replay", "--config", config, "--events", path, "--alerts", Path(folder, "alerts"))
        seconds = time.monotonic() - began
        event = load(config).event
    found = re.search(r"([\d,]+) events: ([\d,]+) scored, ([\d,]+) rejected", replayed)
    received, scored, rejected = found.groups() if found else ("?", "?", "?")
    if "unreadable" in replayed:
        rejected += " (unreadable values)"
    labels = re.search(r"labels, not used as inputs: (.*)", said)
    amount = next((field.path for field in event.fields if field.name == event.exposure), None)
    timed = None if event.time.path is None else f"{event.time.path} ({event.time.format})"
    wanted = None if shape.time is None else f"{shape.time} ({shape.format or event.time.format})"
    cells = [
        shape.name,
        received,
        checked(event.id, shape.id) + ("" if event.duplicates else ", not compared"),
        checked(timed, wanted),
        checked(event.entities[0].path if event.entities else None, shape.main),
        checked(amount, shape.amount),
        checked(labels[1] if labels else None, ", ".join(sorted(shape.labels, key=said.find)) or None),
        scored,
        rejected,
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def checked(found: str | None, wanted: str | None) -> str:
    """What was found, with a question mark if it is not what was wanted."""
    text = "none" if found is None else f"`{found}`"
    return text if found == wanted else f"{text} (?)"


def command(*arguments: object) -> str:
    """Run a command of the service; what it said."""
    full: Sequence[str] = [sys.executable, "-m", "detector", *map(str, arguments)]
    done = subprocess.run(full, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
