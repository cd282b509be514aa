"""The image everything starts from here: a minimal Debian with Python, made without a registry.

Elsewhere the Dockerfiles start from the public Python image (their default of BASE_IMAGE); both
have `python3` with venv and the CA certificates, and the files use nothing else of them.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from hack.images import buildah, catalog
from hack.support import commands

NAME = "mens-base"

SUITE = "bookworm"
"""Debian 12: Python 3.11, the oldest that the project supports."""

PACKAGES = ("python3", "python3-venv", "ca-certificates")

OPTIONS = (
    "--variant=minbase",
    # Documentation and translations are a third of the size; copyright files stay, as they must.
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)

DOCKERFILE = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["python3"]
"""

SECONDS = 55.0
"""What it takes on two cores when this machine has not measured it yet."""


def key() -> str:
    """Hashes the recipe. Debian's point releases do not change it: `prune --all` makes it new."""
    recipe = "\0".join((SUITE, *PACKAGES, *OPTIONS, DOCKERFILE))
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def reference() -> str:
    """Returns the base's full reference."""
    return f"{catalog.REGISTRY}/{NAME}:{key()}"


def build(store: buildah.Store, log: Path) -> None:
    """Makes the base from Debian packages and puts it into the store."""
    # Where the host's apt has a mirror of its own for Debian, MENS_APT_SOURCES names that file.
    sources = os.environ.get("MENS_APT_SOURCES")
    with tempfile.TemporaryDirectory(prefix="base-", dir=store.root.parent) as work:
        archive = Path(work) / "base.tar"
        command = ["mmdebstrap", *OPTIONS, f"--include={','.join(PACKAGES)}", SUITE, str(archive)]
        commands.run([*command, *([sources] if sources else [])], log)
        (Path(work) / "Dockerfile").write_text(DOCKERFILE)
        store.build(reference(), Path(work) / "Dockerfile", Path(work), log)
