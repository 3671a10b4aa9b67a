"""How far one server can be reached: each step of the way is a finding."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from detector.config.tree import Config
from detector.errors import EXIT_CONFIG, BrokerUnavailable, CredentialsError
from detector.shell import calls
from detector.shell.finding import Finding
from detector.shell.kafka.certificates import valid_until
from detector.shell.kafka.client import CALL, Settings
from detector.shell.kafka.probe import PROBE_ONE_S, Attempt, Connection

SOON_DAYS = 14  # a certificate that ends within this time is a warning: changes are often made once a week
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, ..._NOT_YET_VALID
_MISMATCHES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, ..._IP_ADDRESS_MISMATCH
_BROKER = "see that the broker runs and listens there, and that no firewall is between"
_TLS = "correct the port in kafka.bootstrap_servers, or kafka.security.protocol"


class Reached:
    """One server: what was found on the way, and the connection if it is usable.

    Parameters
    ----------
    address
        host:port.
    config, settings
        The configuration, and what `client_settings` made of it.
    open_
        Closes the connection.
    """

    def __init__(self, address: str, config: Config, settings: Settings, open_: ExitStack) -> None:
        self.address = address
        self.findings: list[Finding] = []
        self.connection: Connection | None = None
        self.attempt = Attempt(address, settings, time.monotonic() + PROBE_ONE_S)
        self._config, self._open, self._step = config, open_, "name"
        try:
            self._go()
        except (CredentialsError, BrokerUnavailable) as error:
            hangs = self._step == "client certificate" and isinstance(error, BrokerUnavailable)
            subject = "connection" if hangs else self._step
            self.findings.append(Finding.of(subject, error, self._remedy(error)))

    def _go(self) -> None:
        """Step by step; each one says where it is."""
        security = self._config.kafka.security
        # Step 1: the name
        self._note(self._resolved())
        # Step 2: TCP
        self._step, began_s = "connection", time.monotonic()
        plain = self._open.enter_context(self.attempt.connect())
        self._note(f"{self.address}: open after {(time.monotonic() - began_s) * 1000:.0f} ms")
        # Step 3: TLS
        self._step = "TLS"
        sock = self._open.enter_context(self.attempt.encrypt(plain))
        if isinstance(sock, ssl.SSLSocket):
            self.findings.append(self._tls(sock))
        else:
            why = "kafka.security.protocol: SASL_SSL or SSL encrypts it"
            text = f"{self.address}: not encrypted; whoever sees the network reads events"
            self.findings.append(Finding.warning("TLS", text, why))
        # Step 4: Kafka's protocol, and our certificate
        self._step = "client certificate" if isinstance(sock, ssl.SSLSocket) else "connection"
        connection = self.attempt.negotiate(sock)
        # Step 5: the login
        self._step = "login"
        if security.protocol.startswith("SASL"):
            self.attempt.authenticate(connection)
            self._note(f"{self.address}: accepts {self.attempt.who}")
        self.connection = connection

    def _resolved(self) -> str:
        host, port = self.attempt.host, self.attempt.port
        try:
            found = calls.within(
                PROBE_ONE_S, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), name=CALL
            )
        except calls.CallTimeout as error:
            raise BrokerUnavailable(f"{self.address}: the name server does not answer.") from error
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "not a name"
            raise BrokerUnavailable(f"{self.address}: no such host ({why}).") from error
        return f"{self.address}: {', '.join(sorted({str(one[4][0]) for one in found}))}"

    def _tls(self, sock: ssl.SSLSocket) -> Finding:
        certificate: dict[str, Any] = dict(sock.getpeercert() or {})
        names = ", ".join(name for _, name in certificate.get("subjectAltName", ())) or "no name"
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
        text = f"{self.address}: {sock.version()}, certificate of {names}, {until(ends)}"
        if days_left(ends) < SOON_DAYS:
            return Finding.warning("TLS", text, "renew the broker's certificate")
        return Finding.ok("TLS", text)

    def _note(self, text: str) -> None:
        self.findings.append(Finding.ok(self._step, text))

    def _remedy(self, error: Exception) -> str:
        match self._step, error.__cause__:
            case "name", _:
                return "correct kafka.bootstrap_servers, or the name server of this machine"
            case "TLS", ssl.SSLCertVerificationError(verify_code=code) if code == _EXPIRED:
                return "renew the broker's certificate"
            case "TLS", ssl.SSLCertVerificationError(verify_code=code) if code == _NOT_YET:
                return "correct the clock of this machine, or of the one that made the certificate"
            case "TLS", ssl.SSLCertVerificationError(verify_code=code) if code in _MISMATCHES:
                return (
                    "name the broker in kafka.bootstrap_servers, and in its advertised.listeners, as its "
                    "certificate does; or have it certified by this name"
                )
            case "TLS", ssl.SSLCertVerificationError():
                return "put the authority that signed the broker's certificate into kafka.security.ca_file"
            case "client certificate", _ if isinstance(error, CredentialsError):
                return (
                    "give a certificate that has not expired, of an authority that the broker trusts, in "
                    "kafka.security.cert_file and key_file"
                )
            case "TLS" | "connection", _ if isinstance(error, CredentialsError):
                return _TLS
            case "login", _ if self._config.kafka.security.oauth is not None:
                return f"{_LOGIN}; or look at the server of kafka.security.oauth.token_url"
            case "login", _ if isinstance(error, CredentialsError):
                return f"{_LOGIN}; or create the user at the broker"
            case _:
                return _BROKER


_LOGIN = "correct sasl_mechanism, username and password of kafka.security"


def client_certificate(config: Config) -> list[Finding]:
    """Look at our own certificate: brokers refuse an expired one without saying why."""
    file = config.kafka.security.cert_file
    if file is None or (ends := valid_until(file)) is None:
        return []  # a file that cannot be used is an error of `client_settings`
    text = f"{file}: {until(ends)}"
    if (left := days_left(ends)) >= SOON_DAYS:
        return [Finding.ok("client certificate", text)]
    remedy = "renew the certificate of kafka.security.cert_file; it is read again with the next connection"
    if left >= 0:
        return [Finding.warning("client certificate", text, remedy)]
    return [Finding.error("client certificate", text, remedy, EXIT_CONFIG)]


def days_left(ends: datetime) -> float:
    """Days until then; negative: it is past."""
    return (ends - datetime.now(UTC)).total_seconds() / 86_400


def until(ends: datetime) -> str:
    """Say in words until when a certificate is valid."""
    left = days_left(ends)
    if left < 0:
        return f"expired on {ends:%Y-%m-%d} ({-left:.0f} days ago)"
    return f"valid until {ends:%Y-%m-%d} ({left:.0f} days)"
