"""What a release consists of: wheel, source archive, chart package, SBOMs and checksums."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from hack.cluster import gobuild
from hack.support import commands

CHECKSUMS = "SHA256SUMS"
"""Name of the checksum file, in the format of sha256sum."""
REQUIREMENTS = ("operator", "corpus", "ml")
"""Requirement files whose packages end up in an image; each gets an SBOM."""


def python_packages(root: Path, output: Path) -> list[Path]:
    """Build the wheel and the source archive; equal commits give equal bytes."""
    stamp = commands.output(["git", "-C", str(root), "log", "-1", "--format=%ct"]).strip()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(output)],
        cwd=root,
        env={**os.environ, "SOURCE_DATE_EPOCH": stamp},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return [*sorted(output.glob("*.whl")), *sorted(output.glob("*.tar.gz"))]


def chart(root: Path, output: Path) -> list[Path]:
    """Package the Helm chart, with the helm that the local cluster uses."""
    helm = gobuild.ensure(["helm"]).program("helm")
    before = set(output.glob("*.tgz"))
    folder = root / "charts" / "mens-operator"
    commands.output([str(helm), "lint", "--quiet", str(folder)])
    commands.output([str(helm), "package", str(folder), "--destination", str(output)])
    return sorted(set(output.glob("*.tgz")) - before)


def sboms(
    root: Path, output: Path, version: str, names: Iterable[str] = REQUIREMENTS
) -> list[Path]:
    """Write a CycloneDX document for each set of Python packages that an image contains."""
    written = []
    for name in names:
        path = output / f"mens-{version}-{name}.cdx.json"
        # --short-PURLs leaves out the address of the package index.
        command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--no-validate"]
        command += ["--output-reproducible", "--short-PURLs"]
        command += ["--pyproject", str(root / "pyproject.toml"), "--of", "JSON", "-o", str(path)]
        commands.output([*command, str(root / "requirements" / f"{name}.txt")])
        written.append(path)
    return written


def checksums(files: Iterable[Path], output: Path) -> Path:
    """Write the SHA-256 of every file; `sha256sum -c` checks them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(files)
    ]
    target = output / CHECKSUMS
    target.write_text("".join(lines))
    return target
