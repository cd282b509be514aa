"""Names inside the cluster: CoreDNS as a process on the node's address, and its service."""

from pathlib import Path
from typing import Any

from hack.cluster import api, node, sandbox
from hack.cluster.gobuild import Toolbox


def corefile(pki: Path) -> str:
    """Returns CoreDNS's configuration: one block for the cluster's names, one for all others.

    A name outside the cluster gets an immediate "no such name": there is no uplink, and
    an answer is better than a timeout. It needs a block of its own, since `template` comes before
    `kubernetes` in CoreDNS's fixed order and would swallow the cluster's names.
    """
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
  bind {sandbox.NODE_IP}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {pki}/admin.kubeconfig mens
    pods insecure
    ttl 5
  }}
}}
.:53 {{
  bind {sandbox.NODE_IP}
  errors
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def service() -> dict[str, Any]:
    """Returns the service at the address pods are told to ask."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {
            "clusterIP": node.DNS_SERVICE_IP,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }


def endpoints() -> dict[str, Any]:
    """Returns the service's one endpoint: it has no selector, since CoreDNS is not a pod."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-node",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [sandbox.NODE_IP], "conditions": {"ready": True}}],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    }


def start(box: sandbox.Sandbox, client: api.Client, tools: Toolbox) -> None:
    """Starts CoreDNS and registers it."""
    configuration = box.run / "Corefile"
    configuration.write_text(corefile(box.run / "pki"))
    box.start("coredns", [str(tools.program("coredns")), "-conf", str(configuration)])
    core = "/api/v1/namespaces/kube-system/services/kube-dns"
    client.apply(core, service())
    slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
    client.apply(f"{slices}/kube-dns-node", endpoints())
