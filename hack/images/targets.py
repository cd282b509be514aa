"""Where images go: our own containerd by links, kind by archives, a foreign cluster not at all."""

import abc
import dataclasses
from pathlib import Path

from hack.cluster import clusters, paths, progress
from hack.images import buildah, containerd, running


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
        except (running.ImagesError, ValueError, KeyError) as error:
            progress.say(f"  {reference} goes through an archive: {error}")
            containerd.import_archive(self.runtime, store, reference, paths.cache(), log)


@dataclasses.dataclass(frozen=True)
class Kind(Target):
    """A kind cluster: nodes in containers of their own, so an archive must carry everything."""

    cluster: clusters.Cluster

    def references(self) -> set[str]:
        """Returns the references it has."""
        from hack.cluster import images  # noqa: PLC0415  (only a kind cluster needs it)

        return set(images.images(self.cluster))

    def bring(self, store: buildah.Store, reference: str, log: Path) -> None:
        """Loads an archive of the whole image."""
        from hack.cluster import images  # noqa: PLC0415  (only a kind cluster needs it)

        with containerd.archived(store, reference, paths.cache(), log) as archive:
            images.import_image(self.cluster, archive)


def target_for(cluster: clusters.Cluster | None) -> Target | None:
    """Returns where a cluster takes images; None where there is none that is ours to load."""
    if cluster is None or cluster.kind is clusters.Kind.EXTERNAL or not cluster.node:
        return None
    if cluster.kind is clusters.Kind.KIND:
        return Kind(cluster)
    return Embedded(containerd.Containerd(cluster.run / "containerd.sock"))


def how_to_push(store: buildah.Store, references: list[str]) -> str:
    """Says how a person brings images to a cluster that is not ours."""
    lines = ["This cluster is not ours: push the images to a registry that it reaches,"]
    for reference in references:
        name = reference.partition("/")[2]
        push = store.command("push", reference, f"docker://REGISTRY/{name}")
        lines.append("  " + " ".join(push))
    return "\n".join([*lines, "and give the chart the same references (images.*)."])
