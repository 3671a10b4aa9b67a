"""Optional parts of the installation: what to say where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from detector.errors import ConfigError, Problem

DISTRIBUTION = "stream-anomaly-detector"  # the name to install this package by

# Protocols of URLs whose clients are extras: most installations need one of them or none.
_CLIENTS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "az": "azure",
}
_PACKAGES = {"avro": ("fastavro",), "protobuf": ("google.protobuf", "grpc_tools")}  # of formats


def install(extra: str) -> str:
    """The command that installs an extra.

    >>> install("parquet")
    "pip install 'stream-anomaly-detector[parquet]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def install_client(protocol: str) -> str | None:
    """The command that installs the client of a URL's protocol; None where no extra does.

    >>> install_client("gs")
    "pip install 'stream-anomaly-detector[gcs]'"
    """
    extra = _CLIENTS.get(protocol)
    return None if extra is None else install(extra)


def has_packages(format: str) -> bool:
    """Whether the packages that read a format of events are installed."""
    try:
        return all(find_spec(name) is not None for name in _PACKAGES.get(format, ()))
    except ImportError:  # of the package around one
        return False


def missing_extra(format: str) -> ConfigError:
    """A format of events needs packages that are not here; they are the extra of its name."""
    allowed = f'the extra "{format}": {install(format)}'
    return ConfigError("event.format", [Problem(path="event.format", value=format, allowed=allowed)])
