"""Find out why a connection fails.

kafka-python's clients retry a wrong password or certificate until they time out, and lose the cause on the
way: when a refusal and the end of the connection come in one read, they report the end only. So `probe`
connects step by step over a plain blocking socket, and every refusal becomes a sentence.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from kafka import errors as kafka_errors
from kafka.admin import ACLOperation
from kafka.errors import KafkaError
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.metadata import ApiVersionsRequest, FindCoordinatorRequest, MetadataRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslBytesRequest, SaslHandshakeRequest

from detector.config.tree import Config
from detector.core.recovery.sides import SIDES
from detector.core.reporting.outputs import topic_names
from detector.errors import (
    BrokerUnavailable,
    CredentialsError,
    DetectorError,
)
from detector.shell.kafka.client import Settings

Use = Literal["read", "write", "read and write"]
_OPERATIONS: dict[Use, tuple[ACLOperation, ...]] = {
    "read": (ACLOperation.READ,),
    "write": (ACLOperation.WRITE,),
    "read and write": (ACLOperation.READ, ACLOperation.WRITE),
}
GROUP, TRANSACTIONAL_ID = 0, 1  # kinds of coordinator

PROBE_S = 8.0  # timeout for all servers together: a start fails within 10 s
PROBE_ONE_S = 3.0  # timeout for one server, so that a host that drops packets does not hide the others
_CAUSES_MAX = 3  # maximum number of servers in one error


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """Everything that a member will need sooner or later."""

    uses: Mapping[str, Use]  # by topic
    group: str
    transactional_id: str | None  # None: no transactions


def rights_of(config: Config, transactional_id: str) -> Rights:
    """Return what a member needs now and later: who may not write learns it before the first commit."""
    uses: dict[str, Use] = dict.fromkeys(topic_names(config.topics).values(), "write")
    for topic in (config.topics.transactions, *(getattr(config.topics, side) for side in SIDES)):
        if topic is not None:
            uses[topic] = "read and write" if topic in uses else "read"
    exactly_once = config.delivery == "exactly_once"
    return Rights(
        uses=uses,
        group=config.kafka.group_id,
        transactional_id=transactional_id if exactly_once else None,
    )


def probe(
    settings: Settings, uses: Mapping[str, Use], timeout_s: float, rights: Rights | None = None
) -> dict[str, int]:
    """Connect to the first usable bootstrap server and check some topics.

    Parameters
    ----------
    settings
        From `client_settings`.
    uses
        Topics, and whether each is to be read or written.
    timeout_s
        Timeout for everything, s.
    rights
        Checked before the topics, so that all that are missing come in one error; its topics need not exist.

    Returns
    -------
    dict
        Number of partitions of each topic.

    Raises
    ------
    CredentialsError
        A server rejected the connection, or is not trusted, or does not allow the use of a topic.
    BrokerUnavailable
        No server was reached, or a topic does not exist or has no leader.
    """
    deadline = time.monotonic() + timeout_s
    causes: list[DetectorError] = []
    for address in settings["bootstrap_servers"]:
        left_s = min(PROBE_ONE_S, deadline - time.monotonic())
        if left_s <= 0:
            break
        try:
            return Attempt(address, settings, time.monotonic() + left_s).run(uses, rights)
        except TopicError as found:
            raise found.error from None  # the other servers would say the same
        except (CredentialsError, BrokerUnavailable) as error:
            causes.append(error)
    kind = CredentialsError if any(isinstance(c, CredentialsError) for c in causes) else BrokerUnavailable
    raise kind(" ".join(str(cause) for cause in islice(causes, _CAUSES_MAX)))


def missing_operations(topic: Any, use: Use) -> list[str]:
    """Operations on a topic that are not allowed, as its metadata says: `READ`, `WRITE`."""
    refused = kafka_errors.for_code(topic.error_code) is kafka_errors.TopicAuthorizationFailedError
    allowed = getattr(topic, "authorized_operations", None)
    if allowed is None and not refused:
        return []  # brokers before 2.3 do not say; then the first use fails
    return [
        operation.name for operation in _OPERATIONS[use] if refused or operation.value not in (allowed or ())
    ]


class TopicError(Exception):
    """The server is usable, a topic is not."""

    def __init__(self, error: DetectorError) -> None:
        super().__init__(str(error))
        self.error = error


class Attempt:
    """One attempt to connect to one server. No error contains the password."""

    def __init__(self, address: str, settings: Settings, deadline: float) -> None:
        host, _, port = address.rpartition(":")
        self._address, self.host, self.port = address, host.strip("[]"), int(port)
        self._settings = settings
        self.deadline = deadline  # of whatever is done next, monotonic s
        self._protocol: str = settings["security_protocol"]
        self._tls = self._protocol.endswith("SSL")

    def run(self, uses: Mapping[str, Use], rights: Rights | None) -> dict[str, int]:
        """Connect, encrypt, negotiate versions, authenticate, check the rights and the topics."""
        with self.connect() as plain, self.encrypt(plain) as sock:
            connection = self.negotiate(sock)
            if self._protocol.startswith("SASL"):
                self.authenticate(connection)
            if rights is not None:
                self._check_rights(connection, rights)
            return self._check_topics(connection, uses)

    def connect(self) -> socket.socket:
        """Open a TCP connection."""
        try:
            return socket.create_connection((self.host, self.port), timeout=self.left_s())
        except socket.gaierror as error:
            raise BrokerUnavailable(f"{self._address}: no such host ({error.strerror}).") from error
        except ConnectionRefusedError as error:
            raise BrokerUnavailable(f"{self._address}: connection refused.") from error
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: the host does not answer.") from error
        except OSError as error:
            raise BrokerUnavailable(f"{self._address}: {error.strerror or error}.") from error

    def encrypt(self, plain: socket.socket) -> socket.socket:
        """Encrypt it, and check the server's certificate; as it is where the protocol has no TLS."""
        if not self._tls:
            return plain
        context: ssl.SSLContext = self._settings["ssl_context"]
        try:
            return context.wrap_socket(plain, server_hostname=self.host)
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or str(error)
            raise CredentialsError(f"{self._address}: its certificate is not trusted: {reason}.") from error
        except (ssl.SSLEOFError, ConnectionError) as error:
            if self._uses_plaintext():
                raise CredentialsError(
                    f"{self._address}: the listener does not use TLS, but kafka.security.protocol is "
                    f"{self._protocol}."
                ) from error
            raise BrokerUnavailable(
                f"{self._address}: closed the connection during the TLS handshake."
            ) from error
        except ssl.SSLError as error:
            raise CredentialsError(
                f"{self._address}: the TLS handshake failed: {error.reason or error}."
            ) from error
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{self._address}: no answer to the TLS handshake; the broker hangs, or the listener does "
                "not use TLS."
            ) from error

    def negotiate(self, sock: socket.socket) -> Connection:
        """Ask for the versions of requests. With TLS 1.3 the server checks our certificate only now."""
        connection = Connection(sock, self._settings["client_id"], self.left_s)
        try:
            connection.negotiate()
        except ssl.SSLError as error:  # with TLS 1.3 the server checks our certificate after the handshake
            raise CredentialsError(
                f"{self._address}: rejects our client certificate, or requires one "
                f"(kafka.security.cert_file): {error.reason or error}."
            ) from error
        except (ConnectionError, KafkaError) as error:
            if self._tls:
                raise CredentialsError(
                    f"{self._address}: closed the connection after the TLS handshake; it may require a "
                    "client certificate (kafka.security.cert_file)."
                ) from error
            if self._uses_tls():
                raise CredentialsError(
                    f"{self._address}: the listener uses TLS, but kafka.security.protocol is "
                    f"{self._protocol}."
                ) from error
            raise BrokerUnavailable(
                f"{self._address}: closed the connection at the first request; it may not be Kafka."
            ) from error
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{self._address}: connected, but no answer; the broker hangs."
            ) from error
        return connection

    @property
    def who(self) -> str:
        """Say as whom this process logs in."""
        name, user = self._settings["sasl_mechanism"], self._settings.get("sasl_plain_username")
        return f"the AWS credentials of this machine by {name}" if user is None else f"user {user} by {name}"

    def authenticate(self, connection: Connection) -> None:
        """Log in."""
        name, who = self._settings["sasl_mechanism"], self.who
        try:
            answer = connection.ask(SaslHandshakeRequest(mechanism=name, max_version=1))
            if answer.error_code != 0 or name not in answer.mechanisms:
                offered = ", ".join(answer.mechanisms) or "no SASL at all"
                raise CredentialsError(f"{self._address}: offers {offered}, not {name}.")
            mechanism = get_sasl_mechanism(name)(host=self.host, **self._settings)
            request = SaslAuthenticateRequest if answer.API_VERSION == 1 else SaslBytesRequest
            while not mechanism.is_done():
                answer = connection.ask(request(mechanism.auth_bytes()))
                if answer.error_code != 0:
                    raise CredentialsError(
                        f"{self._address}: rejects {who}: {answer.error_message or 'authentication failed'}."
                    )
                mechanism.receive(answer.auth_bytes)
            if not mechanism.is_authenticated():
                raise CredentialsError(f"{self._address}: rejects {who}.")
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: no answer to the authentication.") from error
        except (OSError, ValueError, KafkaError) as error:
            # ValueError: the server could not prove that it knows the password.
            raise CredentialsError(f"{self._address}: rejects {who} ({type(error).__name__}).") from error

    def _check_rights(self, connection: Connection, rights: Rights) -> None:
        """Name every right that is missing. Of group and transactional id, DESCRIBE is seen here.

        Their other operations imply it. Who has it alone is refused by the join and by the first producer,
        which follow at once.
        """
        missing = []
        for topic in self.described(connection, rights.uses).topics:
            use = rights.uses[topic.name]
            if needed := missing_operations(topic, use):
                missing.append(f"{use} topic {topic.name} (needs {' and '.join(needed)})")
        id_ = rights.transactional_id
        if id_ is not None and self.coordinator(connection, id_, TRANSACTIONAL_ID) is None:
            prefix = f"grant the prefix {rights.group}"
            missing.append(f"use transactional id {id_} (needs WRITE and DESCRIBE; {prefix})")
        if self.coordinator(connection, rights.group, GROUP) is None:
            missing.append(f"join group {rights.group} (needs READ)")
        if missing:
            raise TopicError(CredentialsError(f"Not allowed to {', '.join(missing)}."))

    def coordinator(self, connection: Connection, key: str, kind: int) -> int | None:
        """Return the node of a coordinator, -1 where there is none yet; None: we may not ask."""
        request = FindCoordinatorRequest(key=key, key_type=kind, max_version=3)  # one key
        answer = self.asked(connection, request, "coordinators")
        if issubclass(kafka_errors.for_code(answer.error_code), kafka_errors.AuthorizationError):
            return None
        return int(answer.node_id)

    def _check_topics(self, connection: Connection, uses: Mapping[str, Use]) -> dict[str, int]:
        return {t.name: self._check_topic(t, uses[t.name]) for t in self.described(connection, uses).topics}

    def described(self, connection: Connection, uses: Mapping[str, Use]) -> Any:
        """Ask for brokers, and for topics with what this process may do with them."""
        request = MetadataRequest(
            topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in uses],
            allow_auto_topic_creation=False,
            include_topic_authorized_operations=True,
            max_version=9,  # topics by name
        )
        return self.asked(connection, request, "topics")

    def asked(self, connection: Connection, request: Any, what: str) -> Any:
        """Ask for something; errors say that it was `what`."""
        try:
            return connection.ask(request)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: no answer to the request for its {what}.") from error
        except (OSError, KafkaError) as error:
            hint = "" if self._protocol.startswith("SASL") else "; it may require SASL"
            raise CredentialsError(
                f"{self._address}: closed the connection before the {what} were known{hint}."
            ) from error

    def _check_topic(self, topic: Any, use: Use) -> int:
        kind = kafka_errors.for_code(topic.error_code)
        if needed := missing_operations(topic, use):
            words = " and ".join(needed)
            raise TopicError(CredentialsError(f"Not allowed to {use} topic {topic.name} (needs {words})."))
        if kind is kafka_errors.UnknownTopicOrPartitionError:
            raise TopicError(BrokerUnavailable(f"Topic {topic.name} does not exist."))
        if kind is not kafka_errors.NoError:
            raise TopicError(BrokerUnavailable(f"Topic {topic.name} is not available ({kind.__name__})."))
        if use == "write" and any(partition.leader_id < 0 for partition in topic.partitions):
            raise TopicError(BrokerUnavailable(f"Topic {topic.name} has partitions without a leader."))
        return len(topic.partitions)

    def _uses_plaintext(self) -> bool:
        with suppress(OSError, KafkaError), self.connect() as sock:
            Connection(sock, self._settings["client_id"], self.left_s).negotiate()
            return True
        return False

    def _uses_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
        with (
            suppress(OSError),
            self.connect() as sock,
            context.wrap_socket(sock, server_hostname=self.host),
        ):
            return True
        return False

    def left_s(self) -> float:
        """Time until the deadline, s; above zero, as sockets take zero for no wait at all."""
        return max(0.01, self.deadline - time.monotonic())


class Connection:
    """Kafka requests and responses over a blocking socket, one at a time."""

    def __init__(self, sock: socket.socket, client_id: str, left_s: Callable[[], float]) -> None:
        self._sock = sock
        self._left_s = left_s
        self._frames = KafkaProtocol(client_id=client_id)
        self._versions: BrokerVersionData | None = None

    def negotiate(self) -> None:
        """Ask which versions of each request the broker supports."""
        answer = self.ask(ApiVersionsRequest(version=0))
        self._versions = BrokerVersionData(
            api_versions={key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        )

    def ask(self, request: Any) -> Any:
        """Send one request and return the response.

        Raises
        ------
        OSError
            ConnectionError when the connection is closed, TimeoutError, ssl.SSLError or another one.
        KafkaError
            The response is not Kafka's protocol.
        """
        if request.API_VERSION is None:
            assert self._versions is not None
            request.API_VERSION = self._versions.api_version(request)
        self._frames.send_request(request)
        self._sock.settimeout(self._left_s())
        self._sock.sendall(self._frames.send_bytes())
        while True:
            self._sock.settimeout(self._left_s())
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionResetError("closed by the broker")
            for _, answer in self._frames.receive_bytes(data):
                return answer
