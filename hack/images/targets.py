"""Where images go: our own containerd by links, kind by archives, a foreign cluster not at all."""

import abc
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from hack.cluster import clusters, image_import
from hack.images import buildah, containerd
from hack.support import errors, paths, progress

REGISTRY_VARIABLE = "MENS_REGISTRY"
"""Names the registry from which a cluster that is not ours pulls."""


class Target(abc.ABC):
    """A place that runs images."""

    @abc.abstractmethod
    def references(self) -> set[str]:
        """Returns the references it has."""

    @abc.abstractmethod
    def bring(self, store: buildah.Store, reference: str, log: Path) -> None:
        """Brings one image of the store."""


@dataclasses.dataclass(frozen=True)
class Embedded(Target):
    """The containerd of a cluster of ours."""

    runtime: containerd.Containerd

    def references(self) -> set[str]:
        """Returns the references it has."""
        return self.runtime.references()

    def bring(self, store: buildah.Store, reference: str, log: Path) -> None:
        """Links the image's layers; goes through an archive where that does not work."""
        try:
            self.runtime.adopt(store.image(reference), reference)
        except (errors.ToolError, ValueError, KeyError) as error:
            progress.say(f"  {reference} goes through an archive: {error}")
            containerd.import_archive(self.runtime, store, reference, paths.cache() / "images", log)


@dataclasses.dataclass(frozen=True)
class Kind(Target):
    """A kind cluster: nodes in containers of their own, so an archive must carry everything."""

    cluster: clusters.Cluster

    def references(self) -> set[str]:
        """Returns the references it has."""
        return image_import.images(self.cluster)

    def bring(self, store: buildah.Store, reference: str, log: Path) -> None:
        """Loads an archive of the whole image."""
        with containerd.archived(store, reference, paths.cache() / "images", log) as archive:
            image_import.import_image(self.cluster, archive)


def target_for(cluster: clusters.Cluster | None) -> Target | None:
    """Returns where a cluster takes images; None where there is none that is ours to load."""
    if cluster is None or cluster.kind is clusters.Kind.EXTERNAL or not cluster.node:
        return None
    if cluster.kind is clusters.Kind.KIND:
        return Kind(cluster)
    return Embedded(containerd.Containerd(cluster.run / "containerd.sock"))


def for_foreign(
    store: buildah.Store, references: Mapping[str, str], registry: str | None
) -> dict[str, str]:
    """Returns the references under which a cluster that is not ours finds the images.

    Args:
        store: Where they are built.
        references: Image name -> our reference.
        registry: Where the user has pushed them; None when it is not set.

    Raises:
        ToolError: No registry is set: the message explains how to push, since only the user knows
            which registry the cluster reaches and may write to it.
    """
    pushed = {name: _elsewhere(ref, registry or "REGISTRY") for name, ref in references.items()}
    if registry:
        return pushed
    lines = ["the images are built; this cluster is not ours, so push them where it can pull:"]
    for name, reference in references.items():
        lines.append("  " + " ".join(store.command("push", reference, f"docker://{pushed[name]}")))
    lines.append(f"then set {REGISTRY_VARIABLE}=REGISTRY and run this again")
    raise errors.ToolError("\n".join(lines))


def _elsewhere(reference: str, registry: str) -> str:
    return f"{registry.rstrip('/')}/{reference.partition('/')[2]}"
