"""The progress file of a replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detector.errors import NeedsOperator

FORMAT = 1
PROGRESS = "progress.json"


def read_progress(path: Path, text: str) -> dict[str, Any]:
    """Check the form of a progress file: input, positions and outputs.

    Raises
    ------
    NeedsOperator
        It is damaged, or of another version.
    """
    try:
        document: dict[str, Any] = json.loads(text)
        known = document["format"] == FORMAT
        document["input"]["events"], dict(document["outputs"])
        for offset, metadata in document["positions"]:
            known &= isinstance(offset, int) and isinstance(metadata, str)
    except (ValueError, KeyError, TypeError) as error:
        raise NeedsOperator(f"{path} is damaged: remove the folder to start over") from error
    if not known:
        raise NeedsOperator(f"{path} was written by another version: remove the folder to start over")
    return document
