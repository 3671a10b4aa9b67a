"""Write an inference as a commented configuration."""

from __future__ import annotations

from collections.abc import Iterator

from detector.config.infer.choice import Choice, Inference
from detector.config.yaml_text import spell


def render(inference: Inference) -> str:
    """Write the configuration that an inference means, each choice beside its reason."""
    return "\n".join(_render(inference)) + "\n"


def _render(inference: Inference) -> Iterator[str]:
    yield "# Made by `detector init-config` from a sample: read each reason, correct what is wrong."
    yield f"# {inference.events:,} events were looked at; {inference.broken:,} broken lines were skipped."
    yield "# Everything that is not stated here has its default."
    yield "event:"
    yield f"  # {_why(inference.id)}"
    yield f"  id: {spell(inference.id.path)}"
    if not inference.id_is_own:
        yield "  # It may repeat, so events are not compared by it: one that is delivered twice counts twice."
        yield "  duplicates: null"
    yield f"  # {_why(inference.time)}"
    yield "  time:"
    yield f"    path: {spell(inference.time.path)}"
    yield f"    format: {inference.time.format}"
    yield "    zone: UTC  # of times that state none"
    if inference.entities:
        yield "  # Each has a history of its own. The first is the main entity: key the topic by it."
        yield "  entities:"
    else:
        yield "  # No entity was found: events are judged one by one, without a history."
    for choice in inference.entities:
        yield from _render_item(choice)
    if inference.fields:
        yield "  fields:"
    for choice in inference.fields:
        yield from _render_item(choice)
        yield f"      type: {choice.kind}"
    if inference.exposure is not None:
        yield "  # an amount by its name, never negative"
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
