"""Load a configuration: a YAML file, the environment and the command line become one `Config`.

Rules
    - Precedence: file < ``DETECTOR__KAFKA__GROUP_ID`` < ``--set kafka.group_id=x``. The more specific of two
      environment variables wins, and the later of two ``--set``.
    - Values of both are read as YAML. Where the tree expects a text, other values are taken literally.
    - An item of a list is set by its index (``event.fields.0.type``); the index after the last one appends.
      A list that the file does not state starts empty, not with its default.
    - All problems are reported at once: where, what was found, what was expected.
    - A value below a key that sounds secret is never shown, nor is a line of a file that is not YAML.

The tree (`detector.config.tree`) decides what is valid. What an error expects is read from its JSON Schema.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detector.config import yaml_text
from detector.config.problems import Finding, Setting, findings, problem
from detector.config.schema import schema_at
from detector.config.tree import Config, Secret
from detector.config.words import cut, dotted, kind, plain, shown
from detector.errors import ConfigError, Problem

ENVIRONMENT_PREFIX = "DETECTOR__"
FILE_BYTES_MAX = 1 << 20  # the largest sensible file (128 fields, all explained) has some 50 kB
PROBLEMS_MAX = 100  # reported at once; with more it is probably another kind of file


def load(path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Read, merge and check a configuration.

    Parameters
    ----------
    path
        A YAML file of at most 1 MiB.
    overrides
        Texts like ``kafka.group_id=x`` or ``event.fields.0.type=text``. The later ones win.
    environ
        Where ``DETECTOR__...`` variables are looked up. A program passes `os.environ`; None: nowhere.

    Returns
    -------
    Config
        Complete and valid.

    Raises
    ------
    ConfigError
        With every problem found.

    Examples
    --------
    >>> load("configs/handbook.yaml", ["kafka.group_id=trial"]).kafka.group_id
    'trial'
    """
    source = str(path)
    return load_text(_read(source), source, overrides, environ)


