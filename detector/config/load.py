"""From a YAML file, the environment and the command line to a `Config`, or to all that is wrong with them.

Rules
    - Precedence: file < ``DETECTOR__KAFKA__GROUP_ID`` < ``--set kafka.group_id=x``. Of two environment
      variables the more specific one wins, of two ``--set`` the later one.
    - Their values are read as YAML. Where the tree wants a text, what is no YAML text is taken as it stands.
    - An item of a list is set by its index (``event.fields.0.type``); the index after the last one appends.
      A list that the file does not state starts empty, not with its default.
    - All problems are reported at once, with where, what was found and what is allowed, in plain words.
    - A value below a key that sounds secret is never shown; neither is a line of a file that is not YAML.

What is allowed is read from the tree's JSON Schema, so nothing said here can differ from what is checked.
"""

from __future__ import annotations

import copy
import difflib
import functools
import json
import math
import re
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from detector.config.tree import Config, Name, Secret, Topic
from detector.errors import ConfigError, Problem

ENVIRONMENT_PREFIX = "DETECTOR__"
FILE_BYTES_MAX = 1 << 20  # the largest sensible one (128 fields, all explained) has some 50 kB
NODES_MAX = 5000  # keys, values and sections of one text; that same one has some 2,300
DEPTH_MAX = 32  # sections in sections; the tree's own have 6
PROBLEMS_MAX = 100  # told at once; who made more has given another file
SECRET_BYTES_MAX = 1 << 16  # a key, not a database; also ends the reading of /dev/zero
SHOWN_CHARS_MAX = 80
UNREADABLE = re.compile(r'["\\\x00-\x1f]')  # in the name of a field: the JSON decoder cannot look for it
HIDDEN = "*** (hidden)"
# What follows a name and a colon, unless it is a port; greedy, as a password may have a / or @ in it.
_LOGIN_IN_URL = re.compile(r"(?<=://)[^\s/@:?]{0,256}:(?!\d{1,5}/)\S{0,1024}@")
_QUERY = re.compile(r"(://[^\s?]{0,1024})\?[^\s'\"]*")

Loc = tuple[str | int, ...]
Schema = dict[str, Any]


class _Finding(NamedTuple):
    """A problem before it has words for where it comes from."""

    loc: Loc
    value: str
    allowed: str
    inside: bool = False  # it is about how the values inside `loc` fit together


class _Setting(NamedTuple):
    """One value from the environment or the command line."""

    loc: Loc
    text: str
    origin: str


