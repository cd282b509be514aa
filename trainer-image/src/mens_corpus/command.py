"""`mens corpus`: the same build and a look at its result, for a person at a shell."""

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
from mens.runtime import jobs
from mens_corpus import accounting, builder, compliance, errors, preview, spec_file
from mens_corpus.readers import local, registry, trees

OpenStore: TypeAlias = Callable[[], store.ObjectStore]

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def register(commands: Commands) -> None:
    """Add `corpus` to the commands of `mens`."""
    parser = commands.add_parser("corpus", help="build a dataset here, or look at one")
    add_commands(parser)
    parser.set_defaults(run=run)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add build and show to a parser."""
    commands = parser.add_subparsers(dest="corpus_command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build the dataset that a file describes")
    build.add_argument(
        "-f", "--file", type=Path, required=True, help="a MensCorpus or its spec, YAML or JSON"
    )
    build.add_argument("-o", "--out", required=True, help="empty folder, or s3://bucket/folder")
    show = commands.add_parser("show", help="print counts and sample rows of a dataset")
    show.add_argument("where", help="folder, or s3://bucket/folder")
    show.add_argument("-n", "--rows", type=int, default=3, help="rows of each side (default 3)")


def run(arguments: argparse.Namespace) -> int:
    """Run a sub-command; what a person can correct is said in one line."""
    try:
        # `mens` brings its own way to the store; `python -m mens_corpus` does not.
        open_store = getattr(arguments, "open_store", _store_of_environment)
        if arguments.corpus_command == "build":
            return _build(arguments.file, arguments.out, open_store)
        return _show(arguments.where, arguments.rows, open_store)
    except errors.BuildError as e:
        print(f"{e.reason}: {e}", file=sys.stderr)
        return int(e.exit_code)
    except store_errors.StoreError as e:
        print(f"{e.reason}: {e}", file=sys.stderr)
        trouble = e.transient
        return int(jobs.ExitCode.STORAGE_ERROR if trouble else jobs.ExitCode.INVALID_INPUT)


def _store_of_environment() -> store.ObjectStore:
    return s3.from_env(os.environ)


def _build(file: Path, out: str, open_store: OpenStore) -> int:
    authored = spec_file.read(file)
    target = None if out.startswith(refs.SCHEME) else Path(out)
    if target is not None and target.exists() and any(target.iterdir()):
        print(f"{target} is not empty; name another folder", file=sys.stderr)
        return 1
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mens-corpus-") as scratch:
        built = builder.build(
            authored.name, authored.spec, _around(authored, Path(scratch), open_store)
        )
        if target is None:
            ref = publisher.publish(open_store(), refs.Uri.parse(out), built.folder, built.draft)
            digest = str(ref.digest)
        else:
            digest = _keep(built, target)
    print(accounting.table(built.ledger.to_object()))
    print(
        f"{built.train} train + {built.validation} validation rows, fingerprint "
        f"{built.fingerprint}, {time.monotonic() - started:.1f} s"
    )
    print(f"{out}@{digest}")
    return 0


def _around(
    authored: spec_file.Authored, scratch: Path, open_store: OpenStore
) -> builder.Surroundings:
    from_spec = registry.opener(open_store, scratch)

    def open_tree(source: corpus.Source) -> trees.Tree:
        folder = authored.folders.get(source.name)
        return local.FolderTree(folder) if folder else from_spec(source)

    return builder.Surroundings(
        open_tree=open_tree,
        table=compliance.table(),
        scratch=scratch,
        producer="local",
        report=_silent,
    )


def _silent(stage: str, step: int, total: int, rows: int) -> None:
    del stage, step, total, rows


def _keep(built: builder.Built, target: Path) -> str:
    """Move the dataset to where the person wants it, the manifest last."""
    files = [publisher.describe(name, path) for name, path in publisher.local_files(built.folder)]
    manifest = built.draft.with_files(files)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(built.folder.iterdir()):
        shutil.move(path, target / path.name)
    (target / manifests.FILE_NAME).write_bytes(manifest.to_bytes())
    return str(manifest.digest)


def _show(where: str, count: int, open_store: OpenStore) -> int:
    with preview.temporary() as scratch:
        folder = Path(where)
        if where.startswith(refs.SCHEME):
            folder = preview.fetched(open_store(), refs.Uri.parse(where), Path(scratch))
        elif not (folder / manifests.FILE_NAME).is_file():
            print(
                f"{where} holds no {manifests.FILE_NAME}: it is no dataset that `mens corpus "
                "build` wrote; one that is published is shown by its address, s3://bucket/folder",
                file=sys.stderr,
            )
            return 1
        for line in preview.show(folder, count):
            print(line)
    return 0
