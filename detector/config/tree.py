"""The configuration: one frozen tree, unknown keys refused, relations checked.

What is part of the model's state is apart from what is not: `Config.model_part()` is everything that the
alerts depend on (`event`, `model`, `alerts`). A change there takes effect at a barrier and is journaled by
its hash (see `detector.core.recovery.journal`); the rest may change freely between two starts.

Descriptions are the documentation: `detector config-schema` exports them to editors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from detector.config.formats import FORMATS
from detector.config.kinds import KINDS

# Events of one step of the learner, at most.
STEP_EVENTS_MAX = 256
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _to_seconds(value: Any) -> Any:
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError("a duration like 500ms, 30s, 15m, 12h or 7d")
        return float(match[1]) * _SECONDS[match[2]]
    return value


def _split(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


Duration = Annotated[
    float,
    BeforeValidator(_to_seconds, json_schema_input_type=float | str),
    Field(gt=0, le=10 * 365 * 86400.0, description="seconds, or a text like 500ms, 30s, 15m, 12h, 7d"),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Path = Annotated[
    str, Field(min_length=1, max_length=256, description="field name; dots go into nested objects")
]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
HostPorts = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:,/]+):\d{1,5}$")], ...],
    BeforeValidator(_split, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=64),
]


def _member_of(table: Mapping[str, Any]) -> Callable[[str], str]:
    """Make a check that a text is a name of a table."""

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"one of: {', '.join(table)}")
        return name

    return check


def _names_of(table: Mapping[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Make an addition to the JSON schema that lists a table's names."""
    return lambda schema: schema.update(enum=list(table))


EventFormat = Annotated[str, AfterValidator(_member_of(FORMATS)), Field(json_schema_extra=_names_of(FORMATS))]
FieldKind = Annotated[str, AfterValidator(_member_of(KINDS)), Field(json_schema_extra=_names_of(KINDS))]


class Part(BaseModel):
    """Base of every section: frozen, strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Secret(Part):
    """Where a secret is kept; the value itself never stands in a configuration."""

    env: str | None = Field(None, description="name of the environment variable that holds it", min_length=1)
    file: str | None = Field(None, description="path of the file that holds it", min_length=1)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("exactly one of env and file")
        return self


# --- event: how a record becomes an event ------------------------------------------------------------


class Late(Part):
    """Events whose time lies far behind where event time stood before them."""

    after: Duration = Field(86_400.0, description="an event further behind than this is late")
    action: Literal["score", "reject"] = Field(
        "score", description="score: as any other, and counted; reject: to the dead-letter topic"
    )


class TimeField(Part):
    """The event's own time; the only clock the model knows."""

    path: Path
    format: Literal["auto", "iso8601", "epoch_s", "epoch_ms"] = Field(
        "auto", description="auto: text is ISO 8601, a number is epoch s or, above 1e11, epoch ms"
    )
    zone: str = Field("UTC", description="IANA zone of times without one", max_length=64)
    late: Late = Late()


class EntityField(Part):
    """A key with a history of its own. The first one listed is the main entity: the topic is keyed by it."""

    name: Name
    path: Path
    optional: bool = Field(False, description="events without it are scored without this entity's history")


class ValueField(Part):
    """A value of the event."""

    name: Name
    path: Path = Field(
        description="field name; dots go into nested objects; a type of several values takes as many, "
        "separated by commas"
    )
    type: FieldKind
    use: Literal["encode", "context", "segment"] = Field(
        "encode",
        description="encode: the model sees it; context, segment: carried into alerts, never encoded",
    )
    optional: bool = Field(True, description="false: events without it are rejected")
    display: str | None = Field(None, description="what people call it", max_length=64)
    unit: str | None = Field(None, description="unit shown behind its values", max_length=16)

    @model_validator(mode="after")
    def _parts(self) -> Self:
        parts = KINDS[self.type].parts
        if len(self.paths) != len(parts) or not all(self.paths):
            raise ValueError(f"path: {len(parts)} field names for {', '.join(parts)}, separated by commas")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Where each part of the value is."""
        if len(KINDS[self.type].parts) == 1:
            return (self.path,)
        return tuple(path.strip() for path in self.path.split(","))


class Duplicates(Part):
    """Events that come again under the same id, as a producer's retry sends them."""

    horizon_events: int = Field(
        65_536,
        ge=1,
        le=1 << 20,
        description="events of a partition whose ids are remembered, at 24 to 32 bytes each",
    )
    action: Literal["reject", "score"] = Field(
        "reject", description="reject: to the dead-letter topic; score: as any other, and counted"
    )


