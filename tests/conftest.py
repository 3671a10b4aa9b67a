"""What all tests share: profiles of Hypothesis.

With CI=true examples are the same in every run (`derandomize`), so that a failure repeats. Elsewhere they are
drawn anew each time, which finds more, and a failure prints the blob that reproduces it.
"""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: how long an example takes depends on what else the machine does.
settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("dev", print_blob=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")
