"""Keys as hashes are."""

from __future__ import annotations


def key_of(number: int) -> int:
    """Keys are hashes: spread them; 0 stays."""
    return number * 0x9E3779B97F4A7C15 % (1 << 64)
