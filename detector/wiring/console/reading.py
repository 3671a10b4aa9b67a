"""Topics, or the files of a replay, into the console's database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from detector.config.tree import Config
from detector.console.reading import KINDS, Kind, Told, Wanted, sniff, time_of
from detector.errors import (
    ConfigError,
    LogGone,
    OutsideError,
    Problem,
)
from detector.ports import Log
from detector.shell.clock import SystemClock
from detector.shell.files.line_reader import open_lines
from detector.shell.kafka import TopicReader

if TYPE_CHECKING:
    from detector.console.book import SqliteBook
    from detector.console.fold import Fold

T = TypeVar("T")
RETRY_MIN_S, RETRY_MAX_S = 0.5, 10.0
BATCH = 1000  # lines of a file in one transaction
JOIN_S = 3.0  # until the thread that reads is left alone


class Reader:
    """The thread that reads topics into the database. A bug, or what only a person can resolve, ends it."""

    def __init__(
        self, topics: TopicReader, names: Mapping[Kind, str], fold: Fold, book: SqliteBook, log: Log
    ) -> None:
        self._topics, self._fold, self._book, self._log = topics, fold, book, log
        self._kinds = {name: kind for kind, name in names.items()}
        self._clock = SystemClock()
        self.failed: BaseException | None = None

    def start(self, stopping: threading.Event) -> None:
        """Begin to read, until `stopping` is set."""
        self._book.read_s = self._clock.monotonic()
        self._thread = threading.Thread(target=self._run, args=(stopping,), name="topics", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for its end, not for long: what is not in the database is read again."""
        self._thread.join(JOIN_S)

    def _run(self, stopping: threading.Event) -> None:
        try:
            while not stopping.is_set():
                _until_it_works(lambda: self._read(stopping), self._topics, stopping, self._log)
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            self.failed = error
            stopping.set()

    def _read(self, stopping: threading.Event) -> None:
        """Read until the topics change or `stopping` is set."""
        behind = True
        for batch in self._topics.records(follow=True, positions=self._fold.positions()):
            if stopping.is_set():
                return
            if batch:
                self._fold.add(
                    [
                        Told(
                            self._kinds[topic],
                            topic,
                            partition,
                            one.offset,
                            one.timestamp_ms / 1000,
                            one.value,
                        )
                        for topic, partition, one in batch
                    ]
                )
            elif behind:
                behind = False
                self._log.info("caught_up")
            self._book.read_s = self._clock.monotonic()


def wanted(config: Config) -> Wanted:
    """What of the configuration alerts are read by."""
    fields, exposure = config.event.fields, config.event.exposure
    units = {field.name: field.unit for field in fields}
    return Wanted(
        segments=frozenset(field.name for field in fields if field.use == "segment"),
        exposure=exposure,
        unit=None if exposure is None else units.get(exposure),
        transactions=config.topics.transactions,
    )


def names_of(config: Config) -> dict[Kind, str]:
    """Names of the topics that are read."""
    return {kind: name for kind in KINDS if (name := getattr(config.topics, kind)) is not None}


def source_of(
    topics: TopicReader, names: Mapping[Kind, str], stopping: threading.Event, log: Log
) -> str | None:
    """What the database is read from: a topic that was made anew is another one. Waits for a broker."""
    ids = _until_it_works(topics.ids, topics, stopping, log)
    if ids is None:
        return None
    return " ".join(f"{kind}={name}/{'/'.join(ids[name])}" for kind, name in names.items())


def _until_it_works(
    ask: Callable[[], T], topics: TopicReader, stopping: threading.Event, log: Log
) -> T | None:
    """What `ask` returns, asked again while the world is away; None: `stopping` was set before."""
    wait_s = RETRY_MIN_S
    while not stopping.is_set():
        try:
            return ask()
        except (OutsideError, LogGone) as error:
            log.warning("not_ready", reason=str(error))
            topics.close()
            stopping.wait(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)
    return None


def read_folder(fold: Fold, folder: Path, log: Log) -> None:
    """Read every file of a folder that holds lines of one of the kinds."""
    if not folder.is_dir():
        problem = Problem(path="--replay", value=str(folder), allowed="a folder with the outputs of a replay")
        raise ConfigError("command line", [problem])
    found = 0
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.removesuffix(".gz").endswith((".jsonl", ".json", ".ndjson")):
            for batch in _lines(path):
                fold.add(batch)
                found += len(batch)
    if not found:
        allowed = "a folder with files of alerts, case updates or receipts (*.jsonl, *.jsonl.gz)"
        raise ConfigError("command line", [Problem(path="--replay", value=str(folder), allowed=allowed)])
    log.info("replay_read", folder=str(folder), records=found)


def _lines(path: Path) -> Iterator[list[Told]]:
    """Records of a file, in batches; nothing of a file that holds others."""
    with open_lines(path) as stream:
        kind, batch = None, list[Told]()
        for number, line in enumerate(stream):
            kind = kind or sniff(line)
            if kind is None:
                return
            batch.append(Told(kind, path.name, 0, number, time_of(kind, line), line))
            if len(batch) == BATCH:
                yield batch
                batch = []
        yield batch
