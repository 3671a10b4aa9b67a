"""Processes of tests end with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.kafka.distribution import ends_with_us
from tests.kafka.waiting import poll_until

STARTS = """
import subprocess, sys, time
print(subprocess.Popen(sys.argv[1:]).pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_process_ends_with_tests_that_are_killed() -> None:
    command = [sys.executable, "-c", STARTS, *ends_with_us(["sh", "-c", "echo runs; exec sleep 600"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        said = {tests.stdout.readline().strip(), tests.stdout.readline().strip()}  # in any order
        pid = int(max(said - {"runs"}))
        tests.kill()

    def ended() -> bool:
        with suppress(ProcessLookupError, FileNotFoundError), open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] == "Z"  # nobody waits for it
        return True

    assert poll_until(ended)
