"""The pages /livez, /readyz and /metrics."""

from detector.shell.http.pages import Certificate, HttpServer

__all__ = ["Certificate", "HttpServer"]