def load(path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Read, merge and check a configuration.

    Parameters
    ----------
    path
        A YAML file of at most 1 MiB.
    overrides
        Texts like ``kafka.group_id=x`` or ``event.fields.0.type=text``, the later ones winning.
    environ
        Where ``DETECTOR__...`` variables are looked for; a program passes `os.environ`. None: nowhere.

    Returns
    -------
    Config
        Complete and checked.

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
    data, findings = _parse_file(source, _read(source))
    settings: list[_Setting] = []
    problems: list[Problem] = []
    for setting in (*_from_environment(environ or {}), *_from_overrides(overrides)):
        if isinstance(setting, Problem):
            problems.append(setting)
            continue
        settings.append(setting)
        try:
            _put(data, setting.loc, _setting_value(setting))
        except (LookupError, ValueError) as error:
            findings.append(_Finding(setting.loc, _shown(setting.loc, setting.text), str(error)))
    config, invalid = _validate(data)
    findings += [*_without_repeats(invalid, relations := list(_event_relations(data))), *relations]
    findings += _cross_checks(data)
    problems += [_problem(finding, settings) for finding in findings]
    if len(problems) > PROBLEMS_MAX:
        more = Problem(path="and more", value=f"{len(problems)} problems", allowed=f"at most {PROBLEMS_MAX}")
        problems[PROBLEMS_MAX:] = [more]
    if config is None or problems:
        raise ConfigError(source, problems)
    return config


def resolve_secret(secret: Secret | None, path: str, environ: Mapping[str, str]) -> str | None:
    """Fetch a secret from where the configuration says that it is kept.

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
        place, text = f"the environment variable {secret.env}", environ.get(secret.env)
    else:
        place, text = f"the file {secret.file}", _read_secret(path, str(secret.file))
    text = re.sub(r"\r?\n\Z", "", text or "")
    if not text:
        raise ConfigError(
            "secrets", [Problem(path=path, value=f"nothing in {place}", allowed="a secret there")]
        )
    return text


class Secrets(NamedTuple):
    """Every secret that a configuration names, fetched; None where it names none."""

    password: str | None
    key_password: str | None
    entity_key: str | None


def resolve_secrets(config: Config, environ: Mapping[str, str]) -> Secrets:
    """Fetch all secrets as `resolve_secret` does.

    Raises
    ------
    ConfigError
        With everything that is missing.
    """
    found: list[str | None] = []
    problems: list[Problem] = []
    for path, secret in _secrets(config).items():
        try:
            found.append(resolve_secret(secret, path, environ))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError("secrets", problems)
    return Secrets(*found)


def missing_here(config: Config, environ: Mapping[str, str]) -> list[Problem]:
    """What `config` names and this machine does not have: secrets, and files of certificates.

    Not part of `load`, since a configuration is often checked elsewhere than where it is used.
    """
    problems: list[Problem] = []
    try:
        resolve_secrets(config, environ)
    except ConfigError as error:
        problems += error.problems
    for key in ("ca_file", "cert_file", "key_file"):
        file = getattr(config.kafka.security, key)
        try:
            if file is not None:
                with open(file, "rb") as stream:
                    stream.read(1)
        except (OSError, ValueError) as error:
            trouble = getattr(error, "strerror", None) or "no usable path"
            value = f"{trouble} at {_cut(_plain(file))}"
            problems.append(Problem(path=f"kafka.security.{key}", value=value, allowed="a readable PEM file"))
    return problems


def _secrets(config: Config) -> dict[str, Secret | None]:
    """By dotted path, in the order of `Secrets`."""
    security = config.kafka.security
    return {
        "kafka.security.password": security.password,
        "kafka.security.key_password": security.key_password,
        "entity_key": config.entity_key,
    }


def redacted(text: str) -> str:
    """A text without what may be secret in the URLs in it: a password, and the query string.

    Examples
    --------
    >>> redacted("sftp://user:pass@host/folder and abfs://c@account/folder?sig=abc")
    'sftp://***@host/folder and abfs://c@account/folder?***'
    """
    return _QUERY.sub(r"\1?***", _LOGIN_IN_URL.sub("***@", text))


def effective(config: Config) -> str:
    """Every setting as YAML, defaults included, that loads again to an equal `Config`.

    Secrets show only where they are kept.
    """

    def only_the_place(node: Schema) -> Schema:
        return (
            {k: v for k, v in node.items() if v is not None}
            if set(node) == set(Secret.model_fields)
            else node
        )

    text = config.model_dump_json()
    readable = not set("\x85\u2028\u2029") & set(text)  # line breaks to yaml, which folds them when unescaped
    tree = json.loads(text, object_hook=only_the_place)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=readable, width=110)


def json_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a configuration file, for editors."""
    return copy.deepcopy(_schema())


def spell(text: str) -> str:
    """Write a text as YAML on one line, quoted where needed."""
    style = None if text.isascii() and text.isprintable() else '"'
    spelled: str = yaml.safe_dump([text], default_flow_style=True, default_style=style, width=math.inf)
    return spelled[1:-2]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one was meant to be, if any comes close."""
    close = difflib.get_close_matches(word.lower(), {k.lower(): k for k in known}, n=1)
    return next((k for k in known if close and k.lower() == close[0]), None)


# --- reading ---------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML that is JSON with comments: keys are texts, and there are no dates, tags or aliases.

    No key wants a date or a tag, and by aliases 1 kB can mean 1 GB. Bounded in size and depth: 1 MiB of small
    values takes a minute to read.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in yaml
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        trouble = "a tag (!) is not supported" if getattr(event, "tag", None) else None
        trouble = "write out what the alias (*) means" if isinstance(event, yaml.AliasEvent) else trouble
        self._nodes += 1
        self._depth += 1
        trouble = f"more than {NODES_MAX} keys, values and sections" if self._nodes > NODES_MAX else trouble
        trouble = f"more than {DEPTH_MAX} sections in sections" if self._depth > DEPTH_MAX else trouble
        if trouble:
            raise yaml.MarkedYAMLError(problem=trouble, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
        return node


class _NotYaml(ValueError):
    """`where` in the text, and what is wrong there; says nothing of the text itself."""

    def __init__(self, where: str, trouble: str) -> None:
        self.where = where
        super().__init__(trouble)


def _parse_yaml(text: str) -> tuple[Any, list[_Finding]]:
    """The value, and the keys that are in it twice."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, []
        return loader.construct_document(node), list(_twice(node, ()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        trouble = error.problem or "not YAML"
        context = f"{error.context}, " if error.context and trouble.startswith("but ") else ""
        raise _NotYaml(where, context + trouble) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise _NotYaml(f"line {line}, column {column}", "a character that YAML does not allow") from None
    except RecursionError:
        raise _NotYaml("the text", "nested too deeply") from None
    except ValueError:  # e.g. a whole number of 5,000 digits
        raise _NotYaml("the text", "a number out of range") from None


def _twice(node: yaml.Node, loc: Loc) -> Iterator[_Finding]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _twice(item, (*loc, index))
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                yield _Finding(
                    (*loc, name), f"it again in line {line}", f"one; the first is in line {lines[name]}"
                )
            lines.setdefault(name, line)
            yield from _twice(value, (*loc, name))


def _read(source: str) -> str:
    def wrong(value: str, allowed: str = "a YAML file, UTF-8, of at most 1 MiB") -> ConfigError:
        return ConfigError(source, [Problem(path="the file", value=value, allowed=allowed)])

    try:
        with open(source, "rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise wrong("nothing there") from None
    except IsADirectoryError:
        raise wrong("a directory") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise wrong(getattr(error, "strerror", None) or "no usable path") from None
    if len(raw) > FILE_BYTES_MAX:
        raise wrong("more than 1 MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise wrong(f"bytes that are not UTF-8 in line {line}") from None


def _parse_file(source: str, text: str) -> tuple[dict[str, Any], list[_Finding]]:
    mapping = "a mapping of keys to values, at least the section event"
    try:
        data, findings = _parse_yaml(text)
    except _NotYaml as error:
        problem = Problem(path=error.where, value="what is not YAML", allowed=str(error))
        raise ConfigError(source, [problem]) from None
    if not isinstance(data, dict):
        value = "nothing in it" if data is None else _kind(data)
        raise ConfigError(source, [Problem(path="the file", value=value, allowed=mapping)])
    return data, findings


def _read_secret(path: str, file: str) -> str:
    try:
        with open(file, "rb") as stream:
            raw = stream.read(SECRET_BYTES_MAX + 1)
        if len(raw) > SECRET_BYTES_MAX:
            raise ValueError("more than 64 KiB")
        return raw.decode()
    except OSError as error:
        trouble = error.strerror or "unreadable"
    except UnicodeDecodeError:
        trouble = "bytes that are not UTF-8"
    except ValueError as error:
        trouble = str(error)
    problem = Problem(
        path=path, value=f"{trouble} at the file {file}", allowed="a file with the secret in it"
    )
    raise ConfigError("secrets", [problem])


# --- settings from the environment and the command line --------------------------------------------------


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Setting | Problem]:
    """Whole sections before what is inside them, so that the more specific one wins."""
    names = [name for name in environ if name.startswith(ENVIRONMENT_PREFIX)]
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        yield _setting(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), environ[name], name)


def _from_overrides(overrides: Sequence[str]) -> Iterator[_Setting | Problem]:
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if not equals:
            yield Problem(path="--set", value=_cut(_plain(override)), allowed="a text like kafka.group_id=x")
            continue
        steps = re.sub(r"\[(\d+)\]", r".\1", dotted.strip()).split(".")
        yield _setting(steps, text, f"--set {'.'.join(steps)}")


def _setting(steps: Sequence[str], text: str, origin: str) -> _Setting | Problem:
    if not all(steps):
        return Problem(
            path=origin, value="an empty key", allowed="the keys from the top, e.g. kafka.group_id"
        )
    if len(steps) > DEPTH_MAX:
        return Problem(
            path=_cut(origin), value=f"a key of {len(steps)} steps", allowed=f"at most {DEPTH_MAX} steps"
        )
    loc = tuple(int(step) if re.fullmatch(r"[0-9]{1,6}", step) else step for step in steps)
    return _Setting(loc, text, origin)


def _setting_value(setting: _Setting) -> Any:
    schema = _schema_at(setting.loc) or {}
    text, wants_text = setting.text.strip(), schema.get("type") == "string"
    try:
        value, twice = _parse_yaml(text)
    except _NotYaml as error:
        if wants_text or schema.get("or_text"):  # e.g. [::]:9464
            return text
        raise ValueError(f"a YAML value ({error})") from None
    if wants_text and not isinstance(value, str | None):
        return text
    if twice:
        raise ValueError("a YAML value without a key that is in it twice")
    return value


def _put(node: Any, loc: Loc, value: Any) -> None:
    """Set one value in place, making the sections on the way to it."""
    for depth, step in enumerate(loc, start=1):
        here = _dotted(loc[: depth - 1])
        if isinstance(node, list):
            if not isinstance(step, int) or step > len(node):
                raise LookupError(f"{here} is a list: an index from 0 to {len(node)}")
            node += [None] if step == len(node) else []
            inner = node[step]
        elif isinstance(node, dict) and isinstance(step, str):
            inner = node.get(step)
        else:
            raise LookupError(f"{here or 'the file'} is {_kind(node)}: no {step!r} in it")
        if depth == len(loc):
            inner = value
        elif inner is None:
            inner = [] if isinstance(loc[depth], int) else {}
        node[step] = inner
        node = inner


# --- checking --------------------------------------------------------------------------------------------

# Stand-ins for what is required and wrong or missing, good enough to look at the rest.
_STAND_INS: dict[str, Any] = {
    "event": {"id": "id", "time": {"path": "time"}, "entities": [{"name": "entity", "path": "entity"}]},
    "id": "id",
    "time": {"path": "time"},
    "path": "path",
    "type": "numeric",
}
_LOGIN = ("sasl_mechanism", "username", "password")
_CERTIFICATES = ("ca_file", "cert_file", "key_file", "key_password")


def _validate(data: dict[str, Any]) -> tuple[Config | None, list[_Finding]]:
    """Everything the tree has to say, once.

    A wrong value hides how the values around it fit together, as pydantic stops there. So what is wrong is
    replaced and the tree asked again; of its second answer counts what does not depend on the replacements.
    """
    config, errors = _ask(data)
    if config is not None:
        return config, []
    errors = errors[: PROBLEMS_MAX + 1]
    mended = copy.deepcopy(data)
    for number, error in enumerate(errors):
        _mend(mended, error, number)
    hidden = [
        error for error in _ask(mended)[1] if _is_relation(error) and not _unjudgeable(error["loc"], errors)
    ]
    return None, [_finding(error) for error in (*errors, *hidden)]


def _ask(data: dict[str, Any]) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        locs = {
            error["loc"][:-1] for error in errors
        }  # a list whose items are wrong is not too short as well
        return None, [error for error in errors if error["type"] != "too_short" or error["loc"] not in locs]


def _mend(data: Any, error: ErrorDetails, number: int) -> None:
    loc = error["loc"]
    while isinstance(loc[-1], int):  # a wrong item: without its list, see _unjudgeable
        loc = loc[:-1]
    try:
        parent = functools.reduce(lambda node, step: node[step], loc[:-1], data)
    except (LookupError, TypeError):  # went with something around it
        return
    key = str(loc[-1])
    parent.pop(key, None)
    if error["type"] != "extra_forbidden" and key in _required(loc[:-1]):
        parent[key] = copy.deepcopy(_STAND_INS.get(key, f"stand_in_{number}"))


def _unjudgeable(part: Loc, errors: Sequence[ErrorDetails]) -> bool:
    """Whether `part`, or something directly in it that has no neutral stand-in, was replaced as a whole."""
    for error in errors:
        rest = error["loc"][len(part) :]
        directly = len(rest) <= 1 or (len(rest) == 2 and isinstance(rest[1], int))
        neutral = error["type"] == "extra_forbidden" or (rest and rest[0] in _required(part))
        if error["loc"][: len(part)] == part and directly and not neutral:
            return True
    return False


def _is_relation(error: ErrorDetails) -> bool:
    schema = _schema_at(error["loc"])
    return error["type"] == "value_error" and (
        not error["loc"] or bool(schema and schema.get("type") == "object")
    )


def _finding(error: ErrorDetails) -> _Finding:
    loc, value = error["loc"], error["input"]
    schema = _schema_at(loc)
    if error["type"] == "extra_forbidden":
        return _unknown_key(loc, value)
    if error["type"] == "missing":
        return _Finding(loc, "nothing", f"required: {_describe(schema or {})}")
    if _is_relation(error):
        return _Finding(loc, _shown(loc, value), error["msg"].removeprefix("Value error, "), inside=True)
    if error["type"] == "string_pattern_mismatch":
        return _Finding(loc, _shown(loc, value), _plain_pattern(error["ctx"]["pattern"]))
    quotes = ", in quotes" if error["type"] == "string_type" and isinstance(value, bool | int | float) else ""
    return _Finding(loc, _shown(loc, value), _describe(schema or {}) + quotes)


def _unknown_key(loc: Loc, value: Any) -> _Finding:
    known = list((_schema_at(loc[:-1]) or {}).get("properties", {}))
    key = str(loc[-1])
    meant = nearest(key, known) or next((p for p in _paths(()) if p.rpartition(".")[2] == key), None)
    shown = _shown((*loc, meant) if meant else loc, value)
    hint = f"did you mean {meant}? " if meant else ""
    return _Finding(loc, shown, f"unknown key; {hint}Known here: {', '.join(known)}")


def _event_relations(data: dict[str, Any]) -> Iterator[_Finding]:
    """Names of the event schema that do not fit together: the tree tells the first one, here are all."""
    event = data.get("event")
    sections = event if isinstance(event, dict) else {}
    places: dict[str, Loc] = {}
    types: dict[str, Any] = {}  # of the fields
    nameless = False  # a field that has no name yet may be the one that exposure means
    for section in ("entities", "fields"):
        items = sections.get(section)
        nameless |= section == "fields" and not isinstance(items, list | None)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                nameless |= section == "fields"
                continue
            loc: Loc = ("event", section, index, "name")
            if name in places:
                yield _Finding(loc, _shown((), name), f"a name of its own: {_dotted(places[name])} has it")
            places.setdefault(name, loc)
            if section == "fields":
                types.setdefault(name, item.get("type"))
    exposure = sections.get("exposure")
    if isinstance(exposure, str) and (
        types[exposure] in ("categorical", "text") if exposure in types else not nameless
    ):
        numeric = ", ".join(_cut(name) for name, type_ in types.items() if type_ == "numeric")
        allowed = f"the name of a numeric field ({numeric or 'there is none'}), or null"
        yield _Finding(("event", "exposure"), _shown((), exposure), allowed)


def _without_repeats(invalid: Sequence[_Finding], relations: Sequence[_Finding]) -> list[_Finding]:
    """What the tree says, less what `relations` say better."""
    return [f for f in invalid if not (relations and f.loc == ("event",) and f.inside)]


def _cross_checks(data: dict[str, Any]) -> Iterator[_Finding]:
    """What the tree's types do not say. Values of a wrong type are the tree's business and passed over."""

    def at(*loc: str) -> Any:
        node: Any = data
        for step in loc:
            node = node.get(step) if isinstance(node, dict) else None
        return node

    paths = dict(_event_paths(at))
    for loc, path in paths.items():
        if UNREADABLE.search(path):
            yield _Finding(
                loc, _shown((), path), "a field name without quotes, backslashes and control characters"
            )
        if path and not all(path.split(".")):
            yield _Finding(loc, _shown((), path), "field names with single dots between them, e.g. card.id")
            continue
        below = next((other for other in paths.values() if other.startswith(path + ".")), None)
        if below:
            yield _Finding(loc, _shown((), path), f"a field, not an object: {below} is inside it")
    zone = at("event", "time", "zone")
    if isinstance(zone, str) and not _is_zone(zone):
        yield _Finding(
            ("event", "time", "zone"), _shown((), zone), "an IANA time zone like UTC or Europe/Paris"
        )
    servers = at("kafka", "bootstrap_servers")
    for loc, addresses in (
        (("kafka", "bootstrap_servers"), servers.split(",") if isinstance(servers, str) else servers),
        (("http", "address"), [at("http", "address")]),
    ):
        for address in addresses if isinstance(addresses, list) else ():
            port = re.search(r":(\d{1,5})\s*$", address) if isinstance(address, str) else None
            if port and int(port[1]) > 65535:
                yield _Finding(loc, _shown((), address), "a port of at most 65535")
    url = at("checkpoints", "url")
    if isinstance(url, str) and ("?" in url or re.search(r"://[^/@:]*:(?!\d{1,5}/)[^@]*@", url)):
        allowed = "a URL without a password and a query string: give them to the store's own client"
        yield _Finding(("checkpoints", "url"), HIDDEN, allowed)
    security = ("kafka", "security")
    protocol = at(*security, "protocol") or "PLAINTEXT"
    for needed, keys in (("SASL", _LOGIN), ("SSL", _CERTIFICATES)):
        useless = [key for key in keys if at(*security, key) is not None]
        if useless and protocol in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT") and needed not in protocol:
            allowed = f"one with {needed} in it: {', '.join(useless)} would have no effect"
            yield _Finding((*security, "protocol"), str(protocol), allowed)
    if at("require_key") is True and isinstance(at("event"), dict) and not at("event", "entities"):
        yield _Finding(
            ("require_key",), "true", "false, or an entity in event.entities: its value is the key"
        )


def _event_paths(at: Callable[..., Any]) -> Iterator[tuple[Loc, str]]:
    """Where the schema states a field of the event, and which."""
    places: list[tuple[Loc, Any]] = [(("event", "id"), at("event", "id"))]
    places.append((("event", "time", "path"), at("event", "time", "path")))
    for key in ("path", "original"):
        places.append((("event", "reversals", key), at("event", "reversals", key)))
    for section in ("entities", "fields"):
        items = at("event", section)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                places.append((("event", section, index, "path"), item.get("path")))
    return ((loc, path) for loc, path in places if isinstance(path, str))


def _is_zone(name: str) -> bool:
    try:
        return name == "UTC" or zoneinfo.ZoneInfo(name) is not None  # UTC needs no zone database
    except (KeyError, ValueError, OSError):
        return False


# --- what the schema says ----------------------------------------------------------------------------------


@functools.cache
def _schema() -> Schema:
    schema: Schema = json.loads(json.dumps(Config.model_json_schema()), object_hook=_standard)
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "detector configuration"}
    return schema


def _standard(node: Schema) -> Schema:
    """Limits beside an `anyOf` keep pydantic's names, which JSON Schema does not know."""
    if "anyOf" not in node:
        return node
    names = {"gt": "exclusiveMinimum", "le": "maximum", "minLength": "minItems", "maxLength": "maxItems"}
    return {names.get(key, key): value for key, value in node.items()}


def _schema_at(loc: Loc) -> Schema | None:
    """The schema of one value; of alternatives the structured one."""
    node = _resolved(_schema())
    for step in loc:
        if isinstance(step, int):
            items = node.get("prefixItems", [])
            inner = items[step] if step < len(items) else node.get("items")
        else:
            inner = node.get("properties", {}).get(step)
        if inner is None:
            return None
        node = _resolved(inner)
    return node


def _resolved(node: Schema) -> Schema:
    """Without references and alternatives: `or_text` and `or_null` say that there were some."""
    if "$ref" in node:
        node = {**_schema()["$defs"][node["$ref"].rpartition("/")[2]], **node}
    if "anyOf" in node:
        branches = sorted(
            (_resolved(branch) for branch in node["anyOf"]), key=lambda b: b["type"] == "string"
        )
        kinds = [branch["type"] for branch in branches]
        marks = {
            "or_null": "null" in kinds,
            "or_text": kinds[-1] == "string" and len(kinds) - ("null" in kinds) > 1,
        }
        node = {**node, **next(branch for branch in branches if branch["type"] != "null"), **marks}
    return node


def _required(loc: Loc) -> Sequence[str]:
    required: Sequence[str] = (_schema_at(loc) or {}).get("required", ())
    return required


def _paths(loc: tuple[str, ...]) -> Iterator[str]:
    """Every key of the tree that is not inside a list, dotted."""
    for key in (_schema_at(loc) or {}).get("properties", {}):
        yield ".".join((*loc, key))
        yield from _paths((*loc, key))


_PATTERNS = {
    TypeAdapter(Name).json_schema()["pattern"]: (
        "a name of letters, digits and _ that does not begin with a digit, at most 64 characters"
    ),
    TypeAdapter(Topic).json_schema()[
        "pattern"
    ]: "a topic name: letters, digits and . _ -, at most 249 characters",
}


def _plain_pattern(pattern: str) -> str:
    return _PATTERNS.get(pattern, "host:port")


def _describe(schema: Schema) -> str:
    """What is allowed, for people."""
    text = _describe_type(schema)
    return f"{text}, or null" if schema.get("or_null") else text


def _describe_type(schema: Schema) -> str:
    match schema.get("type"):
        case "string" if "enum" in schema:
            return f"one of: {', '.join(schema['enum'])}"
        case "string" if "pattern" in schema:
            return _plain_pattern(schema["pattern"])
        case "string":
            return "text" + _describe_size(schema.get("minLength"), schema.get("maxLength"), "characters")
        case "integer":
            return "a whole number" + _describe_bounds(schema)
        case "number" if schema.get("or_text"):
            return "a duration like 500ms, 30s, 15m, 12h or 7d, or seconds" + _describe_bounds(schema)
        case "number":
            return "a number" + _describe_bounds(schema)
        case "boolean":
            return "true or false"
        case "array" if schema.get("or_text"):
            return "host:port, or a list of them"
        case "array":
            items = _describe(_resolved(schema.get("items") or schema["prefixItems"][0]))
            size = _describe_size(schema.get("minItems"), schema.get("maxItems"), "items")
            return f"a list{size}, each {items}"
        case "object" if set(schema["properties"]) == set(Secret.model_fields):
            return "where the secret is kept: {env: NAME} or {file: PATH}"
        case "object":
            return f"a mapping with the keys {', '.join(schema['properties'])}"
        case _:
            return "something else"


def _describe_bounds(schema: Schema) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:.15g}" for key, sign in signs.items() if key in schema]
    return f" {' and '.join(bounds)}" if bounds else ""


def _describe_size(low: int | None, high: int | None, unit: str) -> str:
    if high is None:
        return f" of at least {low} {unit}" if low else ""
    return f" of {high} {unit}" if low == high else f" of {low or 0} to {high} {unit}"


# --- words -------------------------------------------------------------------------------------------------


def _problem(finding: _Finding, settings: Sequence[_Setting]) -> Problem:
    """Name the environment variable or override that is to blame, if one is."""
    loc = finding.loc
    for setting in reversed(settings):
        within = finding.inside and setting.loc[: len(loc)] == loc
        if within or loc[: len(setting.loc)] == setting.loc:
            path = f"{_dotted(loc)} (from {setting.origin})"
            break
    else:
        path = _dotted(loc)
    return Problem(path=path, value=finding.value, allowed=finding.allowed)


def _dotted(loc: Loc) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{_cut(step) or repr(step)}" for step in loc)
    return "".join(steps).removeprefix(".")


def _shown(loc: Loc, value: Any) -> str:
    """A value for people: shortened, and hidden below a key that sounds secret."""
    return HIDDEN if any(_sounds_secret(step) for step in loc) else _cut(_plain(value))


def _sounds_secret(step: str | int) -> bool:
    pattern = r"passw|passphrase|secret|token|credential|private|(entity|api|access|sasl)_?key"
    return isinstance(step, str) and re.search(pattern, step, re.IGNORECASE) is not None


def _plain(value: Any, depth: int = 0) -> str:
    if isinstance(value, dict | list) and depth == 3:
        return "..."
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            inside = (
                f"{k}: {HIDDEN if _sounds_secret(k) else _plain(v, depth + 1)}" for k, v in value.items()
            )
            return f"{{{', '.join(inside)}}}"
        case list():
            return f"[{', '.join(_plain(item, depth + 1) for item in value)}]"
        case int() if value.bit_length() > 1000:  # Python spells no number of more than 4,300 digits
            return "a whole number of hundreds of digits"
        case str():
            return repr(redacted(value))
        case _:
            return repr(value)


def _cut(text: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text[: SHOWN_CHARS_MAX + 1])
    return printable if len(printable) <= SHOWN_CHARS_MAX else printable[: SHOWN_CHARS_MAX - 3] + "..."


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
