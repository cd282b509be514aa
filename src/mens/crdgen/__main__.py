"""`python -m mens.crdgen [--check] [--root FOLDER]`: write or check what the models generate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mens.crdgen import render, structural_schema


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when everything is, or now is, up to date; 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m mens.crdgen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; show what differs")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="repository (default: here)")
    chosen = parser.parse_args(arguments)
    try:
        return _check(chosen.root) if chosen.check else _write(chosen.root)
    except (render.LintError, structural_schema.NotStructuralError) as error:
        print(error, file=sys.stderr)
        return 1


def _check(root: Path) -> int:
    found = render.differences(root)
    print("".join(found), end="")
    if found:
        print(f"{len(found)} generated files are out of date: run `make crds`", file=sys.stderr)
    return 1 if found else 0


def _write(root: Path) -> int:
    changed = render.write(root)
    print("\n".join(f"wrote {path}" for path in changed) or "everything was up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
