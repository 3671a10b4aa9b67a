"""Rolling upgrade and downgrade between two builds under load, on a real Kafka. Every output is checked.

    python -m benchmarks.chaos.versions --other REVISION --equal     an older commit that computes the same
    python -m benchmarks.chaos.versions                              this build with other scores
    python -m benchmarks.chaos.versions --format                     and with a newer checkpoint format

Three replicas of the other build share a topic under steady traffic. One by one they are stopped with
SIGTERM and replaced by this build, each time once all are ready; then one by one back. In the middle of each
direction one is killed (-9) instead of stopped.

With `--format` this build comes first, and the other one is newer: it reads the checkpoints of this one,
which refuses those of the other. The first newer replica is killed once more. An older one that gets its
partitions ends with exit code 3 and a sentence, and is started again, as a supervisor does. All partitions
must run all the same, on those that are left. The way back is to stop all, `detector checkpoint begin`, and
to start the older ones.

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

from benchmarks.chaos.fleet import CONFIG, KAFKA, SESSION_S, Fleet, Replica
from benchmarks.chaos.traffic import Traffic
from detector.errors import EXIT_NEEDS_OPERATOR
from tests.kafka.audit import compare, log_of, places, published, published_again, times_accounted
from tests.kafka.broker import KafkaBroker
from tests.kafka.daemons import Daemon, Deployment
from tests.kafka.next_build import FORMAT, SAME_FORMAT
from tests.kafka.waiting import PATIENCE_S

REPLICAS, PARTITIONS = 3, 4
ROOT = Path(__file__).parents[2]


class Builds(Fleet):
    """Replicas of two builds; each one is started again with its own."""

    def __init__(self, deployment: Deployment, patience_s: float, other: Path | None) -> None:
        super().__init__(deployment=deployment, ready_seconds_max=patience_s)
        self._other = other
        self.ours: dict[str, bool] = {}  # by replica: whether it is of this build
        self.may_refuse = False  # those of this build may refuse what the other one left
        self.refusals = 0

    def begin(self, name: str, *, ours: bool) -> None:
        """Start one more replica."""
        self.ours[name] = ours
        self.replicas.append(Replica(name=name, static=False, daemon=self._start(name, static=False)))

    def use(self, *, ours: bool) -> None:
        """Choose the build of the next process."""
        self.deployment.checkout = None if ours else self._other
        self.deployment.module = "detector" if ours or self._other else "tests.kafka.next_build"

    def settled(self) -> bool:
        """Whether every partition runs, and all replicas that must be ready are."""
        self.check_alive()
        needed = [r for r in self.replicas if not (self.may_refuse and self.ours[r.name])]
        return all(r.daemon.ready() for r in needed) and len(self.owners()) == self.deployment.partitions

    def _start(self, name: str, *, static: bool) -> Daemon:
        self.use(ours=self.ours[name])
        return super()._start(name, static=static)

    def _tell_end(self, replica: Replica) -> None:
        lines = replica.daemon.log().splitlines()
        sentence = f"has format {FORMAT}, this version reads format"
        refused = replica.daemon.process.returncode == EXIT_NEEDS_OPERATOR and sentence in lines[-1]
        if refused and self.may_refuse and self.ours[replica.name]:
            self.refusals += 1
        else:
            super()._tell_end(replica)


class Run:
    """All replacements on one deployment."""

    def __init__(self, options: argparse.Namespace, deployment: Deployment, other: Path | None) -> None:
        self._options, self._deployment = options, deployment
        self.fleet = Builds(deployment, options.patience, other)
        self.ready_s: list[float] = []
        for number in range(REPLICAS):
            self.fleet.begin(f"r{number}", ours=options.format)

    def roll(self) -> None:
        """Replace all, and back again."""
        fleet, first = self.fleet, self._options.format
        fleet.await_settled("the start")
        fleet.may_refuse = self._options.format
        self._replace(ours=not first)
        fleet.may_refuse = False
        if self._options.format:
            self._begin_again()
        else:
            self._replace(ours=first)

    def _replace(self, *, ours: bool) -> None:
        for number, replica in enumerate(self.fleet.replicas):
            time.sleep(self._options.pause)
            if number == REPLICAS // 2:
                replica.daemon.kill()
            elif replica.daemon.alive:
                self.fleet.terminate(replica)
            self.fleet.ours[replica.name] = ours
            self.fleet.again(replica)
            self._await(f"{replica.name} is {'this' if ours else 'the other'} build")
            if self.fleet.may_refuse and number == 0:  # its partitions go to older ones
                time.sleep(self._options.pause)
                replica.daemon.kill()
                time.sleep(2 * SESSION_S)
                self.fleet.again(replica)
                self._await(f"{replica.name} was killed")

    def _begin_again(self) -> None:
        """Go back to the older build, which cannot read what the newer one left."""
        time.sleep(self._options.pause)
        self.fleet.terminate(*self.fleet.replicas)
        config = str(self._deployment.config)
        begin = [sys.executable, "-m", "detector", "checkpoint", "begin", "--yes", "-c", config]
        subprocess.run(begin, check=True, stdout=subprocess.DEVNULL)
        for replica in self.fleet.replicas:
            self.fleet.ours[replica.name] = True
            self.fleet.again(replica)
        self._await("`checkpoint begin`, and all are this build")

    def _await(self, what: str) -> None:
        self.ready_s.append(self.fleet.await_settled(what))
        print(f"{what}; ready after {self.ready_s[-1]:.1f} s", flush=True)

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
        self.fleet.use(ours=True)
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
    parser.add_argument("--format", action="store_true", help="the other build has a newer format")
    options = parser.parse_args()
    if options.format and options.other:
        parser.error("--format brings its own other build")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends all replicas
    os.environ[SAME_FORMAT] = "" if options.format else "1"
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
        f"{len(run.ready_s)} steps, ready after {max(run.ready_s):.1f} s at most; "
        f"{run.fleet.refusals} ends of older replicas with code {EXIT_NEEDS_OPERATOR}; "
        f"violations: {len(run.fleet.violations)}"
    )
    for violation in run.fleet.violations:
        print(f"- {violation}")
    return 1 if run.fleet.violations else 0


if __name__ == "__main__":
    sys.exit(main())