class Reversals(Part):
    """Events that take back an earlier one (ISO 8583: 0400, 0420): not scored, not learned."""

    path: Path
    values: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        min_length=1, max_length=64, description="what stands at path in an event that is a reversal"
    )
    original: Path | None = Field(None, description="where the id of the event stands that is taken back")


class EventLimits(Part):
    """Bounds of one event; beyond them it is rejected, with the bound as reason."""

    bytes_max: int = Field(65536, ge=64, le=1 << 20)
    depth_max: int = Field(16, ge=1, le=64)
    key_chars_max: int = Field(256, ge=8, le=4096, description="length of ids and entity values")
    text_chars_max: int = Field(1024, ge=8, le=65536, description="length of categorical and text values")
    members_max: int | None = Field(
        2048, ge=8, le=1 << 20, description="fields of all objects and items of all lists together"
    )
    name_chars_max: int | None = Field(256, ge=8, le=65536, description="length of a field's name")


class Event(Part):
    """The event schema."""

    format: EventFormat = Field("json", description="what the value of a record is")
    id: Path
    time: TimeField
    entities: tuple[EntityField, ...] = Field((), max_length=8)
    fields: tuple[ValueField, ...] = Field((), max_length=128)
    exposure: Name | None = Field(None, description="numeric field that is the amount at stake")
    duplicates: Duplicates | None = Field(
        Duplicates(), description="null: ids are not compared, as where they are not unique"
    )
    reversals: Reversals | None = None
    limits: EventLimits = EventLimits()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [e.name for e in self.entities] + [f.name for f in self.fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names used twice: {', '.join(twice)}")
        if self.exposure is not None and self.exposure not in {
            f.name for f in self.fields if KINDS[f.type].can_be_exposure
        }:
            raise ValueError(f"exposure {self.exposure!r} is not the name of a numeric field")
        if not any(f.use == "encode" for f in self.fields) and not self.entities:
            raise ValueError("nothing to learn from: no entity and no field with use: encode")
        return self


# --- model -----------------------------------------------------------------------------------------------


class Features(Part):
    """What is computed from an event and from the history of its entities."""

    half_lives: tuple[Duration, ...] = Field(
        (86400.0, 7 * 86400.0, 60 * 86400.0),
        min_length=1,
        max_length=4,
        description="memories of an entity's profile, shortest first",
    )
    cycles: tuple[Literal["day", "week"], ...] = Field(
        ("day", "week"), description="periods of event time to encode"
    )
    entities_max: int = Field(
        1_000_000, ge=1024, le=1 << 26, description="profiles per entity kind; the longest unseen goes"
    )
    pairs_max: int = Field(
        2_000_000, ge=1024, le=1 << 26, description="remembered (main entity, other) pairs per kind"
    )
    clip_spreads: float = Field(
        2.0, gt=0, le=100, description="a profile's update is clipped at so many of its spreads"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.half_lives) != sorted(set(self.half_lives)):
            raise ValueError("half_lives must be ascending and different")
        return self


class Objectives(Part):
    """Weights of what the encoder learns; 0 switches one off."""

    contrastive: float = Field(
        1.0, ge=0, le=10, description="real events against the same with one field swapped"
    )
    reconstructive: float = Field(0.0, ge=0, le=10, description="input restored from the embedding")


class Encoder(Part):
    """The online network."""

    dimension: int = Field(16, ge=8, le=32, description="width of the embedding")
    hidden: int = Field(64, ge=8, le=512)
    bins: int = Field(8, ge=2, le=32, description="quantile bins per numeric input")
    hash_rows: int = Field(
        4096, ge=64, le=1 << 20, description="rows of the table for categories and text n-grams"
    )
    hash_width: int = Field(8, ge=2, le=64)
    learning_rate: float = Field(0.002, gt=0, le=1)
    objectives: Objectives = Objectives()


class Clusters(Part):
    """Normal behaviour: micro-clusters over a bounded sample of accepted events (the core)."""

    core_events: int = Field(8192, ge=512, le=1 << 20, description="accepted events the clusters are made of")
    count_max: int = Field(512, ge=8, le=1 << 16)
    memory_events: int = Field(
        65536, ge=1024, le=1 << 24, description="accepted events after which 63 % of the core is renewed"
    )
    members_min: int = Field(3, ge=1, le=64, description="a cluster with fewer core events is not normal")
    neighbours: int = Field(4, ge=1, le=32, description="nearest clusters looked at per event")


class Index(Part):
    """HNSW over the cluster centres (Malkov and Yashunin 2016); names as in hnswlib."""

    exact_below: int = Field(
        2048, ge=0, le=1 << 24, description="fewer centres than this are searched exactly"
    )
    m: int = Field(16, ge=4, le=64)
    ef_construction: int = Field(100, ge=50, le=1000)
    ef: int = Field(64, ge=16, le=1000, description="at most; the least that has the recall is taken")
    recall: float | None = Field(
        0.99,
        gt=0.5,
        le=1,
        description="share of the true neighbours found, measured at each barrier; null: ef is taken",
    )


class Calibration(Part):
    """From distance to score."""

    memory_events: int = Field(32768, ge=1024, le=1 << 24, description="memory of both quantile sketches")
    trim: float = Field(
        0.95, gt=0.5, lt=1, description="events above this quantile of all are never absorbed"
    )
    tail_from: float = Field(
        0.998, gt=0.5, lt=1, description="quantile above which a Pareto tail is fitted (Siffer 2017)"
    )
    warm_up_events: int = Field(
        4096, ge=256, le=1 << 30, description="alerts say warm_up until so many events were scored"
    )


class Barriers(Part):
    """Where the learner replaces what serves (DESIGN: blocks and barriers)."""

    block_events: int = Field(
        512, ge=16, le=4096, description=f"learned together; at most {STEP_EVENTS_MAX}, or a multiple of it"
    )
    every_events: int = Field(
        8192, ge=16, le=1 << 24, description="a multiple of block_events; reached by doubling from 256"
    )
    early_events_min: int = Field(
        1024, ge=16, le=1 << 24, description="labels that wait may cause one after so many events"
    )

    @model_validator(mode="after")
    def _multiple(self) -> Self:
        if self.block_events % self.step_events:
            raise ValueError(f"block_events must be at most {STEP_EVENTS_MAX}, or a multiple of it")
        if self.every_events % self.block_events:
            raise ValueError(f"every_events must be a multiple of block_events ({self.block_events})")
        return self

    @property
    def step_events(self) -> int:
        """Events of one step of the learner; also those before the first barrier."""
        return min(self.block_events, STEP_EVENTS_MAX)

    def interval(self, version: int) -> int:
        """Events to the next regular barrier, after `version` of them.

        It doubles from barrier to barrier until the usual one is reached: a young model changes fast.
        """
        return min(self.step_events << min(version, 32), self.every_events)

    def young(self, version: int) -> bool:
        """Whether the usual interval is not reached after so many barriers."""
        return self.interval(version) < self.every_events


class Labels(Part):
    """Analysts' answers."""

    buffer_events_max: int = Field(
        524_288, ge=1024, le=1 << 26, description="recent events a label can still find"
    )
    buffer_bytes_max: int = Field(
        1 << 28, ge=1 << 20, description="bytes for these events; many fields mean fewer events"
    )
    labels_max: int = Field(65_536, ge=16, le=1 << 24, description="labels kept; the oldest goes")
    per_barrier_max: int = Field(
        1024, ge=1, le=65536, description="labels applied at one barrier; the rest waits"
    )
    per_entity_max: int = Field(
        64, ge=1, le=1 << 30, description="frauds of one main entity that count; more are refused as limited"
    )
    per_actor_max: int = Field(
        2000,
        ge=1,
        le=1 << 30,
        description="labels of one actor that count per day; more are refused as limited",
    )
    maturity_delay: Duration = Field(
        7 * 86_400.0,
        gt=0,
        description="an event nobody reported counts as legitimate at the earliest after so long; later "
        "where reports take longer",
    )


class Model(Part):
    """Everything that learns."""

    seed: int = Field(0, ge=0, lt=1 << 32)
    features: Features = Features()
    encoder: Encoder = Encoder()
    clusters: Clusters = Clusters()
    index: Index = Index()
    calibration: Calibration = Calibration()
    barriers: Barriers = Barriers()
    labels: Labels = Labels()


class Budget(Part):
    """How many alerts people can look at, counted after once-per-entity; give one of the two."""

    share: float | None = Field(None, gt=0, le=0.5, description="share of events")
    per_day: float | None = Field(
        None, gt=0, le=1e7, description="alerts per day of event time, over all partitions"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.share is None) == (self.per_day is None):
            raise ValueError("exactly one of share and per_day")
        return self


class Severity(Part):
    """Lowest score of each severity; score = -log10 of the share of normal events at least as far."""

    medium: float = Field(3.5, gt=0)
    high: float = Field(4.0, gt=0)
    critical: float = Field(5.0, gt=0)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.medium < self.high < self.critical:
            raise ValueError("medium < high < critical")
        return self


class Alerts(Part):
    """From score to alert."""

    budget: Budget = Budget(share=0.001, per_day=None)
    exploration_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of the budget for random other events: their answers tell what is missed",
    )
    cooldown: Duration = Field(
        3600.0, description="an entity alerts once in this window; a higher severity breaks through"
    )
    case_idle_timeout: Duration = Field(
        7 * 86400.0, description="a case ends after so long without an alert of its entity"
    )
    cases_max: int = Field(100_000, ge=16, le=1 << 24, description="open cases kept; the longest quiet goes")
    severity: Severity = Severity()
    reasons_max: int = Field(3, ge=1, le=16)
    exemplars_max: int = Field(3, ge=0, le=16)


