"""What the forge and pre-commit read names things that exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OWNED = [
    line.split()[0]
    for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
    if line.startswith("/")
]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


@pytest.mark.parametrize("path", OWNED)
def test_owned_folders_exist(path: str) -> None:
    """A line for a folder that moved would leave it without an owner."""
    assert (ROOT / path.strip("/")).is_dir()


def test_every_top_level_package_has_an_owner() -> None:
    """A new program needs a line in CODEOWNERS."""
    folders = [*ROOT.glob("*/src/mens_*"), *ROOT.glob("src/mens/*/")]
    packages = [path for path in folders if (path / "__init__.py").exists()]
    assert packages
    for package in packages:
        relative = f"/{package.relative_to(ROOT)}/"
        # The command line is the maintainers': the first line of the file.
        owned = any(relative.startswith(path) for path in OWNED)
        assert owned or relative == "/src/mens/cli/", relative


def test_workflow_runs_what_anybody_can_run() -> None:
    """CI has one script, and the forge calls it."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    commands = [step.get("run", "") for step in workflow["jobs"]["ci"]["steps"]]
    assert any("bash .ci/run" in command for command in commands)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: str(hook["id"]))
def test_hooks_use_the_pinned_tools(hook: dict[str, object]) -> None:
    """A hook runs a program of `make init`, so that it agrees with `make lint`."""
    program = Path(str(hook["entry"]).split()[0])
    assert program.parts[:2] == (".venv", "bin")
    assert (ROOT / program).exists()
