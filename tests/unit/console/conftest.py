"""Tests of pages need the extra `console`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("starlette") and find_spec("jinja2") else ["test_web_*.py"]