class ModelPart(Part):
    """All that the alerts of a shard depend on, apart from its log and journal."""

    event: Event
    model: Model = Model()
    alerts: Alerts = Alerts()
    require_key: bool = False
    partitions: int = Field(
        1, ge=1, le=1 << 20, description="partitions of the topic: a budget per day is divided by it"
    )
    feedback: bool = Field(True, description="whether labels may come: events are remembered for them")
    exchange: bool = Field(False, description="whether shards tell each other what they know")

    def canonical(self) -> bytes:
        """Bytes that are equal for equal settings: JSON with sorted keys."""
        return msgspec.json.encode(self.model_dump(mode="json"), order="deterministic")

    @classmethod
    def from_canonical(cls, text: str | bytes) -> Self:
        """Read what `canonical` wrote.

        Raises
        ------
        ValueError
            The text is not a valid configuration.
        """
        try:
            document = json.loads(text)
        except RecursionError as error:
            raise ValueError(f"not a configuration: {error}") from error
        return cls.model_validate(document)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of `canonical`."""
        return hashlib.sha256(self.canonical()).hexdigest()[:12]


# --- the world around it -----------------------------------------------------------------------------------


class Security(Part):
    """How to talk to Kafka; names follow the Kafka client's."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: Secret | None = None
    ca_file: str | None = Field(None, description="PEM; without it the system's authorities are trusted")
    cert_file: str | None = Field(None, description="PEM client certificate, for mutual TLS")
    key_file: str | None = Field(None, description="PEM key of cert_file")
    key_password: Secret | None = None
    check_hostname: bool = True

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol.startswith("SASL"):
            missing = [n for n in ("sasl_mechanism", "username", "password") if getattr(self, n) is None]
            if missing:
                raise ValueError(f"protocol {self.protocol} needs {', '.join(missing)}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class Kafka(Part):
    """The cluster and our place in it."""

    bootstrap_servers: HostPorts = ("127.0.0.1:9092",)
    group_id: str = Field("detector", min_length=1, max_length=200)
    group_instance_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="static membership: a restart within the session timeout moves nothing",
    )
    leave_on_stop: bool = Field(False, description="a stopping static member gives its partitions up at once")
    security: Security = Security()
    session_timeout_ms: int = Field(15_000, ge=1000, le=600_000)
    poll_records_max: int = Field(2048, ge=1, le=100_000)
    transaction_timeout_ms: int = Field(15_000, ge=1000, le=900_000)
    request_timeout_ms: int = Field(
        10_000, ge=1000, le=600_000, description="longest wait for one answer of the broker"
    )
    api_version: tuple[int, int] | None = Field(
        None, description="skip version probing; librdkafka's mock cluster needs [2, 3]"
    )


