"""deploy/compose by the Compose Specification itself: its own loader, built from its sources."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.chart.helm import ROOT

TOOLS = Path(__file__).with_name("compose")  # a Go module that pins compose-go, with its checksums
BUILD_S = 300
FILE = ROOT / "deploy" / "compose" / "compose.yaml"


@pytest.fixture(scope="module")
def loader() -> Path:
    binary = ROOT / "build" / "tools" / "compose-go"
    go = shutil.which("go")
    if go is None and not binary.exists():
        pytest.skip("needs Go, to build compose-go")
    if not binary.exists():
        package = "github.com/compose-spec/compose-go/v2/cmd"
        command = [str(go), "build", "-C", str(TOOLS), "-trimpath", "-o", str(binary), package]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
        if done.returncode:
            pytest.skip(f"Go does not build compose-go: {done.stderr[-500:]}")
    return binary


def test_it_is_a_compose_file(loader: Path, tmp_path: Path) -> None:
    done = subprocess.run([loader, FILE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("condition: service_healthy", "condition: whenever"))
    done = subprocess.run([loader, wrong], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
