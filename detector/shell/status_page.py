"""The pages /status and /metrics of a running service, read from outside."""

from __future__ import annotations

import math
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

import msgspec

from detector.errors import CredentialsError, NeedsOperator
from detector.ports import ShardFigures, Status
from detector.shell.web import opener, tls_context

TIMEOUT_S = 10.0
BYTES_MAX = 1 << 22
_LINE = re.compile(r'(detector_[a-z_]+)\{partition="(\d{1,9})"\} (\S+)')  # of a metric by partition alone
_FIGURES = {
    "detector_warming_up": "warming_up",
    "detector_model_version": "model_version",
    "detector_partition_lag_records": "lag_records",
    "detector_partition_lag_seconds": "lag_s",
    "detector_alert_budget_per_day": "alerts_per_day",
    "detector_alert_budget_used_ratio": "budget_used",
}


def read_status(url: str, *, ca_file: str | None, token: str | None) -> Status:
    """Read the page /status.

    Parameters
    ----------
    url
        Of the service, e.g. ``http://127.0.0.1:9464``.
    ca_file
        Authorities that may have signed its certificate; None: those of the system.

    Raises
    ------
    CredentialsError
        The token is refused, or the file cannot be used.
    NeedsOperator
        Nobody answers, or something else does.
    """
    try:
        return msgspec.json.decode(_read(url, "status", ca_file, token), type=Status)
    except msgspec.MsgspecError as error:
        raise NeedsOperator(f"{url}: no status from there: {error}") from None


def read_figures(url: str, *, ca_file: str | None, token: str | None) -> Mapping[int, ShardFigures]:
    """Read what the page /metrics says of each partition.

    Raises
    ------
    CredentialsError, NeedsOperator
        As `read_status`.
    """
    found: dict[int, dict[str, float]] = {}
    for line in _read(url, "metrics", ca_file, token).decode("utf-8", "replace").splitlines():
        matched = _LINE.fullmatch(line)
        if matched is None or (name := _FIGURES.get(matched[1])) is None:
            continue
        try:
            value = float(matched[3])
        except ValueError:
            continue
        if math.isfinite(value):
            found.setdefault(int(matched[2]), {})[name] = value
    return {partition: msgspec.convert(_whole(of), ShardFigures) for partition, of in found.items()}


def _whole(figures: dict[str, float]) -> dict[str, object]:
    """Figures with the types that they have."""
    types = {"warming_up": bool, "model_version": int}
    return {name: types.get(name, float)(value) for name, value in figures.items()}


def _read(url: str, page: str, ca_file: str | None, token: str | None) -> bytes:
    request = urllib.request.Request(f"{url}/{page}")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    context = tls_context("http.tls", ca_file) if url.startswith("https:") else None
    try:
        with opener(context).open(request, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read(BYTES_MAX))
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise CredentialsError(f"{url}: the service refuses http.token") from None
        raise NeedsOperator(f"{url}: answers {error.code} instead of a status") from None
    except (OSError, HTTPException) as error:
        raise NeedsOperator(f"{url}: no status from there: {error}") from None
