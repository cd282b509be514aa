"""Brings images from our store into a containerd on the same machine.

The quick way takes each layer that containerd does not have by hard links: a snapshot is
prepared, filled with links to the store's files, and committed under the layer's chain ID. No
byte of a layer is copied, hashed or packed: both sides keep layers read-only, and a container
that writes gets a copy from overlayfs. Where links are impossible (another file system), files
are copied; where the runtime has other snapshots than overlayfs, an archive goes through
`ctr images import`.
"""

import contextlib
import dataclasses
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from hack.images import archives, buildah, layers
from hack.support import commands, errors

NAMESPACE = "k8s.io"
"""The namespace in which kubelet's runtime looks."""


@dataclasses.dataclass(frozen=True)
class Containerd:
    """A containerd of this machine."""

    socket: Path

    def command(self, *arguments: str) -> list[str]:
        """Returns a command of containerd's client."""
        return ["ctr", "--address", str(self.socket), "--namespace", NAMESPACE, *arguments]

    def ctr(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Runs containerd's client and returns what it printed."""
        return commands.output(self.command(*arguments), stdin)

    def references(self) -> set[str]:
        """Returns the references of the images it has."""
        return set(self._digests())

    def used(self) -> set[str]:
        """Returns the references that containers were made from, running or not."""
        return {line.split()[1] for line in self.ctr("containers", "ls").splitlines()[1:]}

    def remove(self, references: Iterable[str]) -> None:
        """Removes images; what no other image and no container uses goes with them."""
        digests = self._digests()
        gone = set(references) & set(digests)
        kept = {digest for name, digest in digests.items() if not _bare(name) and name not in gone}
        # kubelet's runtime keeps a second name for each image, which would hold its layers.
        gone |= {name for name, digest in digests.items() if _bare(name) and digest not in kept}
        if gone:
            self.ctr("images", "rm", "--sync", *sorted(gone))

    def _digests(self) -> dict[str, str]:
        lines = [line.split() for line in self.ctr("images", "ls").splitlines()[1:]]
        return {words[0]: words[2] for words in lines}

    def adopt(self, image: layers.StoredImage, reference: str) -> None:
        """Makes an image of the store one of containerd's, layer by layer, by hard links.

        Raises:
            ToolError: containerd refused, or its snapshots are not plain folders.
        """
        chains = layers.chain_ids([layer.digest for layer in image.layers])
        present = self._snapshots()
        parent = ""
        for chain, layer in zip(chains, image.layers, strict=True):
            if chain not in present:
                self._adopt_layer(chain, parent, layer.folder)
            parent = chain
        self.ctr("images", "import", "-", stdin=archives.thin(image, reference))
        # ctr pins what it prepares. From here on the image holds its snapshots, so that they go
        # when it goes.
        for chain in chains:
            with contextlib.suppress(errors.ToolError):
                self.ctr("snapshots", "label", chain, "containerd.io/gc.root=")

    def _adopt_layer(self, chain: str, parent: str, folder: Path) -> None:
        key = f"mens-{uuid.uuid4().hex}"
        self.ctr("snapshots", "prepare", key, *([parent] if parent else []))
        try:
            _link(folder, self._writable(key))
            self.ctr("snapshots", "commit", chain, key)
        except BaseException:
            with contextlib.suppress(errors.ToolError):
                self.ctr("snapshots", "rm", key)
            raise

    def _writable(self, key: str) -> Path:
        # `mounts` prints the mount command; its target is never mounted.
        words = self.ctr("snapshots", "mounts", "/nowhere", key).split()
        for option in [part for word in words for part in word.split(",")]:
            if option.startswith("upperdir="):
                return _folder(option.removeprefix("upperdir="))
        if "bind" in words:
            # The lowest layer has nothing to overlay: its folder is bound as it is.
            return _folder(next(word for word in words if word.endswith("/fs")))
        raise errors.ToolError(
            f"containerd's snapshotter has no writable folder: {' '.join(words)}"
        )

    def _snapshots(self) -> set[str]:
        lines = self.ctr("snapshots", "ls").splitlines()[1:]
        return {line.split()[0] for line in lines if line.split()[-1] == "Committed"}


def import_archive(
    containerd: Containerd, store: buildah.Store, reference: str, work: Path, log: Path
) -> None:
    """Imports an image the ordinary way: an archive of all layers, which is deleted afterwards."""
    with archived(store, reference, work, log) as archive:
        commands.run(containerd.command("images", "import", str(archive)), log)


@contextlib.contextmanager
def archived(store: buildah.Store, reference: str, work: Path, log: Path) -> Iterator[Path]:
    """Yields an image as an uncompressed archive, and deletes it at the end."""
    with tempfile.TemporaryDirectory(prefix="archive-", dir=work) as folder:
        archive = Path(folder) / "image.tar"
        push = store.command("push", "--quiet", "--disable-compression", reference)
        commands.run([*push, f"docker-archive:{archive}:{reference}"], log)
        yield archive


def _bare(name: str) -> bool:
    return name.startswith("sha256:")


def _link(source: Path, target: Path) -> None:
    for how in (["--link"], []):
        done = subprocess.run(
            ["cp", "--archive", *how, f"{source}/.", str(target)], capture_output=True, check=False
        )
        if done.returncode == 0:
            return
        commands.run(["find", str(target), "-mindepth", "1", "-delete"], Path(os.devnull))
    reason = done.stderr.decode(errors="replace").strip()
    raise errors.ToolError(f"could not copy {source} to {target}: {reason}")


def _folder(path: str) -> Path:
    if not Path(path).is_dir():
        raise errors.ToolError(f"containerd's {path} is not a folder of this machine")
    return Path(path)
