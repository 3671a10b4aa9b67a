"""Write an inference as a commented configuration."""

from __future__ import annotations

from collections.abc import Iterator

from detector.config.infer.choice import Choice, Inference
from detector.config.yaml_text import spell


def render(inference: Inference) -> str:
    """Write an inference as a configuration, each choice beside its reason."""
    return "\n".join(_render(inference)) + "\n"


def _render(inference: Inference) -> Iterator[str]:
    yield "# Written by `detector init-config` from a sample. Check each reason and correct what is wrong."
    yield f"# {inference.events:,} events were read; {inference.broken:,} broken lines were skipped."
    yield "# Keys that are not set here have their defaults."
    yield "event:"
    yield f"  # {_why(inference.id)}"
    yield f"  id: {spell(inference.id.path)}"
    if not inference.id_is_own:
        yield "  # It may repeat, so ids are not compared: an event that is delivered twice counts twice."
        yield "  duplicates: null"
    yield f"  # {_why(inference.time)}"
    yield "  time:"
    yield f"    path: {spell(inference.time.path)}"
    yield f"    format: {inference.time.format}"
    yield "    zone: UTC  # of times without one"
    if inference.entities:
        yield "  # Each has a history of its own. The first one is the main entity: key the topic by it."
        yield "  entities:"
    else:
        yield "  # No entity was found: each event is scored by itself, without a history."
    for choice in inference.entities:
        yield from _render_item(choice)
    if inference.fields:
        yield "  fields:"
    for choice in inference.fields:
        yield from _render_item(choice)
        yield f"      type: {choice.kind}"
    if inference.exposure is not None:
        yield "  # named like an amount, never negative"
        yield f"  exposure: {spell(inference.exposure)}"
    if inference.ignored:
        yield "# Not used:"
    for choice in inference.ignored:
        yield f"#   {spell(choice.path)}: {_why(choice)}"


def _render_item(choice: Choice) -> Iterator[str]:
    yield f"    # {_why(choice)}"
    yield f"    - name: {spell(choice.name)}"
    yield f"      path: {spell(choice.path)}"
    yield f"      optional: {str(choice.optional).lower()}"


def _why(choice: Choice) -> str:
    if not choice.distinct:
        return choice.reason
    missing = f"{choice.missing:.1%}" if choice.missing else "none"
    examples = f", e.g. {', '.join(choice.examples)}" if choice.examples else ""
    return f"{choice.reason}; {choice.distinct:,} different, {missing} missing{examples}"
