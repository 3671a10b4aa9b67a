"""Seeds that once failed, each with what was wrong.

A seed repeats itself only as long as the simulation draws the same: what it found has a test of its own
beside what was mended.
"""

REGRESSIONS: dict[int, str] = {
    1: "a committed offset went back into a gap",
    156: "a journal had no room under its first checkpoint",
    164: "likewise",
    258: "a member that stood still while restoring took what was pruned since for lost",
    469: "a committed offset went back after a poll that failed",
    6458: "the check did not know of a barrier for age after an offset that was committed past a gap",
}
