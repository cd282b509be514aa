"""The images as data."""

import dataclasses

REGISTRY = "localhost"
"""First part of every reference: nothing ever tries to fetch such an image."""


@dataclasses.dataclass(frozen=True)
class Image:
    """One image, and the stage of the Dockerfile it is."""

    name: str
    """Name without registry and tag."""

    dockerfile: str
    """Path in the checkout."""

    target: str
    """Stage of that file."""

    summary: str
    """What it is, in a few words."""

    seconds: float
    """What a build takes on two cores when this machine has not measured it yet."""

    above: str | None = None
    """Image whose layers it starts with and that is built before it; None for the base."""

    runs: bool = True
    """Whether a cluster runs it; the heavy layer alone is only a parent of other images."""


ML = Image(
    "mens-ml",
    "trainer-image/Dockerfile",
    "ml",
    "torch and what trainer and server share (5 GB, once)",
    180.0,
    runs=False,
)

IMAGES = (
    ML,
    Image("mens-operator", "operator/Dockerfile", "operator", "the operator", 35.0),
    Image("mens-corpus", "trainer-image/Dockerfile", "corpus", "the corpus builder", 30.0),
    Image("mens-dev-store", "hack/devstore/Dockerfile", "dev-store", "SeaweedFS for trials", 20.0),
    Image("mens-trainer", "trainer-image/Dockerfile", "trainer", "the trainer", 12.0, ML.name),
    Image("mens-server", "server-image/Dockerfile", "server", "the server", 12.0, ML.name),
)
"""Every image in build order: the longest first, since others are built on it."""


def latest(image: Image) -> str:
    """Returns the name of whatever was built last, which nothing ever runs.

    It is what a build writes to before its content's key is sure, and it keeps the steps of that
    build from being removed: the next build starts from them.
    """
    return f"{REGISTRY}/{image.name}:last-build"


def named(name: str) -> Image:
    """Returns an image by its name, with or without the leading `mens-`.

    Raises:
        KeyError: The name is unknown; the message lists all names.
    """
    for image in IMAGES:
        if name in (image.name, image.name.removeprefix("mens-")):
            return image
    raise KeyError(
        f"unknown image {name!r}; choose from {', '.join(image.name for image in IMAGES)}"
    )
