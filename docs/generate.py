"""Write the generated tables of the documentation: `python docs/generate.py`, or `make docs`.

A table lies between two comments, `<!-- NAME -->` and `<!-- /NAME -->`. Tests compare the tables with the
code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from detector.core.reporting import outputs
from detector.demo.simulation import patterns
from detector.shell import metrics

TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "metrics": ("reference/metrics.md", metrics.markdown_table),
    "patterns": ("reference/simulation.md", patterns.markdown_table),
    "output topics": ("how-to/operations.md", outputs.markdown_table),
}


def main() -> None:
    for name, (file, table) in TABLES.items():
        path = Path(__file__).parent / file
        before, after = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        pattern = re.compile(re.escape(before) + ".*?" + re.escape(after), re.DOTALL)
        old = path.read_text()
        if len(found := pattern.findall(old)) != 1:
            raise SystemExit(f"{path}: found {len(found)} places for the table of {name}, expected 1")
        path.write_text(old.replace(found[0], before + table() + after))


if __name__ == "__main__":
    main()
