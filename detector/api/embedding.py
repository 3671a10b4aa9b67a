"""What a detector shows of its embedding: what an event is near to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from detector.api.alerts import Alert
from detector.api.apart import RemoteStream
from detector.api.frames import Frame
from detector.api.stream import Stream
from detector.core.records import Record
from detector.core.shard.space import AMONG, Among, Neighbour
from detector.errors import UsageError
from detector.wiring.similar import Wanted

NEIGHBOURS_MAX = 1000


class InEmbedding:
    """The part of `Detector` that looks at the embedding. Nothing here changes the detector."""

    _stream: Stream | RemoteStream

    def _records(self, frame: Frame, offset: int) -> Iterator[list[Record]]:
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

    def _wanted(self, event: Any) -> Wanted:
        if isinstance(event, Alert):
            return Wanted(offset=int(event.body["source"]["offset"]))
        if isinstance(event, Mapping):
            (records,) = self._records(Frame([event]), self._stream.position)
            return Wanted(record=records[0].value)
        if isinstance(event, bool) or not isinstance(event, str | int | np.integer):
            raise UsageError(f"got a {type(event).__name__}, expected an alert, an event's id or a dict")
        return Wanted(event_id=str(event))
