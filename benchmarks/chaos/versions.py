"""Rolling upgrade and downgrade between two builds under load, on a real Kafka. Every output is checked.

    python -m benchmarks.chaos.versions --other REVISION --equal     an older commit that computes the same
    python -m benchmarks.chaos.versions                              this build with other scores

Three replicas of the other build share a topic under steady traffic. One by one they are stopped with
SIGTERM and replaced by this build, each time once all are ready; then one by one back. In the middle of each
direction one is killed (-9) instead of stopped.

What must hold: no replica ends by itself, and each is ready again within `--patience`; each record of the log
is scored or rejected exactly once; no alert comes twice. With `--equal` all outputs are, byte for byte, those
of one undisturbed daemon of this build over the same log. Otherwise the share that differs is printed: a
score is computed by the build that has the partition at that moment, from the state that both left.

The other build is a commit of this repository (`git archive` into a temporary folder), whose checkpoints and
journals both can read. Prints a line per replacement and a summary; exit code 1 if a check fails. Needs Java
and Maven.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

from benchmarks.chaos.fleet import CONFIG, KAFKA, Fleet, Replica
from benchmarks.chaos.traffic import Traffic
from tests.kafka.audit import compare, log_of, places, published, published_again, times_accounted
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Deployment
from tests.kafka.next_build import SAME_FORMAT
from tests.kafka.waiting import PATIENCE_S

REPLICAS, PARTITIONS = 3, 4
ROOT = Path(__file__).parents[2]


class Run:
    """All replacements on one deployment."""

    def __init__(self, options: argparse.Namespace, deployment: Deployment, other: Path | None) -> None:
        self._options, self._deployment, self._other = options, deployment, other
        self.fleet = Fleet(deployment=deployment, ready_seconds_max=options.patience)
        self.ready_s: list[float] = []
        for number in range(REPLICAS):
            self._use(ours=False)
            self.fleet.replicas.append(Replica(name=f"r{number}", static=False, daemon=deployment.start()))

    def _use(self, *, ours: bool) -> None:
        """Choose the build of the next process."""
        deployment = self._deployment
        deployment.checkout = None if ours else self._other
        deployment.module = "detector" if ours or self._other else "tests.kafka.next_build"

    def roll(self) -> None:
        """Replace all, and back again."""
        self.fleet.await_settled("the start")
        for ours in (True, False):
            for number, replica in enumerate(self.fleet.replicas):
                time.sleep(self._options.pause)
                if number == REPLICAS // 2:
                    replica.daemon.kill()
                else:
                    self.fleet.terminate(replica)
                self._use(ours=ours)
                self.fleet.again(replica)
                way = f"{replica.name} is {'this' if ours else 'the other'} build"
                self.ready_s.append(self.fleet.await_settled(way))
                print(f"{way}; all ready after {self.ready_s[-1]:.1f} s", flush=True)

    def check(self, traffic: Traffic) -> None:
        """Compare everything published with the log and with an undisturbed run."""
        traffic.finish()
        self._deployment.await_done(max(PATIENCE_S, self._options.patience))
        self.fleet.await_settled("the end")
        mismatches = sum(r.daemon.metric("detector_state_mismatches_total") for r in self.fleet.replicas)
        self.fleet.terminate(*self.fleet.replicas)
        seen = published(self._deployment)
        times, log = times_accounted(seen), places(log_of(self._deployment))
        lost, twice = len(log - times.keys()), sum(len(copies) > 1 for copies in seen.values())
        self._use(ours=True)
        reference = published_again(self._deployment, 300)
        found = compare(seen, reference)
        scores = [about for about in found.different if about[0] == "scores"]
        print(
            f"{len(log)} records, {lost} lost, {twice} twice; against one undisturbed daemon: scores "
            f"{len(scores) / len(log):.1%} different, alerts {len(found.lost)} missing, "
            f"{len(found.surplus)} more; barriers replayed with another state at the end {mismatches:.0f}"
        )
        if lost or twice or not times.keys() <= log:
            self.fleet.violations.append(f"{lost} lost, {twice} twice")
        if self._options.equal and found:
            self.fleet.violations.append(f"outputs differ: {found.different[:5]} {found.lost[:5]}")

    def stop(self) -> None:
        """End all processes."""
        for daemon in self._deployment.daemons:
            daemon.kill()


def unpack(revision: str, folder: Path) -> Path:
    """Unpack a commit, and compile its kernels. Returns its folder."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", revision]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    compiling = [sys.executable, "-m", "detector", "compile"]
    subprocess.run(compiling, check=True, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    return folder


def main() -> int:
    """Run the replacements and the checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--other", help="commit of the other build; else this one with other scores")
    parser.add_argument("--equal", action="store_true", help="both builds compute the same")
    parser.add_argument("--rate", type=float, default=200.0, help="events per s")
    parser.add_argument("--pause", type=float, default=5.0, help="before each replacement, s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=120.0, help="until all replicas are ready again, s")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends all replicas
    os.environ[SAME_FORMAT] = "1"
    with (
        tempfile.TemporaryDirectory(prefix="detector-versions-") as folder,
        KafkaBroker() as broker,
        Deployment(
            broker.bootstrap, Path(folder), "versions", partitions=PARTITIONS, config=CONFIG, kafka=KAFKA
        ) as deployment,
    ):
        other = unpack(options.other, Path(folder) / "other") if options.other else None
        traffic = Traffic(deployment, seed=options.seed, events_per_s=options.rate)
        run = Run(options, deployment, other)
        try:
            traffic.start()
            run.roll()
            run.check(traffic)
        finally:
            run.stop()
    print(
        f"{len(run.ready_s)} replacements, ready after {max(run.ready_s):.1f} s at most; "
        f"violations: {len(run.fleet.violations)}"
    )
    for violation in run.fleet.violations:
        print(f"- {violation}")
    return 1 if run.fleet.violations else 0


if __name__ == "__main__":
    sys.exit(main())
