"""Imports image archives into a cluster's container store, and lists its images."""

import dataclasses
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from hack.cluster import clusters, containers, oci
from hack.cluster.gobuild import Toolbox
from hack.support import errors, paths, progress

PROVIDERS = ("docker", "nerdctl", "podman")
"""What kind runs its nodes with: the first that is there, as kind itself chooses."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """What one import did."""

    names: tuple[str, ...]
    """The images the archive names."""

    skipped: bool
    """Whether the store had exactly these already."""


def images(cluster: clusters.Cluster) -> set[str]:
    """Returns the names of the images pods of this cluster can use without a registry."""
    return set(_present(cluster))


def import_image(cluster: clusters.Cluster, archive: Path) -> Imported:
    """Imports an OCI (or docker) archive or an OCI folder, unless it is there already.

    Raises:
        ToolError: The cluster pulls images only from a registry; the message names the fix.
    """
    _require_store(cluster)
    wanted = oci.references(archive)
    names = tuple(each.name for each in wanted)
    present = _present(cluster)
    if wanted and all(present.get(each.name) == each.digest for each in wanted):
        return Imported(names, skipped=True)
    load = _kind_load if cluster.kind is clusters.Kind.KIND else _import
    with progress.step(f"import {', '.join(names) or archive.name}"):
        load(cluster, archive)
    return Imported(names, skipped=False)


def import_stream(cluster: clusters.Cluster, archive: IO[bytes]) -> None:
    """Imports an archive as it is being written, such as a builder's pipe: no copy on disk."""
    _require_store(cluster)
    containers.ctr(_socket(cluster), "images", "import", "-", stdin=archive)


def pause(tools: Toolbox) -> tuple[str, Path]:
    """Returns the name and the archive of the pod-holding image, which is written once."""
    program = tools.program("pause")
    # The tag carries the program's key, so an old image is never mistaken for this one.
    name = f"localhost/mens/pause:{program.parent.name.removeprefix('pause-')}"
    archive = program.parent / "pause.oci.tar"
    if not archive.exists():
        fresh = archive.with_suffix(".new")
        oci.write(fresh, name, {"pause": program.read_bytes()}, ["/pause"])
        fresh.rename(archive)
    return name, archive


def ensure(containerd: Path, name: str, archive: Path) -> None:
    """Imports one archive into a store that may have it already."""
    if name not in containers.ctr(containerd, "images", "list", "-q").split():
        containers.ctr(containerd, "images", "import", str(archive))


def _present(cluster: clusters.Cluster) -> dict[str, str]:
    if cluster.kind is clusters.Kind.EXTERNAL or not cluster.node:
        return {}
    if cluster.kind is clusters.Kind.KIND:
        return _kind_present(cluster)
    return _listed(containers.ctr(_socket(cluster), "images", "list"))


def _listed(text: str) -> dict[str, str]:
    """Reads what `ctr images list` prints: name → digest."""
    fields = (line.split() for line in text.splitlines()[1:])
    # The runtime lists each image a second time under its bare digest: not a name to ask for.
    return {each[0]: each[2] for each in fields if not each[0].startswith("sha256:")}


def _import(cluster: clusters.Cluster, archive: Path) -> None:
    if not archive.is_dir():
        containers.ctr(_socket(cluster), "images", "import", str(archive))
        return
    command = ["ctr", "-a", str(_socket(cluster)), "-n", containers.NAMESPACE]
    with subprocess.Popen([*command, "images", "import", "-"], stdin=subprocess.PIPE) as importer:
        assert importer.stdin is not None
        oci.stream(archive, importer.stdin)
        importer.stdin.close()
    if importer.returncode != 0:
        raise errors.ToolError(f"importing {archive} failed")


def _kind_present(cluster: clusters.Cluster) -> dict[str, str]:
    """What every node has: `kind load` brings an image to all of them.

    Empty if the cluster cannot list them: loading an image again is only slow.
    """
    name = cluster.name.removeprefix("kind-")
    chosen = os.environ.get("KIND_EXPERIMENTAL_PROVIDER")
    provider = chosen or next(filter(shutil.which, PROVIDERS), PROVIDERS[0])
    ctr = ("ctr", "-n", containers.NAMESPACE, "images", "list")
    try:
        nodes = _said("kind", "get", "nodes", "--name", name).split()
        there = [_listed(_said(provider, "exec", node, *ctr)).items() for node in nodes]
    except errors.ToolError as error:
        progress.say(f"  kind's nodes do not say which images they have: {error}")
        return {}
    return dict(set.intersection(*map(set, there))) if there else {}


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise errors.ToolError(f"{' '.join(command)}: {command[0]} is not installed") from error
    if done.returncode != 0:
        raise errors.ToolError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _kind_load(cluster: clusters.Cluster, archive: Path) -> None:
    name = cluster.name.removeprefix("kind-")
    with tempfile.TemporaryDirectory(dir=paths.cache()) as folder:
        packed = archive
        if archive.is_dir():
            packed = Path(folder) / "image.tar"
            with packed.open("wb") as output:
                oci.stream(archive, output)
        command = ["kind", "load", "image-archive", "--name", name, str(packed)]
        if subprocess.run(command, check=False).returncode != 0:
            raise errors.ToolError(f"{' '.join(command)} failed")


def _require_store(cluster: clusters.Cluster) -> None:
    if cluster.kind is clusters.Kind.EXTERNAL:
        raise errors.ToolError(
            f"{cluster.name} is your own cluster: push the image to a registry it can pull from "
            "and name it in the chart's values, or set MENS_CLUSTER=embedded"
        )
    if not cluster.node:
        raise errors.ToolError(f"{cluster.name} has no node and so no place for images")


def _socket(cluster: clusters.Cluster) -> Path:
    return cluster.run / "containerd.sock"
