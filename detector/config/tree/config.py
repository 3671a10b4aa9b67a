"""The whole tree, and the part of it that alerts depend on."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self, TypeVar

import msgspec
from pydantic import Field, ValidationInfo, field_validator

from detector.config.formats import WITH_SCHEMAS
from detector.config.tree.alerts import Alerts
from detector.config.tree.base import Part, Secret, ShadowName, Size, is_loopback, unfit
from detector.config.tree.console import Console
from detector.config.tree.event import Event
from detector.config.tree.model import Model
from detector.config.tree.notify import Notify
from detector.config.tree.service import Checkpoints, Http, Kafka, Log, Registry, Topics

# Memory of a process without partitions: interpreter, libraries, compiled code, buffers of the clients.
PROCESS_BYTES = 384 << 20
Section = TypeVar("Section", Kafka, Topics, Http)


class ModelPart(Part):
    """Everything that a shard's alerts depend on, apart from its log and its journal."""

    event: Event
    model: Model = Model()
    alerts: Alerts = Alerts()
    require_key: bool = Field(False, description="As in the configuration.")
    partitions: int = Field(
        1, ge=1, le=1 << 20, description="Partitions of the topic; a budget per day is divided by it."
    )
    feedback: bool = Field(True, description="Whether labels may come; if so, events are kept for them.")
    exchange: bool = Field(False, description="Whether shards send each other messages.")
    receipts: bool = Field(False, description="Whether every feedback record gets a receipt.")
    memory_bytes_max: int | None = Field(
        None, description="This partition's share of the memory, in bytes; null: tables are bounded by keys."
    )

    def canonical(self) -> bytes:
        """Encode as JSON with sorted keys: equal bytes for equal settings.

        `per_segment` is left out where it is null, as before there was this key: hashes stay.
        """
        document = self.model_dump(mode="json")
        if self.alerts.budget.per_segment is None:
            del document["alerts"]["budget"]["per_segment"]
        return msgspec.json.encode(document, order="deterministic")

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


