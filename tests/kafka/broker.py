"""A Kafka broker for tests: KRaft, one JVM, loopback only, temporary.

What it does, in order:

1. `distribution()` fetches Kafka's published Maven artifacts once, into a cache outside the checkout.
2. `KafkaBroker.start()` formats a temporary folder (the first time only), runs the JVM and waits until every
   listener accepts connections.
3. `stop()`, `kill()`, `restart()`, `suspend()` and `resume()` simulate operators and failures.

Several brokers form a `KafkaCluster` (cluster.py).

Rules:

- Ports and data outlive the process, so `restart()` brings back the same broker. `__exit__` removes them.
- Only processes that the object itself started are stopped, by their id.
- A broker does not outlive the tests, even when they are killed: a shell waits on a pipe that only this
  process holds, and kills the JVM when the pipe closes.
- Every wait has a limit. The error contains the end of the broker's log.

The PLAINTEXT listener is always there, as the tests use it for their own set-up. With the authorizer on, its
principal is a super user, and all others may do only what `allow()` has granted.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from tests.kafka.distribution import KAFKA_VERSION, distribution, java, run, tail, watched
from tests.kafka.oidc import Issuer, oauth_properties
from tests.kafka.pki import CLIENT_NAME, Pki, create_pki
from tests.kafka.waiting import PATIENCE_S, poll_until

PLAINTEXT, SASL_SSL, MTLS = "PLAINTEXT", "SASL_SSL", "MTLS"
LISTENERS = (PLAINTEXT, SASL_SSL, MTLS)
SCRAM_USER = "detector"
REAUTHENTICATION_MS = 2000  # how long a login by SASL counts; a new one then takes what is in the files
# Below 32768, from where Linux assigns ports to outgoing connections. A client that retries a dead port of
# that range may get the same port on its own side, connect to itself, and keep the broker from starting.
_PORTS = range(20_000, 32_000)
_WORKERS_MAX = 8
_WORKER = os.environ.get("PYTEST_XDIST_WORKER")  # gw0, gw1 ...: each worker of pytest-xdist has its own ports
if _WORKER is not None:
    _PORTS = _PORTS[int(_WORKER.removeprefix("gw")) % _WORKERS_MAX :: _WORKERS_MAX]
_given: set[int] = set()  # so that the port of a broker that is down goes to nobody else


class KafkaStartError(Exception):
    """The broker did not start. The text ends with the end of its log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quorum:
    """What the brokers of a cluster have in common. Each broker is a controller, too."""

    cluster_id: str
    ports: tuple[int, ...]  # where the controllers of nodes 1, 2, ... listen

    @classmethod
    def of(cls, count: int) -> Self:
        """Return the quorum of a new cluster of `count` brokers."""
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        return cls(cluster_id=cluster_id, ports=tuple(free_ports(count)))

    def properties(self) -> dict[str, str]:
        """Settings of every broker. Each partition is on all brokers, and one of them may be down."""
        count = str(len(self.ports))
        in_sync_min = str(max(1, len(self.ports) - 1))
        voters = (f"{node}@127.0.0.1:{port}" for node, port in enumerate(self.ports, 1))
        return {
            "controller.quorum.voters": ",".join(voters),
            "default.replication.factor": count,
            "min.insync.replicas": in_sync_min,
            "offsets.topic.replication.factor": count,
            "transaction.state.log.replication.factor": count,
            "transaction.state.log.min.isr": in_sync_min,
            "share.coordinator.state.topic.replication.factor": count,
            "share.coordinator.state.topic.min.isr": in_sync_min,
        }


