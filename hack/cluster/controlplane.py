"""etcd, the API server, the controller manager and the scheduler: their flags and their start."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.cluster import api, sandbox
from hack.cluster.gobuild import Toolbox
from hack.support import errors, wait

API_FORWARD = "api-server"
"""The component that makes the API server reachable from the host."""

SERVICE_NETWORK = "10.96.0.0/16"

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclasses.dataclass(frozen=True)
class ControlPlane:
    """The folders from which the components' command lines follow."""

    pki: Path
    data: Path
    """etcd's folder."""

    extra: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """Additional flags per component, such as an audit log of the API server; they win."""

    def flags(self, component: str) -> list[str]:
        """Returns the command line of one component without the program."""
        flags = {
            "etcd": self._etcd,
            "kube-apiserver": self._apiserver,
            "kube-controller-manager": self._controller_manager,
            "kube-scheduler": self._scheduler,
        }[component]()
        return [*flags, *self.extra.get(component, ())]

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self.data}",
            # Nothing here outlives the machine, and fsync is most of what etcd waits for.
            "--unsafe-no-fsync",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
        ]

    def _apiserver(self) -> list[str]:
        pki = self.pki
        return [
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--secure-port=6443",
            f"--advertise-address={sandbox.NODE_IP}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/service-account.pub",
            f"--service-account-signing-key-file={pki}/service-account.key",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            # The aggregation layer's headers; without them metrics APIs cannot be registered.
            f"--requestheader-client-ca-file={pki}/ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki}/front-proxy.crt",
            f"--proxy-client-key-file={pki}/front-proxy.key",
        ]

    def _controller_manager(self) -> list[str]:
        pki = self.pki
        return [
            f"--kubeconfig={pki}/controller-manager.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki}/service-account.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            *_FAST_CLIENT,
        ]

    def _scheduler(self) -> list[str]:
        return [
            f"--kubeconfig={self.pki}/scheduler.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            *_FAST_CLIENT,
        ]


_FAST_CLIENT = ("--kube-api-qps=500", "--kube-api-burst=1000")
"""The defaults (20 and 50 a second) make a test with a thousand pods wait for the client."""


def start(box: sandbox.Sandbox, plane: ControlPlane, tools: Toolbox) -> None:
    """Starts all four at once: each retries until the one it needs answers."""
    for component in COMPONENTS:
        box.start(component, [str(tools.program(component)), *plane.flags(component)])


def wait_ready(box: sandbox.Sandbox, client: api.Client, seconds: float = 90) -> None:
    """Waits until the API server is ready and the default service account lets pods be made."""

    def ready() -> bool:
        box.check(API_FORWARD, *COMPONENTS)
        return client.answers("/readyz")

    def pods_possible() -> bool:
        box.check(API_FORWARD, *COMPONENTS)
        return client.answers("/api/v1/namespaces/default/serviceaccounts/default")

    try:
        wait.until("the API server's readiness", ready, seconds)
        wait.until("the default service account", pods_possible, 60)
    except errors.ToolError as error:
        raise errors.ToolError(f"{error}; see {box.log('kube-apiserver')}") from error
