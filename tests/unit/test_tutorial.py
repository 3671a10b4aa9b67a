"""The file part of the tutorial does what the page says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests import tutorial


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_newcomer_gets_alerts_from_a_file(tmp_path: Path) -> None:
    newcomer = tutorial.Newcomer(tmp_path)
    said = [newcomer.run(script) for script in tutorial.blocks("run")]
    shown = re.search(r"```text\n(event_id.*?)```", tutorial.PAGE.read_text(), re.DOTALL)
    assert shown is not None
    assert said[0] == shown[1]  # the first rows of the file
    pattern = r"([\d,]+) events: ([\d,]+) scored, (\d+) rejected, (\d+) alerts"
    *_, (events, scored, rejected, count) = re.findall(
        pattern, "".join(said)
    )  # the trial's, then the replay's
    assert (events, scored, rejected) == ("30,000", "30,000", "0")
    alerts = [json.loads(line) for line in (newcomer.folder / "alerts.jsonl").read_text().splitlines()]
    assert len(alerts) == int(count) > 15
    assert {alert["entity"]["name"] for alert in alerts} == {"card"}
    found = re.search(r"(\d+) of (\d+) alerts are frauds", said[-1])
    assert found is not None
    assert int(found[1]) > int(found[2]) / 3
    for alert in alerts[-2:]:
        assert alert["reasons"][0]["detail"] in said[-2]
