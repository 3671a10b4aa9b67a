"""Compiled kernels that an image brings along.

numba keeps what it compiled in the folder ``NUMBA_CACHE_DIR``, which must be writable. An image has a
read-only copy of such a folder, made by `detector compile`; ``DETECTOR_KERNELS`` names it. A process that has
no folder yet begins with that copy.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

SHIPPED = "DETECTOR_KERNELS"
OWN = "NUMBA_CACHE_DIR"


def begin_with_shipped(environ: Mapping[str, str]) -> str:
    """Copy the shipped kernels where numba looks for them; before numba is loaded.

    The copy appears as a whole or not at all, whatever other processes do at the same time. Where it cannot
    be made, kernels are compiled as they are needed.

    Returns
    -------
    str
        Why it could not be made, as a sentence; empty: it was, or there is nothing to copy.
    """
    shipped, own = Path(environ.get(SHIPPED, "")), Path(environ.get(OWN, ""))
    if not (environ.get(SHIPPED) and environ.get(OWN)) or own.exists():
        return ""
    half = own.with_name(f"{own.name}.{uuid.uuid4().hex}")
    try:
        shutil.copytree(shipped, half)
        half.rename(own)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        if not own.exists():  # another process was not faster
            why = error.strerror or next((why for *_, why in error.args[0]), "")
            return f"the compiled kernels in {shipped} cannot be used, so they are compiled again: {why}"
    return ""


def let_others_read(environ: Mapping[str, str]) -> None:
    """Let other users read the compiled kernels: they hold nothing of anybody's events.

    numba makes its folders when a module is loaded, with the umask of that moment; so it is done afterwards.
    """
    if not environ.get(OWN):
        return
    own = Path(environ[OWN])
    for path in (own, *own.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
