"""Write the generated tables of the documentation: `python docs/generate.py`, or `make docs`.

A table lies between two comments, `<!-- NAME -->` and `<!-- /NAME -->`. Tests compare the tables with the
code. With `--check` nothing is written: the exit code is 1 if a table is not what the code says.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import tables

from detector.core.reporting import outputs
from detector.demo.simulation import patterns
from detector.shell import metrics

TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "metrics": ("reference/metrics.md", metrics.markdown_table),
    "series": ("reference/metrics.md", metrics.bounds_table),
    "notify metrics": ("reference/metrics.md", metrics.notify_table),
    "patterns": ("reference/simulation.md", patterns.markdown_table),
    "output topics": ("how-to/operations.md", outputs.markdown_table),
    "configuration": ("reference/configuration.md", tables.configuration),
    "commands": ("reference/commands.md", tables.commands),
    "alert": ("reference/alert.md", tables.alert),
    "case update": ("reference/alert.md", tables.case_updated),
}


def main() -> None:
    different = []
    for name, (file, table) in TABLES.items():
        path = Path(__file__).parent / file
        before, after = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        pattern = re.compile(re.escape(before) + ".*?" + re.escape(after), re.DOTALL)
        old = path.read_text()
        if len(found := pattern.findall(old)) != 1:
            raise SystemExit(f"{path}: found {len(found)} places for the table of {name}, expected 1")
        new = old.replace(found[0], before + table() + after)
        if new != old:
            different.append(name)
        if "--check" not in sys.argv:
            path.write_text(new)
    if different and "--check" in sys.argv:
        raise SystemExit(f"run `make docs`: {', '.join(different)} changed in the code")


if __name__ == "__main__":
    main()
