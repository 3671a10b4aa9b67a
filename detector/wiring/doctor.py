"""`detector doctor`: looks at everything that the service needs, and ends transactions that hide outputs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future

from detector.config.secrets import resolve_secrets
from detector.config.tree import Config
from detector.config.words import redacted
from detector.errors import (
    EXIT_CONFIG,
    ConfigError,
    CredentialsError,
    DetectorError,
    StoreUnavailable,
)
from detector.shell import calls
from detector.shell.finding import Finding
from detector.shell.kafka import Checkup, Hanging, Transactions, client_settings, rights_of, transactional_id
from detector.shell.memory_limit import MemoryLimit, memory_limit
from detector.shell.store import FsspecStore
from detector.wiring.common import recovery_s
from detector.wiring.memory import needed, size

LOOK_S = 9.0  # for everything but --mend: the command ends within 10 s
_LEFT_MIN_S = 1.0
_MENDED = (
    "members that are alive end their own; the rest needs READ on __transaction_state, or an operator "
    "(kafka-transactions.sh)"
)


def diagnose(config: Config, environ: Mapping[str, str], *, mend: bool) -> list[Finding]:
    """Look at Kafka, store and memory; `mend` also ends transactions that hide outputs.

    Every problem is a finding: nothing is raised for what an operator or the outside world got wrong.
    """
    deadline = time.monotonic() + LOOK_S
    store = calls.start(lambda: _store(config), name="doctor-store")  # beside Kafka: it may be slow
    findings = list(_kafka(config, environ, deadline, mend=mend))
    findings.append(_stored(config, store, deadline))
    findings.append(_memory(config, memory_limit()))
    return findings


def exit_code(findings: list[Finding]) -> int:
    """Return 0 without errors; 2 if configuration or credentials are wrong; else 3."""
    codes = {finding.exit_code for finding in findings if finding.verdict == "error"}
    return EXIT_CONFIG if EXIT_CONFIG in codes else max(codes, default=0)


# --- Kafka ---


def _kafka(config: Config, environ: Mapping[str, str], deadline: float, *, mend: bool) -> Iterator[Finding]:
    try:
        secrets = resolve_secrets(config, environ)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding.error("secrets", str(problem), "set the variable, or write the file", EXIT_CONFIG)
        return
    if secrets.entity_key is None:
        text = "entity_key is not set: entities are hashed with the public development key"
        yield Finding.warning("secrets", text, "set entity_key before the first event is read")
    else:
        yield Finding.ok("secrets", "all that the configuration names are there")
    try:
        settings = client_settings(config, secrets.password, secrets.key_password)
    except CredentialsError as error:
        yield Finding.of("TLS", error, "give a PEM file that this user can read, and its key's password")
        return
    kafka = config.kafka
    rights = rights_of(config, transactional_id(kafka.group_id, kafka.group_instance_id or "doctor"))
    found = Checkup(config, settings, rights, recovery_s(config)).run()
    yield from found
    if any(finding.subject == "brokers" for finding in found):  # one of them could be asked
        transactions = Transactions(config, settings)
        yield from (
            _mended(transactions) if mend else _hanging(transactions, max(_LEFT_MIN_S, _left_s(deadline)))
        )


def _hanging(transactions: Transactions, timeout_s: float) -> Iterator[Finding]:
    remedy = "detector doctor --mend, as a principal that may READ the output topics and ALTER the cluster"
    try:
        found = calls.within(timeout_s, transactions.hanging, name="doctor-transactions")
    except (DetectorError, calls.CallTimeout) as error:
        yield Finding.warning("transactions", f"whether one hangs is not known: {error}", remedy)
        return
    for one in found:
        yield Finding.error("transactions", f"hangs: {one}", "detector doctor --mend ends it")
    if not found:
        yield Finding.ok("transactions", "no transaction hangs")


def _mended(transactions: Transactions) -> Iterator[Finding]:
    try:
        with transactions.connected():
            fenced = transactions.end_those_of_dead_members()
            hanging = transactions.hanging()
            ended: list[Hanging] = transactions.mend(hanging)
    except DetectorError as error:
        yield Finding.of("transactions", error, "run it as a principal that may, or try again")
        return
    for id_ in fenced:
        yield Finding.ok("transactions", f"ended: open transaction of a member that is gone: {id_}")
    for one in hanging:
        if one in ended:
            yield Finding.ok("transactions", f"ended: {one}")
        else:
            yield Finding.error("transactions", f"hangs: {one}", _MENDED)
    if not hanging:
        yield Finding.ok("transactions", "no transaction hangs")


# --- store and memory ---


def _store(config: Config) -> Finding:
    """Write, read, list and delete one object."""
    url, timeout_s = config.checkpoints.url, LOOK_S - 0.5
    name, data, began_s = f"doctor-{uuid.uuid4().hex}", uuid.uuid4().bytes, time.monotonic()
    try:
        store = FsspecStore(url, timeout_s)
        store.put(name, data)
        try:
            read, listed = store.get(name), store.list("doctor-")
        finally:
            store.delete(name)
        free = store.free_bytes()
    except (ConfigError, StoreUnavailable) as error:
        remedy = "correct checkpoints.url, or the rights, the space and the network of the store"
        return Finding.of("checkpoint store", error, remedy)
    except KeyError:
        read, listed = b"", []
    if read != data or name not in listed:
        text = f"{redacted(url)}: what was written is not read back"
        return Finding.error("checkpoint store", text, "use a store that shows an object once it is written")
    room = "" if free is None else f"; {size(free)} free"
    text = f"{redacted(url)}: written, read and deleted in {time.monotonic() - began_s:.1f} s{room}"
    if store.shared():
        return Finding.ok("checkpoint store", text)
    remedy = "with several replicas, a store that all of them reach (s3://, gs://, abfs://, a shared folder)"
    return Finding.warning("checkpoint store", f"{text}; a folder of this machine", remedy)


def _stored(config: Config, store: Future[Finding], deadline: float) -> Finding:
    try:
        return calls.wait(store, max(_LEFT_MIN_S, _left_s(deadline)))
    except calls.CallTimeout:
        text = f"{redacted(config.checkpoints.url)}: no answer in {LOOK_S:.0f} s"
        return Finding.error("checkpoint store", text, "look at the store and the network to it")


def _memory(config: Config, limit: MemoryLimit | None) -> Finding:
    need, partitions = needed(config).total, config.memory_partitions_max
    text = f"at most {size(need)} with {partitions} partitions"
    if limit is None:
        return Finding.warning("memory", f"{text}; the limit is not known", "compare with what there is")
    text = f"{text}, of {size(limit.bytes)} ({limit.source})"
    if need <= limit.bytes:
        return Finding.ok("memory", text)
    remedy = "more memory, or a smaller memory_bytes_max or memory_partitions_max"
    if not config.memory_check:
        return Finding.warning("memory", f"{text}; memory_check is off", remedy)
    return Finding.error("memory", text, remedy, EXIT_CONFIG)


def _left_s(deadline: float) -> float:
    return deadline - time.monotonic()
