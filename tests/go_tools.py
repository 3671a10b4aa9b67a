"""Programs that are published as Go modules, built from modules that pin them with their checksums."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "build" / "tools"


class GoUnavailable(Exception):
    """A program is not here and cannot be built."""


def built(module: Path, packages: Mapping[str, str], *, limit_s: float, linked: str = "") -> dict[str, Path]:
    """Build programs unless they are there.

    Parameters
    ----------
    module
        Folder of a Go module that pins the packages as its tools.
    packages
        By the name of the program.
    limit_s
        Time that the build of one may take.
    linked
        Further options of the linker.

    Returns
    -------
    dict
        The binaries, by name.

    Raises
    ------
    GoUnavailable
        There is no Go, or a build fails.
    """
    binaries = {name: TOOLS / name for name in packages}
    missing = {name: binary for name, binary in binaries.items() if not binary.exists()}
    go = shutil.which("go")
    if missing and go is None:
        raise GoUnavailable(f"needs Go, to build {', '.join(missing)}")
    for name, binary in missing.items():
        options = ["-C", str(module), "-trimpath", f"-ldflags={linked}"]
        command = [str(go), "build", *options, "-o", str(binary), packages[name]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise GoUnavailable(f"Go does not build {name} within {limit_s:.0f} s") from None
        if done.returncode:
            raise GoUnavailable(f"Go does not build {name}: {done.stderr[-500:]}")
    return binaries