class Temporary(ABC):
    """Runs as long as its `with` block. Leaves nothing behind, even when the start fails."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @abstractmethod
    def start(self) -> None:
        """Start."""

    @abstractmethod
    def remove(self) -> None:
        """Stop, and delete all data."""


class KafkaBroker(Temporary):
    """A broker in a temporary folder.

    Parameters
    ----------
    listeners : sequence of str
        Any of PLAINTEXT, SASL_SSL (SCRAM-SHA-512, OAUTHBEARER, server certificate) and MTLS (client
        certificate required).
    authorizer : bool
        Forbid everything that `allow` has not granted, except to the PLAINTEXT principal.
    properties : mapping
        Additional broker settings.
    quorum : Quorum
        The cluster of the broker; None: a cluster of its own.
    node : int
        Its number in the cluster, from 1.

    Examples
    --------
    >>> with KafkaBroker(listeners=["PLAINTEXT"]) as broker:  # doctest: +SKIP
    ...     create_topic(broker.bootstrap, "payments", 4)
    """

    def __init__(
        self,
        *,
        listeners: Sequence[str] = (PLAINTEXT,),
        authorizer: bool = False,
        properties: Mapping[str, str] | None = None,
        quorum: Quorum | None = None,
        node: int = 1,
    ) -> None:
        unknown = set(listeners) - set(LISTENERS)
        if unknown:
            raise ValueError(f"unknown listeners {sorted(unknown)}; known are {LISTENERS}")
        self.listeners = tuple(name for name in LISTENERS if name == PLAINTEXT or name in listeners)
        self.authorizer = authorizer
        self.node = node
        self._quorum = quorum or Quorum.of(1)
        self._more_properties = dict(properties or {})
        self.password = secrets.token_urlsafe(12)
        self.pki: Pki | None = None
        self.issuer = Issuer()  # of the tokens that SASL_SSL accepts
        self._folder: Path | None = None
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    # --- start and stop ---

    def start(self) -> None:
        """Run the broker and return when every listener accepts connections.

        Raises KafkaUnavailable without Java or artifacts, KafkaStartError if it does not come up.
        """
        self.launch()
        self.await_up()

    def launch(self) -> None:
        """Run the broker, and do not wait: it may need other brokers to start. Raises KafkaUnavailable."""
        if self.running:
            raise RuntimeError("the broker is already running")
        classpath = f"{distribution()}/*"
        if self._folder is None:
            self._prepare(classpath)
        # C1 only and the serial collector: more does not pay off for a broker that runs for seconds.
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options.append("-Dorg.slf4j.simpleLogger.showDateTime=true")
        for kind in ("urls", "files"):
            options.append(f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.{kind}={self._keys_file.as_uri()}")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [java(), *options, "-cp", classpath, "kafka.Kafka", str(self._properties_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C must reach only the tests; they stop the broker
            )
        self._watcher = watched(self._process)

    def await_up(self) -> None:
        """Return when every listener accepts connections.

        Raises KafkaStartError, and kills the broker, if they do not.
        """
        missing = [self._ports[name] for name in self.listeners]

        def up() -> bool:
            if not self.running:
                raise self._start_error(f"ended with code {self._require_process().returncode}")
            while missing and _accepts(missing[0]):
                missing.pop(0)
            return not missing

        try:
            if not poll_until(up):
                raise self._start_error(f"was not up after {PATIENCE_S:.0f} s")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop in an orderly way (SIGTERM). Does nothing when down.

        Raises subprocess.TimeoutExpired, and kills the broker, if it does not stop.
        """
        if self._process is None:
            return
        self.resume()  # a suspended process would not see the signal
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reap()

    def kill(self) -> None:
        """Stop at once (SIGKILL), like a crash. Does nothing when down."""
        if self._process is None:
            return
        self._process.kill()
        self._reap()

    def restart(self) -> None:
        """Start again with the same data and ports, stopping in an orderly way first if still running."""
        self.stop()
        self.start()

    def suspend(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open and nothing is answered. Returns when it has."""
        process = self._require_process()
        process.send_signal(signal.SIGSTOP)
        # The signal takes effect later on a busy machine, and a request sent before that would be answered.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a suspended broker continue (SIGCONT). Has no effect otherwise."""
        self._require_process().send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill the broker and delete its data. No orderly stop, as nobody reads the data again."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    # --- properties ---

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._require_process().pid

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise RuntimeError("the broker has not been started")
        return self._folder

    @property
    def log_file(self) -> Path:
        return self.folder / "broker.log"

    @property
    def bootstrap(self) -> str:
        """Address of the PLAINTEXT listener, as 127.0.0.1:port."""
        return self.bootstrap_for(PLAINTEXT)

    def bootstrap_for(self, listener: str) -> str:
        return f"127.0.0.1:{self._ports[listener]}"

    def principal_for(self, listener: str) -> str:
        """Return the authorizer's name for clients of `listener`."""
        names = {PLAINTEXT: "ANONYMOUS", SASL_SSL: SCRAM_USER, MTLS: f"CN={CLIENT_NAME}"}
        return f"User:{names[listener]}"

    def client_settings(self, listener: str = PLAINTEXT) -> dict[str, Any]:
        """Return the keyword arguments with which kafka-python's clients connect to `listener`."""
        settings: dict[str, Any] = {"bootstrap_servers": self.bootstrap_for(listener)}
        if listener == PLAINTEXT:
            return settings | {"security_protocol": "PLAINTEXT"}
        assert self.pki is not None
        if listener == MTLS:
            return settings | {
                "security_protocol": "SSL",
                "ssl_cafile": str(self.pki.ca),
                "ssl_certfile": str(self.pki.client_certificate),
                "ssl_keyfile": str(self.pki.client_key),
            }
        return settings | {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self.pki.ca),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": SCRAM_USER,
            "sasl_plain_password": self.password,
        }

    def allow(
        self,
        listener: str,
        resource: ResourceType,
        name: str,
        *operations: ACLOperation,
        prefixed: bool = False,
    ) -> None:
        """Grant operations on one resource to the principal of `listener`."""
        pattern = ACLResourcePatternType.PREFIXED if prefixed else ACLResourcePatternType.LITERAL
        where, who = ResourcePattern(resource, name, pattern), self.principal_for(listener)
        acls = [ACL(who, "*", operation, ACLPermissionType.ALLOW, where) for operation in operations]
        with contextlib.closing(KafkaAdminClient(**self.client_settings())) as admin:
            failed = admin.create_acls(acls)["failed"]
        if failed:
            raise RuntimeError(f"could not grant: {failed}")

    def forbid(self, listener: str, resource: ResourceType, name: str, operation: ACLOperation) -> None:
        """Take back what `allow` has granted on one resource."""
        where = ResourcePatternFilter(resource, name, ACLResourcePatternType.ANY)
        wanted = ACLFilter(self.principal_for(listener), "*", operation, ACLPermissionType.ALLOW, where)
        with contextlib.closing(KafkaAdminClient(**self.client_settings())) as admin:
            [(_, taken, error)] = admin.delete_acls([wanted])
        if not taken:
            raise RuntimeError(f"nothing to take back: {wanted}, {error}")

    # --- inside ---

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _keys_file(self) -> Path:
        return self.folder / "jwks.json"

    def _require_process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process

    def _prepare(self, classpath: str) -> None:
        program = java()
        self._folder = Path(tempfile.mkdtemp(prefix="detector-kafka-"))
        self.pki = create_pki(self._folder / "pki")
        self._keys_file.write_text(self.issuer.keys())
        ports = free_ports(len(self.listeners))
        self._ports = dict(zip(self.listeners, ports, strict=True))
        self._ports["CONTROLLER"] = self._quorum.ports[self.node - 1]
        properties = self._properties()
        self._properties_file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        command = [program, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", classpath]
        # As one argument, since one id in 64 begins with a dash.
        command += ["kafka.tools.StorageTool", "format", f"--cluster-id={self._quorum.cluster_id}"]
        command += ["-c", str(self._properties_file)]
        if SASL_SSL in self.listeners:
            command += ["--add-scram", f"SCRAM-SHA-512=[name={SCRAM_USER},password={self.password}]"]
        done = run(command, cwd=self._folder, timeout_s=PATIENCE_S)
        if done.returncode != 0:
            raise KafkaStartError(f"Kafka's StorageTool could not format a folder:\n{tail(done.stdout)}")

    def _properties(self) -> dict[str, str]:
        addresses = {name: f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()}
        protocols = {PLAINTEXT: "PLAINTEXT", SASL_SSL: "SASL_SSL", MTLS: "SSL", "CONTROLLER": "PLAINTEXT"}
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(self.node),
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(addresses[name] for name in self.listeners),
            "listener.security.protocol.map": ",".join(f"{k}:{protocols[k]}" for k in addresses),
            "inter.broker.listener.name": PLAINTEXT,
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",  # a wrong topic name must fail the test
            # Fewer internal partitions and smaller buffers: a faster start and a smaller process.
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.num.partitions": "8",
            "log.cleaner.dedupe.buffer.size": "4194304",
            "num.network.threads": "2",
            "num.io.threads": "4",
            # A broker that was killed cannot register again before its old registration has expired, after
            # 9 s by default.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "200",
            "initial.broker.registration.timeout.ms": str(int(PATIENCE_S * 1000)),  # or 60 s
            # Short sessions are allowed, groups form at once, expired transactions are aborted soon.
            "group.min.session.timeout.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
        }
        if SASL_SSL in self.listeners or MTLS in self.listeners:
            assert self.pki is not None
            properties |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.pki.server_store),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.pki.ca),
            }
        if SASL_SSL in self.listeners:
            jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            properties |= {
                "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": jaas,
                "listener.name.sasl_ssl.connections.max.reauth.ms": str(REAUTHENTICATION_MS),
                **oauth_properties(self._keys_file),
            }
        if MTLS in self.listeners:
            properties["listener.name.mtls.ssl.client.auth"] = "required"
        if self.authorizer:
            properties |= {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": self.principal_for(PLAINTEXT),
            }
        return properties | self._quorum.properties() | self._more_properties

    def _start_error(self, what: str) -> KafkaStartError:
        log = self.log_file.read_text(errors="replace")
        return KafkaStartError(f"Kafka {KAFKA_VERSION} {what}; its log ends with:\n{tail(log)}")

    def _reap(self) -> None:
        self._require_process().wait()
        self._process = None
        if self._watcher is not None:
            # Only now: the watcher must run as long as the broker, and end before its process id is reused.
            self._watcher.kill()
            assert self._watcher.stdin is not None
            self._watcher.stdin.close()
            self._watcher.wait()
            self._watcher = None


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing listens on, outside the range of outgoing connections.

    No port is returned twice to one process.
    """
    found: list[int] = []
    left = [port for port in _PORTS if port not in _given]
    for port in random.sample(left, k=min(200, len(left))):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            _given.update(found)
            return found
    raise KafkaStartError(f"fewer than {count} free ports between {_PORTS[0]} and {_PORTS[-1]}")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
