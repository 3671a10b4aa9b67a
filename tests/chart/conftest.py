"""Helm for the tests of this folder. Where it cannot be built they are skipped."""

from __future__ import annotations

import pytest

from tests.chart.helm import Helm, build
from tests.go_tools import GoUnavailable


@pytest.fixture(scope="session")
def helm() -> Helm:
    try:
        return Helm(build())
    except GoUnavailable as unavailable:
        pytest.skip(str(unavailable))
