"""What a person sees: answers on standard output, progress and errors on standard error."""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import metadata
from typing import Any, Final

from mens.artifacts import digests, errors, refs

WIDTH: Final = 28
"""Characters of a progress bar."""
EVERY_SECONDS: Final = 0.1
"""Seconds between two drawings; more often only costs time."""


def json_option() -> argparse.ArgumentParser:
    """Parent parser with `--json`, for every command that answers something."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--json", action="store_true", help="answer in JSON, without progress")
    return parent


def answer(content: Any) -> None:
    """Print JSON."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def text(line: str = "") -> None:
    """Print a line of an answer."""
    print(line)


def note(line: str) -> None:
    """Tell a person something that is not the answer."""
    print(f"mens: {line}", file=sys.stderr)


def failure(reason: str, message: str, *, as_json: bool) -> None:
    """Tell why it did not work; with `as_json` a program can read it from standard output."""
    if as_json:
        answer({"error": {"reason": reason, "message": message}})
    else:
        note(f"{reason}: {message}")


def size(count: int) -> str:
    """Bytes for a person: 1.2 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def version() -> str:
    """Version of the installed package; `0+source` for a source tree that is not installed."""
    try:
        return metadata.version("mens")
    except metadata.PackageNotFoundError:
        return "0+source"


class Progress:
    """A bar on a terminal, nothing elsewhere; a `publishing.Progress`."""

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = label
        self._shown = shown and sys.stderr.isatty()
        self._started = time.monotonic()
        self._drawn = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Draw, unless it was drawn just now."""
        now = time.monotonic()
        if not self._shown or (done < total and now - self._drawn < EVERY_SECONDS):
            return
        self._drawn = now
        share = done / total if total else 1.0
        rate = done / max(now - self._started, 0.001)
        bar = "#" * int(WIDTH * share)
        line = f"{self._label} [{bar:<{WIDTH}}] {size(done)} of {size(total)}, {size(int(rate))}/s"
        print(f"\r{line}\033[K", end="\n" if done >= total else "", file=sys.stderr, flush=True)


def reference(given: str) -> tuple[refs.Uri, digests.Digest | None]:
    """Read `s3://bucket/folder`, with `@sha256:…` behind it where the digest is known."""
    uri, at, digest = given.rpartition("@sha256:")
    if not at:
        return refs.Uri.parse(given), None
    return refs.Uri.parse(uri), digests.Digest.parse(f"sha256:{digest}")


def artifact_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names an artifact."""
    parser.add_argument(
        "uri",
        help="folder of the artifact, s3://bucket/folder; with @sha256:… it must have that digest",
    )


def wrong(message: str) -> errors.StoreError:
    """An error about a folder or file on this machine."""
    return errors.ManifestInvalid(message)
