"""`alerts`: from score to alert."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from detector.config.tree.base import Duration, Part, unfit


class Budget(Part):
    """How many alerts people can handle, after the cooldown. Set one of share and per_day."""

    share: float | None = Field(None, gt=0, le=0.5, description="Alerts as a share of events.")
    per_day: float | None = Field(
        None, gt=0, le=1e7, description="Alerts per day of event time, of all partitions together."
    )

    per_segment: str | None = Field(
        None,
        description="A field with use: segment: each of its groups has alerts for the same share of its "
        "events. Groups of less than 2 % of all events count as one. null: the highest scores, whoever has "
        "them.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.share is None) == (self.per_day is None):
            raise unfit("exactly one of share and per_day")
        return self


class Severity(Part):
    """Share of the alerts that each severity has, at any time; low has the rest."""

    medium: float = Field(0.3, gt=0, lt=1, description="Share of severity medium.")
    high: float = Field(0.2, gt=0, lt=1, description="Share of severity high.")
    critical: float = Field(0.1, gt=0, lt=1, description="Share of severity critical.")

    @field_validator("critical")
    @classmethod
    def _room(cls, share: float, info: ValidationInfo) -> float:
        others = info.data.get("medium", 0.0) + info.data.get("high", 0.0)
        if round(share + others, 9) >= 1.0:
            raise unfit(f"a share below {1.0 - others:g}: medium and high have {others:g}, low the rest")
        return share


class Alerts(Part):
    """From score to alert."""

    budget: Budget = Budget(share=0.001, per_day=None)
    exploration_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of the budget for randomly chosen events. Their labels show what is missed.",
    )
    cooldown: Duration = Field(
        3600.0, description="Time between two alerts of one entity; a higher severity is alerted at once."
    )
    case_idle_timeout: Duration = Field(
        7 * 86400.0, description="A case ends after this time without an alert of its entity."
    )
    cases_max: int = Field(
        100_000, ge=16, le=1 << 19, description="Open cases kept; the one idle for longest is dropped."
    )
    severity: Severity = Severity()
    recent_events_max: int = Field(
        1 << 18,
        ge=1024,
        le=1 << 24,
        description="Newest events of a partition in which an alert finds the earlier ones of its entity "
        "(46 bytes each, and 8 for each two other entities and categories, of which eight count). What "
        "happened before them is in no fact of the last hour or day.",
    )
    echo: Literal["declared", "all", "coordinates"] = Field(
        "declared",
        description="What of the event is in its alert. declared: the fields of `event`; all: the whole "
        "event; coordinates: only where it is in the log. A field with echo: false is in none.",
    )
    scores_key: Literal["pseudonym", "record"] = Field(
        "pseudonym",
        description="Key of a record of topics.scores. pseudonym: a keyed hash of the main entity's value, "
        "as entities with pseudonym: true have it in alerts; record: the key of the scored record.",
    )
    reasons_max: int = Field(3, ge=1, le=16, description="Reasons in an alert, the largest share first.")
    exemplars_max: int = Field(3, ge=0, le=16, description="Examples of normal behaviour in an alert.")
