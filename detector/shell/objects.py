"""The objects of one group and topic in the checkpoint store."""

from __future__ import annotations

from detector.core.recovery.generations import expired, folders, store_prefix
from detector.core.recovery.journal import Journal
from detector.ports import CheckpointStore


class Objects:
    """The objects of one group and topic, by their names below its prefix.

    Parameters
    ----------
    store
        None: nothing can be read or written.
    group, topic
        Their prefix is the first part of the names in the store.
    """

    def __init__(self, store: CheckpointStore | None, *, group: str, topic: str) -> None:
        self._store = store
        self._prefix = store_prefix(group, topic)

    @property
    def available(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def get(self, name: str) -> bytes:
        """Read one object.

        Raises
        ------
        StoreUnavailable
        KeyError
            There is no such object.
        """
        if self._store is None:
            raise KeyError(name)
        return self._store.get(self._prefix + name)

    def put(self, name: str, data: bytes) -> None:
        """Write one object; returns once it is durable.

        Raises
        ------
        StoreUnavailable
        """
        assert self._store is not None
        self._store.put(self._prefix + name, data)

    def names(self, folder: str = "") -> list[str]:
        """Names of all objects that begin with `folder`, sorted.

        Raises
        ------
        StoreUnavailable
        """
        assert self._store is not None
        return [name.removeprefix(self._prefix) for name in self._store.list(self._prefix + folder)]

    def prune(self, partition: int, journal: Journal, keep: int) -> None:
        """Delete generations of a partition that no recovery needs.

        Parameters
        ----------
        journal
            The committed one.
        keep
            Generations to keep.

        Raises
        ------
        StoreUnavailable
        """
        assert self._store is not None
        names = [name for folder in folders(partition) for name in self.names(folder)]
        for name in expired(names, journal, self.get, keep=keep):
            self._store.delete(self._prefix + name)
