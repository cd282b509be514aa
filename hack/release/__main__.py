"""Command line: `python -m hack.release`, a dry run of a release.

It builds everything that a release publishes and publishes nothing: no tag, no push, no upload.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from hack.release import packages, versions
from hack.support import commands, progress

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("mens-operator", "mens-corpus", "mens-trainer", "mens-server")


def main() -> int:
    """Check versions and changelog, build the packages, and print what a release would publish."""
    parser = argparse.ArgumentParser(prog="python -m hack.release", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "out" / "release", help="default: %(default)s"
    )
    output: Path = parser.parse_args().output
    try:
        found = versions.read(ROOT)
        text = versions.notes((ROOT / "CHANGELOG.md").read_text(), found.package)
    except ValueError as error:
        return _fail([str(error)])
    if found.mismatches:
        return _fail(found.mismatches)
    _warn_about_changes()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with progress.step("Wheel and source archive"):
        files = packages.python_packages(ROOT, output)
    with progress.step("Helm chart"):
        files += packages.chart(ROOT, output)
    with progress.step("SBOMs (CycloneDX)"):
        files += packages.sboms(ROOT, output, found.package)
    notes = output / "NOTES.md"
    notes.write_text(text + "\n")
    files.append(notes)
    packages.checksums(files, output)
    sys.stdout.write(_summary(found.package, files, output))
    return 0


def _fail(problems: list[str] | tuple[str, ...]) -> int:
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    return 1


def _warn_about_changes() -> None:
    changed = commands.output(["git", "-C", str(ROOT), "status", "--porcelain"]).strip()
    if changed:
        sys.stderr.write(
            f"warning: {len(changed.splitlines())} uncommitted changes; a release is built from a "
            "clean checkout\n"
        )


def _summary(version: str, files: list[Path], output: Path) -> str:
    lines = [f"Dry run of release {version}, in {output}:", ""]
    lines += [f"  {path.stat().st_size / 1024:10.1f} KiB  {path.name}" for path in files]
    lines += ["", "Nothing was published. A release would now:"]
    lines += [f"  tag the commit v{version}"]
    lines += [f"  push {image}:{version}" for image in IMAGES]
    lines += ["  publish the chart, the wheel, the SBOMs and the checksums", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {error}")
