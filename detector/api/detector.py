"""`Detector`: streaming anomaly detection over data frames."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import msgspec

from detector.api import checkpoints
from detector.api.alerts import Alert, Alerts
from detector.api.apart import RemoteStream, needed
from detector.api.configs import (
    config_of,
    for_rows,
    for_shard,
    identity_of,
    model_part,
    read_config,
    warm_started,
)
from detector.api.embedding import InEmbedding
from detector.api.frames import Frame
from detector.api.labels import names_event, records_of, seconds_of
from detector.api.results import Results, why
from detector.api.stream import Stream
from detector.config.infer import infer, render
from detector.config.load import effective, load_text
from detector.config.tree import Config, ModelPart
from detector.core.events import Parser
from detector.core.records import Outputs, Record
from detector.errors import UsageError
from detector.wiring.common import ModelFile

ALERTS_MAX = 10_000  # kept, the latest; about 3 kB each
LABELS = ("fraud", "legitimate", "retracted")


class Detector(InEmbedding):
    """One shard over data frames: what `detector replay` does with a file, call by call.

    Make one with `from_config`, `infer` or `load`.

    Events
        Every method takes a pandas or polars data frame, an Arrow table (or anything with the Arrow C stream
        interface), or a list of dicts; one row is one event, in the order of the stream. Columns are what the
        configuration's paths name. Data frames need pyarrow, the extra `parquet`.

    Results
        A table of the same kind with one row per event, in the same order (pandas: the same index):

        ========  =======  ===========================================================================
        score     float64  -log10 of the share of normal events at least as far; higher is more anomalous
        quantile  float64  1 - that share, 0 to 1
        alert     bool     whether the event gave an alert
        reasons   text     why, for an alert: sentences, the weightiest first; else missing
        rejected  text     why the row is no event; else missing. Its score and quantile are missing
        ========  =======  ===========================================================================

    Blocks
        A shard learns in blocks of 512 events. An event's score is given at once; the model learns from it
        when its block is complete. So after `replay` or `learn` the last events of an incomplete block are
        known to the profiles of their entities, and wait to be learned by the model: the next call completes
        the block, however the stream is cut into calls. `settle` and `save` learn from them at once, which
        moves the limits of later blocks. Scores are 0 until the first 256 events are learned, and the first
        alert comes after 512.

    Not thread safe.

    Examples
    --------
    >>> from detector import Detector
    >>> rows = [{"id": str(i), "time": i, "card": f"c{i % 7}", "amount": 10.0 + i % 5} for i in range(600)]
    >>> fields = [{"name": "amount", "path": "amount", "type": "numeric"}]
    >>> entities = [{"name": "card", "path": "card"}]
    >>> event = {"id": "id", "time": {"path": "time"}, "entities": entities, "fields": fields}
    >>> detector = Detector.from_config({"event": event})
    >>> detector.learn(rows)
    >>> strange = {"id": "x", "time": 600, "card": "c1", "amount": 9000.0}
    >>> usual = {"id": "y", "time": 600, "card": "c1", "amount": 11.0}
    >>> one, other = detector.score([strange, usual])
    >>> one["score"] > other["score"]
    True
    """

    def __init__(
        self, config: Config, *, yaml: str | None = None, saved: checkpoints.Saved | None = None
    ) -> None:
        self._config = for_rows(config)
        self._yaml = yaml
        self._alerts: deque[Alert] = deque(maxlen=ALERTS_MAX)
        self._updates: deque[bytes] = deque(maxlen=ALERTS_MAX)
        self._identity = identity_of(config, 0 if saved is None else saved.manifest.partition)
        parser = Parser(self._config.event, self._identity.entity_key)
        self._key_of = parser.main_key if config.require_key else None
        if saved is None:
            self._stream = self._opened(model_part(self._config, feedback=False))
            return
        model = for_shard(self._config, saved.model)
        self._stream = self._opened(
            model,
            journal=saved.journal,
            configs={saved.manifest.config: saved.model},
            restored=(saved.manifest, saved.state),
        )

    def _opened(self, model: ModelPart, **origin: Any) -> Stream | RemoteStream:
        """Open a stream here, or where numpy computes as the daemon's does."""
        return (RemoteStream if needed() else Stream)(model, self._identity, **origin)

    # --- making one ----------------------------------------------------------------------------------------

    @classmethod
    def from_config(
        cls,
        config: str | Path | Mapping[str, Any] | Config,
        overrides: Sequence[str] = (),
        *,
        warm_start: str | Path | None = None,
        encoder_only: bool = False,
    ) -> Self:
        """Make a detector that knows nothing yet, or what a model file has.

        Parameters
        ----------
        config
            A YAML file, or the same as nested mappings. At least the section `event` is needed. What is about
            Kafka, HTTP or the log is not used; nor are `event.format` and `event.envelope`, as rows of a
            table have no format.
        overrides
            Texts like ``model.seed=7``, as `--set` of the command line.
        warm_start, encoder_only
            Model file of `detector checkpoint export`; whether its encoder alone is taken.

        Raises
        ------
        ConfigError
            With every problem of the configuration, or of the model file.
        """
        read = read_config(config, overrides)
        if warm_start is None:
            return cls(read)
        return cls(read, saved=warm_started(read, ModelFile(Path(warm_start), encoder_only)))

    @classmethod
    def infer(
        cls, events: Any, *, id: str | None = None, time: str | None = None, entities: Sequence[str] = ()
    ) -> Self:
        """Make a detector whose configuration is inferred from a table, as `detector init-config` does.

        Look at `yaml`: it gives a reason for each choice. Nothing is learned from the events.

        Parameters
        ----------
        events
            The first 5,000 rows are read.
        id, time, entities
            Columns that you know, the main entity first; else inferred.

        Raises
        ------
        ConfigError
            The table has no id, no time or nothing to learn from, or a name is not in it.
        """
        lines = (line for chunk in Frame(events).chunks() for line in chunk)
        text = render(infer(lines, id=id, time=time, entities=entities))
        return cls(load_text(text, "the inferred configuration"), yaml=text)

    @classmethod
    def load(
        cls,
        place: str | Path,
        *,
        config: str | Path | Mapping[str, Any] | Config | None = None,
        checkpoint: str | None = None,
        partition: int = 0,
    ) -> Self:
        """Go on from a checkpoint of `save`, of a daemon, or of `detector replay --checkpoint-dir`.

        Parameters
        ----------
        place
            A folder, or an fsspec URL like ``s3://bucket/prefix``: what `checkpoints.url` names.
        config
            As in `from_config`; needed where the checkpoint was made with an `entity_key`, or where the place
            holds checkpoints of several groups. Settings that differ take effect with the next block. None:
            the configuration in the checkpoint.
        checkpoint
            Its name, as `detector checkpoint list` prints it; None: the newest that is not damaged.
        partition
            Number of the partition.

        Raises
        ------
        UsageError
            There is no such checkpoint.
        NeedsOperator
            It cannot be read, or was made with another entity key.
        StoreUnavailable
        """
        given = None if config is None else cls.from_config(config)._config
        saved = checkpoints.read(
            place,
            group=None if given is None else given.kafka.group_id,
            topic=None if given is None else given.topics.transactions,
            partition=partition,
            name=checkpoint,
        )
        return cls(config_of(saved) if given is None else given, saved=saved)

    # --- events --------------------------------------------------------------------------------------------

    def replay(self, events: Any, *, feedback: Any = None) -> Any:
        """Score each event before the model learns from it: the prequential order of a stream.

        Scores and alerts are bit for bit those of `detector replay` of the same rows in a file. Alerts are
        added to `alerts`.

        Parameters
        ----------
        events
            A table, see the class. Offsets go on from call to call.
        feedback
            A table of labels with the columns event_id, label (fraud, legitimate or retracted) and time. Each
            is applied at the first barrier after its time, as `--feedback` does.

        Returns
        -------
        table
            See the class.

        Raises
        ------
        UsageError
            The events are no table, or a label cannot be read.
        """
        frame = Frame(events)
        if feedback is not None:
            self._give(records_of(feedback), timed=True)
        result = Results(len(frame), self._stream.position)
        for outputs in self._take(frame):
            self._alerts.extend(Alert(alert.body) for alert in outputs.alerts)
            self._updates.extend(update.body for update in outputs.case_updates)
            result.add(outputs)
        return frame.result(result.columns())

    def learn(self, events: Any) -> None:
        """Learn from events, and give no outputs; the state is then that after `replay`.

        Raises
        ------
        UsageError
            The events are no table.
        """
        for _ in self._take(Frame(events)):
            pass

    def score(self, events: Any) -> Any:
        """Score each event as if it were the next one of the stream. Nothing is learned, nothing changes.

        An event's score is bit for bit the one that `replay` would give it as the next event. It does not
        depend on the other rows. `alert` says whether the score reaches the threshold: the alert budget,
        cooldowns, duplicates and late events matter in a stream only.

        Returns
        -------
        table
            See the class.

        Raises
        ------
        UsageError
            The events are no table.
        """
        frame = Frame(events)
        result = Results(len(frame), self._stream.position)
        for records in self._records(frame, self._stream.position):
            for looked in self._stream.look(records):
                result.add_looked(looked)
        return frame.result(result.columns())

    def explain(self, event: Mapping[str, Any]) -> Alert | None:
        """Explain one event as if it were the next one: the alert it would give. Nothing changes.

        Returns
        -------
        Alert or None
            None: its score does not reach the threshold.

        Raises
        ------
        UsageError
            It is no event.
        """
        (records,) = self._records(Frame([event]), self._stream.position)
        (looked,) = self._stream.look(records)
        if looked.rejected:
            raise UsageError(f"the event is rejected, {why(looked.rejected[0])}")
        return Alert(looked.candidates[0].body) if looked.candidates else None

    def settle(self) -> bool:
        """Learn now from an incomplete block, and apply labels that wait; see the class.

        Returns
        -------
        bool
            Whether there was anything to do.
        """
        return self._stream.settle()

    def _take(self, frame: Frame) -> Iterator[Outputs]:
        for records in self._records(frame, self._stream.position):
            yield from self._stream.take(records)

    def _records(self, frame: Frame, offset: int) -> Iterator[list[Record]]:
        """The frame's rows, numbered from `offset` on."""
        key_of = self._key_of or (lambda line: None)
        for lines in frame.chunks():
            yield [Record(n, 0, key_of(line), line) for n, line in enumerate(lines, offset)]
            offset += len(lines)

    # --- labels --------------------------------------------------------------------------------------------

    def feedback(
        self,
        events: Alert | str | int | Iterable[Alert | str | int],
        label: str,
        *,
        time: str | float | datetime | None = None,
        actor: str | None = None,
    ) -> int:
        """Give labels for events of earlier calls. They are applied at the next barrier, or by `settle`.

        Parameters
        ----------
        events
            Alerts or event ids, one or many.
        label
            fraud, legitimate, or retracted (takes an earlier label back).
        time
            When the label became known: ISO 8601, s or ms since the epoch. None: the time of the stream. How
            late labels come tells when an event without one counts as legitimate.
        actor
            Who gave it; a name limits how many labels of a day are applied, see `model.labels`.

        Returns
        -------
        int
            Labels that wait now. `labels` says what became of earlier ones.

        Raises
        ------
        UsageError
            A label or an event is none.
        """
        if label not in LABELS:
            raise UsageError(f"got the label {label!r}, expected one of {', '.join(LABELS)}")
        many = [events] if isinstance(events, Alert | str | int) else list(events)
        given = {"label": label, "time": seconds_of(time, self._stream.event_time), "actor": actor}
        records = [names_event(event) | given for event in many]
        self._give([msgspec.json.encode(record) for record in records], timed=False)
        return len(self._stream.labels)

    def erase(self, entities: str | int | Iterable[str | int], *, actor: str | None = None) -> int:
        """Drop all that is known of main entities, at the next barrier, or by `settle`.

        Files that were saved before still have it. `receipts` says how much it was.

        Parameters
        ----------
        entities
            Values, one or many.

        Returns
        -------
        int
            Labels and other such records that wait now.
        """
        many = [entities] if isinstance(entities, str | int) else list(entities)
        given = {"kind": "erase", "time": seconds_of(None, self._stream.event_time), "actor": actor}
        self._give([msgspec.json.encode(given | {"entity": entity}) for entity in many], timed=False)
        return len(self._stream.labels)

    @property
    def labels(self) -> dict[str, int]:
        """Labels by what became of them (applied, retracted, unknown_event, ...), and how many wait."""
        return {**self._stream.labels.outcomes, "waiting": len(self._stream.labels)}

    def receipts(self) -> list[dict[str, Any]]:
        """What became of each label since the last call, oldest first; the newest 10,000 are kept.

        The keys are those of `detector/schemas/receipt.v1.json`.
        """
        return [msgspec.json.decode(body) for body in self._stream.labels.receipts()]

    def _give(self, records: Sequence[bytes], *, timed: bool) -> None:
        if not records:
            return
        if self._stream.position == 0 and timed:  # as a replay that knows from the start that labels come
            self._stream = self._opened(model_part(self._config, feedback=True))
        self._stream.labels.give(records, timed=timed)
        self._stream.expect_labels()

    # --- what is known -------------------------------------------------------------------------------------

    @property
    def alerts(self) -> Alerts:
        """Alerts of `replay`, in the order of their events; the latest 10,000."""
        return Alerts(tuple(self._alerts))

    @property
    def case_updates(self) -> list[dict[str, Any]]:
        """What `replay` held back of alerted entities, see `detector/schemas/case.updated.v1.json`; the
        latest 10,000 updates."""
        return [msgspec.json.decode(body) for body in self._updates]

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._config

    @property
    def yaml(self) -> str:
        """The configuration as YAML: as `infer` wrote it, with reasons, or with all settings."""
        return effective(self._config) if self._yaml is None else self._yaml

    @property
    def position(self) -> int:
        """Offset of the next event: rows taken so far, rejected ones included."""
        return self._stream.position

    @property
    def threshold(self) -> float:
        """Lowest score of an alert now; inf before there is one."""
        return self._stream.gauges["threshold"] or math.inf

    @property
    def gauges(self) -> dict[str, float]:
        """Numbers that describe the model, as in the daemon's metrics: events, clusters, trim, warm_up ..."""
        return self._stream.gauges

    def __repr__(self) -> str:
        entities = ", ".join(entity.name for entity in self._config.event.entities) or "none"
        return (
            f"<Detector: {self.position:,} events, {len(self._alerts):,} alerts; entities: {entities}; "
            f"{len(self._config.event.fields)} fields>"
        )

    # --- checkpoints ---------------------------------------------------------------------------------------

    def save(self, place: str | Path) -> str:
        """Write a checkpoint, as the daemon does.

        A checkpoint holds a state right after a barrier, so an incomplete block is learned first (`settle`).

        Parameters
        ----------
        place
            A folder, or an fsspec URL like ``s3://bucket/prefix``: what `checkpoints.url` names.

        Returns
        -------
        str
            Name of the checkpoint.

        Raises
        ------
        StoreUnavailable
            It was not written.
        """
        snapshot = self._stream.snapshot()
        name = checkpoints.save(place, snapshot, group=self._identity.group, topic=self._identity.topic)
        self._stream.rebase(name, snapshot.position)
        return name

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles hold a checkpoint, so making one learns from an incomplete block (`settle`).

        Labels that wait are not in it.
        """
        return {
            "config": effective(self._config),
            "yaml": self._yaml,
            "alerts": [alert.json for alert in self._alerts],
            "updates": list(self._updates),
            "checkpoint": checkpoints.to_bytes(self._stream.snapshot()),
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        config = load_text(state["config"], "the pickled configuration")
        saved = checkpoints.from_bytes(
            *state["checkpoint"], group=config.kafka.group_id, topic=config.topics.transactions
        )
        self.__init__(config, yaml=state["yaml"], saved=saved)  # type: ignore[misc]
        self._alerts.extend(map(Alert, state["alerts"]))
        self._updates.extend(state["updates"])