def load_text(
    text: str, source: str, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Config:
    """Merge and check a configuration given as YAML; see `load`. `source` names it in errors."""
    data, found = _parse_file(source, text)
    return _merged(source, data, found, overrides, environ)


def load_mapping(
    data: Mapping[str, Any],
    source: str = "the mapping",
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Merge and check a configuration given as nested mappings; see `load`. `source` names it in errors."""
    return _merged(source, copy.deepcopy(dict(data)), [], overrides, environ)


def _merged(
    source: str,
    data: dict[str, Any],
    found: list[Finding],
    overrides: Sequence[str],
    environ: Mapping[str, str] | None,
) -> Config:
    settings: list[Setting] = []
    problems: list[Problem] = []
    for setting in (*_from_environment(environ or {}), *_from_overrides(overrides)):
        if isinstance(setting, Problem):
            problems.append(setting)
            continue
        settings.append(setting)
        try:
            _put(data, setting.loc, _value(setting))
        except (LookupError, ValueError) as error:
            found.append(Finding(setting.loc, shown(setting.loc, setting.text), str(error)))
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as invalid:
        found += findings(invalid)
    problems += [problem(finding, settings) for finding in found]
    if len(problems) > PROBLEMS_MAX:
        more = Problem(path="and more", value=f"{len(problems)} problems", allowed=f"at most {PROBLEMS_MAX}")
        problems[PROBLEMS_MAX:] = [more]
    if config is None or problems:
        raise ConfigError(source, problems)
    return config


def effective(config: Config) -> str:
    """Write every setting as YAML, defaults included. It loads again to an equal `Config`.

    Of a secret, only the place where it is kept is written.
    """

    def only_the_place(node: dict[str, Any]) -> dict[str, Any]:
        if set(node) != set(Secret.model_fields):
            return node
        return {key: value for key, value in node.items() if value is not None}

    return yaml_text.dump(json.loads(config.model_dump_json(), object_hook=only_the_place))


# --- the file --------------------------------------------------------------------------------------------


def _read(source: str) -> str:
    def wrong(value: str) -> ConfigError:
        allowed = "a YAML file, UTF-8, of at most 1 MiB"
        return ConfigError(source, [Problem(path="the file", value=value, allowed=allowed)])

    try:
        with open(source, "rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise wrong("nothing") from None
    except IsADirectoryError:
        raise wrong("a directory") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise wrong(getattr(error, "strerror", None) or "an unusable path") from None
    if len(raw) > FILE_BYTES_MAX:
        raise wrong("more than 1 MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise wrong(f"bytes that are not UTF-8 in line {line}") from None


def _parse_file(source: str, text: str) -> tuple[dict[str, Any], list[Finding]]:
    try:
        data, repeats = yaml_text.parse(text)
    except yaml_text.NotYaml as error:
        found = Problem(path=error.where, value=f"an error ({error})", allowed="valid YAML")
        raise ConfigError(source, [found]) from None
    if not isinstance(data, dict):
        value = "nothing in it" if data is None else kind(data)
        allowed = "a mapping of keys to values, at least the section event"
        raise ConfigError(source, [Problem(path="the file", value=value, allowed=allowed)])
    return data, [
        Finding(r.loc, f"the key again in line {r.line}", f"it only in line {r.first_line}") for r in repeats
    ]


# --- settings from the environment and the command line --------------------------------------------------


def _from_environment(environ: Mapping[str, str]) -> Iterator[Setting | Problem]:
    """Sections before what is inside them, so that the more specific setting wins."""
    names = [name for name in environ if name.startswith(ENVIRONMENT_PREFIX)]
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        yield _setting(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), environ[name], name)


def _from_overrides(overrides: Sequence[str]) -> Iterator[Setting | Problem]:
    for override in overrides:
        keys, equals, text = override.partition("=")
        if not equals:
            yield Problem(path="--set", value=cut(plain(override)), allowed="a text like kafka.group_id=x")
            continue
        steps = re.sub(r"\[(\d+)\]", r".\1", keys.strip()).split(".")
        yield _setting(steps, text, f"--set {'.'.join(steps)}")


def _setting(steps: Sequence[str], text: str, origin: str) -> Setting | Problem:
    if not all(steps):
        return Problem(
            path=origin, value="an empty key", allowed="all keys from the top, e.g. kafka.group_id"
        )
    if len(steps) > yaml_text.DEPTH_MAX:
        allowed = f"at most {yaml_text.DEPTH_MAX}"
        return Problem(path=cut(origin), value=f"{len(steps)} steps", allowed=allowed)
    loc = tuple(int(step) if re.fullmatch(r"[0-9]{1,6}", step) else step for step in steps)
    return Setting(loc, text, origin)


def _value(setting: Setting) -> Any:
    """Read the value of a setting.

    Raises
    ------
    ValueError
        It is not YAML where YAML is expected. The message completes "expected ...".
    """
    schema = schema_at(setting.loc) or {}
    text, is_text = setting.text.strip(), schema.get("type") == "string"
    try:
        value, repeats = yaml_text.parse(text)
    except yaml_text.NotYaml as error:
        if is_text or schema.get("or_text"):  # e.g. [::]:9464
            return text
        raise ValueError(f"a YAML value ({error})") from None
    if is_text and not isinstance(value, str | None):
        return text
    if repeats:
        raise ValueError("a YAML value without repeated keys")
    return value


def _put(node: Any, loc: tuple[str | int, ...], value: Any) -> None:
    """Set one value in place. Missing sections above it are made.

    Raises
    ------
    LookupError
        There is no such place. The message completes "expected ...".
    """
    for depth, step in enumerate(loc, start=1):
        here = dotted(loc[: depth - 1]) or "the file"
        if isinstance(node, list):
            if not isinstance(step, int) or step > len(node):
                raise LookupError(f"an index from 0 to {len(node)}: {here} is a list")
            node += [None] if step == len(node) else []
            inner = node[step]
        elif isinstance(node, dict) and isinstance(step, str):
            inner = node.get(step)
        elif isinstance(node, dict):
            raise LookupError(f"a key, not an index: {here} is a mapping")
        else:
            raise LookupError(f"no key or index below {here}: it is {kind(node)}")
        if depth == len(loc):
            inner = value
        elif inner is None:
            inner = [] if isinstance(loc[depth], int) else {}
        node[step] = inner
        node = inner
