"""One real node: containerd, kubelet and kube-proxy, their configuration and their start."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from hack.cluster import api, cgroups, containers, sandbox
from hack.cluster.gobuild import Toolbox
from hack.support import errors, wait

DNS_SERVICE_IP = "10.96.0.10"
"""Where pods ask for names."""

CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
"""Debian's folder, then the upstream default."""


@dataclasses.dataclass(frozen=True)
class Node:
    """The folders and names from which the node's configuration files follow."""

    cluster: str
    name: str
    run: Path
    scratch: Path
    store: Path
    """containerd's root: images survive in it from one cluster to the next."""

    pause_image: str

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens; unix sockets are reached across network namespaces."""
        return self.run / "containerd.sock"

    def cni(self) -> dict[str, Any]:
        """Returns the pod network: a bridge and addresses from a local pool."""
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            # kube-proxy masquerades what needs it; there is no uplink to masquerade for.
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.scratch / "addresses"),
                "ranges": [[{"subnet": sandbox.POD_NETWORK}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        return {"cniVersion": "1.0.0", "name": "mens", "plugins": [bridge]}

    def containerd(self, cni_folder: str, runc: str) -> str:
        """Returns containerd's configuration: version 2, the one both 1.6 and 2.x take."""
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        runtime = f"{cri}.containerd.runtimes.runc"
        return "\n".join(
            [
                "version = 2",
                f'root = "{self.store}"',
                f'state = "{self.run}/containerd"',
                "disabled_plugins = [",
                *(f'  "io.containerd.snapshotter.v1.{name}",' for name in _UNUSED_SNAPSHOTTERS),
                "]",
                "[grpc]",
                f'  address = "{self.containerd_socket}"',
                f"[{cri}]",
                # The right to lower OOM scores may be missing even for root (CAP_SYS_RESOURCE).
                "  restrict_oom_score_adj = true",
                f'  sandbox_image = "{self.pause_image}"',
                f"[{cri}.containerd]",
                '  snapshotter = "overlayfs"',
                '  default_runtime_name = "runc"',
                f"[{runtime}]",
                '  runtime_type = "io.containerd.runc.v2"',
                f"[{runtime}.options]",
                "  SystemdCgroup = false",
                f'  BinaryName = "{runc}"',
                f"[{cri}.cni]",
                f'  bin_dir = "{cni_folder}"',
                f'  conf_dir = "{self.run}/cni"',
                "",
            ]
        )

    def kubelet(self) -> dict[str, Any]:
        """Returns kubelet's configuration."""
        pki = self.run / "pki"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.containerd_socket}",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{pki}/kubelet-server.crt",
            "tlsPrivateKeyFile": f"{pki}/kubelet-server.key",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroups.name_for(self.cluster)}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": ["none"],
            "clusterDNS": [DNS_SERVICE_IP],
            "clusterDomain": "cluster.local",
            "resolvConf": str(self.run / "resolv.conf"),
            "podLogsDir": str(self.scratch / "pod-logs"),
            "volumePluginDir": str(self.scratch / "volume-plugins"),
            # Shared machines run close to full: only a real shortage may evict.
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            # Images cannot be pulled again: there is no registry. Never collect them.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "maxPods": 250,
            "nodeStatusUpdateFrequency": "5s",
            "syncFrequency": "10s",
            "healthzBindAddress": "127.0.0.1",
        }

    def kubelet_flags(self) -> list[str]:
        """Returns what kubelet takes only on its command line."""
        return [
            f"--config={self.run}/kubelet.json",
            f"--kubeconfig={self.run}/pki/kubelet.kubeconfig",
            f"--hostname-override={self.name}",
            f"--node-ip={sandbox.NODE_IP}",
            f"--cert-dir={self.run}/pki/kubelet",
        ]

    def proxy_flags(self, *, masquerade_all: bool) -> list[str]:
        """Returns kube-proxy's command line.

        Args:
            masquerade_all: Send every service's traffic back through the node. Needed where the
                kernel does not show bridged packets to the firewall: two pods on one bridge would
                otherwise answer each other directly, past the address translation.
        """
        return [
            f"--kubeconfig={self.run}/pki/kube-proxy.kubeconfig",
            "--proxy-mode=nftables",
            f"--cluster-cidr={sandbox.POD_NETWORK}",
            f"--hostname-override={self.name}",
            f"--masquerade-all={str(masquerade_all).lower()}",
            # These limits belong to the whole machine and are not ours to set.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
            "--healthz-bind-address=127.0.0.1:10256",
            "--metrics-bind-address=127.0.0.1:10249",
        ]


COMPONENTS = ("containerd", "kubelet", "kube-proxy")
"""What must run for pods to run."""

_UNUSED_SNAPSHOTTERS = ("aufs", "btrfs", "devmapper", "zfs")


def start_runtime(box: sandbox.Sandbox, node: Node) -> None:
    """Starts containerd on the kept store, without what earlier clusters left running in it."""
    _write_files(node)
    containers.start(box, node.containerd_socket, node.run / "containerd.toml")
    if containers.remove_dead(node.containerd_socket):
        # The runtime read the dead ones into its memory at its start: begin again without them.
        containers.restart(box, node.containerd_socket, node.run / "containerd.toml")


def start_agents(box: sandbox.Sandbox, node: Node, tools: Toolbox) -> None:
    """Starts kubelet and kube-proxy; the API server and the runtime must answer already."""
    cgroups.create(node.cluster)
    box.start("kubelet", [str(tools.program("kubelet")), *node.kubelet_flags()])
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
    flags = node.proxy_flags(masquerade_all=not bridged)
    box.start("kube-proxy", [str(tools.program("kube-proxy")), *flags])


def wait_ready(box: sandbox.Sandbox, node: Node, client: api.Client) -> None:
    """Waits until the node is Ready."""

    def ready() -> bool:
        box.check(*COMPONENTS)
        found = client.get(f"/api/v1/nodes/{node.name}") or {}
        conditions = found.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    try:
        wait.until("the node's readiness", ready, 60)
    except errors.ToolError as error:
        raise errors.with_log(str(error), box.log("kubelet")) from error


def _write_files(node: Node) -> None:
    for folder in (node.run / "cni", node.scratch / "pod-logs", node.scratch / "volume-plugins"):
        folder.mkdir(parents=True, exist_ok=True)
    (node.run / "cni" / "10-mens.conflist").write_text(json.dumps(node.cni(), indent=1))
    # An empty file would make every reverse look-up wait for a timeout.
    (node.run / "resolv.conf").write_text(f"nameserver {sandbox.NODE_IP}\n")
    runc = shutil.which("runc") or "/usr/sbin/runc"
    (node.run / "containerd.toml").write_text(node.containerd(_cni_folder(), runc))
    (node.run / "kubelet.json").write_text(json.dumps(node.kubelet(), indent=1))


def _cni_folder() -> str:
    for folder in CNI_FOLDERS:
        if (Path(folder) / "bridge").exists():
            return folder
    raise errors.ToolError(
        f"no CNI plugins in {' or '.join(CNI_FOLDERS)}: "
        "`python -m hack.cluster preflight --fix` installs them"
    )
