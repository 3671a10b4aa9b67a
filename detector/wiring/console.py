"""`detector console`: topics (or the files of a replay) into the database, and the pages over it."""

from __future__ import annotations

import getpass
import secrets
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from detector import __version__
from detector.config.extras import install
from detector.config.secrets import Secrets, resolve_secret, resolve_secrets
from detector.config.tree import Config, ConsoleProxy
from detector.console.reading import KINDS, Kind, Told, Wanted, sniff, time_of
from detector.console.tokens import TokenFile, make_token, private_file
from detector.console.views import Role
from detector.errors import (
    EXIT_BUG,
    ConfigError,
    DetectorError,
    LogGone,
    NeedsOperator,
    OutsideError,
    Problem,
)
from detector.ports import Log
from detector.shell import logs
from detector.shell.clock import SystemClock
from detector.shell.files.line_reader import open_lines
from detector.shell.http import Certificate
from detector.shell.kafka import KafkaArchive, RecordWriter, TopicReader
from detector.shell.web import opener, tls_context
from detector.wiring.common import Signals
from detector.wiring.console_map import Maps
from detector.wiring.console_originals import Originals
from detector.wiring.status import service_figures, service_status

if TYPE_CHECKING:
    from detector.console.book import SqliteBook
    from detector.console.fold import Fold

T = TypeVar("T")
END_S = 9.0  # from a signal to the end of the process
RETRY_MIN_S, RETRY_MAX_S = 0.5, 10.0
RENEW_S = 60.0  # between two looks at the certificate
BATCH = 1000  # lines of a file in one transaction
JWKS_BYTES_MAX = 1 << 20
JWKS_S = 5.0
ASKED_AT_ONCE = 16  # replicas
REPLAY = "This is a replay: it can be looked at, and nothing can be answered."


def console(config: Config, environ: Mapping[str, str], folder: Path | None = None) -> None:
    """Serve the console until SIGTERM or SIGINT.

    Parameters
    ----------
    folder
        Folder with the outputs of a replay, shown in place of the topics; None: the topics.

    Raises
    ------
    OperatorError
        Configuration, credentials, or something else that only a person can resolve.
    SystemExit
        With exit code 1 after a bug of ours, which is logged as one record.
    """
    _check(config, topics=folder is None)
    found = resolve_secrets(config, environ)
    key = resolve_secret(config.console.session_key, "console.session_key", environ)
    hidden = [text for text in (*found, key) if text]
    logs.configure(config.log.level, config.log.format, secrets=hidden)
    log = logs.get_logger("detector")
    with ExitStack() as opened:
        signals = opened.enter_context(Signals(END_S))
        stopping = threading.Event()
        signals.call(stopping.set)
        parts = _parts(config, found, folder, log, opened, stopping)
        failures = [] if parts is None else _serve(config, environ, key, parts, stopping, log)
    for failure in failures:
        if isinstance(failure, DetectorError):
            raise failure
        log.error("bug", version=__version__, exc_info=failure)
        raise SystemExit(EXIT_BUG)
    log.info("stopped")


