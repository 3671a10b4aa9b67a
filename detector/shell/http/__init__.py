"""The pages /livez, /readyz and /metrics."""

from detector.shell.http.pages import HttpServer

__all__ = ["HttpServer"]
