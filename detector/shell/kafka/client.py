"""Settings, clients, calls with a timeout, and errors."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer
from kafka import errors as kafka_errors
from kafka.errors import KafkaError, KafkaTimeoutError

from detector.config.tree import Config
from detector.errors import (
    BrokerUnavailable,
    CommitFailed,
    CredentialsError,
    DetectorError,
    LogGone,
    NeedsOperator,
)
from detector.shell.kafka.size_limits import MESSAGE_BYTES_MAX
from detector.shell.kafka.workarounds import Client

T = TypeVar("T")
Settings = dict[str, Any]
SILENCE_ASK_MS = 1500  # how long that answer may take
LEAVE_S = 4.5  # close() returns within 5 s


def client_settings(config: Config, password: str | None = None, key_password: str | None = None) -> Settings:
    """Keywords that all of kafka-python's clients understand.

    Parameters
    ----------
    config
        The daemon's configuration.
    password, key_password
        The values of `kafka.security.password` and `key_password`, resolved.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used.
    """
    kafka, security = config.kafka, config.kafka.security
    settings: Settings = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": f"detector-{kafka.group_instance_id or kafka.group_id}",
        "security_protocol": security.protocol,
        "request_timeout_ms": kafka.request_timeout_ms,
        "bootstrap_timeout_ms": kafka.request_timeout_ms // 2,  # the other half is for what is asked then
        "connections_max_idle_ms": 540_000 + kafka.request_timeout_ms,  # must exceed request_timeout_ms
        "reconnect_backoff_max_ms": 1000,  # the default of 30 s would be added to every outage
        "metadata_max_age_ms": 60_000,  # added partitions are seen within a minute
        "api_version": kafka.api_version,
    }
    if security.protocol.endswith("SSL"):
        settings["ssl_context"] = _ssl_context(config, key_password)
    if security.protocol.startswith("SASL"):
        settings |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": password,
        }
    return settings


def _ssl_context(config: Config, key_password: str | None) -> ssl.SSLContext:
    security = config.kafka.security
    name, path = "ca_file", security.ca_file
    try:
        context = ssl.create_default_context(cafile=security.ca_file)  # without one the system's
        context.check_hostname = security.check_hostname
        if security.cert_file is not None:
            name, path = "cert_file or key_file", security.cert_file
            # Never None: OpenSSL would ask for it on the terminal.
            context.load_cert_chain(security.cert_file, security.key_file, key_password or "")
    except OSError as error:  # ssl.SSLError is one
        raise CredentialsError(f"kafka.security.{name}: {path} cannot be used: {error}.") from error
    return context


def partitions_count(consumer: KafkaConsumer, config: Config) -> int:
    topic = config.topics.transactions
    with translated("count partitions", config):
        # From the metadata at hand; where they lack the topic it asks, without a timeout of its own.
        known = within(config.kafka.request_timeout_ms / 1000, lambda: consumer.partitions_for_topic(topic))
    if not known:
        raise BrokerUnavailable(f"Topic {topic} does not exist.")
    return len(known)


def left_ms(deadline: float) -> int:
    """Milliseconds until `deadline` (monotonic s); at least one, as 0 means for ever in some calls.

    Raises
    ------
    KafkaTimeoutError
        It is over.
    """
    left_ms = int((deadline - time.monotonic()) * 1000)
    if left_ms <= 0:
        raise KafkaTimeoutError("no answer in time")
    return left_ms


def within(seconds: float, call: Callable[[], T]) -> T:
    """Run `call` on a helper thread and wait so long for it.

    Raises
    ------
    TimeoutError
        It is overdue. The thread stays behind until the call returns.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            answer.set_exception(error)

    threading.Thread(target=work, name="kafka-call", daemon=True).start()
    return answer.result(timeout=max(0.0, seconds))


def make(kind: Callable[..., Any], settings: Settings, **more: Any) -> Any:
    """Build one of kafka-python's clients; one that cannot connect would leave its IO thread running."""
    made: list[Client] = []

    def remember(**options: Any) -> Client:
        made.append(Client(**options))
        return made[-1]

    try:
        return kind(kafka_client=remember, **settings, **more)
    except BaseException:
        for client in made:
            client.close()
        raise


@contextmanager
def admin_client(settings: Settings) -> Iterator[KafkaAdminClient]:
    admin = make(KafkaAdminClient, settings)
    try:
        yield admin
    finally:
        admin.close()


@contextmanager
def translated(doing: str, config: Config, transactional_id: str = "") -> Iterator[None]:
    """Turn what kafka-python raises into our errors."""
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise _our_error(doing, config, transactional_id, error) from error


def _our_error(doing: str, config: Config, transactional_id: str, error: BaseException) -> DetectorError:
    kafka, text = config.kafka, str(error) or type(error).__name__
    match error:
        case kafka_errors.TopicAuthorizationFailedError():
            return CredentialsError(f"Not allowed to {doing}: {_refused_topics(error, config)}.")
        case kafka_errors.GroupAuthorizationFailedError():
            return CredentialsError(f"Not allowed to {doing}: group {kafka.group_id} needs READ.")
        case kafka_errors.TransactionalIdAuthorizationFailedError():
            return CredentialsError(
                f"Not allowed to {doing}: transactional id {transactional_id} needs WRITE and DESCRIBE "
                f"(grant the prefix {kafka.group_id})."
            )
        case kafka_errors.AuthorizationError() | kafka_errors.SaslAuthenticationFailedError():
            return CredentialsError(f"Not allowed to {doing}: {text}.")
        case kafka_errors.OffsetOutOfRangeError() | kafka_errors.LogTruncationError():
            return LogGone(
                f"Could not {doing}: the records that come next are no longer in the log ({text}); "
                "they were deleted before they were read."
            )
        case kafka_errors.FencedInstanceIdError():
            return NeedsOperator(
                f"Another process is member {kafka.group_instance_id} of group {kafka.group_id}; "
                "kafka.group_instance_id must be different for each replica."
            )
        case kafka_errors.InconsistentGroupProtocolError():
            return NeedsOperator(
                f"Group {kafka.group_id} has members that are not ours (no common assignor); "
                "use another kafka.group_id."
            )
        case kafka_errors.InvalidSessionTimeoutError():
            return NeedsOperator(
                f"The broker does not allow kafka.session_timeout_ms: {kafka.session_timeout_ms} "
                "(group.min.session.timeout.ms, group.max.session.timeout.ms)."
            )
        case kafka_errors.MessageSizeTooLargeError() | kafka_errors.RecordListTooLargeError():
            return NeedsOperator(
                f"Could not {doing}: a topic takes only smaller messages; allow {MESSAGE_BYTES_MAX + 4096} "
                "bytes (max.message.bytes)."
            )
        case TimeoutError():
            return BrokerUnavailable(f"Could not {doing}: no answer in {kafka.request_timeout_ms} ms.")
        case _ if doing == "commit":
            return CommitFailed(f"Could not commit: {text}")
        case _:
            return BrokerUnavailable(f"Could not {doing}: {text}")


def _refused_topics(error: KafkaError, config: Config) -> str:
    """Name the topics in an error that carries a set of them, or nothing."""
    named = next((set(arg) for arg in error.args if isinstance(arg, set | frozenset | list)), None)
    topics = sorted(map(str, named or {name for name in config.topics.model_dump().values() if name}))
    return f"topic {', '.join(topics)} refuses us"
