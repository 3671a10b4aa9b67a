"""A bounded number of fuzzed inputs for everything that reads external data.

    python -m benchmarks.fuzz.run --inputs 250000             # make fuzz INPUTS=250000
    python -m benchmarks.fuzz.run --targets config,journal --inputs 10000 --seed 7
    python -m benchmarks.fuzz.run --targets config --again out/fuzz/config-0123456789ab

Each target runs in a process of its own and gets that number of inputs. With atheris (PyPI), libFuzzer
makes the inputs, guided by coverage. Without it, or with `--engine mutate`, the seeded mutator alone makes
them. For each target the outcomes of inputs, inputs/s, the slowest input, and the resident memory at the
start, after a tenth and at the end are printed. The exit code is 1 if an exception other than our own errors
was raised, if another invariant was violated, if one input took over two seconds of CPU or, with `--engine
mutate`, if memory grew (libFuzzer keeps its corpus in the same process). The input is saved, and `--again`
runs it alone.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

_PACKAGE = Path(str(importlib.util.find_spec("detector").origin)).parent  # type: ignore[union-attr]
COMPILED = tuple(
    ".".join(file.relative_to(_PACKAGE.parent).with_suffix("").parts)
    for file in sorted(_PACKAGE.rglob("*.py"))
    if "import numba" in file.read_text()
)
"""Modules that are not instrumented: Numba cannot compile what atheris has instrumented."""
FINDS_MAX = 10  # different failures of one target; then it stops
SECONDS_MAX = 2.0  # of CPU for one input; CPU, because the machine may be busy
GROWN_BYTES_MAX = 16 << 20  # growth from the first tenth on, plus 5 % of the memory at that time
ADDRESS_SPACE_BYTES = 6 << 30  # an input that needs more memory than this is a failure


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    if arguments.child:
        _child(arguments)
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {arguments.engine}, seed {arguments.seed}", flush=True)
    from benchmarks.fuzz.targets import targets

    names = arguments.targets.split(",") if arguments.targets else list(targets())
    codes = [_run(name, arguments) for name in names]
    sys.exit(max(codes))


def _run(name: str, arguments: argparse.Namespace) -> int:
    """Run one target in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fuzz.run", "--child", "--targets", name]
    for option in ("inputs", "cpu_seconds", "seed", "engine", "out", "again"):
        if (value := getattr(arguments, option)) is not None:
            command += [f"--{option.replace('_', '-')}", str(value)]
    with tempfile.TemporaryDirectory() as scratch:  # files that libFuzzer writes
        return subprocess.run(
            command, check=False, env={**os.environ, "TMPDIR": scratch, "PYTHONWARNINGS": "ignore"}
        ).returncode


class _Watch:
    """Counts and times inputs, and saves those that fail."""

    def __init__(
        self, target: Any, inputs: int, out: Path, *, cpu_s: float = math.inf, memory_is_ours: bool = True
    ) -> None:
        self._target, self._inputs, self._out = target, inputs, out
        self._cpu_s = cpu_s
        self._memory_is_ours = memory_is_ours  # False if the engine keeps its inputs in this process
        self._began_s = time.monotonic()
        self._outcomes: Counter[str] = Counter()
        self._finds: dict[str, Path] = {}
        self._slowest = 0.0, b""
        self._rss = [_rss()]
        self._count = 0

    def try_one(self, data: bytes) -> bool:
        """Returns whether to go on."""
        self._count += 1
        began_s = time.process_time()
        try:
            self._outcomes[self._target.check(data)] += 1
        except Exception as error:  # noqa: BLE001 - any exception is a failure to report
            self._find(getattr(error, "data", data), error)
        else:
            self._slowest = max(self._slowest, (time.process_time() - began_s, data))
        if self._count == self._inputs // 10:
            self._rss.append(_rss())
        return (
            self._count < self._inputs and len(self._finds) < FINDS_MAX and time.process_time() < self._cpu_s
        )

    def report(self) -> int:
        """Print the results; returns the exit code."""
        seconds = time.monotonic() - self._began_s
        try:
            self._outcomes.update(self._target.finish())
        except Exception as error:  # noqa: BLE001
            self._find(b"", error)
        self._rss.append(_rss())
        slow_s, slow = self._slowest
        if slow_s > SECONDS_MAX:
            self._save(f"{self._target.name}: took {slow_s:.1f} s", slow)
        grown = self._rss[-1] - self._rss[-2]
        if self._memory_is_ours and len(self._rss) == 3 and grown > GROWN_BYTES_MAX + 0.05 * self._rss[-2]:
            self._finds["memory grew"] = Path("-")
        rss = " -> ".join(f"{size >> 20}" for size in self._rss)
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self._outcomes.items()))
        print(
            f"{self._target.name}: {self._count:,} inputs, {self._count / seconds:,.0f}/s, slowest "
            f"{1000 * slow_s:,.0f} ms, RSS {rss} MB, {len(self._finds)} finds\n  {counts}",
            flush=True,
        )
        for trouble, path in self._finds.items():
            print(f"  FIND {trouble}: {path}", flush=True)
        return int(bool(self._finds))

    def _find(self, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((f for f in reversed(frames) if "detector" in f.filename), frames[-1])
        name = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        if name not in self._finds:
            traceback.print_exception(error)
            self._save(name, data)

    def _save(self, name: str, data: bytes) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        path = self._out / f"{self._target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        self._finds[name] = path


def _child(arguments: argparse.Namespace) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    if arguments.engine == "atheris":
        import atheris

        with atheris.instrument_imports(
            include=["detector", "yaml"], exclude=list(COMPILED), enable_loader_override=False
        ):
            from benchmarks.fuzz.targets import targets
    else:
        from benchmarks.fuzz.targets import targets

    target = targets()[arguments.targets]()
    watch = _Watch(
        target,
        arguments.inputs,
        Path(arguments.out),
        cpu_s=arguments.cpu_seconds,
        memory_is_ours=arguments.engine == "mutate",
    )
    mutator = target.mutator(arguments.seed)
    if arguments.again is not None:
        watch.try_one(Path(arguments.again).read_bytes())
    elif arguments.engine == "mutate":
        while watch.try_one(mutator.next()):
            pass
    else:

        def one(data: bytes) -> None:
            if not watch.try_one(data):
                os._exit(watch.report())

        def mutate(data: bytes, size_max: int, seed: int) -> bytes:
            if seed % 4 == 0:
                return bytes(atheris.Mutate(data, size_max))
            return mutator.next()[:size_max] if seed % 4 == 1 else mutator.mutate(bytes(data), 1)[:size_max]

        corpus = Path(tempfile.mkdtemp())
        for number, one_seed in enumerate(mutator.seeds):
            (corpus / str(number)).write_bytes(one_seed)
        options = [
            sys.argv[0],
            str(corpus),
            "-max_len=131072",
            f"-seed={arguments.seed + 1}",
            "-rss_limit_mb=0",
            "-verbosity=0",
        ]
        atheris.Setup(options, one, custom_mutator=mutate)
        atheris.Fuzz()
    sys.exit(watch.report())


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    engine = "atheris" if importlib.util.find_spec("atheris") else "mutate"
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs of each target")
    parser.add_argument(
        "--cpu-seconds", type=float, default=math.inf, help="CPU time of each target, if fewer inputs"
    )
    parser.add_argument("--targets", help="names, separated by commas; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("atheris", "mutate"), default=engine)
    parser.add_argument("--out", default="out/fuzz", help="where inputs are saved")
    parser.add_argument("--again", help="run one saved input alone")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
