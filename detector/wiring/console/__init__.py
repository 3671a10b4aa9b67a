"""`detector console`: reads topics into a database, and serves pages over it."""

from detector.wiring.console.console import console, console_token

__all__ = ["console", "console_token"]
