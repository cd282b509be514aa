"""A real Kubernetes on one Linux machine as root: no Docker, no registry, nothing left behind.

The commands are `python -m hack.cluster --help`; tests and tools use the functions named here.
Standard library only: this package runs before any virtual environment exists.
"""

from hack.cluster.clusters import Cluster, Kind
from hack.cluster.image_import import images, import_image, import_stream
from hack.cluster.lifecycle import down, status, up
from hack.cluster.port_forward import forward
from hack.cluster.resources import add_fake_nodes, patch_node_capacity

__all__ = [
    "Cluster",
    "Kind",
    "add_fake_nodes",
    "down",
    "forward",
    "images",
    "import_image",
    "import_stream",
    "patch_node_capacity",
    "status",
    "up",
]
