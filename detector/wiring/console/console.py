"""`detector console`: topics (or the files of a replay) into the database, and the pages over it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from detector import __version__
from detector.config.extras import install
from detector.config.secrets import Secrets, resolve_secret, resolve_secrets
from detector.config.tree import Config
from detector.console.tokens import TokenFile, make_token
from detector.console.views import Role
from detector.errors import (
    EXIT_BUG,
    ConfigError,
    DetectorError,
    NeedsOperator,
    Problem,
)
from detector.ports import Log
from detector.shell import logs
from detector.shell.clock import SystemClock
from detector.shell.http import Certificate
from detector.shell.kafka import KafkaArchive, RecordWriter, TopicReader
from detector.wiring.common import Signals, check_no_shadow
from detector.wiring.console.maps import Maps
from detector.wiring.console.originals import Originals
from detector.wiring.console.reading import Reader, names_of, read_folder, source_of, wanted
from detector.wiring.console.world import jwks, replicas, sender, signing_key, user

if TYPE_CHECKING:
    from detector.console.book import SqliteBook

END_S = 9.0  # from a signal to the end of the process
RENEW_S = 60.0  # between two looks at the certificate
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
    check_no_shadow(config, "the service's configuration: answers would go to the same feedback")
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
        read_folder(fold, folder, log)
        book = SqliteBook(database, fold, clock, log, topic=topic, send=None, originals=None, why=REPLAY)
        return _Parts(book=book, reader=None, database=path)
    names = names_of(config)
    topics = TopicReader(config, list(names.values()), found.password, found.key_password)
    opened.callback(topics.close)
    path = Path(settings.database)
    source = source_of(topics, names, stopping, log)
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
    send, feedback = sender(writer, config.topics.feedback), Originals(config, archive)
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
    signer = signing_key(key, parts.database)
    proxy = settings.proxy if settings.mode == "proxy" else None
    access = Access(
        settings,
        signer,
        clock,
        secure=certificate is not None or (settings.origin or "").startswith("https:"),
        user=user(),
        tokens=None if proxy is None else Oidc(proxy, jwks(proxy), clock, log),
        ended=parts.database.with_name(f"{parts.database.name}.ended"),
    )
    app = make_app(
        book=parts.book,
        access=access,
        key=signer,
        clock=clock,
        log=log,
        replicas=replicas(config, environ),
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
