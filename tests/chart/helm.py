"""Helm, built from its sources: it is published as a Go module, not as a package of Python."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.go_tools import built

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm"
KUBERNETES = "1.35.0"
BUILD_S = 900
_TOOLS = Path(__file__).with_name("tools")


class Refused(Exception):
    """Helm did not render the chart; the message has its words."""


def build() -> Path:
    """Build Helm unless it is there; takes two minutes of CPU the first time, then Go's cache helps.

    Raises
    ------
    GoUnavailable
    """
    return built(_TOOLS, {"helm": "helm.sh/helm/v3/cmd/helm"}, limit_s=BUILD_S)["helm"]


class Helm:
    """The chart, rendered."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary

    def lint(self, values: Path) -> str:
        """Return what `helm lint --strict` says of the chart with these values."""
        return self._run(
            "lint", "--strict", "--kube-version", KUBERNETES, str(CHART), "--values", str(values)
        )

    def render(self, values: Path, **changes: Any) -> list[dict[str, Any]]:
        """Render the objects.

        Parameters
        ----------
        values
            A file of values.
        changes
            Further values by path, `__` between keys: ``config__kafka__group_id="g"``.

        Raises
        ------
        Refused
            The values do not fit.
        """
        sets = [
            f"--set-json={path.replace('__', '.')}={json.dumps(value)}" for path, value in changes.items()
        ]
        text = self._run(
            "template", "cards", str(CHART), "--kube-version", KUBERNETES, "--values", str(values), *sets
        )
        return [document for document in yaml.safe_load_all(text) if document]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([self._binary, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise Refused(done.stdout + done.stderr)
        return done.stdout
