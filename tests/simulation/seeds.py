"""Seeds that once failed, each with the bug that it found.

A seed repeats its run only as long as the simulation draws the same numbers, so each of these bugs has a unit
test of its own, too.
"""

REGRESSIONS: dict[int, str] = {
    1: "a committed offset went back into a gap",
    156: "a journal had no room under its first checkpoint",
    164: "a journal had no room under its first checkpoint",
    258: "a member that stood still during a restore took pruned checkpoints for lost ones",
    469: "a committed offset went back after a poll that failed",
    6458: "the check did not know of a barrier for age after an offset committed past a gap",
}
