"""kafka-python's clients: settings, construction, timeouts, and translation of errors."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka import errors as kafka_errors
from kafka.errors import KafkaError, KafkaTimeoutError

from detector.config.tree import Config, Security
from detector.errors import (
    BrokerUnavailable,
    CommitFailed,
    CredentialsError,
    DetectorError,
    LogGone,
    NeedsOperator,
)
from detector.shell import calls
from detector.shell.kafka.fresh import FreshContext, Password
from detector.shell.kafka.size_limits import REQUEST_BYTES_MAX
from detector.shell.kafka.tokens import Tokens, msk, oidc
from detector.shell.kafka.workarounds import NetClient, read_batches_whole

Settings = dict[str, Any]

SHORT_REQUEST_MS = 1500  # timeout of a small request between two polls
CLOSE_S = 4.5  # maximum duration of close(), so that a caller has it within 5 s
CONSUMER_CLOSE_MS = 1500
_AWS_S = 5.0  # limit of asking for credentials: a machine in AWS gets its own over the network
CALL = "kafka-call"  # name of the threads of calls that have no timeout of their own


def client_settings(config: Config, password: str | None = None, key_password: str | None = None) -> Settings:
    """Return the keyword arguments that are common to all of kafka-python's clients.

    Parameters
    ----------
    config
        The daemon's configuration.
    password, key_password
        The resolved values of `kafka.security.password` and `kafka.security.key_password`.

    Raises
    ------
    CredentialsError
        A certificate or key file cannot be used, or a package is missing.
    """
    kafka, security = config.kafka, config.kafka.security
    settings: Settings = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": f"detector-{kafka.group_instance_id or kafka.group_id}",
        "security_protocol": security.protocol,
        "request_timeout_ms": kafka.request_timeout_ms,
        "bootstrap_timeout_ms": kafka.request_timeout_ms // 2,  # the other half is for the first request
        "connections_max_idle_ms": 540_000 + kafka.request_timeout_ms,  # must exceed request_timeout_ms
        "reconnect_backoff_max_ms": 1000,  # the default of 30 s would prolong every outage
        "metadata_max_age_ms": 60_000,  # added partitions are noticed within a minute
        "api_version": kafka.api_version,
    }
    if security.protocol.endswith("SSL"):
        key = Password(security.key_password, "kafka.security.key_password", key_password)
        files = security.ca_file, security.cert_file, security.key_file
        settings["ssl_context"] = FreshContext(files, lambda: _ssl_context(config, key()))
    if security.protocol.startswith("SASL"):
        settings |= _login(security, Password(security.password, "kafka.security.password", password))
    return settings


def _login(security: Security, password: Password) -> Settings:
    """Settings of SASL. Amazon's clusters take signed tokens by OAUTHBEARER, too."""
    if security.aws_region is not None:
        tokens = Tokens(msk(security.aws_region, _AWS_S))
        return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": tokens}
    settings = {"sasl_mechanism": security.sasl_mechanism, "sasl_plain_username": security.username}
    if security.oauth is None:
        return settings | {"sasl_plain_password": password}
    fetch = oidc(security.oauth, security.username or "", password)
    extensions = dict(text.split("=", 1) for text in security.oauth.extensions)
    return settings | {"sasl_oauth_token_provider": Tokens(fetch, extensions)}


def _ssl_context(config: Config, key_password: str | None) -> ssl.SSLContext:
    security = config.kafka.security
    name, path = "ca_file", security.ca_file
    try:
        context = ssl.create_default_context(cafile=security.ca_file)  # None: the system's authorities
        context.check_hostname = security.check_hostname
        if security.cert_file is not None:
            name, path = "cert_file or key_file", security.cert_file
            # With None as password OpenSSL would ask for it on the terminal.
            context.load_cert_chain(security.cert_file, security.key_file, key_password or "")
    except OSError as error:  # includes ssl.SSLError
        raise CredentialsError(f"kafka.security.{name}: {path} cannot be used: {error}.") from error
    return context


# --- clients ----------------------------------------------------------------------------------------------


def make_client(kind: Callable[..., Any], settings: Settings, **more: Any) -> Any:
    """Make one of kafka-python's clients. If it cannot connect, its IO thread is stopped."""
    made: list[NetClient] = []

    def make_connections(**options: Any) -> NetClient:
        made.append(NetClient(**options))
        return made[-1]

    try:
        return kind(kafka_client=make_connections, **settings, **more)
    except BaseException:
        for connections in made:
            connections.close()
        raise


