"""Event formats, chosen by `event.format`.

A new format is a class in a module of its own, one line here, and one line in `detector.config.formats`.
"""

from __future__ import annotations

from detector.core.events.formats.base import Format
from detector.core.events.formats.json import Json

FORMATS: dict[str, type[Format]] = {"json": Json}
"""By the name in the configuration."""
