"""Reading and writing YAML: limited in size, without tags, dates and aliases. The only user of PyYAML."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from detector.config.words import Loc

NODES_MAX = 5000  # keys, values and sections of one text; the largest sensible one has some 2,300
DEPTH_MAX = 32  # levels of sections; the tree has 6


class NotYaml(ValueError):
    """The text is not YAML. Says where and why, but quotes nothing: it may hold a secret."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        super().__init__(why)


class Repeat(NamedTuple):
    """A key that a mapping has twice."""

    loc: Loc
    line: int
    first_line: int


def parse(text: str) -> tuple[Any, list[Repeat]]:
    """Read one YAML document.

    Returns
    -------
    tuple
        The value, None for an empty text, and the keys that are repeated.

    Raises
    ------
    NotYaml
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, []
        return loader.construct_document(node), list(_repeats(node, ()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        why = error.problem or "not YAML"
        context = f"{error.context}, " if error.context and why.startswith("but ") else ""
        raise NotYaml(where, context + why) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise NotYaml(f"line {line}, column {column}", "a character that YAML does not allow") from None
    except RecursionError:
        raise NotYaml("the text", "nested too deeply") from None
    except ValueError:  # e.g. a whole number of 5,000 digits
        raise NotYaml("the text", "a number out of range") from None


def dump(tree: Any) -> str:
    """Write a tree of mappings, lists and plain values, keys in their order."""
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=not _has_line_breaks(tree), width=110)
    return text


def spell(text: str) -> str:
    """Write a text as YAML on one line, quoted where needed."""
    style = None if text.isascii() and text.isprintable() else '"'
    spelled: str = yaml.safe_dump(
        [text],
        default_flow_style=True,
        default_style=style,
        width=math.inf,
        allow_unicode=text.isprintable(),
    )
    return spelled[1:-2]


def _has_line_breaks(node: Any) -> bool:
    """Whether a text has a character that PyYAML takes for a line break and folds unless it is escaped."""
    if isinstance(node, dict):
        return any(_has_line_breaks(value) for value in node.values())
    if isinstance(node, list):
        return any(map(_has_line_breaks, node))
    return isinstance(node, str) and not set("\x85\u2028\u2029").isdisjoint(node)


def _repeats(node: yaml.Node, loc: Loc) -> Iterator[Repeat]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeats(item, (*loc, index))
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                yield Repeat((*loc, name), line, lines[name])
            lines.setdefault(name, line)
            yield from _repeats(value, (*loc, name))


class _Loader(yaml.SafeLoader):
    """YAML as JSON with comments: keys are texts, and there are no dates, tags or aliases.

    No key of the configuration is a date or needs a tag. With aliases 1 kB can expand to 1 GB. The number of
    nodes and the depth are limited: 1 MiB of small values takes a minute to read.
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
        why = "a tag (!) is not supported" if getattr(event, "tag", None) else None
        why = (
            "an alias (*) is not supported: write its value out"
            if isinstance(event, yaml.AliasEvent)
            else why
        )
        self._nodes += 1
        self._depth += 1
        why = f"more than {NODES_MAX} keys, values and sections" if self._nodes > NODES_MAX else why
        why = f"more than {DEPTH_MAX} levels of sections" if self._depth > DEPTH_MAX else why
        if why:
            raise yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
        return node
