"""The objects of one cluster, group and topic in the checkpoint store."""

from __future__ import annotations

from detector.core.recovery.generations import cluster_of, expired, folders, store_prefix
from detector.core.recovery.journal import Journal
from detector.errors import NeedsOperator
from detector.ports import CheckpointStore


class Objects:
    """The objects of one cluster, group and topic, by their names below its prefix.

    Clusters may have groups and topics of the same names, and one store. Each has a folder of its own, so
    the pruning of one cannot reach what another one needs. Files and detectors in Python have no cluster.

    Parameters
    ----------
    store
        None: nothing can be read or written.
    group, topic
        First parts of the names in the store.
    cluster
        Id of the cluster, as far as it is known; see `enter`.
    """

    def __init__(self, store: CheckpointStore | None, *, group: str, topic: str, cluster: str = "") -> None:
        self._store = store
        self._group, self._topic = group, topic
        self._prefix = store_prefix(group, topic, cluster)

    @property
    def available(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def enter(self, cluster: str) -> None:
        """Take the objects of this cluster from now on; its id is known once a broker has answered."""
        self._prefix = store_prefix(self._group, self._topic, cluster)

    def enter_only_cluster(self) -> None:
        """Take the objects of the only cluster that has any.

        Raises
        ------
        StoreUnavailable
        NeedsOperator
            There are several.
        """
        assert self._store is not None
        all_of_them = store_prefix(self._group, self._topic)
        clusters = {cluster_of(name.removeprefix(all_of_them)) for name in self._store.list(all_of_them)}
        if len(clusters) > 1:
            raise NeedsOperator(
                f"{all_of_them} in the checkpoint store holds checkpoints of several clusters "
                f"({', '.join(sorted(clusters))}): copy those of one of them to a store of their own"
            )
        self.enter(*clusters or ("",))

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

    def delete(self, name: str) -> None:
        """Delete one object.

        Raises
        ------
        StoreUnavailable
        """
        assert self._store is not None
        self._store.delete(self._prefix + name)

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
            self.delete(name)
