"""Secrets: fetched from where the configuration says they are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

from detector.config.extras import has_packages, install
from detector.config.tree import Config, Secret
from detector.config.words import HIDDEN, cut, plain
from detector.errors import ConfigError, Problem

# What a variable's name, or a path, looks like. Passwords often have other characters.
_PLACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}|[\w./ :\\~-]*[./\\][\w./ :\\~-]*")
RECEIVER_SECRETS = ("secret_url", "key", "token", "password")
SECRET_BYTES_MAX = 1 << 16  # a key, not a database; it also ends the reading of /dev/zero


class Secrets(NamedTuple):
    """Every secret of a configuration; None where it names none."""

    password: str | None
    key_password: str | None
    entity_key: str | None
    registry_password: str | None
    registry_key_password: str | None
    http_token: str | None


def resolve_secret(secret: Secret | None, path: str, environ: Mapping[str, str]) -> str | None:
    """Fetch one secret.

    Parameters
    ----------
    secret
        None gives None.
    path
        Dotted path of the key, for the error.
    environ
        A program passes `os.environ`.

    Returns
    -------
    str or None
        The secret without one trailing newline.

    Raises
    ------
    ConfigError
        Missing, empty or unreadable. Names the key and the variable or file, never the value.
    """
    if secret is None:
        return None
    if secret.env is not None:
        place, text = f"the environment variable {_place(secret.env)}", environ.get(secret.env)
    else:
        place, text = f"the file {_place(str(secret.file))}", _read(path, str(secret.file))
    text = re.sub(r"\r?\n\Z", "", text or "")
    if not text:
        missing = Problem(path=path, value=f"nothing in {place}", allowed="a secret")
        raise ConfigError("secrets", [missing])
    return text


def resolve_secrets(config: Config, environ: Mapping[str, str]) -> Secrets:
    """Fetch all secrets as `resolve_secret` does.

    Raises
    ------
    ConfigError
        With every secret that is missing.
    """
    return Secrets(*resolve_each(_secrets(config), environ).values())


def receiver_secrets(config: Config, environ: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """Fetch the secrets of all receivers of `notify`: by receiver, then by key.

    Raises
    ------
    ConfigError
        With every secret that is missing.
    """
    found = iter(resolve_each(_of_receivers(config), environ).values())
    return {one.name: {key: next(found) for key in RECEIVER_SECRETS} for one in config.notify.receivers}


def resolve_each(secrets: Mapping[str, Secret | None], environ: Mapping[str, str]) -> dict[str, str | None]:
    """Fetch several secrets: given, and returned, by the path of their setting, such as `http.token`.

    Raises
    ------
    ConfigError
        With every secret that is missing.
    """
    found: dict[str, str | None] = {}
    problems: list[Problem] = []
    for path, secret in secrets.items():
        try:
            found[path] = resolve_secret(secret, path, environ)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError("secrets", problems)
    return found


def missing_here(config: Config, environ: Mapping[str, str]) -> list[Problem]:
    """List the secrets, certificate files and packages that a configuration needs and this machine lacks.

    `load` does not check this: a configuration is often checked on another machine than it runs on.
    """
    problems: list[Problem] = []
    try:
        console = {"console.session_key": config.console.session_key}
        resolve_each({**_secrets(config), **_of_receivers(config), **console}, environ)
    except ConfigError as error:
        problems += error.problems
    sections = {
        "kafka.security": config.kafka.security,
        "kafka.security.oauth": config.kafka.security.oauth,
        "registry": config.registry,
        "http.tls": config.http.tls,
        "console.proxy": config.console.proxy,
        **{f"notify.receivers[{place}]": one for place, one in enumerate(config.notify.receivers)},
    }
    for section, key in product(sections, ("ca_file", "cert_file", "key_file")):
        file = getattr(sections[section], key, None)
        try:
            if file is not None:
                with open(file, "rb") as stream:
                    stream.read(1)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "an unusable path"
            value = f"{cut(plain(file))} ({why})"
            problems.append(Problem(path=f"{section}.{key}", value=value, allowed="a readable PEM file"))
    if not has_packages(config.event.format):
        allowed = f"its packages: {install(config.event.format)}"
        problems.append(Problem(path="event.format", value=config.event.format, allowed=allowed))
    return problems


def _secrets(config: Config) -> dict[str, Secret | None]:
    """By dotted path, in the order of `Secrets`."""
    security, registry = config.kafka.security, config.registry
    return {
        "kafka.security.password": security.password,
        "kafka.security.key_password": security.key_password,
        "entity_key": config.entity_key,
        "registry.password": None if registry is None else registry.password,
        "registry.key_password": None if registry is None else registry.key_password,
        "http.token": config.http.token,
    }


def _of_receivers(config: Config) -> dict[str, Secret | None]:
    """By dotted path: for each receiver, the keys of `RECEIVER_SECRETS`."""
    return {
        f"notify.receivers[{place}].{key}": getattr(receiver, key)
        for place, receiver in enumerate(config.notify.receivers)
        for key in RECEIVER_SECRETS
    }


def _place(name: str) -> str:
    """Show the name of a variable or a file, but not a secret that somebody has put in its place."""
    return name if _PLACE.fullmatch(name) else HIDDEN


def _read(path: str, file: str) -> str:
    try:
        with open(file, "rb") as stream:
            raw = stream.read(SECRET_BYTES_MAX + 1)
        if len(raw) > SECRET_BYTES_MAX:
            raise ValueError("more than 64 KiB")
        return raw.decode()
    except OSError as error:
        why = error.strerror or "unreadable"
    except UnicodeDecodeError:
        why = "bytes that are not UTF-8"
    except ValueError as error:
        why = str(error)
    problem = Problem(
        path=path, value=f"the file {_place(file)} ({why})", allowed="a file with the secret in it"
    )
    raise ConfigError("secrets", [problem])
