"""`event`: how a record becomes an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from detector.config.formats import FORMATS
from detector.config.kinds import KINDS
from detector.config.patterns import DIRECTIVES, PATTERN_CHARS_MAX, named_zone, read_pattern
from detector.config.tree.base import Duration, Name, Part, unfit, wrong

EPOCHS = {"epoch_s": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}
"""Formats of times that are numbers since 1970, with their units per second."""
TIME_MAX_S = 7_258_118_400.0  # 2200-01-01; a later time is a unit mistake (ms or us taken for s)
UNREADABLE = re.compile(r'["\\\x00-\x1f]')  # in a field name: the JSON decoder cannot look for it
Loc = tuple[str | int, ...]


def _readable(path: str) -> str:
    if UNREADABLE.search(path):
        raise wrong("a field name without quotes, backslashes and control characters")
    if not all(path.split(".")):
        raise wrong("field names with single dots between them, e.g. card.id")
    return path


def _known_zone(name: str) -> str:
    if named_zone(name) is None:
        raise wrong("an IANA time zone like UTC or Europe/Paris")
    return name


Path = Annotated[
    str,
    Field(min_length=1, max_length=256, description="Name of the JSON field; dots lead into nested objects."),
    AfterValidator(_readable),
]


def _member_of(table: Mapping[str, Any]) -> Callable[[str], str]:
    """Make a check that a text is a name of a table."""

    def check(name: str) -> str:
        if name not in table:
            raise wrong(f"one of: {', '.join(table)}")
        return name

    return check


def _names_of(table: Mapping[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Make an addition to the JSON schema that lists a table's names."""
    return lambda schema: schema.update(enum=list(table))


TIME_FORMATS = ("auto", "iso8601", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "date", "steps", "apart")
TIME_PARTS = ("year", "month", "day", "hour", "minute", "second")  # of the format apart, in this order
_SOME_DAY = datetime(2026, 3, 21)


def _time_format(form: str) -> str:
    """Check a name of `TIME_FORMATS`, or a pattern that says which day or month."""
    if form in TIME_FORMATS:
        return form
    if "%" not in form:
        raise wrong(f"one of: {', '.join(TIME_FORMATS)}; or a pattern like %d.%m.%Y %H:%M:%S")
    unknown = [one for one in re.findall(r"%(.?)", form) if one not in DIRECTIVES]
    if unknown or not form.isprintable():
        raise wrong(f"a pattern of %{' %'.join(sorted(DIRECTIVES))} and plain characters")
    try:
        some = _SOME_DAY.strftime(form.replace("%z", "Z").replace("%Z", "UTC"))
        day = read_pattern(some, form, 1900).date()
    except ValueError:
        raise wrong("a pattern in which each of %Y, %m, %d, %H, ... occurs once") from None
    # The first: a month without a day. 1900: a day without a year.
    if day not in (_SOME_DAY.date(), _SOME_DAY.date().replace(day=1), _SOME_DAY.date().replace(year=1900)):
        raise wrong("a pattern with year and month, or month and day, like %d.%m.%Y %H:%M:%S")
    return form


def _moment(text: str) -> str:
    try:
        if 1800 <= datetime.fromisoformat(text).year < 2200:  # spreadsheets count from 1899-12-30
            return text
    except ValueError:
        pass
    raise wrong("a time between 1800 and 2200 in ISO 8601, like 2000-01-01T00:00:00Z")


EventFormat = Annotated[str, AfterValidator(_member_of(FORMATS)), Field(json_schema_extra=_names_of(FORMATS))]
FieldKind = Annotated[str, AfterValidator(_member_of(KINDS)), Field(json_schema_extra=_names_of(KINDS))]


