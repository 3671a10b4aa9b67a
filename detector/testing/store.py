"""A checkpoint store and side topics in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from detector.errors import BrokerUnavailable, LogGone, StoreUnavailable
from detector.ports import TopicIds
from detector.testing.steps import Hook, no_hook


class MemoryStore:
    """A `CheckpointStore` in a dictionary; members and threads may share it."""

    def __init__(self, hook: Hook = no_hook) -> None:
        self.objects: dict[str, bytes] = {}
        self.hook = hook
        self.fail = 0  # number of next calls that raise StoreUnavailable

    def put(self, name: str, data: bytes) -> None:
        """Write an object whole or not at all."""
        self._call("put:before")
        self.objects[name] = bytes(data)
        self.hook("put:after")

    def get(self, name: str) -> bytes:
        """Read an object."""
        self._call("get")
        return self.objects[name]

    def list(self, prefix: str) -> Sequence[str]:
        """Names that begin with `prefix`, sorted."""
        self._call("list")
        return sorted(name for name in list(self.objects) if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        self._call("delete")
        self.objects.pop(name, None)

    def tear(self, name: str) -> None:
        """Keep only the first half of an object."""
        self.objects[name] = self.objects[name][: len(self.objects[name]) // 2]

    def corrupt(self, name: str, index: int = -1) -> None:
        """Change one byte of an object."""
        data = bytearray(self.objects[name])
        data[index] ^= 0x40
        self.objects[name] = bytes(data)

    def lose(self, name: str) -> None:
        """Delete an object without a hook."""
        del self.objects[name]

    def _call(self, step: str) -> None:
        self.hook(step)
        if self.fail > 0:
            self.fail -= 1
            raise StoreUnavailable("the store is away")


@dataclass(kw_only=True, slots=True)
class _SideTopic:
    """A side topic, shared by its readers."""

    values: list[bytes] = field(default_factory=list)
    first: int = 0


class MemorySideLog:
    """A `SideLog` in a list; `append` produces."""

    def __init__(self, hook: Hook = no_hook) -> None:
        self.hook = hook
        self.down = False
        self.topic_ids = TopicIds()  # what `ids` says
        self.lag = 0  # number of newest records that a refresh does not read yet
        self._topic = _SideTopic()
        self._visible = 0

    def reader(self, hook: Hook = no_hook) -> MemorySideLog:
        """Another process's reader of the same topic, with its own faults."""
        reader = MemorySideLog(hook)
        reader._topic = self._topic
        return reader

    def append(self, value: bytes) -> int:
        """Produce a record; returns its position."""
        self._topic.values.append(value)
        return len(self._topic.values) - 1

    def trim(self, position: int) -> None:
        """Remove records below `position`, as retention does."""
        self._topic.first = position

    def ids(self) -> TopicIds:
        """As it was set."""
        return self.topic_ids

    def refresh(self) -> None:
        """Read what was appended."""
        self.hook("side:refresh")
        self._visible = max(self._visible, len(self._topic.values) - self.lag)

    def end(self, event_time: float) -> int:
        """Position after the last record that was read; event time does not matter."""
        return self._visible

    def read(self, start: int, stop: int) -> Sequence[tuple[int, bytes]]:
        """Records in [start, stop)."""
        self.hook("side:read")
        if self.down:
            raise BrokerUnavailable("the side topic is away")
        if start < self._topic.first:
            raise LogGone(f"the side topic begins at {self._topic.first}, position {start} is gone")
        return list(enumerate(self._topic.values[start:stop], start))

    def beginning(self) -> int:
        """Lowest position still in the topic."""
        self.hook("side:beginning")
        return self._topic.first

    def log_end(self) -> int:
        """Position after the last record, read or not."""
        self.hook("side:log_end")
        return len(self._topic.values)

    def close(self) -> None:
        """Do nothing."""
