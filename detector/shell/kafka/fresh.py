"""Passwords, keys and certificates that are read again when they have changed.

Whoever rotates them replaces the files. The next connection, and the next login on a connection that is there
(KIP-368), uses the new ones, so nothing is restarted and no event is lost. What cannot be read, or does not
fit, is logged once, and the last ones that did fit are used.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

from kafka.net.sasl import get_sasl_mechanism, register_sasl_mechanism

from detector.config.secrets import resolve_secret
from detector.config.tree import Secret
from detector.errors import ConfigError, CredentialsError

WITH_PASSWORDS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_log = logging.getLogger(__name__)


class Password:
    """A secret that is read again when it is needed.

    Parameters
    ----------
    secret
        Where it is kept. A variable cannot change while a process runs: only a file is read again.
    path
        Dotted path of its key.
    value
        What was found there at the start.
    """

    def __init__(self, secret: Secret | None, path: str, value: str | None) -> None:
        self._secret, self._path, self._value = secret, path, value

    def __call__(self) -> str | None:
        """Return it as it is now."""
        if self._secret is not None and self._secret.file is not None:
            try:
                self._value = resolve_secret(self._secret, self._path, {})
            except ConfigError as error:
                _log.warning("the password cannot be read again, the last one is used: %s", error)
        return self._value


class FreshContext:
    """Makes TLS connections, by certificates that are read again when a file has changed.

    Parameters
    ----------
    files
        Those that are watched.
    make
        Reads them.

    Raises
    ------
    CredentialsError
        From `make`.
    """

    def __init__(self, files: Iterable[str | None], make: Callable[[], ssl.SSLContext]) -> None:
        self._files, self._make = [file for file in files if file is not None], make
        self._lock = threading.Lock()
        self._seen = self._states()
        self._context = make()

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Encrypt a connection; see `ssl.SSLContext.wrap_socket`."""
        return self.current().wrap_socket(*args, **options)

    def current(self) -> ssl.SSLContext:
        """Return the context of the files as they are now."""
        with self._lock:
            seen = self._states()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._context = self._make()
                    _log.info("certificates were read again")
                except CredentialsError as error:
                    _log.error("the new certificates cannot be used, the last ones are: %s", error)
            return self._context

    def _states(self) -> list[tuple[int, int, int] | None]:
        return [_state(file) for file in self._files]


def _state(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _with_fresh_password(kind: type) -> type:
    class Fresh(kind):  # type: ignore[misc]
        """The library's mechanism, with a password that may be a function."""

        def __init__(self, **config: Any) -> None:
            password = config.get("sasl_plain_password")
            if callable(password):
                config["sasl_plain_password"] = password()
            super().__init__(**config)

    Fresh.__name__ = f"Fresh{kind.__name__}"
    return Fresh


for _name in WITH_PASSWORDS:
    register_sasl_mechanism(_name, _with_fresh_password(get_sasl_mechanism(_name)), overwrite=True)
