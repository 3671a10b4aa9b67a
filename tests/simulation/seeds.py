"""Seeds that once failed, each with what was wrong.

A seed repeats itself only as long as the simulation draws the same things: what it found has a test of its own
beside the code that was mended.
"""

REGRESSIONS: dict[int, str] = {
    1: "a committed offset went back into a gap (test_a_committed_offset_does_not_go_back_into_a_gap)",
}
