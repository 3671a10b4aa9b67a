"""Helm for the tests of this folder. Without Go they are skipped; with CI=true and Go they fail instead."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.chart.helm import Helm, HelmUnavailable, build


@pytest.fixture(scope="session")
def helm() -> Helm:
    try:
        return Helm(build())
    except HelmUnavailable as unavailable:
        if os.environ.get("CI") == "true" and shutil.which("go"):
            pytest.fail(str(unavailable))
        pytest.skip(str(unavailable))
