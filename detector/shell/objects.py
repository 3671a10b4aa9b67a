"""The objects of one group and topic in the checkpoint store."""

from __future__ import annotations

from detector.core.recovery.generations import expired, folders, store_prefix
from detector.core.recovery.journal import Journal
from detector.errors import NeedsOperator
from detector.ports import CheckpointStore

_OWNER = "owner"  # the object that holds the id of the cluster


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
        self._claimed = ""

    @property
    def available(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def claim(self, cluster: str) -> None:
        """Make sure that the objects are those of our cluster; the first one to come owns them.

        Two clusters may have groups and topics of the same names. If they shared a folder, the pruning of one
        would delete checkpoints of the other.

        Raises
        ------
        StoreUnavailable
        NeedsOperator
            Another cluster owns them.
        """
        if self._store is None or not cluster or cluster == self._claimed:
            return
        self._claimed = ""
        try:
            owner = self.get(_OWNER).decode(errors="replace").strip()
        except KeyError:
            self.put(_OWNER, cluster.encode())
            owner = self.get(_OWNER).decode(errors="replace").strip()  # another one may have come, too
        if owner != cluster:
            raise NeedsOperator(
                f"{self._prefix} in the checkpoint store belongs to cluster {owner[:64]}, this is cluster "
                f"{cluster}: use another checkpoints.url for each cluster"
            )
        self._claimed = cluster

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
        """Delete generations of a partition that no recovery needs, if the objects are still ours.

        Two clusters may have claimed them at the same moment; then one of them finds the other's id here.

        Parameters
        ----------
        journal
            The committed one.
        keep
            Generations to keep.

        Raises
        ------
        StoreUnavailable
        NeedsOperator
            Another cluster owns them.
        """
        assert self._store is not None
        claimed, self._claimed = self._claimed, ""
        self.claim(claimed)
        names = [name for folder in folders(partition) for name in self.names(folder)]
        for name in expired(names, journal, self.get, keep=keep):
            self._store.delete(self._prefix + name)
