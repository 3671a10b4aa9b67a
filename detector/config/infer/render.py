"""Write an inference as a commented configuration."""

from __future__ import annotations

from collections.abc import Iterator

from detector.config.infer.choice import Choice, Inference
from detector.config.infer.numbers import PLAIN
from detector.config.tree import NumberForm
from detector.config.yaml_text import spell


def render(inference: Inference) -> str:
    """Write an inference as a configuration, each choice beside its reason."""
    return "\n".join(_render(inference)) + "\n"


def _render(inference: Inference) -> Iterator[str]:
    yield "# Written by `detector init-config` from a sample. Check each reason and correct what is wrong."
    yield f"# {inference.events:,} events were read; {inference.broken:,} broken lines were skipped."
    for note in inference.notes:
        yield f"# Note: {note}."
    yield "# Keys that are not set here have their defaults."
    yield "event:"
    if inference.envelope:
        yield f"  # Messages of {inference.envelope}: paths lead into the event inside."
        yield f"  envelope: {{type: {inference.envelope}}}"
    yield from _id_and_time(inference)
    if inference.number != PLAIN:
        yield "  # texts that are numbers"
        yield f"  number: {_number(inference.number)}"
    if inference.entities:
        yield "  # Each has a history of its own. The first one is the main entity: key the topic by it."
        yield "  entities:"
    else:
        yield "  # No entity was found: each event is scored by itself, without a history."
    for choice in inference.entities:
        yield from _item(choice)
        yield from _shown(choice)
    if inference.fields:
        yield "  fields:"
    for choice in inference.fields:
        yield from _field(choice)
    if inference.exposure is not None:
        yield "  # the amount at stake, by its name"
        yield f"  exposure: {spell(inference.exposure)}"
    if inference.labels:
        yield "# Labels, not used as inputs. `init-config --labels-out FILE` makes feedback of them:"
    for label in inference.labels:
        yield f"#   {spell(label.path)}: {why(label.choice)}"
    if inference.ignored:
        yield "# Not used:"
    for choice in inference.ignored:
        yield f"#   {spell(choice.path)}: {why(choice)}"


def _id_and_time(inference: Inference) -> Iterator[str]:
    yield f"  # {why(inference.id)}"
    yield f"  id: {spell(inference.id.path) if inference.id.path else 'null'}"
    if not inference.id_is_own:
        yield "  # It may repeat, so ids are not compared: an event that is delivered twice counts twice."
        yield "  duplicates: null"
    time = inference.time
    yield f"  # {why(time)}"
    yield "  time:"
    yield f"    path: {spell(time.path) if time.path else 'null'}"
    if time.clock:
        yield f"    clock: {spell(time.clock)}"
    if time.format:
        yield f"    format: {spell(time.format)}"
    if time.step:
        yield f"    step: {time.step}"
    if time.origin:
        yield f"    origin: {spell(time.origin)}"
    if time.path and not time.format.startswith(("epoch", "steps")):
        yield f"    zone: {time.zone}  # of times without one"
    if time.days and not time.clock and time.format in ("auto", "iso8601"):
        yield "    resolution: 1d  # alerts tell nothing of what came within an hour"


def _field(choice: Choice) -> Iterator[str]:
    yield from _item(choice)
    yield f"      type: {choice.kind}"
    if choice.use != "encode":
        yield f"      use: {choice.use}"
    yield from _shown(choice)
    if choice.unit:
        yield f"      unit: {spell(choice.unit)}"
    if choice.number is not None:
        yield f"      number: {_number(choice.number)}"
    if choice.missing_texts:
        yield f"      missing: [{', '.join(map(_quoted, choice.missing_texts))}]"


def _item(choice: Choice) -> Iterator[str]:
    yield f"    # {why(choice)}"
    yield f"    - name: {spell(choice.name)}"
    yield f"      path: {spell(choice.path)}"
    yield f"      optional: {str(choice.optional).lower()}"


def _shown(choice: Choice) -> Iterator[str]:
    if choice.display:
        yield f"      display: {spell(choice.display)}"


def _number(form: NumberForm) -> str:
    thousands = "null" if form.thousands is None else _quoted(form.thousands)
    return f"{{decimal: {_quoted(form.decimal)}, thousands: {thousands}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def why(choice: Choice) -> str:
    """The reason of a choice, with counts and examples."""
    if not choice.distinct:
        return choice.reason
    missing = f"{choice.missing:.1%}" if choice.missing else "none"
    examples = f", e.g. {', '.join(choice.examples)}" if choice.examples else ""
    return f"{choice.reason}; {choice.distinct:,} different, {missing} missing{examples}"
