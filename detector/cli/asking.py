"""`init-config` shows its choices and takes corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rich import box
from rich.markup import escape
from rich.table import Table

from detector.cli.common import err, inert
from detector.config.infer import Choice, Inference, Sample, Wishes, decide, why
from detector.config.kinds import KINDS
from detector.errors import ConfigError

IGNORED_SHOWN = 12
FIELDS_SHOWN = 40
SINGLE = [name for name, rules in KINDS.items() if len(rules.parts) == 1]
"""Kinds of fields that one path leads to."""
HELP = f"""Corrections, one per line; PATH is a field of your events:
  id PATH                id none             the event's id; none: its place in the topic or file
  time PATH              time none           the event's time; none: the record's own
  entity PATH, PATH                          entities, the main one first
  amount PATH            amount none         the amount at stake
  label PATH                                 a field that says which events were frauds
  drop PATH                                  a field that is not used
  use PATH [KIND]                            a field that is used: {", ".join(SINGLE)};
                                             context: only copied into alerts
Enter without anything accepts, quit stops without writing."""


def summary(inference: Inference) -> str:
    """The choices in a few words."""
    time = inference.time
    parts = [
        f"id: {inference.id.path or 'none, so the place of the event'}",
        f"time: {f'{with_clock(time)} ({time.format})' if time.path else 'none, so that of the record'}",
        f"main entity: {inference.entities[0].path if inference.entities else 'none'}",
    ]
    if len(inference.entities) > 1:
        parts.append(f"other entities: {_listed([choice.path for choice in inference.entities[1:]])}")
    amounts = [choice.path for choice in inference.fields if choice.name == inference.exposure]
    parts.append(f"amount: {amounts[0] if amounts else 'none'}")
    if inference.labels:
        parts.append(f"labels, not used as inputs: {_listed([label.path for label in inference.labels])}")
    context = sum(choice.use == "context" for choice in inference.fields)
    more = f" ({context} only copied into alerts)" if context else ""
    parts.append(f"fields: {len(inference.fields)}{more}; not used: {len(inference.ignored)}")
    return "\n".join(f"  {part}" for part in parts)


def with_clock(time: Choice) -> str:
    """The field of the time, or both fields."""
    return f"{time.path} with {time.clock}" if time.clock else time.path


def _listed(paths: list[str]) -> str:
    return ", ".join(paths)


def table(inference: Inference) -> Table:
    """The choices with their reasons."""
    shown = Table(title=f"{inference.events:,} events", title_justify="left", box=box.SIMPLE_HEAD)
    shown.add_column("what", no_wrap=True)
    shown.add_column("field", overflow="fold")
    shown.add_column("why", overflow="fold", ratio=1)
    for what, choice in _rows(inference):
        shown.add_row(what, escape(inert(choice.path or "(none)")), escape(inert(why(choice))))
    return shown


def _rows(inference: Inference) -> Iterator[tuple[str, Choice]]:
    if inference.envelope:
        yield "envelope", Choice(path=inference.envelope, kind="", reason="the message around the event")
    yield "id", inference.id
    yield "time", replace(inference.time, path=with_clock(inference.time))
    for place, choice in enumerate(inference.entities):
        yield "entity" if place else "main entity", choice
    for label in inference.labels:
        yield "label", label.choice
    for choice in inference.fields[:FIELDS_SHOWN]:
        use = " (context)" if choice.use == "context" else ""
        amount = ", amount at stake" if choice.name == inference.exposure else ""
        yield f"{choice.kind}{use}{amount}", choice
    if (left := len(inference.fields) - FIELDS_SHOWN) > 0:
        yield "", Choice(path="...", kind="", reason=f"and {left} more fields")
    for choice in inference.ignored[:IGNORED_SHOWN]:
        yield "not used", choice
    if (left := len(inference.ignored) - IGNORED_SHOWN) > 0:
        yield "", Choice(path="...", kind="", reason=f"and {left} more that are not used")


def ask(sample: Sample, wishes: Wishes, read: Callable[[], str]) -> Inference | None:
    """Show the choices and apply corrections until they are accepted.

    Parameters
    ----------
    read
        Gives the next line that the person writes; raises EOFError at the end.

    Returns
    -------
    Inference
        None: the person does not want any.
    """
    inference = decide(sample, wishes)
    err.print(table(inference))
    err.print("Enter: accept. A correction such as 'entity PATH' or 'drop PATH'; help lists them.")
    while True:
        try:
            line = read().strip()
        except EOFError:
            return inference
        if not line:
            return inference
        if line in ("quit", "q", "exit"):
            return None
        if line in ("help", "?", "h"):
            err.print(HELP)
            continue
        try:
            wished = corrected(wishes, line)
            inference = decide(sample, wished)
        except ValueError as error:
            err.print(str(error))
        except ConfigError as error:
            err.print("; ".join(f"{p.path}: got {p.value}, expected {p.allowed}" for p in error.problems))
        else:
            wishes = wished
            err.print(table(inference))


def corrected(wishes: Wishes, line: str) -> Wishes:
    """Apply one correction.

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> corrected(Wishes(), "entity card, shop").entities
    ('card', 'shop')
    """
    verb, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    none = "" if rest.lower() == "none" else rest
    if not rest:
        raise ValueError(f"{verb!r} needs a field; help lists the corrections")
    match verb.lower():
        case "id":
            return replace(wishes, id=none)
        case "time":
            return replace(wishes, time=none)
        case "amount":
            return replace(wishes, amount=none)
        case "entity" | "entities":
            return replace(wishes, entities=tuple(part.strip() for part in rest.split(",") if part.strip()))
        case "label":
            return replace(wishes, labels=(*wishes.labels, rest))
        case "drop":
            return replace(wishes, ignored=(*wishes.ignored, rest), kinds=_without(wishes.kinds, rest))
        case "use":
            path, _, kind = rest.rpartition(" ")
            if not path or kind not in (*SINGLE, "context"):
                path, kind = rest, ""
            kept = tuple(one for one in wishes.ignored if one != path)
            return replace(wishes, ignored=kept, kinds={**wishes.kinds, path: kind})
    raise ValueError(f"no correction: {verb!r}; help lists them")


def _without(kinds: object, path: str) -> dict[str, str]:
    assert isinstance(kinds, dict)
    return {key: kind for key, kind in kinds.items() if key != path}
