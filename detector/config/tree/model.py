"""`model`: everything that learns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from detector.config.tree.base import Duration, Part, unfit

STEP_EVENTS_MAX = 256  # events of one training step


class Features(Part):
    """What is computed from an event and from the history of its entities."""

    half_lives: tuple[Duration, ...] = Field(
        (86400.0, 7 * 86400.0, 60 * 86400.0),
        min_length=1,
        max_length=4,
        description="Half-lives of an entity's profile, ascending.",
    )
    cycles: tuple[Literal["day", "week"], ...] = Field(
        ("day", "week"), description="Periods of event time that the model uses."
    )
    entities_max: int = Field(
        1_000_000,
        ge=1024,
        le=1 << 26,
        description="Profiles per entity kind; the one unseen for longest is dropped.",
    )
    pairs_max: int = Field(
        2_000_000,
        ge=1024,
        le=1 << 26,
        description="Remembered pairs of the main entity and another one, per kind.",
    )
    clip_spreads: float = Field(
        2.0, gt=0, le=100, description="Largest update of a profile by one event, in spreads of the profile."
    )

    @field_validator("half_lives")
    @classmethod
    def _ascending(cls, half_lives: tuple[float, ...]) -> tuple[float, ...]:
        if list(half_lives) != sorted(set(half_lives)):
            raise unfit("different durations in ascending order")
        return half_lives


class Objectives(Part):
    """Weights of the encoder's training objectives; 0 switches one off."""

    contrastive: float = Field(
        1.0, ge=0, le=10, description="Tell real events from copies with one field swapped."
    )
    reconstructive: float = Field(0.0, ge=0, le=10, description="Restore the input from the embedding.")


class Encoder(Part):
    """The neural network, trained online."""

    dimension: int = Field(
        16, ge=4, le=64, description="Width of the embedding; more than `hidden` adds nothing."
    )
    hidden: int = Field(64, ge=8, le=512, description="Width of the hidden layer.")
    bins: int = Field(8, ge=2, le=32, description="Quantile bins per numeric input.")
    hash_rows: int = Field(
        4096, ge=64, le=1 << 20, description="Rows of the hash table for categories and text n-grams."
    )
    hash_width: int = Field(8, ge=2, le=64, description="Width of a row of the hash table.")
    learning_rate: float = Field(0.002, gt=0, le=1, description="Step size of the optimiser (Adam).")
    objectives: Objectives = Objectives()


class Clusters(Part):
    """Normal behaviour: micro-clusters over the core, a bounded sample of accepted events."""

    core_events: int = Field(8192, ge=512, le=1 << 20, description="Size of the core, in events.")
    count_max: int = Field(512, ge=8, le=1 << 16, description="Maximum number of clusters.")
    memory_events: int = Field(
        65536, ge=1024, le=1 << 24, description="Accepted events after which 63 % of the core is replaced."
    )
    members_min: int = Field(
        3, ge=1, le=64, description="A cluster with fewer events of the core is not normal."
    )
    neighbours: int = Field(4, ge=1, le=32, description="Nearest clusters compared with each event.")


class Index(Part):
    """HNSW over core events and cluster centres (Malkov and Yashunin 2016); names as in hnswlib."""

    exact_below: int = Field(
        4096, ge=0, le=1 << 24, description="Fewer vectors than this are searched exactly, without HNSW."
    )
    m: int = Field(16, ge=4, le=64, description="Links per node.")
    ef_construction: int = Field(60, ge=16, le=1000, description="Candidates considered while building.")
    ef: int = Field(128, ge=16, le=1000, description="Maximum number of candidates considered in a search.")
    recall: float | None = Field(
        0.99,
        gt=0.5,
        le=1,
        description="Wanted share of true neighbours found. It is measured at each barrier, and the smallest "
        "`ef` that reaches it is used. null: `ef` is used as it is.",
    )


class Calibration(Part):
    """From distance to score."""

    memory_events: int = Field(
        32768, ge=1024, le=1 << 24, description="Memory of the score histograms, in events."
    )
    trim: float = Field(
        0.95, gt=0.5, lt=1, description="Events with a score above this quantile are not learned as normal."
    )
    tail_from: float = Field(
        0.998, gt=0.5, lt=1, description="Quantile above which a Pareto tail is fitted (Siffer 2017)."
    )
    warm_up_events: int = Field(
        4096, ge=256, le=1 << 30, description="Alerts say warm_up until this many events were scored."
    )