def console_token(config: Config, name: str, role: Role) -> str:
    """Make a token for somebody; returns it. It is stored as a hash in `console.tokens`.

    Raises
    ------
    NeedsOperator
        The name is none, or the file cannot be written.
    """
    return make_token(config.console.tokens, name, role)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What the pages stand on."""

    book: SqliteBook
    reader: Reader | None  # None: everything was read
    database: Path


def _check(config: Config, *, topics: bool) -> None:
    """Refuse what cannot work, before anything is opened."""
    if any(find_spec(name) is None for name in ("starlette", "uvicorn", "jinja2", "itsdangerous", "joserfc")):
        allowed = f'the extra "console": {install("console")}'
        raise ConfigError(
            "console", [Problem(path="console", value="packages that are missing", allowed=allowed)]
        )
    if topics and config.topics.feedback is None:
        allowed = "the topic that answers are written to"
        raise ConfigError("configuration", [Problem(path="topics.feedback", value="null", allowed=allowed)])
    if config.console.mode == "token" and not TokenFile(config.console.tokens).count():
        raise NeedsOperator(
            f"console.tokens: {config.console.tokens} has no token, so nobody could log in: make one with "
            "`detector console token NAME --role ROLE`"
        )


def _parts(
    config: Config,
    found: Secrets,
    folder: Path | None,
    log: Log,
    opened: ExitStack,
    stopping: threading.Event,
) -> _Parts | None:
    """Open the database and what it is read from; None: `stopping` was set before a broker was there."""
    from detector.console.book import SqliteBook
    from detector.console.database import Database
    from detector.console.fold import Fold

    clock, settings = SystemClock(), config.console
    topic = config.topics.transactions
    if folder is not None:
        path = (
            Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="detector-console-"))) / "console.db"
        )
        database = Database(path, "a replay")
        opened.callback(database.close)
        fold = Fold(database, wanted(config), days=365.0 * 200, rows=settings.rows)
        _read_folder(fold, folder, log)
        book = SqliteBook(database, fold, clock, log, topic=topic, send=None, originals=None, why=REPLAY)
        return _Parts(book=book, reader=None, database=path)
    names = _names(config)
    topics = TopicReader(config, list(names.values()), found.password, found.key_password)
    opened.callback(topics.close)
    path = Path(settings.database)
    source = _source(topics, names, stopping, log)
    if source is None:
        return None
    database = Database(path, source)
    opened.callback(database.close)
    fold = Fold(database, wanted(config), days=settings.days, rows=settings.rows)
    assert config.topics.feedback is not None
    writer = RecordWriter(config, config.topics.feedback, found.password, found.key_password)
    opened.callback(writer.close)
    archive = KafkaArchive(config, found.password, found.key_password)
    opened.callback(archive.close)
    send, feedback = _sender(writer, config.topics.feedback), Originals(config, archive)
    book = SqliteBook(database, fold, clock, log, topic=topic, send=send, originals=feedback)
    return _Parts(book=book, reader=Reader(topics, names, fold, book, log), database=path)


def _serve(
    config: Config,
    environ: Mapping[str, str],
    key: str | None,
    parts: _Parts,
    stopping: threading.Event,
    log: Log,
) -> list[BaseException]:
    """Serve pages until `stopping`; returns what ended them before."""
    from detector.console.access import Access
    from detector.console.oidc import Oidc
    from detector.console.serving import Server
    from detector.console.web.app import make_app

    clock, settings = SystemClock(), config.console
    certificate = None if config.http.tls is None else Certificate(config.http.tls)
    signer = _signing_key(key, parts.database)
    proxy = settings.proxy if settings.mode == "proxy" else None
    access = Access(
        settings,
        signer,
        clock,
        secure=certificate is not None or (settings.origin or "").startswith("https:"),
        user=_user(),
        tokens=None if proxy is None else Oidc(proxy, _jwks(proxy), clock, log),
        ended=parts.database.with_name(f"{parts.database.name}.ended"),
    )
    app = make_app(
        book=parts.book,
        access=access,
        key=signer,
        clock=clock,
        log=log,
        replicas=_replicas(config, environ),
        maps=None if settings.map_every is None else Maps(config, environ, clock, log),
        masked=settings.mask,
    )
    server = Server(app, settings.address, None if certificate is None else certificate.context())
    reader = parts.reader
    try:
        if reader is not None:
            reader.start(stopping)
        server.start(stopping.set)
        log.info("started", version=__version__, console=settings.origin or server.url, mode=settings.mode)
        while not stopping.wait(RENEW_S):
            if certificate is not None:
                certificate.context()
    finally:
        stopping.set()
        server.stop()
        if reader is not None:
            reader.join()
    failures = (server.failed, None if reader is None else reader.failed)
    return [failure for failure in failures if failure is not None]


# --- reading ------------------------------------------------------------------------------------------------


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
        self._thread.join(END_S / 3)

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


def _names(config: Config) -> dict[Kind, str]:
    """Names of the topics that are read."""
    return {kind: name for kind in KINDS if (name := getattr(config.topics, kind)) is not None}


def _source(
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


def _read_folder(fold: Fold, folder: Path, log: Log) -> None:
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


# --- what acts and pages need of the world ------------------------------------------------------------------


def _sender(writer: RecordWriter, topic: str) -> Callable[[Sequence[tuple[bytes, bytes]]], list[Told]]:
    def send(records: Sequence[tuple[bytes, bytes]]) -> list[Told]:
        now_s = time.time()
        written = writer.send(records, partition=0)  # that which the service reads
        return [
            Told("feedback", topic, at.partition, at.offset, now_s, value)
            for at, (_, value) in zip(written, records, strict=True)
            if at.offset >= 0  # else the topic will say it
        ]

    return send


def _replicas(config: Config, environ: Mapping[str, str]) -> Callable[[], Sequence[Any]]:
    """Asks the services for their state."""
    from detector.console.web.visit import Replica

    def one(url: str | None) -> Replica:
        shown = url or config.http.address
        try:
            status = service_status(config, environ, url)
            return Replica(url=shown, status=status, figures=service_figures(config, environ, url))
        except DetectorError as error:
            return Replica(url=shown, status=None, why=str(error))

    def all_() -> Sequence[Replica]:
        urls = config.console.replicas or (None,)
        with ThreadPoolExecutor(max_workers=min(len(urls), ASKED_AT_ONCE)) as threads:
            return list(threads.map(one, urls))

    return all_


def _jwks(proxy: ConsoleProxy) -> Callable[[], bytes]:
    """Reads the provider's keys."""
    context: ssl.SSLContext | None = None
    if proxy.jwks.startswith("https:"):
        context = tls_context("console.proxy", proxy.ca_file)
    get = opener(context)

    def fetch() -> bytes:
        try:
            if "://" not in proxy.jwks:
                return Path(proxy.jwks).read_bytes()[: JWKS_BYTES_MAX + 1]
            with get.open(proxy.jwks, timeout=JWKS_S) as answer:
                return bytes(answer.read(JWKS_BYTES_MAX + 1))
        except (OSError, HTTPException, ValueError) as error:  # of which urllib.error.URLError is one
            raise OutsideError(f"{proxy.jwks} cannot be read: {error}") from None

    return fetch


def _signing_key(key: str | None, database: Path) -> bytes:
    """The key that signs log-ins and forms: as configured, or in a file beside the database."""
    if key is not None:
        return key.encode()
    path = database.with_name(f"{database.name}.key")
    found = private_file(path, secrets.token_hex(32).encode())
    if len(found) < 32:
        raise NeedsOperator(
            f"{path} has {len(found)} bytes, expected 32 or more: delete it, a new one is made"
        )
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # of a container without names
        return "local"
