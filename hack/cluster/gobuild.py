"""Builds toolsets from their Go modules into the cache, once per content."""

import concurrent.futures
import dataclasses
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from hack.cluster import toolchain, toolsets
from hack.support import durations, errors, locks, paths, progress

KEEP_GOCACHE_ABOVE = 40 * 2**30
"""Free bytes above which compiled packages are kept: they are gigabytes and results are cached."""

TWO_LANES_MEMORY = 8 * 2**30
"""Linking one Kubernetes program takes 2 GB; two toolsets side by side need room for both."""

DURATIONS = durations.Durations("toolsets", minimum=0)
"""Seconds of each toolset's last build."""

ARGOCD_GO = (1, 27)
"""Argo CD's own go.mod asks for it."""


@dataclasses.dataclass(frozen=True)
class Toolbox:
    """Where each built toolset lies."""

    folders: dict[str, Path]

    def program(self, name: str) -> Path:
        """Returns the path of one program of a built toolset."""
        for folder in self.folders.values():
            if (folder / name).exists():
                return folder / name
        raise errors.ToolError(f"{name} is not a program of the toolsets {', '.join(self.folders)}")


@dataclasses.dataclass
class _Job:
    toolset: toolsets.Toolset
    go: Path
    target: Path
    estimate: float
    begun: float | None = None
    packages: int = 0
    done: bool = False

    def describe(self) -> str:
        if self.done:
            return f"{self.toolset.name} done"
        if self.begun is None:
            return f"{self.toolset.name} waits (~{progress.minutes(self.estimate)})"
        passed = time.monotonic() - self.begun
        left = f"{progress.minutes(passed)} of ~{progress.minutes(self.estimate)}"
        return f"{self.toolset.name} {left}, {self.packages} packages compiled"


def ensure(names: Iterable[str]) -> Toolbox:
    """Returns the programs of these toolsets, and builds those that the cache lacks."""
    wanted = [toolsets.named(name) for name in dict.fromkeys(names)]
    jobs = {toolset.name: _job(toolset) for toolset in wanted}
    missing = [job for job in jobs.values() if not job.target.exists()]
    if missing:
        _build_all(missing)
    return Toolbox({name: job.target for name, job in jobs.items()})


def target(toolset: toolsets.Toolset) -> Path | None:
    """Returns the folder of a toolset's programs for the present inputs, built or not.

    None without a compiler, since the version is part of the key; asking never installs one.
    """
    go = toolchain.present(_minimum(toolset))
    return None if go is None else _folder(toolset, go[1])


def _job(toolset: toolsets.Toolset) -> _Job:
    go, version = toolchain.find(_minimum(toolset))
    estimate = DURATIONS.last(toolset.name) or toolset.seconds
    return _Job(toolset, go, _folder(toolset, version), estimate)


def _folder(toolset: toolsets.Toolset, version: str) -> Path:
    return paths.cache() / "bin" / f"{toolset.name}-{toolset.key(version)}"


def _minimum(toolset: toolsets.Toolset) -> tuple[int, int]:
    return ARGOCD_GO if toolset.name == "argocd" else toolchain.MINIMUM


def _build_all(jobs: list[_Job]) -> None:
    waiting = lambda: progress.say("waiting: another process builds the programs")  # noqa: E731
    with locks.held(paths.cache() / "build.lock", waiting):
        jobs = [job for job in jobs if not job.target.exists()]
        if not jobs:
            return
        lanes = _lanes()
        about = max(sum(job.estimate for job in jobs) / lanes, *(job.estimate for job in jobs))
        names = ", ".join(job.toolset.name for job in jobs)
        progress.say(
            f"Building {names} from source: about {progress.minutes(about)}, "
            f"only once (kept in {paths.cache() / 'bin'})."
        )
        # The longest first: the short ones fill the second lane beside it.
        ordered = sorted(jobs, key=lambda job: -job.estimate)
        with (
            progress.live(lambda: " | ".join(job.describe() for job in ordered)),
            concurrent.futures.ThreadPoolExecutor(lanes) as pool,
        ):
            list(pool.map(_build, ordered))
        _forget_packages_if_low()


def _build(job: _Job) -> None:
    job.begun = time.monotonic()
    job.target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{job.target.name}-", dir=job.target.parent))
    try:
        for name, package in job.toolset.programs.items():
            _compile(job, work / name, package)
        work.chmod(0o755)
        work.rename(job.target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    job.done = True
    seconds = time.monotonic() - job.begun
    DURATIONS.remember(job.toolset.name, seconds)
    progress.say(f"  ✓ build {job.toolset.name} ({progress.minutes(seconds)})")


def _compile(job: _Job, output: Path, package: str) -> None:
    command = [str(job.go), "build", "-v", *toolsets.FLAGS, "-ldflags", job.toolset.ldflags]
    command += ["-o", str(output), package]
    environment = {**os.environ, **toolsets.ENV, "GOCACHE": str(_gocache())}
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=toolsets.MODULES / job.toolset.name,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            job.packages += 1
    if process.returncode != 0:
        end = "".join(lines[-25:])
        raise errors.ToolError(f"building {output.name} failed: {' '.join(command)}\n{end}")


def forget_packages() -> None:
    """Deletes compiled packages; finished programs stay."""
    shutil.rmtree(_gocache(), ignore_errors=True)


def _forget_packages_if_low() -> None:
    if shutil.disk_usage(paths.cache()).free < KEEP_GOCACHE_ABOVE:
        forget_packages()


def _lanes() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2 if (os.cpu_count() or 1) >= 2 and memory >= TWO_LANES_MEMORY else 1


def _gocache() -> Path:
    return paths.cache() / "gocache"