class Config(Part):
    """The whole configuration of one daemon."""

    event: Event
    registry: Registry | None = Field(
        None, description="The schema registry; null: there is none. event.format avro and protobuf need one."
    )
    shadow: ShadowName | None = Field(
        None,
        description="Name of a shadow: a service that scores the same events beside another one, and alerts "
        "nobody. Its group and each topic that it writes get -shadow-NAME behind their names; http.address "
        "has port 9465 unless it is set. null: this is no shadow.",
    )
    kafka: Kafka = Kafka()
    topics: Topics = Topics()
    delivery: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once",
        description="at_least_once: for brokers without transactions. A "
        "repeated alert has the same alert_id.",
    )
    commit_interval_ms: int = Field(
        100, ge=1, le=60_000, description="Time between commits. It is part of an alert's latency."
    )
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group without committed offsets begins."
    )
    on_data_loss: Literal["stop", "skip"] = Field(
        "stop",
        description="What to do when a topic no longer holds what recovery needs. stop: report it and exit; "
        "skip: continue with the newest checkpoint at the first event left, and count what was lost.",
    )
    require_key: bool = Field(
        False, description="true: reject events whose record key is not the main entity's value."
    )
    entity_key: Secret | None = Field(
        None,
        description="Where the key of the entity hashes is kept; null: a public development key is used.",
    )
    memory_bytes_max: Size | None = Field(
        4 << 30,
        ge=512 << 20,
        le=1 << 50,
        description="Memory of the process, in bytes or as a text like 2GiB, shared equally by "
        "memory_partitions_max partitions. Tables hold as many keys as fit their share, up to "
        "model.features.entities_max and pairs_max. null: these alone bound them.",
    )
    memory_partitions_max: int = Field(
        2,
        ge=1,
        le=1 << 16,
        description="Partitions that one process may own at a time, also while other replicas are down. "
        "With more the memory is not enough.",
    )
    memory_check: bool = Field(
        True,
        description="false: the service starts also where the memory that it may need exceeds the limit of "
        "its container or machine.",
    )
    checkpoints: Checkpoints = Checkpoints()
    http: Http = Http()
    log: Log = Log()
    notify: Notify = Notify()
    console: Console = Console()
    model: Model = Model()
    alerts: Alerts = Alerts()

    @field_validator("registry")
    @classmethod
    def _has_schemas(cls, registry: Registry | None, info: ValidationInfo) -> Registry | None:
        event = info.data.get("event")
        if registry is None and event is not None and event.format in WITH_SCHEMAS:
            raise unfit(f"a registry: event.format {event.format} reads its schemas from one")
        return registry

    @field_validator("kafka", "topics", "http")
    @classmethod
    def _apart(cls, section: Section, info: ValidationInfo) -> Section:
        shadow = info.data.get("shadow")
        return section if shadow is None else section.of_shadow(shadow)

    @field_validator("console")
    @classmethod
    def _hides_its_tokens(cls, console: Console, info: ValidationInfo) -> Console:
        http = info.data.get("http")
        private = is_loopback(console.address) or (console.origin or "").startswith("https:")
        if http is not None and console.mode == "token" and not private and http.tls is None:
            raise unfit(
                "http.tls, or an https:// origin of a proxy: log-ins would cross the network in clear"
            )
        return console

    @field_validator("alerts")
    @classmethod
    def _shows_what_it_may(cls, alerts: Alerts, info: ValidationInfo) -> Alerts:
        event = info.data.get("event")
        if alerts.echo == "all" and event is not None:
            fields = [field for field in event.fields if field.pseudonym or not field.echo]
            hidden = [item.name for item in (*event.entities, *fields) if item in fields or item.pseudonym]
            if hidden:
                raise unfit(f"echo declared or coordinates: the whole event would show {hidden[0]}")
        return alerts

    @field_validator("alerts")
    @classmethod
    def _has_the_segment(cls, alerts: Alerts, info: ValidationInfo) -> Alerts:
        event, name = info.data.get("event"), alerts.budget.per_segment
        segments = [] if event is None else [field.name for field in event.fields if field.use == "segment"]
        if event is not None and name is not None and name not in segments:
            raise unfit(f"budget.per_segment: a field with use: segment ({', '.join(segments) or 'none'})")
        return alerts

    @field_validator("require_key")
    @classmethod
    def _has_a_key(cls, require_key: bool, info: ValidationInfo) -> bool:
        event = info.data.get("event")
        if require_key and event is not None and not event.entities:
            raise unfit("false, or an entity in event.entities: its value is the key")
        return require_key

    def model_part(self, partitions: int) -> ModelPart:
        """Extract what alerts depend on.

        Parameters
        ----------
        partitions
            Partitions of the topic. A budget per day and receipts depend on it.
        """
        return ModelPart(
            event=self.event,
            model=self.model,
            alerts=self.alerts,
            require_key=self.require_key,
            partitions=partitions if self._depends_on_partitions else 1,
            feedback=self.topics.feedback is not None,
            exchange=self.topics.exchange is not None,
            receipts=self.topics.receipts is not None,
            memory_bytes_max=self._partition_bytes(),
        )

    @property
    def _depends_on_partitions(self) -> bool:
        """Whether a shard must know how many there are: for its part of a budget, or of the receipts."""
        return self.alerts.budget.per_day is not None or self.topics.receipts is not None

    def _partition_bytes(self) -> int | None:
        """Share of the memory that one partition has.

        It follows from the configuration alone, not from how many partitions a process owns: a partition's
        tables, and so its alerts, must be the same whoever owns it. Half a share is for the checkpoint that
        is being written.
        """
        if self.memory_bytes_max is None:
            return None
        return 2 * (self.memory_bytes_max - PROCESS_BYTES) // (2 * self.memory_partitions_max + 1)
