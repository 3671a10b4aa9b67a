"""`detector status`: what a running service says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from detector.config.secrets import resolve_secret
from detector.config.tree import Config
from detector.ports import ShardFigures, Status
from detector.shell.status_page import read_figures, read_status

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


def service_status(config: Config, environ: Mapping[str, str], url: str | None = None) -> Status:
    """Ask the service at `url`, or at the configured address of this machine.

    Raises
    ------
    OperatorError
        Nobody answers there, or the token is refused.
    """
    here, ca_file, token = _asked(config, environ, url)
    return read_status(here, ca_file=ca_file, token=token)


def service_figures(
    config: Config, environ: Mapping[str, str], url: str | None = None
) -> Mapping[int, ShardFigures]:
    """Ask the same service for the figures of its partitions.

    Raises
    ------
    OperatorError
        As `service_status`.
    """
    here, ca_file, token = _asked(config, environ, url)
    return read_figures(here, ca_file=ca_file, token=token)


def _asked(config: Config, environ: Mapping[str, str], url: str | None) -> tuple[str, str | None, str | None]:
    """Address, authorities and token."""
    token = resolve_secret(config.http.token, "http.token", environ)
    host, _, port = config.http.address.rpartition(":")
    tls = config.http.tls
    here = f"{'http' if tls is None else 'https'}://{_EVERYWHERE.get(host, host)}:{port}"
    ca_file = None if tls is None else tls.cert_file
    return (url or here).rstrip("/"), ca_file, token