class Barriers(Part):
    """When the trained model replaces the one that scores."""

    block_events: int = Field(
        512,
        ge=16,
        le=4096,
        description=f"Events learned together: at most {STEP_EVENTS_MAX}, or a multiple of it.",
    )
    every_events: int = Field(
        8192,
        ge=16,
        le=1 << 24,
        description="Events between barriers, a multiple of block_events. The first intervals are shorter: "
        f"they double from {STEP_EVENTS_MAX} up to this.",
    )
    early_events_min: int = Field(
        1024, ge=16, le=1 << 24, description="Events after which waiting labels may cause an early barrier."
    )

    @field_validator("block_events")
    @classmethod
    def _whole_steps(cls, block_events: int) -> int:
        if block_events > STEP_EVENTS_MAX and block_events % STEP_EVENTS_MAX:
            raise unfit(f"at most {STEP_EVENTS_MAX}, or a multiple of it")
        return block_events

    @field_validator("every_events")
    @classmethod
    def _whole_blocks(cls, every_events: int, info: ValidationInfo) -> int:
        block_events = info.data.get("block_events")
        if block_events is not None and every_events % block_events:
            raise unfit(f"a multiple of block_events ({block_events})")
        return every_events

    @property
    def step_events(self) -> int:
        """Events of one training step; also the events before the first barrier."""
        return min(self.block_events, STEP_EVENTS_MAX)

    def interval(self, version: int) -> int:
        """Events from barrier number `version` to the next regular one.

        The interval doubles from barrier to barrier up to `every_events`: a young model changes fast.
        """
        return min(self.step_events << min(version, 32), self.every_events)

    def young(self, version: int) -> bool:
        """Whether the interval after barrier number `version` is still shorter than `every_events`."""
        return self.interval(version) < self.every_events


class Labels(Part):
    """Analysts' answers and late reports of fraud."""

    buffer_events_max: int = Field(
        524_288,
        ge=1024,
        le=1 << 26,
        description="Recent events, all of which a label can refer to. Of older ones a quarter as many, "
        "chosen at random, and those that were alerted or labelled.",
    )
    buffer_bytes_max: int = Field(
        1 << 28,
        ge=1 << 20,
        description="Bytes for all these events; with many fields, fewer events fit. Recent ones take two "
        "thirds at most.",
    )
    answerable_for: Duration = Field(
        30 * 86_400.0,
        gt=0,
        description="Event time for which a label can refer to an alerted event, at any rate of events, "
        "within buffer_bytes_max.",
    )
    labels_max: int = Field(65_536, ge=16, le=1 << 24, description="Labels kept; the oldest is dropped.")
    per_barrier_max: int = Field(
        1024, ge=1, le=65536, description="Labels applied at one barrier; the others wait."
    )
    per_entity_max: int = Field(
        64,
        ge=1,
        le=1 << 30,
        description="Fraud labels counted per main entity; more are refused (outcome: rate_limited).",
    )
    per_actor_max: int = Field(
        2000,
        ge=1,
        le=1 << 30,
        description="Labels counted per actor and day of event time; more are refused (outcome: "
        "rate_limited). Those without an actor share one limit.",
    )
    senior_actors: tuple[str, ...] = Field(
        (),
        max_length=64,
        description="Actors whose answer counts where another actor contradicts it. Between two of them, and "
        "between all others, the later answer counts.",
    )
    maturity_delay: Duration = Field(
        7 * 86_400.0,
        gt=0,
        description="An event without a label counts as legitimate after this time, or later where fraud is "
        "reported later.",
    )


class Model(Part):
    """Everything that learns."""

    seed: int = Field(0, ge=0, lt=1 << 32, description="Seed of all random draws.")
    features: Features = Features()
    encoder: Encoder = Encoder()
    clusters: Clusters = Clusters()
    index: Index = Index()
    calibration: Calibration = Calibration()
    barriers: Barriers = Barriers()
    labels: Labels = Labels()
