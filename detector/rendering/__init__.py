"""What is found, as pages, pictures, words and JSON. Nothing here reads anything: it gets plain values."""

from detector.rendering.bias import page as bias_page
from detector.rendering.drift import page as drift_page
from detector.rendering.embedding import (
    compared_json,
    compared_lines,
    report_json,
    report_lines,
    report_page,
)
from detector.rendering.model import COLUMNS as VERSION_COLUMNS
from detector.rendering.model import (
    card_json,
    card_markdown,
    said_of_versions,
    version_rows,
    versions_json,
)

__all__ = [
    "VERSION_COLUMNS",
    "bias_page",
    "card_json",
    "card_markdown",
    "compared_json",
    "compared_lines",
    "drift_page",
    "report_json",
    "report_lines",
    "report_page",
    "said_of_versions",
    "version_rows",
    "versions_json",
]
