"""The kernel's OOM killer in a memory cgroup, as it ends a pod that exceeds its limit.

Works where the memory controller of cgroup v1 or v2 may be written: as root, or in a delegated group. Groups
are made below the one of this process.
"""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_LIMIT_BYTES = 32 << 20  # of what is charged from now on
_PATIENCE_S = 20.0
# Takes memory until the group has no more. The kernel must choose the other process.
_PRESS = """
import sys
open("/proc/self/oom_score_adj", "w").write("-1000")
open(sys.argv[1], "w").write("0")
held = []
while True:
    held.append(b"x" * (1 << 20))
"""


def oom_kill(process: subprocess.Popen[bytes]) -> str:
    """Put a process into a group without memory, where the kernel kills it. Waits for its end.

    Where that cannot be done, it is killed with SIGKILL.

    Returns
    -------
    str
        Who killed it.
    """
    try:
        with _group() as (folder, limit):
            (folder / limit).write_text(str(_LIMIT_BYTES))
            (folder / "cgroup.procs").write_text(str(process.pid))
            command = [sys.executable, "-c", _PRESS, str(folder / "cgroup.procs")]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as pressing:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE_S)
                pressing.kill()
            if _kills(folder):
                process.wait()
                return "the kernel"
    except OSError:
        pass
    process.kill()
    process.wait()
    return "SIGKILL"


@contextmanager
def _group() -> Iterator[tuple[Path, str]]:
    """Make a group; yields its folder and the name of its limit. Its processes must end within."""
    place, limit = _own()
    folder = place / f"detector-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder, limit
    finally:
        until_s = time.monotonic() + 2.0
        while folder.is_dir() and time.monotonic() < until_s:
            with suppress(OSError):  # until the kernel has let the processes go
                folder.rmdir()


def _own() -> tuple[Path, str]:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    groups = {
        controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in lines)
    }
    for controllers, path in groups.items():
        if "memory" in controllers.split(","):
            return _ROOT / "memory" / path, "memory.limit_in_bytes"
    return _ROOT / groups.get("", ""), "memory.max"


def _kills(folder: Path) -> int:
    for name in ("memory.oom_control", "memory.events"):  # of v1 and v2
        with suppress(OSError):
            for line in (folder / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0
