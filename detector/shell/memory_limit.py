"""How much memory this process may use: its control group's limit, else what the machine has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")
_UNLIMITED_FROM = 1 << 60  # version 1 writes the largest number of pages where there is no limit


class MemoryLimit(NamedTuple):
    """Bytes that this process may use, and where that is said."""

    bytes: int
    source: str


def memory_limit(root: Path = _ROOT) -> MemoryLimit | None:
    """The smallest limit of this process's control groups, else the machine's memory; None: unknown.

    A limit of a group holds for the groups inside it, so all groups above are read too.

    Parameters
    ----------
    root
        Folder with `proc` and `sys`.
    """
    limits = [MemoryLimit(value, "control group") for value in _group_limits(root)]
    if (physical := _physical(root)) is not None:
        limits.append(MemoryLimit(physical, "machine"))
    return min(limits, default=None)


def _group_limits(root: Path) -> list[int]:
    mounted = root / "sys/fs/cgroup"
    folders = [mounted / "memory", mounted]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers in ("", "memory"):
            base = mounted / controllers
            parts = [part for part in group.split("/") if part not in ("", "..")]
            folders += [base.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    names = ("memory.max", "memory.limit_in_bytes")
    texts = [_text(folder / name).strip() for folder in folders for name in names]
    return [int(text) for text in texts if text.isdecimal() and int(text) < _UNLIMITED_FROM]


def _physical(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if root == _ROOT else None
    except (ValueError, OSError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
