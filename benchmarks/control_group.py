"""A control group inside this process's own, with limits of its own: for measurements in small containers.

Version 1 or 2, whichever this machine has mounted for the controller. Needs the right to make folders there,
usually root's.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

MOUNTED = Path("/sys/fs/cgroup")
PERIOD_US = 100_000


class ControlGroup:
    """Groups of the controllers that are needed; removed at the end, when no process is in them.

    Parameters
    ----------
    cores
        Share of the CPU that its processes may use together; None: no limit.
    memory_bytes
        Memory of its processes, page cache included; None: no limit. There is no swap beyond it.

    Raises
    ------
    OSError
        This process may not make control groups.
    """

    def __init__(self, *, cores: float | None = None, memory_bytes: int | None = None) -> None:
        self._folders: dict[str, Path] = {}
        name = f"detector-{uuid4().hex[:8]}"
        for controller, wanted in (("cpu", cores), ("memory", memory_bytes)):
            if wanted is not None:
                folder = _own(controller) / name
                folder.mkdir(exist_ok=True)
                self._folders[controller] = folder
        if cores is not None:
            self._limit_cpu(cores)
        if memory_bytes is not None:
            self._limit_memory(memory_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in set(self._folders.values()):
            with suppress(OSError):  # a process is still in it
                folder.rmdir()

    def add(self, pid: int) -> None:
        """Move a process into the groups."""
        for folder in set(self._folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def peak_bytes(self) -> int:
        """Most memory that was used at any time, page cache included."""
        return self._read("memory.peak", "memory.max_usage_in_bytes")

    def killed(self) -> int:
        """Processes that were killed for want of memory."""
        folder = self._folders["memory"]
        names = ("memory.events", "memory.oom_control")
        text = next((folder / name).read_text() for name in names if (folder / name).exists())
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)

    def _limit_cpu(self, cores: float) -> None:
        folder, quota_us = self._folders["cpu"], int(cores * PERIOD_US)
        if (folder / "cpu.max").exists():
            (folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota_us))

    def _limit_memory(self, count: int) -> None:
        folder = self._folders["memory"]
        first = folder / "memory.max"
        (first if first.exists() else folder / "memory.limit_in_bytes").write_text(str(count))
        with suppress(OSError):
            (folder / "memory.swap.max").write_text("0")

    def _read(self, *names: str) -> int:
        folder = self._folders["memory"]
        return next(int((folder / name).read_text()) for name in names if (folder / name).exists())


def _own(controller: str) -> Path:
    """Folder of this process's group."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), group)
    if (MOUNTED / controller).is_dir():
        return MOUNTED / controller / groups.get(controller, "/").lstrip("/")
    return MOUNTED / groups.get("", "/").lstrip("/")