TimeFormat = Annotated[
    str,
    AfterValidator(_time_format),
    Field(max_length=PATTERN_CHARS_MAX, json_schema_extra={"examples": [*TIME_FORMATS]}),
]
MissingTexts = Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=64)]
MISSING = (
    *("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "Null", "None", "nil", "NaT", "<NA>", "\\N"),
    *("-", "?"),
)
"""Texts that mean missing where a number, a time or an entity's value is expected, unless configured."""


class NumberForm(Part):
    """How texts that are numbers are written."""

    decimal: Literal[".", ","] = Field(".", description="Decimal sign.")
    thousands: Literal[",", ".", "'", " ", "_"] | None = Field(
        None,
        description="Sign between groups of digits; a space also stands for a non-breaking one, ' for ’. "
        "null: digits are not grouped.",
    )

    @model_validator(mode="after")
    def _two_signs(self) -> Self:
        if self.decimal == self.thousands:
            raise unfit("another sign for thousands than for decimal")
        return self


class Late(Part):
    """What happens to events that arrive long after their event time."""

    after: Duration = Field(
        86_400.0, description="An event is late if its time is further behind the partition's event time."
    )
    action: Literal["score", "reject"] = Field(
        "score", description="score: score and count it; reject: send it to the dead letter topic."
    )


class TimeField(Part):
    """The event's own time. It is the only clock of the model."""

    path: Path | None = Field(
        description="Path of the time. null: the record's own timestamp in Kafka; in files, which have none, "
        "`origin` and one `step` per event. With format apart: the paths of its parts, separated by commas."
    )
    clock: Path | None = Field(
        None,
        description="Path of the time of day, if `path` has the day alone: 10:05, 10:05:33.5, 10:05 PM, or "
        "digits like 100533. Where it is missing, it is midnight.",
    )
    format: TimeFormat = Field(
        "auto",
        description="auto: a text is ISO 8601; a number is epoch s, ms, us or ns by its size. iso8601, "
        "epoch_s, epoch_ms, epoch_us, epoch_ns: that. date: 20260301 or 2026-03-01. steps: a number of "
        "`step`s since `origin`; a spreadsheet counts days since 1899-12-30. apart: year, month and day, and "
        "perhaps hour, minute and second, each in a field of its own. A text with %: a pattern of strptime, "
        "like %d.%m.%Y %H:%M:%S. %b is a month in words of many languages; %Z is UTC, Europe/Paris or an "
        "abbreviation that `zone` uses: EST is read only with a zone like America/New_York. A pattern "
        "without a year, like %d%m, is of the year of `origin`: at the end of a year, change it.",
    )
    step: Duration = Field(1.0, description="Length of a step; see `path` and `format`.")
    origin: Annotated[str, AfterValidator(_moment)] = Field(
        "2000-01-01T00:00:00Z", description="Time of step 0, ISO 8601.", max_length=64
    )
    zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "UTC", description="IANA time zone of times that state none.", max_length=64
    )
    resolution: Duration | None = Field(
        None, description="How exact times are: 1d if they are days. null: as `format` tells."
    )
    late: Late = Late()

    @model_validator(mode="after")
    def _a_day_for_the_clock(self) -> Self:
        steps = self.format == "steps" and self.step % 86_400
        if self.clock is not None and (self.path is None or steps or len(self.parts) > 3):
            raise unfit("a path that leads to the day, and no steps shorter than days, or no clock")
        return self

    @model_validator(mode="after")
    def _all_parts(self) -> Self:
        if self.format == "apart" and not 3 <= len(self.parts) <= len(TIME_PARTS):
            raise unfit(f"path: 3 to {len(TIME_PARTS)} paths, separated by commas, as format is apart")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """Where the time is: one path, those of its parts, or none."""
        if self.path is None:
            return ()
        return split_path(self.path, TIME_PARTS if self.format == "apart" else ("time",))


