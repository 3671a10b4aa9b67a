"""What a detector shows of its embedding, and which version of it serves: neighbours, map, report, card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import inf, isfinite
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detector.api.alerts import Alert
from detector.api.apart import RemoteStream
from detector.api.frames import Frame
from detector.api.labels import seconds_of
from detector.api.stream import Stream
from detector.core.events import read_time
from detector.core.records import Identity, Record
from detector.core.shard.embedding_map import Anchors, EmbeddingMap
from detector.core.shard.embedding_report import EmbeddingReport
from detector.core.shard.model_card import ModelCard, VersionList
from detector.core.shard.space import AMONG, Among, Neighbour
from detector.errors import UsageError
from detector.rendering.maps import FILES, METHOD_NAMES, METHODS, Method, map_file, svg
from detector.wiring.model import commands
from detector.wiring.similar import Wanted

NEIGHBOURS_MAX = 1000


class Map:
    """A map of the embedding; a notebook shows its picture."""

    def __init__(self, drawn: EmbeddingMap, anchors: Anchors, source: str) -> None:
        self.drawn = drawn  # its content as data
        self.anchors = anchors  # what a later map is turned by
        self._source = source

    def save(self, place: str | Path) -> None:
        """Write a page (.html, with tables) or a picture (.svg, .png).

        Raises
        ------
        UsageError
            The name ends otherwise, or matplotlib is missing.
        """
        suffix = Path(place).suffix
        if suffix not in FILES:
            raise UsageError(f"got {str(place)!r}, expected a name that ends in {', '.join(FILES)}")
        Path(place).write_bytes(map_file(self.drawn, self._source, suffix))

    def _repr_html_(self) -> str:
        return svg(self.drawn, self._source)


class InEmbedding:
    """The part of `Detector` that looks at the embedding. Nothing here but `govern` changes the detector."""

    _stream: Stream | RemoteStream
    _identity: Identity

    def _records(self, frame: Frame, offset: int) -> Iterator[list[Record]]:
        raise NotImplementedError

    def _give(self, records: Sequence[bytes], *, timed: bool) -> None:
        raise NotImplementedError

    def similar(
        self, event: Alert | str | int | Mapping[str, Any], *, k: int = 5, among: Sequence[Among] = AMONG
    ) -> dict[Among, list[Neighbour]]:
        """Find what an event is near to in the learned embedding, as `detector similar` does.

        Parameters
        ----------
        event
            An alert or the id of an event of earlier calls, or a dict: a new event, as it would come next.
        k
            Neighbours of each kind at most, 1 to 1,000.
        among
            What to search: normal (clusters), frauds (confirmed), recent (events that are remembered).

        Returns
        -------
        dict of str to list of Neighbour
            Nearest first, with distances between embeddings, the fields that bring them together or set them
            apart, and of an event its offset: rows before it, over all calls.

        Raises
        ------
        UsageError
            There is no model yet, the event is not remembered, or it is no event.
        """
        for kind in among:
            if kind not in AMONG:
                raise UsageError(f"among: got {kind!r}, expected {', '.join(AMONG)}")
        if not 1 <= k <= NEIGHBOURS_MAX:
            raise UsageError(f"k: got {k}, expected 1 to {NEIGHBOURS_MAX}")
        return self._stream.similar(self._wanted(event), tuple(among), k)

    def embedding_map(
        self,
        *,
        start: str | float | datetime | None = None,
        end: str | float | datetime | None = None,
        entity: str | None = None,
        before: Map | None = None,
        method: Method = "pca",
    ) -> Map:
        """Draw the learned embedding in two dimensions, as `detector embedding map` does.

        Parameters
        ----------
        start, end
            Event times of the alerts that are shown, ISO 8601 or s since the epoch; None: all.
        entity
            Value of the main entity whose latest events are drawn as a path.
        before
            An earlier map: the new one is turned so that clusters that both have lie where they lay.
        method
            pca, tsne (extra `sklearn`) or umap (extra `umap`).

        Raises
        ------
        UsageError
            There is no model yet, a time cannot be read, there is no such entity, or a package is missing.
        """
        if method not in METHODS:
            raise UsageError(f"method: got {method!r}, expected {METHOD_NAMES}")
        drawn, anchors = self._stream.embedding_map(
            start=_moment("start", start, -inf),
            end=_moment("end", end, inf),
            entity=entity,
            before=None if before is None else before.anchors,
            method=method,
        )
        return Map(drawn, anchors, f"{self._identity.topic}-{self._identity.partition}")

    def embedding_report(self) -> EmbeddingReport:
        """Judge the learned embedding, as `detector embedding report` does.

        Raises
        ------
        UsageError
            There is no model yet.
        """
        return self._stream.embedding_report()

    def versions(self) -> VersionList:
        """The versions of the encoder that are kept, as `detector model list` shows them.

        Raises
        ------
        UsageError
            There is no model yet.
        """
        return self._stream.versions()

    def model_card(self, version: int | None = None) -> ModelCard:
        """The card of a version, as `detector model show` has it; without one, of that which serves.

        Raises
        ------
        UsageError
            There is no model yet, or the version is not kept.
        """
        return self._stream.model_card(version)

    def govern(self, action: str, version: int | None = None, *, actor: str | None = None) -> int:
        """Say which encoder serves, at the next barrier, or by `settle`; `receipts` tells what came of it.

        Parameters
        ----------
        action
            hold: the one that serves; promote: new ones again, or a newer `version`; rollback: an older
            `version`, None: the one before, which is then held.

        Returns
        -------
        int
            Labels and other such records that wait now.

        Raises
        ------
        UsageError
            There is no such action, or it takes no version.
        """
        [asked] = commands(action, version, range(self._identity.partition, self._identity.partition + 1))
        time = seconds_of(None, self._stream.event_time)
        self._give([msgspec.json.encode({**asked, "time": time, "actor": actor})], timed=False)
        return len(self._stream.labels)

    def _wanted(self, event: Any) -> Wanted:
        if isinstance(event, Alert):
            return Wanted(offset=int(event.body["source"]["offset"]))
        if isinstance(event, Mapping):
            (records,) = self._records(Frame([event]), self._stream.position)
            return Wanted(record=records[0].value)
        if isinstance(event, bool) or not isinstance(event, str | int | np.integer):
            raise UsageError(f"got a {type(event).__name__}, expected an alert, an event's id or a dict")
        return Wanted(event_id=str(event))


def _moment(name: str, time: str | float | datetime | None, otherwise: float) -> float:
    """A time, s since the epoch."""
    given = otherwise if time is None else seconds_of(time, 0.0)
    found = read_time(given) if isinstance(given, str) else given
    if found is None or (time is not None and not isfinite(found)):
        raise UsageError(f"{name}: got {time!r}, expected a time such as 2026-03-02T14:00Z")
    return found
