"""The model as a pure function of its inputs: no IO, clock, thread, log line or global randomness.

Kernels are compiled for the plain CPU of the architecture. So a state that was computed on one CPU model is
computed again, bit for bit, on another one, and kernels compiled elsewhere can be used.
"""

import numba

numba.config.CPU_NAME = "generic"  # type: ignore[attr-defined]
numba.config.CPU_FEATURES = ""  # type: ignore[attr-defined]
