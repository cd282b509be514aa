"""Capacity that is not there: fake GPUs on the real node, and whole fake nodes for kwok."""

from collections.abc import Mapping

from hack.cluster import api, clusters
from hack.support import errors, wait

KWOK_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
"""Marks a node as one that kwok, and no kubelet, answers for."""


def patch_node_capacity(
    cluster: clusters.Cluster, resource: str, count: int, node: str = clusters.NODE_NAME
) -> None:
    """Adds an extended resource such as `nvidia.com/gpu` to a node, for pods that request it.

    Returns once the scheduler's view (allocatable) shows it. A restart of kubelet may set it to
    zero again: then patch again.
    """
    client = api.Client(server(cluster), cluster.run / "pki")
    path = f"/api/v1/nodes/{node}"
    client.merge(f"{path}/status", {"status": {"capacity": {resource: str(count)}}})

    def shown() -> bool:
        status = (client.get(path) or {}).get("status", {})
        if status.get("allocatable", {}).get(resource) == str(count):
            return True
        # kubelet copies capacity to allocatable at its next report; do it now.
        client.merge(f"{path}/status", {"status": {"allocatable": {resource: str(count)}}})
        return False

    wait.until(f"{count} {resource} on {node}", shown, 30, 0.3)


def add_fake_nodes(
    cluster: clusters.Cluster, count: int, capacity: Mapping[str, str] | None = None
) -> list[str]:
    """Adds nodes that kwok answers for and waits until they are ready; returns their names."""
    if not cluster.kwok:
        raise errors.ToolError(f"{cluster.name} was started without kwok")
    client = api.Client(server(cluster), cluster.run / "pki")
    names = [f"fake-{number}" for number in range(count)]
    has = {"cpu": "64", "memory": "256Gi", "pods": "500", **(capacity or {})}
    for name in names:
        labels = {"kubernetes.io/hostname": name, "type": "kwok"}
        metadata = {"name": name, "annotations": KWOK_ANNOTATION, "labels": labels}
        client.apply(
            f"/api/v1/nodes/{name}", {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
        )
        client.merge(
            f"/api/v1/nodes/{name}/status", {"status": {"capacity": has, "allocatable": has}}
        )
    wait.until(f"{count} fake nodes", lambda: all(_ready(client, name) for name in names), 60)
    return names


def server(cluster: clusters.Cluster) -> str:
    """Returns the address of an embedded cluster's API server on the host."""
    try:
        return (cluster.run / "server").read_text().strip()
    except FileNotFoundError:
        raise errors.ToolError(f"{cluster.name} is not an embedded cluster") from None


def _ready(client: api.Client, node: str) -> bool:
    conditions = (client.get(f"/api/v1/nodes/{node}") or {}).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
