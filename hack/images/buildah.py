"""The project's own image store, and buildah in it.

The store is in the project's cache; the stores of other tools are never touched.
"""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hack.images import layers, registries
from hack.support import commands, errors, locks, paths, progress

UV_CACHE = "/var/cache/uv"
"""Where a build finds the host's uv cache. Not the path of the Dockerfiles' cache mounts: with
both on one path, buildah 1.28 takes now the one, now the other."""


@dataclasses.dataclass(frozen=True)
class Store:
    """A containers-storage folder of ours."""

    root: Path
    """Layers and images."""

    run: Path
    """Locks and mounts while buildah runs."""

    def command(self, *arguments: str) -> list[str]:
        """Returns a buildah command that works in this store."""
        where = ["--root", str(self.root), "--runroot", str(self.run)]
        return ["buildah", *where, "--storage-driver", "overlay", *arguments]

    def build(
        self,
        reference: str,
        dockerfile: Path,
        context: Path,
        log: Path,
        *,
        target: str | None = None,
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        """Builds one image; the layers it shares with built ones come from the store."""
        with registries.settings(self.root.parent) as mounts:
            command = self.command("bud", "--isolation=chroot", "--network=host", "--pull-never")
            command += ["--layers", "--force-rm", "-t", reference, "-f", str(dockerfile)]
            command += ["--target", target] if target else []
            for name, value in {"UV_CACHE_DIR": UV_CACHE, **(arguments or {})}.items():
                command += ["--build-arg", f"{name}={value}"]
            for source, inside in {**mounts, str(_uv_cache()): UV_CACHE}.items():
                command += ["--volume", f"{source}:{inside}"]
            commands.run([*command, str(context)], log)

    def references(self) -> set[str]:
        """Returns the full references of all images."""
        return {name for image in self._images() for name in image.get("names") or []}

    def image(self, reference: str) -> layers.StoredImage:
        """Returns an image's manifest and its layers' folders.

        Raises:
            ToolError: The image does not exist.
        """
        for image in self._images():
            if reference in (image.get("names") or []):
                return layers.read(self.root, image)
        raise errors.ToolError(f"{reference} is not in {self.root}: build it first")

    def tag(self, reference: str, another: str) -> None:
        """Gives an image one more name."""
        commands.output(self.command("tag", reference, another))

    def remove(self, references: Sequence[str]) -> None:
        """Removes images and the layers that only they use."""
        if references:
            commands.output(self.command("rmi", "--force", *references))

    def remove_unnamed(self) -> None:
        """Removes unnamed images: intermediate build steps, which make later builds faster."""
        if self.root.exists():
            commands.output(self.command("rmi", "--prune", "--force"))

    def _images(self) -> list[layers.Record]:
        try:
            found: list[layers.Record] = json.loads(
                (self.root / "overlay-images" / "images.json").read_text()
            )
        except FileNotFoundError:
            return []
        return found


@contextlib.contextmanager
def opened() -> Iterator[Store]:
    """Opens the store for one process at a time."""
    folder = paths.cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        progress.say("  waiting: another process builds images")

    with locks.held(folder / "lock", waiting):
        _forget_leftovers()
        yield Store(folder / "storage", Path("/run/mens-images") / str(os.getuid()))


def _forget_leftovers() -> None:
    """Deletes the files of a killed build: gigabytes, and perhaps an index's credentials.

    The holder of the lock is the only builder, so no other process uses these files.
    """
    for pattern in ("pip-*", "base-*", "archive-*"):
        for left in (paths.cache() / "images").glob(pattern):
            shutil.rmtree(left)


def _uv_cache() -> Path:
    configured = os.environ.get("UV_CACHE_DIR")
    folder = Path(configured) if configured else Path.home() / ".cache" / "uv"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
