"""Spread 64-bit numbers evenly: the finalizer of SplitMix64 (Steele, Lea and Flood 2014), and its inverse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

GOLDEN = np.uint64(
    0x9E3779B97F4A7C15
)  # 2^64 / golden ratio; numbers times it are what is mixed, in SplitMix64
_SHIFTS = tuple(map(np.uint64, (30, 27, 31)))
_FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_UNDO = tuple(np.uint64(pow(factor, -1, 1 << 64)) for factor in _FACTORS)


def mixed(z: Words) -> Words:
    """Mix the bits of numbers (n,). Different numbers stay different."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        z = (z ^ (z >> shift)) * np.uint64(factor)
    spread: Words = z ^ (z >> _SHIFTS[2])
    return spread


def unmixed(z: Words) -> Words:
    """Undo `mixed`."""
    z = _unshifted(z, _SHIFTS[2])
    for shift, factor in ((_SHIFTS[1], _UNDO[1]), (_SHIFTS[0], _UNDO[0])):
        z = _unshifted(z * factor, shift)
    return z


def _unshifted(z: Words, shift: np.uint64) -> Words:
    """Undo z ^ (z >> shift), for shifts of 22 and more."""
    undone: Words = z ^ (z >> shift) ^ (z >> (shift + shift))
    return undone
