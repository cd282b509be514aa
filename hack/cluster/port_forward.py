"""Port forwarding from the host into a cluster's networks, which have no uplink."""

import socket
import subprocess
import sys

from hack.cluster import clusters, init, relay, sandbox
from hack.support import errors


def listen() -> socket.socket:
    """Opens a listening socket on a free port of the host's 127.0.0.1.

    The kernel picks the port and the socket stays open from then on: no other process can take
    the port in between.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def open_to(box: sandbox.Sandbox, name: str, target: str, listener: socket.socket) -> int:
    """Hands a host socket to a forwarder inside the sandbox; returns the host's port.

    Args:
        box: The sandbox.
        name: What the forwarder is called in `status` and its log.
        target: ADDRESS:PORT as seen inside.
        listener: From `listen`; closed here, since the forwarder has it.
    """
    with listener:
        port: int = listener.getsockname()[1]
        address, _, inside = target.rpartition(":")
        command = [sys.executable, "-P", "-B", str(relay.__file__), init.LISTENER, address, inside]
        box.start(name, command, listener=listener)
    return port


def forward(cluster: clusters.Cluster, target: str) -> int:
    """Makes a service or pod of an embedded cluster reachable and returns the port on 127.0.0.1.

    The forwarder lives in the sandbox and ends with it. For other kinds use kubectl port-forward.

    Args:
        cluster: The cluster, with a node.
        target: `10.96.x.y:port`, or `service.namespace:port`.
    """
    if cluster.sandbox is None or cluster.parent is None:
        raise errors.ToolError(
            f"{cluster.name} is not an embedded cluster: use kubectl port-forward"
        )
    host, _, port = target.rpartition(":")
    if not host.replace(".", "").isdigit():
        host = _service_address(cluster, host)
    box = sandbox.Sandbox(cluster.run, cluster.parent, cluster.sandbox)
    return open_to(box, f"forward-{host}-{port}", f"{host}:{port}", listen())


def inside(cluster: clusters.Cluster, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs a command inside the sandbox's namespaces and returns what it printed."""
    if cluster.sandbox is None:
        raise errors.ToolError(f"{cluster.name} has no sandbox")
    return subprocess.run(
        [*sandbox.enter(cluster.sandbox.pid), *command], capture_output=True, text=True, check=False
    )


def _service_address(cluster: clusters.Cluster, name: str) -> str:
    service, _, namespace = name.partition(".")
    arguments = ("get", "service", service, "-n", namespace or "default")
    address = cluster.kubectl_run(*arguments, "-o", "jsonpath={.spec.clusterIP}")
    if not address or address == "None":
        raise errors.ToolError(f"service {name} has no cluster IP to forward to")
    return address