class Topics(Part):
    """Input and outputs; feedback, scores and exchange are optional."""

    transactions: Topic = "transactions"
    alerts: Topic = "alerts"
    dead_letter: Topic = "dead_letter"
    feedback: Topic | None = None
    scores: Topic | None = None
    exchange: Topic | None = Field(
        None,
        description="what the shards tell each other (one partition); null: each learns from its own alone",
    )

    @model_validator(mode="after")
    def _different(self) -> Self:
        names = [name for name in self.model_dump().values() if name is not None]
        if len(set(names)) != len(names):
            raise ValueError("every topic must have a name of its own")
        return self


class Checkpoints(Part):
    """Where snapshots go. The URL must be reachable by every replica of the group."""

    url: str = Field(
        "file://./checkpoints", min_length=1, description="any fsspec URL: a folder, s3://, gs://, abfs://"
    )
    interval: Duration = Field(30.0, description="a barrier starts a checkpoint when the last one is older")
    keep: int = Field(3, ge=2, le=1000, description="generations kept per partition")
    age_max: Duration = Field(
        86400.0,
        description="a partition too quiet for regular barriers makes one before it needs an older log",
    )


class Http(Part):
    """/livez, /readyz and /metrics."""

    address: str = Field("127.0.0.1:9464", pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:]*):\d{1,5}$")


