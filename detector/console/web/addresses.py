"""Addresses of pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from detector.console import filters
from detector.console.views import Filter


def case_path(case_id: str, query: str = "") -> Markup:
    """Give the address of a case; `query`: of the queue from which it was opened."""
    return address(f"/cases/{quote(case_id, safe='')}", query)


def queue_path(asked: Filter, **changes: Any) -> Markup:
    """Give the address of a queue, with some values of its filter changed."""
    return address("/cases", filters.write(replace(asked, **changes)))


def address(path: str, query: str = "") -> Markup:
    """Put path and query together, for an attribute of a page."""
    return escape(f"{path}?{query}" if query else path)


def queried(fields: Mapping[str, str], after: str | None = None) -> str:
    """Write fields that are not empty as a query, with the cursor of a next page."""
    given = {name: value for name, value in fields.items() if value}
    return urlencode(given | ({"after": after} if after else {}))
