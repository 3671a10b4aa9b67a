"""What a new model takes of one with other fields: weights of its encoder, by name.

    there                          here
    amount, country, card   ──>    amount, city, card       amount and card are taken, city begins fresh,
                                                            country is left out

Rules
    - A field is the same if its name and type are; an entity, if its name is. An input of the encoder is the
      same if its column is called the same, as `amount against card 30d`.
    - Weights of inputs that are not there are those of a model that begins with nothing.
    - Nothing that has a unit is taken: scales, bins, core, clusters and calibration are learned on the new
      stream. The bins of an input are quantiles, so weights learned on euros mean the same of yen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.config.tree import ModelPart
from detector.core.features import Features, Layout
from detector.core.shard.sizing import fitted
from detector.errors import Problem

FORM = ("dimension", "hidden", "bins", "hash_rows", "hash_width")
"""Settings of the encoder that its weights have the form of."""


class Taken(NamedTuple):
    """Names of fields and entities."""

    taken: Sequence[str]
    fresh: Sequence[str]  # new ones
    dropped: Sequence[str]  # of the other model


def obstacles(there: ModelPart, here: ModelPart) -> list[Problem]:
    """Settings that keep a new model from taking anything of another."""
    known, wanted = _kinds(there), _kinds(here)
    found = [
        Problem(
            path=f"type of {name}",
            value=kind,
            allowed=f"{known[name]}, as in the model file; or another name",
        )
        for name, kind in wanted.items()
        if known.get(name, kind) != kind
    ]
    found += [
        Problem(
            path=f"model.encoder.{name}",
            value=str(getattr(here.model.encoder, name)),
            allowed=f"{value}, as in the model file",
        )
        for name in FORM
        if (value := getattr(there.model.encoder, name)) != getattr(here.model.encoder, name)
    ]
    if not _fields(there).keys() & _fields(here).keys():
        names = ", ".join(_fields(there)) or "none"
        allowed = f"at least one name of a field in the model file ({names})"
        found.append(Problem(path="event.fields", value=f"[{', '.join(_fields(here))}]", allowed=allowed))
    return found


def taken(there: ModelPart, here: ModelPart) -> Taken:
    """Which fields and entities two models have in common."""
    known, wanted = _kinds(there), _kinds(here)
    return Taken(
        taken=[name for name in wanted if name in known],
        fresh=[name for name in wanted if name not in known],
        dropped=[name for name in known if name not in wanted],
    )


def weights(
    there: ModelPart,
    learned: Mapping[str, NDArray[np.float32]],
    here: ModelPart,
    fresh: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """Weights of a new encoder.

    Parameters
    ----------
    learned
        Weights of the plain encoder of `there`.
    fresh
        Those that an encoder of `here` begins with.
    """
    known = _inputs(there)
    hidden = fresh["hidden"].copy()
    for name, rows in _inputs(here).items():
        if name in known:
            hidden[rows] = learned["hidden"][known[name]]
    # What restores the inputs has one column for each: it begins fresh, as it is not served.
    shared = {name: learned[name].copy() for name in fresh if name in learned and name != "restore"}
    return {**{name: weight.copy() for name, weight in fresh.items()}, **shared, "hidden": hidden}


def _fields(config: ModelPart) -> dict[str, str]:
    """Type of each field that the model sees, by name."""
    return {field.name: field.type for field in config.event.fields if field.use == "encode"}


def _kinds(config: ModelPart) -> dict[str, str]:
    """The same, and the entities."""
    return {**_fields(config), **{entity.name: "entity" for entity in config.event.entities}}


def _inputs(config: ModelPart) -> dict[tuple[str, str, int], slice]:
    """Rows of the hidden layer's weights of each input, by source, name, and its number among equal ones."""
    model = fitted(config)
    layout = Layout(config.event, model.features)
    features = Features(layout)
    named = [(column.source, column.name) for column in features.columns[: features.plain_count]]
    widths = [model.encoder.bins] * len(named)
    slots = [("category", place.name) for place in layout.categories]
    slots += [("text", place.name) for place in layout.texts]
    widths += [model.encoder.hash_width] * len(slots)
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, str, int], slice] = {}
    start = 0
    for name, width in zip([*named, *slots], widths, strict=True):
        found[*name, seen[name]] = slice(start, start + width)
        seen[name] += 1
        start += width
    return found