class EntityField(Part):
    """A key with a history of its own. The first one is the main entity: the topic is keyed by it."""

    name: Name = Field(description="Name of the entity in alerts.")
    path: Path
    optional: bool = Field(
        False, description="true: an event without it is scored without this entity's history."
    )
    missing: MissingTexts | None = Field(
        None, description="Texts that mean missing; null: those of event.missing."
    )
    display: str | None = Field(
        None, description="Noun for people, like card; null: the name says it.", max_length=64
    )
    pseudonym: bool = Field(
        False, description="true: alerts have a keyed hash in place of the value, also as key of the record."
    )


class ValueField(Part):
    """A value of the event."""

    name: Name = Field(description="Name of the field in alerts.")
    type: FieldKind = Field(description="Kind of the values.")
    path: Path = Field(
        description="Name of the JSON field; dots lead into nested objects. A type of several values has as "
        "many paths, separated by commas."
    )
    use: Literal["encode", "context", "segment"] = Field(
        "encode",
        description="encode: the model uses it; context, segment: only copied into alerts.",
    )
    optional: bool = Field(True, description="false: events without it are rejected.")
    display: str | None = Field(None, description="Label for people, if not the name.", max_length=64)
    unit: str | None = Field(
        None,
        description="Unit shown behind the values; a currency (EUR, €) is shown in front.",
        max_length=16,
    )
    currency: Name | None = Field(
        None,
        description="Name of the field that has the currency of this amount, if `unit` is not all of them.",
    )
    labels: tuple[Annotated[str, Field(pattern=r"^[^=]+=.+$", max_length=128)], ...] = Field(
        (), max_length=4096, description="Words for values that are codes: [6011=cash]."
    )
    echo: bool = Field(True, description="false: the value is in no alert, nor in a sentence of one.")
    pseudonym: bool = Field(False, description="true: alerts have a keyed hash in place of the value.")
    missing: MissingTexts | None = Field(
        None, description="Texts that mean missing; null: those of event.missing."
    )
    number: NumberForm | None = Field(
        None, description="How texts that are numbers are written; null: as event.number says."
    )

    @field_validator("pseudonym")
    @classmethod
    def _a_text(cls, pseudonym: bool, info: ValidationInfo) -> bool:
        if pseudonym and info.data.get("type") not in ("categorical", "text"):
            raise unfit("false: only values of type categorical and text have pseudonyms; or echo: false")
        return pseudonym

    @field_validator("path")
    @classmethod
    def _a_path_for_each_part(cls, path: str, info: ValidationInfo) -> str:
        parts = KINDS[info.data["type"]].parts if "type" in info.data else None
        if parts is not None and len(parts) > 1:
            paths = split_path(path, parts)
            if len(paths) != len(parts) or not all(paths):
                raise wrong(f"{len(parts)} field names for {', '.join(parts)}, separated by commas")
            for one in paths:
                _readable(one)
        return path

    @property
    def paths(self) -> tuple[str, ...]:
        """Where each part of the value is."""
        return split_path(self.path, KINDS[self.type].parts)


