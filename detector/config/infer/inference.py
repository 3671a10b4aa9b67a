"""Infer a first configuration from a sample of events.

What it does
    Reads the first events of a stream (one JSON object per line) and decides what each field is. `render`
    writes the configuration with a reason beside every choice, so that a person can correct it.

Rules
    - An id is never missing and never repeats. A time is never missing and always has one format.
    - Without an id, a counter or a time that never repeats is used, and a comment names the disadvantage.
    - An entity has a name that says so (card, customer, terminal), or values that recur like those of a key.
      People come before devices, devices before places; the first one is the main entity.
    - Fields that cannot be used are listed with a reason: lists, constants, counters, identifiers, further
      times.
    - What the caller names overrides what the sample suggests.
    - Only the first characters of a text are copied: card numbers do not belong in a configuration.

Invariant: `detector.config.load.load` accepts what `render` writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from detector.config.infer.choice import Choice, Inference
from detector.config.infer.column import AMOUNT_WORDS, ENTITY_WORDS, Column
from detector.config.infer.sample import Sample, sample_error
from detector.config.kinds import KINDS

ENTITIES_MAX = 8  # of the tree
FIELDS_MAX = 128  # of the tree
REPEATED_MAX = 0.01  # repeated share of an id's values; a larger one is not due to retries


def infer(
    lines: Iterable[bytes], id: str | None = None, time: str | None = None, entities: Sequence[str] = ()
) -> Inference:
    """Decide what each field of a stream is.

    Parameters
    ----------
    lines
        Events as JSON objects; the first 5,000 lines are used.
    id, time
        Dotted paths that the caller knows; None: inferred.
    entities
        Likewise, the main one first. No others are inferred then.

    Raises
    ------
    ConfigError
        No usable line, no id, no time, nothing to learn from, or a name that is not in the sample.
    """
    sample = Sample(lines)
    chosen_entities = [sample.named("entities", path, Column.is_key) for path in entities]
    if len(chosen_entities) > ENTITIES_MAX or len(set(entities)) < len(entities):
        raise sample_error("entities", ", ".join(entities), f"at most {ENTITIES_MAX} different fields")
    chosen_time = sample.named("time", time, Column.is_some_time) if time else sample.find_time()
    if id:
        chosen_id = sample.named("id", id, Column.is_key)
        id_reason, id_is_own = "named by you", chosen_id.repeated <= REPEATED_MAX
        if chosen_id.repeated:
            id_reason += f"; {chosen_id.repeated:.1%} of the events repeat an earlier id"
    else:
        chosen_id, id_reason, id_is_own = sample.find_id(chosen_time, but=chosen_entities)
    taken = [chosen_id, chosen_time, *chosen_entities]
    rest = sample.judge(but=taken)
    given = [sample.choice(column, "entity", "named by you") for column in chosen_entities]
    found = sorted((c for c in rest if c.kind == "entity"), key=_main_first)
    used_entities = given or found[:ENTITIES_MAX]
    values = [c for c in rest if c.kind in KINDS]
    if not used_entities and not values:
        raise sample_error(
            "the sample", "no field with different values", "at least one value or entity to learn from"
        )
    spare = "looks like an entity, but you named others" if given else "more entities than allowed"
    ignored = [c for c in rest if c.kind == "ignored"]
    ignored += [Choice(path=path, kind="ignored", reason=why) for path, why in sample.unnameable.items()]
    ignored += [_ignored(c, spare) for c in found if c not in used_entities]
    ignored += [_ignored(c, f"more than {FIELDS_MAX} fields") for c in values[FIELDS_MAX:]]
    used_entities, fields = _with_names(used_entities, values[:FIELDS_MAX])
    return Inference(
        events=sample.events,
        broken=sample.broken,
        id=sample.choice(chosen_id, "id", id_reason),
        id_is_own=id_is_own,
        time=sample.choice(chosen_time, "time", chosen_time.time_reason("named by you" if time else "")),
        entities=tuple(used_entities),
        fields=tuple(fields),
        exposure=_exposure(fields, sample),
        ignored=tuple(ignored),
    )


def _main_first(choice: Choice) -> tuple[int, int]:
    """Sort key of entities: by what the name says, then the one with fewest different values."""
    noun = Column(choice.path).noun
    return ENTITY_WORDS.get(noun, len(ENTITY_WORDS)), choice.distinct


def _exposure(fields: Sequence[Choice], sample: Sample) -> str | None:
    """Find the amount at stake: a numeric field named like an amount that is never negative."""
    amounts = [(c.name, sample.columns[c.path]) for c in fields if KINDS[c.kind].can_be_exposure]
    for word in AMOUNT_WORDS:
        for name, column in amounts:
            if word in column.words and min(map(float, column.counts)) >= 0.0:
                return name
    return None


def _with_names(entities: Sequence[Choice], fields: Sequence[Choice]) -> tuple[list[Choice], list[Choice]]:
    """Give each a unique name: an entity is named after its kind, a field after its path."""
    taken: set[str] = set()

    def named(choice: Choice) -> Choice:
        noun = Column(choice.path).noun
        wanted = noun if choice.kind == "entity" and noun in ENTITY_WORDS else choice.path
        wanted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", wanted)
        wanted = re.sub(r"[^A-Za-z0-9]+", "_", wanted).strip("_").lower()[:56] or "field"
        wanted = f"f_{wanted}" if wanted[0].isdigit() else wanted
        again = (f"{wanted}_{number}" for number in range(2, 1_000))
        name = wanted if wanted not in taken else next(name for name in again if name not in taken)
        taken.add(name)
        return replace(choice, name=name)

    return [named(choice) for choice in entities], [named(choice) for choice in fields]


def _ignored(choice: Choice, reason: str) -> Choice:
    return replace(choice, kind="ignored", reason=reason)
