"""Freed memory goes back to the system.

The C library keeps what was freed. It keeps ever larger blocks once such were freed, up to 32 MiB (glibc's
dynamic threshold). After compiling that is some 100 MB, after a barrier's copies as much as a snapshot
(measured). Both functions do nothing where there is no glibc.
"""

from __future__ import annotations

import ctypes

LARGE_BYTES = 4 << 20  # no array of a block is that large; snapshots and copies for a barrier are
_M_MMAP_THRESHOLD = -3  # malloc.h


def keep_large_apart() -> None:
    """Let each large block be a mapping of its own, which goes back as soon as it is freed."""
    _call("mallopt", ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(LARGE_BYTES))


def give_back() -> None:
    """Return freed memory of all sizes to the system. Takes some milliseconds."""
    _call("malloc_trim", ctypes.c_size_t(0))


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