def make_consumer(settings: Settings, **more: Any) -> KafkaConsumer:
    """Make a consumer that commits nothing by itself, chooses no offset by itself, and returns `Record`s."""
    consumer = make_client(
        KafkaConsumer,
        settings,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        allow_auto_create_topics=False,
        metrics_enabled=False,
        **more,
    )
    read_batches_whole(consumer)
    return consumer


def close_consumer(consumer: KafkaConsumer | None) -> None:
    """Close a consumer that is in no group. Returns within `CLOSE_S` and never raises."""
    if consumer is not None:
        with suppress(Exception):
            calls.within(CLOSE_S, lambda: consumer.close(timeout_ms=CONSUMER_CLOSE_MS), name=CALL)


@contextmanager
def admin_client(settings: Settings) -> Iterator[KafkaAdminClient]:
    """Make an admin client and close it afterwards."""
    admin = make_client(KafkaAdminClient, settings)
    try:
        yield admin
    finally:
        admin.close()


def partitions_count(consumer: KafkaConsumer, config: Config) -> int:
    """Return the number of partitions of the transactions topic.

    Raises
    ------
    BrokerUnavailable
        The topic does not exist, or no broker answers.
    """
    topic = config.topics.transactions
    with translated("count partitions", config):
        # Uses the metadata that the client has. Without the topic there it asks, and that has no timeout.
        timeout_s = config.kafka.request_timeout_ms / 1000
        known = calls.within(timeout_s, lambda: consumer.partitions_for_topic(topic), name=CALL)
    if not known:
        raise BrokerUnavailable(f"Topic {topic} does not exist.")
    return len(known)


# --- timeouts ---------------------------------------------------------------------------------------------


def left_ms(deadline: float) -> int:
    """Milliseconds until `deadline` (monotonic s). At least one, as some calls take 0 for no timeout.

    Raises
    ------
    KafkaTimeoutError
        The deadline has passed.
    """
    left = int((deadline - time.monotonic()) * 1000)
    if left <= 0:
        raise KafkaTimeoutError("no answer in time")
    return left


# --- errors -----------------------------------------------------------------------------------------------


@contextmanager
def translated(doing: str, config: Config, transactional_id: str = "") -> Iterator[None]:
    """Turn what kafka-python raises into a `DetectorError` that an operator understands.

    Parameters
    ----------
    doing
        What is being done, as a verb for "Could not ...".
    """
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise _translate(doing, config, transactional_id, error) from error


def _translate(doing: str, config: Config, transactional_id: str, error: BaseException) -> DetectorError:
    kafka, text = config.kafka, str(error) or type(error).__name__
    match error:
        case kafka_errors.TopicAuthorizationFailedError():
            return CredentialsError(f"Not allowed to {doing}: no access to {_refused_topics(error, config)}.")
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
                f"Could not {doing}: the next records are no longer in the log ({text}); "
                "they were deleted before they were read."
            )
        case kafka_errors.FencedInstanceIdError():
            return NeedsOperator(
                f"Another process is member {kafka.group_instance_id} of group {kafka.group_id}; "
                "kafka.group_instance_id must be different for each replica."
            )
        case kafka_errors.InconsistentGroupProtocolError():
            return NeedsOperator(
                f"Group {kafka.group_id} has members of another application (no common assignor); "
                "use another kafka.group_id."
            )
        case kafka_errors.InvalidSessionTimeoutError():
            return NeedsOperator(
                f"The broker does not allow kafka.session_timeout_ms: {kafka.session_timeout_ms} "
                "(group.min.session.timeout.ms, group.max.session.timeout.ms)."
            )
        case kafka_errors.MessageSizeTooLargeError() | kafka_errors.RecordListTooLargeError():
            return NeedsOperator(
                f"Could not {doing}: a topic accepts only smaller messages; set its max.message.bytes to "
                f"{REQUEST_BYTES_MAX} or more."
            )
        case TimeoutError():
            return BrokerUnavailable(f"Could not {doing}: no answer in {kafka.request_timeout_ms} ms.")
        case _ if doing == "commit":
            return CommitFailed(f"Could not commit: {text}")
        case _:
            return BrokerUnavailable(f"Could not {doing}: {text}")


def _refused_topics(error: KafkaError, config: Config) -> str:
    """Name the topics that the error names; all of ours when it names none."""
    named = next((set(arg) for arg in error.args if isinstance(arg, set | frozenset | list)), None)
    ours = config.topics.model_dump().values()
    topics = sorted(map(str, named or {name for name in ours if name}))
    return f"topic {', '.join(topics)}"
