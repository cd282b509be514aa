"""Helm as the cluster package builds it, for tests of the chart; rendering needs no cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.support import paths

CHART = Path(__file__).resolve().parents[2] / "charts" / "mens-operator"
Object = dict[str, Any]


def program() -> Path:
    """Helm from the cache or the PATH; skips where there is none yet."""
    built = sorted(paths.cache().glob("bin/helm-*/helm"), key=lambda path: path.stat().st_mtime)
    found = str(built[-1]) if built else shutil.which("helm")
    if found is None:
        pytest.skip("no helm: run `python -m hack.cluster build helm`")
    return Path(found)


def run(*words: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; without a kubeconfig it cannot reach any cluster."""
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig or os.devnull)}
    command = [str(program()), *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def template(*words: str) -> list[Object]:
    """Render the chart as release `mens` in namespace `mens-system`, unless `-n` names another."""
    done = run("template", "mens", str(CHART), "-n", "mens-system", *words)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if found]


def pick(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    [found] = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def wait_until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Ask again until it is true; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)
