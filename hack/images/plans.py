"""Which images are to be built and which brought into a cluster: pure."""

import dataclasses
from collections.abc import Iterable, Mapping

from hack.images import catalog


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done, in order."""

    base: bool
    """Whether the base must be made first."""

    build: tuple[catalog.Image, ...]
    """Images to build; one that others stand on comes before them."""

    bring: tuple[catalog.Image, ...]
    """Images to bring into the cluster."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.build or self.bring)

    @property
    def heavy(self) -> bool:
        """Whether the layer of 5 GB is among what is built."""
        return catalog.ML in self.build


def plan(
    wanted: Iterable[catalog.Image],
    references: Mapping[str, str],
    base: str,
    stored: set[str],
    present: set[str] | None,
) -> Plan:
    """Decides what to build and what to bring.

    Laws: what the cluster has is neither built nor brought, whether the store has it or not; what
    the store has is not built; whatever is built has what it stands on, in the store or built
    before it; and the plan of a done plan is idle.

    Args:
        wanted: Images asked for.
        references: Name -> reference by today's content.
        base: Reference of the base.
        stored: References in our store.
        present: References in the cluster; None without a cluster.
    """
    asked = list(wanted)
    bring = [one for one in asked if present is not None and one.runs]
    bring = [one for one in bring if references[one.name] not in (present or set())]
    needed = {one.name for one in (asked if present is None else bring)}
    needed |= {one.name for one in asked if not one.runs}
    missing = {name for name in needed if references[name] not in stored}
    for image in catalog.IMAGES:
        if image.name in missing and image.above and references[image.above] not in stored:
            missing.add(image.above)
    build = tuple(image for image in catalog.IMAGES if image.name in missing)
    return Plan(bool(build) and base not in stored, build, tuple(bring))


def older(image: catalog.Image, references: Iterable[str], current: str) -> list[str]:
    """Returns the references of one image with an outdated key; `last-build` is not a key."""
    mine = {one for one in references if one.startswith(f"{catalog.REGISTRY}/{image.name}:")}
    return sorted(mine - {current, catalog.latest(image)})


def stale(references: Iterable[str], current: Iterable[str]) -> list[str]:
    """Returns those of our images whose key is not today's."""
    ours = (one for one in references if one.startswith(f"{catalog.REGISTRY}/mens-"))
    return sorted(set(ours) - set(current))
