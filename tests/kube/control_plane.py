"""A Kubernetes control plane for tests: real processes on loopback, nodes and pods played by kwok.

    etcd <── kube-apiserver <── kube-controller-manager, kube-scheduler, kwok, kubectl, helm
                    │
                    └── KEDA: its operator asks Kafka for the lag, its adapter serves it to the autoscaler

All of them are built from their published Go modules (`tools/`), which takes some ten minutes of CPU the
first time. Pods run nowhere: kwok says that they are ready. So these tests show what the control plane
decides (admission, placement, the order of a rollout, evictions, scale), and nothing of what a container
does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.chart.helm import build as build_helm
from tests.go_tools import TOOLS, built
from tests.kafka.broker import Temporary, free_ports
from tests.kafka.distribution import watched
from tests.kafka.pki import CLIENT_NAME, Pki, create_pki
from tests.kafka.waiting import poll_until

ZONES = ("zone-a", "zone-b", "zone-c")
NODES_PER_ZONE = 2
BUILD_S = 3600
_MODULES = Path(__file__).with_name("tools")
_PROGRAMS = {
    "kubernetes": {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    "kwok": {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
    "keda": {
        "keda-operator": "github.com/kedacore/keda/v2/cmd/operator",
        "keda-adapter": "github.com/kedacore/keda/v2/cmd/adapter",
    },
}
# Kubernetes' own build writes its version into the programs; Helm asks for it.
_VERSION = "-X k8s.io/component-base/version.gitVersion=v1.35.4"
_TOKEN = "the-tests"
_KEDA = "keda"  # its namespace
_LOG_TAIL = 2000


class Refused(Exception):
    """A command ended with an error; the message has its words."""


class ControlPlane(Temporary):
    """See the module's text.

    Raises
    ------
    GoUnavailable
        A program is not here and cannot be built.
    """

    def __init__(self) -> None:
        self._helm = build_helm()
        built(_MODULES / "kubernetes", _PROGRAMS["kubernetes"], limit_s=BUILD_S, linked=_VERSION)
        built(_MODULES / "kwok", _PROGRAMS["kwok"], limit_s=BUILD_S)
        self._folder = Path(tempfile.mkdtemp(prefix="kube-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pki: Pki | None = None

    @property
    def kubeconfig(self) -> Path:
        return self._folder / "kubeconfig"

    def start(self) -> None:
        """Start all but KEDA; returns when there are nodes."""
        self._pki = create_pki(self._folder / "pki")
        self._api_port = self._serve_api()
        self._write_kubeconfig()
        config = f"--kubeconfig={self.kubeconfig}"
        self._run(
            "kube-controller-manager",
            config,
            f"--service-account-private-key-file={self._folder / 'accounts.key'}",
            f"--root-ca-file={self._pki.ca}",
            "--leader-elect=false",
            "--secure-port=0",
            "--horizontal-pod-autoscaler-sync-period=2s",
        )
        self._run("kube-scheduler", config, "--leader-elect=false", "--secure-port=0")
        self._add_nodes()
        self._run("kwok", config, "--manage-all-nodes=true", *(f"--config={stage}" for stage in _stages()))
        self.wait_for("the nodes", self._nodes_ready)
        self.wait_for("the account of pods", lambda: bool(self._accounts()))

    def start_keda(self) -> None:
        """Start KEDA; returns when the autoscaler can ask it.

        Raises
        ------
        GoUnavailable
        """
        built(_MODULES / "keda", _PROGRAMS["keda"], limit_s=BUILD_S)
        assert self._pki is not None
        certificates = self._folder / "keda"
        certificates.mkdir()
        shutil.copy(self._pki.ca, certificates / "ca.crt")
        shutil.copy(self._pki.peer_certificate, certificates / "tls.crt")
        shutil.copy(self._pki.peer_key, certificates / "tls.key")
        definitions = _source("keda", "github.com/kedacore/keda/v2") / "config" / "crd" / "bases"
        self.kubectl("apply", "--server-side", "-f", str(definitions))
        self.kubectl("create", "namespace", _KEDA)
        metrics, served, health, own, telling = free_ports(5)
        environ = {
            "KUBECONFIG": str(self.kubeconfig),
            "WATCH_NAMESPACE": "",
            "POD_NAMESPACE": _KEDA,
            "KEDA_CLUSTER_OBJECT_NAMESPACE": _KEDA,
        }
        self._run(
            "keda-operator",
            f"--cert-dir={certificates}",
            f"--metrics-service-bind-address=127.0.0.1:{metrics}",
            f"--metrics-bind-address=127.0.0.1:{own}",
            f"--health-probe-bind-address=127.0.0.1:{health}",
            "--enable-webhook-patching=false",
            "--enable-apiservice-patching=false",
            environ=environ,
        )
        self._run(
            "keda-adapter",
            f"--secure-port={served}",
            "--bind-address=127.0.0.1",
            f"--port={telling}",
            f"--cert-dir={certificates}",
            f"--tls-cert-file={certificates / 'tls.crt'}",
            f"--tls-private-key-file={certificates / 'tls.key'}",
            f"--metrics-service-address=localhost:{metrics}",
            f"--lister-kubeconfig={self.kubeconfig}",
            f"--authentication-kubeconfig={self.kubeconfig}",
            f"--authorization-kubeconfig={self.kubeconfig}",
            environ=environ,
        )
        self.apply(*_registered(served))
        self.wait_for("the adapter", self._adapter_available)

    def remove(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
            if process.stdin is not None:  # that of one which watches another
                process.stdin.close()
        shutil.rmtree(self._folder)

    # --- commands ---

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl.

        Raises
        ------
        Refused
        """
        return self._done([str(TOOLS / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments], given)

    def helm(self, *arguments: str) -> str:
        """Run Helm.

        Raises
        ------
        Refused
        """
        return self._done([str(self._helm), f"--kubeconfig={self.kubeconfig}", *arguments], None)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))

    def get(self, *arguments: str) -> dict[str, Any]:
        """What `kubectl get` says, as JSON."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def evict(self, namespace: str, pod: str) -> str:
        """Ask for an eviction, as a drain does; returns what refused it, or nothing.

        Unlike a drain it does not ask again.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        try:
            self.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body))
        except Refused as refused:
            return str(refused)
        return ""

    def wait_for(self, what: str, condition: Any) -> None:
        """Wait until a condition holds; fails with the ends of the logs, at once if a process ends."""

        def done() -> bool:
            ended = [process.args for process in self._processes if process.poll() is not None]
            if ended:
                raise AssertionError(f"ended while waiting for {what}: {ended}\n{self._logs()}")
            return bool(condition())

        if not poll_until(done, interval_s=0.2):
            raise AssertionError(f"waited for {what} in vain\n{self._logs()}")

    # --- how it starts ---

    def _serve_api(self) -> int:
        assert self._pki is not None
        client, peer, port = free_ports(3)
        peers, clients = f"http://127.0.0.1:{peer}", f"http://127.0.0.1:{client}"
        self._run(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        )
        accounts = self._folder / "accounts.key"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        accounts.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{_TOKEN},the-tests,the-tests,system:masters\n")
        self._run(
            "kube-apiserver",
            f"--etcd-servers={clients}",
            "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1",  # it must be one that is not on loopback; nothing connects to it
            "--endpoint-reconciler-type=none",
            f"--secure-port={port}",
            f"--tls-cert-file={self._pki.server_store}",
            f"--tls-private-key-file={self._pki.server_store}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-account-issuer=https://localhost",
            "--service-cluster-ip-range=10.96.0.0/24",
            f"--requestheader-client-ca-file={self._pki.ca}",
            f"--requestheader-allowed-names={CLIENT_NAME}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self._pki.client_certificate}",
            f"--proxy-client-key-file={self._pki.client_key}",
        )
        return port

    def _write_kubeconfig(self) -> None:
        assert self._pki is not None
        server = {
            "server": f"https://127.0.0.1:{self._api_port}",
            "certificate-authority": str(self._pki.ca),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": "tests", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.wait_for("the API server", self._api_ready)

    def _api_ready(self) -> bool:
        try:
            return self.kubectl("get", "--raw", "/readyz") == "ok"
        except Refused:
            return False

    def _add_nodes(self) -> None:
        room = {"cpu": "8", "memory": "32Gi", "pods": "110"}
        self.apply(
            *(
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {
                        "name": f"{zone}-{number}",
                        "labels": {
                            "kubernetes.io/hostname": f"{zone}-{number}",
                            "topology.kubernetes.io/zone": zone,
                            "kubernetes.io/os": "linux",
                        },
                    },
                    "status": {"allocatable": room, "capacity": room},
                }
                for zone in ZONES
                for number in range(NODES_PER_ZONE)
            )
        )

    def _nodes_ready(self) -> bool:
        nodes = self.get("nodes")["items"]
        return len(nodes) == len(ZONES) * NODES_PER_ZONE and all(
            condition["status"] == "True"
            for node in nodes
            for condition in node["status"].get("conditions", [{"type": "Ready", "status": "False"}])
            if condition["type"] == "Ready"
        )

    def _accounts(self) -> Sequence[Any]:
        accounts: Sequence[Any] = self.get("serviceaccounts", "--namespace", "default")["items"]
        return accounts

    def _adapter_available(self) -> bool:
        try:
            self.kubectl("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1")
        except Refused:
            return False
        return True

    # --- processes ---

    def _run(self, name: str, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [TOOLS / name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )
        self._processes += [watched(process), process]

    def _done(self, command: list[str], given: str | None) -> str:
        done = subprocess.run(
            command, input=given or "", capture_output=True, text=True, cwd=self._folder, env=self._environ
        )
        if done.returncode:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    @property
    def _environ(self) -> dict[str, str]:
        """Nothing is read from, or written to, the home folder."""
        return {**os.environ, "HOME": str(self._folder)}

    def _logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-_LOG_TAIL:]}"
            for log in sorted(self._folder.glob("*.log"))
        )


def _registered(port: int) -> list[dict[str, Any]]:
    """The adapter on loopback, as the API server reaches it."""
    name = "keda-metrics-apiserver"
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": _KEDA},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,  # its name in the cluster is in no certificate of the tests
                "service": {"name": name, "namespace": _KEDA, "port": port},
            },
        },
    ]


def _stages() -> list[Path]:
    """What kwok's own sources say that nodes and pods go through: they are ready at once."""
    folder = _source("kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    found = [
        path for part in ("node/fast", "node/heartbeat", "pod/fast") for path in (folder / part).iterdir()
    ]
    return sorted(path for path in found if path.suffix == ".yaml" and path.name != "kustomization.yaml")


def _source(module: str, name: str) -> Path:
    """Folder of a module's sources in Go's cache."""
    go = shutil.which("go")
    assert go is not None
    command = [go, "list", "-C", str(_MODULES / module), "-m", "-f", "{{.Dir}}", name]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
