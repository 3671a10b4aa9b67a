"""A console on this machine, and a real Chromium: Playwright's own, or the system's."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NEEDED = ("playwright", "axe_playwright_python", "uvicorn", "starlette", "jinja2")
missing = [name for name in NEEDED if find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if missing else []


def chromium() -> str | None:
    """Path of a Chromium; None: there is none."""
    from playwright.sync_api import sync_playwright

    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None:
        pytest.skip("needs Chromium: `playwright install chromium`, or the system's package")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Served:
    """A console that listens."""

    url: str
    book: Any


def serve(app: Any) -> tuple[str, Any]:
    """Serve an application on a free port; returns its address and what stops it."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join(5)
        listener.close()

    return f"http://127.0.0.1:{listener.getsockname()[1]}", stop
