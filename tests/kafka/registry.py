"""A schema registry for tests: Apicurio in one JVM, loopback only, in memory, temporary.

Maven fetches its published archive (159 MB) once, into a cache outside the checkout. It needs Java 21 or
later, which may be installed beside the one on the path.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.kafka.broker import Temporary, free_ports
from tests.kafka.distribution import cache_folder, fetching, run, tail, watched
from tests.kafka.waiting import poll_until

VERSION = "3.3.3"
JAVA_MIN = 21
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
_FETCH_TIMEOUT_S = 500.0


class RegistryMissing(Exception):
    """This machine cannot run the registry. The text says why."""


def java() -> str:
    """Return the path of a Java that is recent enough."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*")) if Path("/usr/lib/jvm").is_dir() else []
    found = [str(home / "bin/java") for home in homes if (home / "bin/java").is_file()]
    for path in [*found, shutil.which("java")]:
        if path is not None and _version(path) >= JAVA_MIN:
            return path
    raise RegistryMissing(f"no Java {JAVA_MIN} or later for the schema registry")


def _version(path: str) -> int:
    text = run([path, "-version"], cwd=Path("/"), timeout_s=60.0).stdout
    with contextlib.suppress(IndexError, ValueError):
        return int(text.split('"')[1].split(".")[0].split("-")[0])
    return 0


def distribution() -> Path:
    """Return the folder of the unpacked archive. Maven fetches it the first time."""
    folder = cache_folder() / f"detector-apicurio-{VERSION}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise RegistryMissing("no Maven to fetch the schema registry")
    with fetching(folder) as work:
        if work is None:
            return folder
        command = [
            maven,
            "-q",
            "-B",
            "dependency:copy",
            f"-Dartifact={_ARTIFACT}",
            f"-DoutputDirectory={work}",
        ]
        done = run(command, cwd=work, timeout_s=_FETCH_TIMEOUT_S)
        archives = list(work.glob("*.tar.gz"))
        if done.returncode != 0 or not archives:
            raise RegistryMissing(f"Maven could not fetch the schema registry:\n{tail(done.stdout)}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work / "app", filter="data")
        (work / "app").rename(folder)
    return folder


class Apicurio(Temporary):
    """A registry in a process of its own; it speaks the API of Confluent's."""

    def __init__(self) -> None:
        self._ports = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self.url = f"http://127.0.0.1:{self._ports[0]}/apis/ccompat/v7"

    def start(self) -> None:
        """Run it, and return when it answers. Raises RegistryMissing where this machine cannot."""
        program, runtime = distribution() / "quarkus-run.jar", java()
        self._folder = Path(tempfile.mkdtemp(prefix="detector-apicurio-"))
        log = self._folder / "registry.log"
        settings = {
            f"QUARKUS_{what}_{key}": value
            for what, port in zip(("HTTP", "MANAGEMENT"), self._ports, strict=True)
            for key, value in (("HOST", "127.0.0.1"), ("PORT", str(port)))
        }
        command = [runtime, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", str(program)]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # It does not outlive the tests, even when they are killed: then the pipe closes.
        self._watcher = watched(self._process)
        ended = False

        def up() -> bool:
            nonlocal ended
            ended = self._process is None or self._process.poll() is not None
            return ended or self._answers()

        if not poll_until(up, interval_s=0.2) or ended:
            raise AssertionError(f"the registry did not start:\n{tail(log.read_text(errors='replace'))}")

    def remove(self) -> None:
        """Kill it; its schemas are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._watcher is not None:
            self._watcher.communicate()  # closes the pipe
            self._watcher = None
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def suspend(self) -> None:
        """Freeze it (SIGSTOP): connections are accepted, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def register(self, subject: str, text: str, kind: str, references: Sequence[dict[str, Any]] = ()) -> int:
        """Register a schema, as producers do. Returns its id."""
        body = {"schema": text, "schemaType": kind, "references": list(references)}
        request = urllib.request.Request(
            f"{self.url}/subjects/{quote(subject, safe='')}/versions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(json.load(answer)["id"])

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/subjects", timeout=5):
            return True
        return False
