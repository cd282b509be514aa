"""The `mens corpus` command: build a dataset locally, or show one."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mens.api import corpus
from mens.artifacts import errors as store_errors
from mens.artifacts import manifests, publisher, refs, s3, store
from mens.runtime import errors, termination
from mens_corpus import accounting, builder, compliance, preview, spec_file
from mens_corpus.readers import base, local, registry

OpenStore: TypeAlias = Callable[[], store.ObjectStore]

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def register(commands: Commands) -> None:
    """Add `corpus` to the commands of `mens`."""
    parser = commands.add_parser("corpus", help="build or show a dataset")
    add_commands(parser)
    parser.set_defaults(run=run)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add build and show to a parser."""
    commands = parser.add_subparsers(dest="corpus_command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build a dataset from a MensCorpus file")
    build.add_argument(
        "-f", "--file", type=Path, required=True, help="a MensCorpus or its spec, YAML or JSON"
    )
    build.add_argument(
        "-o", "--out", required=True, help="an empty or new folder, or s3://bucket/folder"
    )
    show = commands.add_parser("show", help="print the accounting and sample rows of a dataset")
    show.add_argument("location", metavar="DATASET", help="a folder, or s3://bucket/folder")
    show.add_argument("-n", "--rows", type=int, default=3, help="rows per split (default 3)")


def run(arguments: argparse.Namespace) -> int:
    """Run a subcommand; an error that the user can correct is printed as one line."""
    try:
        # `mens` provides its own store; `python -m mens_corpus` does not.
        open_store = getattr(arguments, "open_store", _store_from_environment)
        if arguments.corpus_command == "build":
            return _build(arguments.file, arguments.out, open_store)
        return _show(arguments.location, arguments.rows, open_store)
    except (errors.JobError, store_errors.StoreError) as e:
        code, failure = termination.failure(e)
        print(f"{failure.reason}: {failure.message}", file=sys.stderr)
        return int(code)


def _store_from_environment() -> store.ObjectStore:
    return s3.from_env(os.environ)


def _build(file: Path, out: str, open_store: OpenStore) -> int:
    described = spec_file.read(file)
    target = None if out.startswith(refs.SCHEME) else Path(out)
    if target is not None and target.exists() and any(target.iterdir()):
        print(f"{target} is not empty; choose another folder for --out", file=sys.stderr)
        return 1
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mens-corpus-") as scratch:
        context = _build_context(described, Path(scratch), open_store)
        built = builder.build(described.name, described.spec, context)
        if target is None:
            ref = publisher.publish(open_store(), refs.Uri.parse(out), built.folder, built.draft)
            digest = str(ref.digest)
        else:
            digest = _write_to_folder(built, target)
    print(accounting.format_table(built.counters.to_object()))
    print(
        f"{built.train_rows} training rows, {built.validation_rows} validation rows, fingerprint "
        f"{built.fingerprint}, {time.monotonic() - started:.1f} s"
    )
    print(f"{out}@{digest}")
    return 0


def _build_context(
    described: spec_file.SpecFile, scratch: Path, open_store: OpenStore
) -> builder.BuildContext:
    open_remote = registry.opener(open_store, scratch)

    def open_reader(source: corpus.Source) -> base.Reader:
        folder = described.folders.get(source.name)
        return local.LocalReader(folder) if folder else open_remote(source)

    return builder.BuildContext(
        open_reader=open_reader,
        license_table=compliance.license_table(),
        scratch=scratch,
        producer="local",
        report_progress=_ignore_progress,
    )


def _ignore_progress(stage: str, step: int, total: int, rows: int) -> None:
    del stage, step, total, rows


def _write_to_folder(built: builder.BuildResult, target: Path) -> str:
    """Move the dataset to its target, the manifest last; returns the digest of the manifest."""
    files = [publisher.describe(name, path) for name, path in publisher.local_files(built.folder)]
    manifest = built.draft.with_files(files)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(built.folder.iterdir()):
        shutil.move(path, target / path.name)
    (target / manifests.FILE_NAME).write_bytes(manifest.to_bytes())
    return str(manifest.digest)


def _show(location: str, rows: int, open_store: OpenStore) -> int:
    with tempfile.TemporaryDirectory(prefix="mens-corpus-show-") as scratch:
        folder = Path(location)
        if location.startswith(refs.SCHEME):
            folder = preview.fetch(open_store(), refs.Uri.parse(location), Path(scratch))
        elif not (folder / manifests.FILE_NAME).is_file():
            print(
                f"{location} does not contain {manifests.FILE_NAME}, so it is not a dataset of "
                "`mens corpus build`; for a published dataset, use s3://bucket/folder",
                file=sys.stderr,
            )
            return 1
        for line in preview.describe(folder, rows):
            print(line)
    return 0
