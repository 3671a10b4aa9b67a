"""Helm for the tests of this folder. Where it cannot be built they are skipped."""

from __future__ import annotations

import pytest

from tests.chart.helm import Helm, HelmUnavailable, build


@pytest.fixture(scope="session")
def helm() -> Helm:
    try:
        return Helm(build())
    except HelmUnavailable as unavailable:
        pytest.skip(str(unavailable))
