"""Why a connection fails."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Literal

from kafka import errors as kafka_errors
from kafka.admin import ACLOperation
from kafka.errors import KafkaError
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslBytesRequest, SaslHandshakeRequest

from detector.errors import (
    BrokerUnavailable,
    CredentialsError,
    DetectorError,
)
from detector.shell.kafka.client import Settings

Use = Literal["read", "write"]
PROBE_S = 8.0  # all servers together: a cause is named within 10 s
PROBE_ONE_S = 3.0  # one server; a host that drops our packets must not hide the others
_CAUSES_MAX = 3  # servers named in one sentence


def probe(settings: Settings, uses: Mapping[str, Use], timeout_s: float) -> dict[str, int]:
    """Connect once to the first bootstrap server that can be used, step by step, and look at some topics.

    Parameters
    ----------
    settings
        From `client_settings`.
    uses
        Topics, and what we need to do with them.
    timeout_s
        Longest wait for everything, seconds.

    Returns
    -------
    dict
        Number of partitions of each topic.

    Raises
    ------
    CredentialsError
        A server was reached and refused us, or we do not trust it, or we may not use a topic.
    BrokerUnavailable
        No server was reached, or a topic does not exist.
    """
    deadline = time.monotonic() + timeout_s
    causes: list[DetectorError] = []
    for address in settings["bootstrap_servers"]:
        left_s = min(PROBE_ONE_S, deadline - time.monotonic())
        if left_s <= 0:
            break
        try:
            return _Probe(address, settings, time.monotonic() + left_s).run(uses)
        except _TopicTrouble as trouble:
            raise trouble.error from None  # the other servers would say the same
        except (CredentialsError, BrokerUnavailable) as error:
            causes.append(error)
    kind = CredentialsError if any(isinstance(c, CredentialsError) for c in causes) else BrokerUnavailable
    raise kind(" ".join(str(cause) for cause in islice(causes, _CAUSES_MAX)))


class _TopicTrouble(Exception):
    """The server is fine, a topic is not."""

    def __init__(self, error: DetectorError) -> None:
        super().__init__(str(error))
        self.error = error


class _Probe:
    """One attempt at one server over a plain blocking socket. Never shows the password."""

    def __init__(self, address: str, settings: Settings, deadline: float) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._host, self._port = address, host.strip("[]"), int(port)
        self._settings = settings
        self._deadline = deadline
        self._protocol: str = settings["security_protocol"]
        self._tls = self._protocol.endswith("SSL")

    def run(self, uses: Mapping[str, Use]) -> dict[str, int]:
        """Connect, encrypt, introduce ourselves, authenticate, look at the topics."""
        with self._connect() as plain, self._encrypt(plain) as sock:
            wire = self._greet(sock)
            if self._protocol.startswith("SASL"):
                self._authenticate(wire)
            return self._look(wire, uses)

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection((self._host, self._port), timeout=self._left_s())
        except socket.gaierror as error:
            raise BrokerUnavailable(f"{self._address}: no such host ({error.strerror}).") from error
        except ConnectionRefusedError as error:
            raise BrokerUnavailable(f"{self._address}: connection refused.") from error
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: host does not answer.") from error
        except OSError as error:
            raise BrokerUnavailable(f"{self._address}: {error.strerror or error}.") from error

    def _encrypt(self, plain: socket.socket) -> socket.socket:
        if not self._tls:
            return plain
        context: ssl.SSLContext = self._settings["ssl_context"]
        try:
            return context.wrap_socket(plain, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or str(error)
            raise CredentialsError(f"{self._address}: its certificate is not trusted: {reason}.") from error
        except (ssl.SSLEOFError, ConnectionError) as error:
            if self._speaks_plaintext():
                raise CredentialsError(
                    f"{self._address}: the listener speaks no TLS, but kafka.security.protocol is "
                    f"{self._protocol}."
                ) from error
            raise BrokerUnavailable(
                f"{self._address}: closed the connection during the TLS handshake."
            ) from error
        except ssl.SSLError as error:
            raise CredentialsError(f"{self._address}: no TLS with it: {error.reason or error}.") from error
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{self._address}: no answer to the TLS handshake; it hangs, or is no TLS listener."
            ) from error

    def _greet(self, sock: socket.socket) -> _Wire:
        wire = _Wire(sock, self._settings["client_id"], self._left_s)
        try:
            wire.greet()
        except ssl.SSLError as error:  # TLS 1.3: the server judges our certificate after the handshake
            raise CredentialsError(
                f"{self._address}: refuses our client certificate, or misses one (kafka.security.cert_file): "
                f"{error.reason or error}."
            ) from error
        except (ConnectionError, KafkaError) as error:
            if self._tls:
                raise CredentialsError(
                    f"{self._address}: closed the connection after the TLS handshake; does it ask for a "
                    "client certificate (kafka.security.cert_file)?"
                ) from error
            if self._speaks_tls():
                raise CredentialsError(
                    f"{self._address}: the listener speaks TLS, but kafka.security.protocol is "
                    f"{self._protocol}."
                ) from error
            raise BrokerUnavailable(
                f"{self._address}: closed the connection at the first request; is it Kafka?"
            ) from error
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: connected, but no answer; it hangs.") from error
        return wire

    def _authenticate(self, wire: _Wire) -> None:
        name = self._settings["sasl_mechanism"]
        who = f"user {self._settings['sasl_plain_username']} by {name}"
        try:
            answer = wire.ask(SaslHandshakeRequest(mechanism=name, max_version=1))
            if answer.error_code != 0 or name not in answer.mechanisms:
                offered = ", ".join(answer.mechanisms) or "no SASL at all"
                raise CredentialsError(f"{self._address}: does not offer {name}, but {offered}.")
            mechanism = get_sasl_mechanism(name)(host=self._host, **self._settings)
            request = SaslAuthenticateRequest if answer.API_VERSION == 1 else SaslBytesRequest
            while not mechanism.is_done():
                answer = wire.ask(request(mechanism.auth_bytes()))
                if answer.error_code != 0:
                    raise CredentialsError(
                        f"{self._address}: refuses {who}: {answer.error_message or 'authentication failed'}."
                    )
                mechanism.receive(answer.auth_bytes)
            if not mechanism.is_authenticated():
                raise CredentialsError(f"{self._address}: refuses {who}.")
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: no answer to authentication.") from error
        except (OSError, ValueError, KafkaError) as error:
            # ValueError: the server could not prove that it knows the password either.
            raise CredentialsError(f"{self._address}: refuses {who} ({type(error).__name__}).") from error

    def _look(self, wire: _Wire, uses: Mapping[str, Use]) -> dict[str, int]:
        request = MetadataRequest(
            topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in uses],
            allow_auto_topic_creation=False,
            include_topic_authorized_operations=True,
            max_version=9,  # topics by name
        )
        try:
            answer = wire.ask(request)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._address}: no answer about its topics.") from error
        except (OSError, KafkaError) as error:
            hint = "" if self._protocol.startswith("SASL") else "; does it ask for SASL?"
            raise CredentialsError(f"{self._address}: closed the connection unauthenticated{hint}") from error
        return {topic.name: self._check(topic, uses[topic.name]) for topic in answer.topics}

    def _check(self, topic: Any, use: Use) -> int:
        kind = kafka_errors.for_code(topic.error_code)
        needed = ACLOperation.READ if use == "read" else ACLOperation.WRITE
        allowed = getattr(topic, "topic_authorized_operations", None) or 0
        told = allowed > 0  # brokers before 2.3 do not tell; then the refusal comes with the first use
        if kind is kafka_errors.TopicAuthorizationFailedError or (told and not allowed >> needed.value & 1):
            raise _TopicTrouble(
                CredentialsError(f"Not allowed to {use} topic {topic.name} (needs {needed.name}).")
            )
        if kind is kafka_errors.UnknownTopicOrPartitionError:
            raise _TopicTrouble(BrokerUnavailable(f"Topic {topic.name} does not exist."))
        if kind is not kafka_errors.NoError:
            raise _TopicTrouble(BrokerUnavailable(f"Topic {topic.name} is not available ({kind.__name__})."))
        if use == "write" and any(partition.leader_id < 0 for partition in topic.partitions):
            raise _TopicTrouble(BrokerUnavailable(f"Topic {topic.name} has partitions without a leader."))
        return len(topic.partitions)

    def _speaks_plaintext(self) -> bool:
        with suppress(OSError, KafkaError), self._connect() as sock:
            _Wire(sock, self._settings["client_id"], self._left_s).greet()
            return True
        return False

    def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said over it
        with (
            suppress(OSError),
            self._connect() as sock,
            context.wrap_socket(sock, server_hostname=self._host),
        ):
            return True
        return False

    def _left_s(self) -> float:
        return max(0.01, self._deadline - time.monotonic())


class _Wire:
    """Kafka's requests and answers over a blocking socket, one at a time."""

    def __init__(self, sock: socket.socket, client_id: str, left_s: Callable[[], float]) -> None:
        self._sock = sock
        self._left_s = left_s
        self._frames = KafkaProtocol(client_id=client_id)
        self._versions: BrokerVersionData | None = None

    def greet(self) -> None:
        """Learn which versions of which requests the broker takes."""
        answer = self.ask(ApiVersionsRequest(version=0))
        self._versions = BrokerVersionData(
            api_versions={key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        )

    def ask(self, request: Any) -> Any:
        """Send one request and wait for its answer.

        Raises
        ------
        OSError
            Among them ConnectionError when closed, TimeoutError, ssl.SSLError.
        KafkaError
            What came back is not Kafka's protocol.
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
                raise ConnectionResetError("closed by the other side")
            for _, answer in self._frames.receive_bytes(data):
                return answer