class Log(Part):
    """Our own log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else json"
    )


class Config(Part):
    """The whole configuration of one daemon."""

    event: Event
    kafka: Kafka = Kafka()
    topics: Topics = Topics()
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    commit_interval_ms: int = Field(100, ge=1, le=60_000, description="part of an alert's latency")
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="where a group that never committed begins"
    )
    on_data_loss: Literal["stop", "skip"] = Field(
        "stop",
        description="when a topic no longer has what recovery needs. stop: say so and end; skip: go on with "
        "the newest checkpoint at the first event left, and count what was lost",
    )
    require_key: bool = Field(
        False, description="reject events whose record key is not the main entity's value"
    )
    entity_key: Secret | None = Field(
        None,
        description="key of the hashes that stand for entity values; without it a public development key",
    )
    checkpoints: Checkpoints = Checkpoints()
    http: Http = Http()
    log: Log = Log()
    model: Model = Model()
    alerts: Alerts = Alerts()

    def model_part(self, partitions: int) -> ModelPart:
        """What the alerts depend on, for a topic of `partitions` partitions: only a budget per day does."""
        return ModelPart(
            event=self.event,
            model=self.model,
            alerts=self.alerts,
            require_key=self.require_key,
            partitions=1 if self.alerts.budget.per_day is None else partitions,
            feedback=self.topics.feedback is not None,
            exchange=self.topics.exchange is not None,
        )
