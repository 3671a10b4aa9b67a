"""The Kafka part of the tutorial does what the page says."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tutorial
from tests.kafka.broker import KafkaBroker
from tests.kafka.topics import read_all
from tests.kafka.waiting import PATIENCE_S, poll_until


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_newcomer_gets_alerts_on_a_topic(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    newcomer = tutorial.Newcomer(tmp_path)
    for script in tutorial.blocks("run"):
        newcomer.run(script)
    for name in ("publish.py", "read_alerts.py"):
        (newcomer.folder / name).write_text(tutorial.file(name))
    publish, read_alerts = (
        script.replace("localhost:9092", own_kafka.bootstrap) for script in tutorial.blocks("run on kafka")
    )
    newcomer.run(publish)
    (daemon,) = tutorial.blocks("daemon")
    words = daemon.replace("localhost:9092", own_kafka.bootstrap).split()
    command = [sys.executable, "-m", *words, "--set", "http.address=127.0.0.1:0"]
    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=newcomer.folder, env=newcomer.environment, stdout=log, stderr=log
        )
        try:
            # On a busy machine the daemon needs longer than the 20 s that the reader waits.
            assert poll_until(lambda: len(read_all(own_kafka.bootstrap, "alerts")) > 5, interval_s=1.0)
            lines = newcomer.run(read_alerts).splitlines()
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
    assert code == 0, (tmp_path / "daemon.log").read_text()[-2000:]
    assert len(lines) > 5
    assert all(line.split()[0] in ("low", "medium", "high", "critical") for line in lines)
