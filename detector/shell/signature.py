"""Signs a file with an Ed25519 key (RFC 8032)."""

from __future__ import annotations

from pathlib import Path

from detector.config.extras import install
from detector.errors import ConfigError, Problem, UsageError

KEY_BYTES_MAX = 1 << 16


def sign(body: bytes, key: Path) -> bytes:
    """The signature of some bytes, 64 bytes, which `openssl pkeyutl -verify -rawin` checks.

    Parameters
    ----------
    key
        Private key, PEM without a password: `openssl genpkey -algorithm ed25519`.

    Raises
    ------
    UsageError
        The package for it is missing.
    ConfigError
        The file holds no such key, or cannot be read.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise UsageError(f"to sign a card: {install('sign')}") from None
    try:
        with key.open("rb") as file:
            loaded = load_pem_private_key(file.read(KEY_BYTES_MAX), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _wrong(key, f"{key} ({getattr(error, 'strerror', None) or 'no such key'})") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise _wrong(key, f"{key} (a key of another kind)")
    return loaded.sign(body)


def _wrong(key: Path, value: str) -> ConfigError:
    allowed = "a private Ed25519 key in PEM, without a password (openssl genpkey -algorithm ed25519)"
    return ConfigError("command line", [Problem(path="--key", value=value, allowed=allowed)])