def split_path(path: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Split the path of a field of several parts at its commas; a field of one part has one path."""
    return (path,) if len(parts) == 1 else tuple(one.strip() for one in path.split(","))


class Duplicates(Part):
    """What happens to events whose id was seen before, as after a producer's retry.

    With the envelopes debezium and connect an id is that of a row, and each change of the row is an event. An
    event that says the same as an earlier one (the id and all values that are read) is then skipped, not
    rejected.
    """

    horizon_events: int = Field(
        65_536,
        ge=1,
        le=1 << 20,
        description="Number of recent events per partition whose ids are remembered (24 to 32 bytes each).",
    )
    action: Literal["reject", "score"] = Field(
        "reject", description="reject: send it to the dead letter topic; score: score and count it."
    )


class Reversals(Part):
    """Events that cancel an earlier one (ISO 8583: 0400, 0420). They are neither scored nor learned."""

    path: Path
    values: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        min_length=1, max_length=64, description="Values at `path` that mark a reversal."
    )
    original: Path | None = Field(None, description="Path of the id of the cancelled event.")


class EventLimits(Part):
    """Limits of one event. An event beyond one of them is rejected; the reason names the limit."""

    bytes_max: int = Field(65536, ge=64, le=1 << 20, description="Size of an event.")
    depth_max: int = Field(16, ge=1, le=64, description="Levels of nesting.")
    key_chars_max: int = Field(256, ge=8, le=4096, description="Length of ids and entity values.")
    text_chars_max: int = Field(1024, ge=8, le=65536, description="Length of categorical and text values.")
    members_max: int | None = Field(
        2048, ge=8, le=1 << 20, description="Object fields and list items together; null: no limit."
    )
    name_chars_max: int | None = Field(
        256, ge=8, le=65536, description="Length of a field name; null: no limit."
    )


class Envelope(Part):
    """The message around the event.

    Paths lead into the event. What the envelope says has names of its own: `__op`, `__ts_ms`,
    `__source.table` (debezium); `ce_id`, `ce_time`, `ce_source` (cloudevents).
    """

    type: Literal["debezium", "connect", "cloudevents"] = Field(
        description="debezium: `after` of a change event is the event; connect: `payload` is; cloudevents: "
        "the data are, in binary or structured mode."
    )
    operations: tuple[Literal["c", "u", "r"], ...] = Field(
        ("c", "u", "r"),
        min_length=1,
        max_length=3,
        description="debezium, connect: operations that are events (c: insert, u: update, r: row of a "
        "snapshot). Others, deletes and records without a value are skipped: not scored, not rejected. Each "
        "update is an event of its own, unless it changes nothing that is read; [c, r]: inserts alone are.",
    )

    @property
    def has_changes(self) -> bool:
        """Whether events are changes of rows, so that an id may come again."""
        return self.type != "cloudevents"


class Event(Part):
    """How a record becomes an event."""

    format: EventFormat = Field("json", description="Format of the records.")
    envelope: Envelope | None = Field(
        None, description="The message around the event; null: the record is the event."
    )
    id: Path | None = Field(
        description="Path of the event's id, which alerts and labels refer to. null: topic-partition-offset; "
        "the offset of an event in a file is its number, from 0."
    )
    time: TimeField
    entities: tuple[EntityField, ...] = Field(
        (), max_length=8, description="Keys with a history of their own, the main entity first."
    )
    fields: tuple[ValueField, ...] = Field((), max_length=128, description="Values of the event.")
    exposure: Name | None = Field(None, description="Numeric field that is the amount at stake.")
    duplicates: Duplicates | None = Field(
        Duplicates(), description="Events with an id that was seen before; null: ids are not compared."
    )
    missing: MissingTexts | None = Field(
        None,
        description="Texts that mean missing, in this spelling. null: the empty text; of times, entities and "
        f"numbers also `{'`, `'.join(MISSING[1:])}`, but not of categories, where NA may be Namibia.",
    )
    number: NumberForm = Field(NumberForm(), description="How texts that are numbers are written.")
    reversals: Reversals | None = Field(
        None, description="Events that cancel an earlier one; null: there are none."
    )
    limits: EventLimits = EventLimits()

    @field_validator("fields")
    @classmethod
    def _something_to_learn(
        cls, fields: tuple[ValueField, ...], info: ValidationInfo
    ) -> tuple[ValueField, ...]:
        if info.data.get("entities") == () and not any(field.use == "encode" for field in fields):
            raise unfit("a field with use: encode, or an entity in event.entities: nothing to learn from")
        return fields

    @model_validator(mode="wrap")
    @classmethod
    def _consistent(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Add what does not fit together to what is wrong by itself.

        One wrong item hides its whole list from the validators of fields. So this looks at the data as it
        was given and judges what it can.
        """
        unfits = [
            InitErrorDetails(type=error, loc=loc, input=value)
            for loc, value, error in (*_name_problems(data), *_path_problems(data))
        ]
        try:
            event = handler(data)
        except ValidationError as invalid:
            unfits = [*map(_again, invalid.errors(include_url=False)), *unfits]
        if unfits:
            raise ValidationError.from_exception_data(cls.__name__, unfits, hide_input=True)
        return event


def _again(error: Any) -> InitErrorDetails:
    """Make an error anew from what `ValidationError.errors` says of it."""
    context = error.get("ctx", {})
    type_: Any = error["type"]
    if set(context) == {"allowed"}:
        type_ = PydanticCustomError(type_, "expected {allowed}", context)
    return InitErrorDetails(type=type_, loc=error["loc"], input=error["input"], ctx=context)


def _get(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, dict) else getattr(node, key, None)


def _items(data: Any, key: str) -> list[Any]:
    items = _get(data, key)
    return list(items) if isinstance(items, list | tuple) else []


def _name_problems(data: Any) -> Iterator[tuple[Loc, Any, PydanticCustomError]]:
    """Names that are used twice, and an exposure that is not a numeric field."""
    places: dict[str, str] = {}
    types: dict[str, str] = {}  # of the fields
    for section in ("entities", "fields"):
        for index, item in enumerate(_items(data, section)):
            name = _get(item, "name")
            if not isinstance(name, str):
                continue
            if name in places:
                yield (
                    (section, index, "name"),
                    name,
                    unfit(f"a name that is used once ({places[name]} has it)"),
                )
            places.setdefault(name, f"event.{section}[{index}].name")
            if section == "fields":
                types.setdefault(name, str(_get(item, "type")))
    for index, item in enumerate(_items(data, "fields")):
        currency = _get(item, "currency")
        if isinstance(currency, str) and currency not in types:
            yield ("fields", index, "currency"), currency, unfit("the name of a field")
    exposure, fields = _get(data, "exposure"), _get(data, "fields")
    if not isinstance(exposure, str):
        return
    unnamed = not isinstance(fields, list | tuple | None) or len(_items(data, "fields")) > sum(
        isinstance(_get(item, "name"), str) for item in _items(data, "fields")
    )
    amounts = [name for name, type_ in types.items() if type_ in KINDS and KINDS[type_].can_be_exposure]
    if exposure not in amounts and types.get(exposure) in KINDS if exposure in types else not unnamed:
        numeric = ", ".join(name[:64] for name in amounts)
        yield (
            ("exposure",),
            exposure,
            unfit(f"the name of a numeric field ({numeric or 'there is none'}), or null"),
        )


def _path_problems(data: Any) -> Iterator[tuple[Loc, Any, PydanticCustomError]]:
    """Paths of objects: a value is read from a field."""
    paths = list(_paths(data))
    for loc, path in paths:
        below = next((other for _, other in paths if other.startswith(path + ".")), None)
        if below and all(path.split(".")):
            yield loc, path, unfit(f"a field, not an object: {below[:256]} is inside it")


def _paths(data: Any) -> Iterator[tuple[Loc, str]]:
    """Yield all paths with their places; those of a field of several parts one by one."""
    places: list[tuple[Loc, Any]] = [
        (("id",), _get(data, "id")),
        (("time", "path"), _get(_get(data, "time"), "path")),
        (("time", "clock"), _get(_get(data, "time"), "clock")),
    ]
    places += [(("reversals", key), _get(_get(data, "reversals"), key)) for key in ("path", "original")]
    for index, item in enumerate(_items(data, "entities")):
        places.append((("entities", index, "path"), _get(item, "path")))
    yield from ((loc, path) for loc, path in places if isinstance(path, str))
    for index, item in enumerate(_items(data, "fields")):
        path, kind = _get(item, "path"), _get(item, "type")
        if isinstance(path, str):
            parts = KINDS[kind].parts if isinstance(kind, str) and kind in KINDS else ("value",)
            yield from ((("fields", index, "path"), one) for one in split_path(path, parts))
