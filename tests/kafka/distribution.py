"""Apache Kafka's jars, fetched once, and the Java that runs them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

KAFKA_VERSION = "4.3.0"
_FETCH_TIMEOUT_S = 300.0  # 44 MB
_LOG_TAIL_LINES = 20
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>detector.tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies>
</project>
"""


class KafkaUnavailable(Exception):
    """This machine cannot run Kafka: it has no Java, no Maven, or no artifacts. The text says which."""


def java() -> str:
    """Return the path of Java: JAVA_HOME's, else the first on the path."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        raise KafkaUnavailable("no Java: install a JRE 17 or later, or set KAFKA_BOOTSTRAP_SERVERS")
    return found


def distribution() -> Path:
    """Return the folder with the broker's jars. Maven fetches it the first time."""
    folder = cache_folder() / f"detector-kafka-{KAFKA_VERSION}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable("no Maven to fetch Apache Kafka: install it, or set KAFKA_BOOTSTRAP_SERVERS")
    with fetching(folder) as work:
        if work is None:
            return folder
        jars = work / "jars"
        (work / "pom.xml").write_text(_POM)
        command = [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        done = run(command, cwd=work, timeout_s=_FETCH_TIMEOUT_S)
        if done.returncode != 0:
            raise KafkaUnavailable(f"Maven could not fetch Apache Kafka:\n{tail(done.stdout)}")
        jars.rename(folder)  # the complete folder appears at once
    return folder


def cache_folder() -> Path:
    """Return the folder, outside the checkout, of what is fetched once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@contextlib.contextmanager
def fetching(folder: Path) -> Iterator[Path | None]:
    """Yield a temporary folder beside `folder`, for one process at a time; None if `folder` is there by then.

    Test processes that begin together all find no folder; the first one fetches it.
    """
    with (
        folder.with_name(f"{folder.name}.lock").open("w") as lock,
        tempfile.TemporaryDirectory(prefix=f"{folder.name}-fetch-", dir=folder.parent) as work,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        yield None if folder.is_dir() else Path(work)


def run(command: list[str], *, cwd: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        return subprocess.CompletedProcess(command, 1, stdout=f"{text}\nnot done after {timeout_s:.0f} s")


def tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LOG_TAIL_LINES:])


def watched(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Start a shell that kills a process when its input closes, as when the tests are killed."""
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -9 "$1"', "sh", str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def ends_with_us(command: list[str]) -> list[str]:
    """Extend a command so that Linux kills its process when the thread that starts it ends.

    So it does not outlive tests that are killed. Where there is no setpriv (util-linux), nothing changes.
    """
    setpriv = shutil.which("setpriv")
    return command if setpriv is None else [setpriv, "--pdeathsig", "KILL", *command]
