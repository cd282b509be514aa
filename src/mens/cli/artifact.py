"""`mens artifact`: look at an artifact, bring it here, verify every byte of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mens.artifacts import manifests, reader, refs, store
from mens.cli import output


def register(commands: Any) -> None:
    """Add the sub-commands."""
    parser = commands.add_parser("artifact", help="show, pull or verify an artifact")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    show = actions.add_parser(
        "show",
        help="what an artifact is",
        parents=[output.json_option()],
        description="Show an artifact's manifest: files, origin, license, obligations.",
    )
    output.artifact_argument(show)
    show.set_defaults(run=_show)

    pull = actions.add_parser(
        "pull",
        help="bring an artifact's files here",
        parents=[output.json_option()],
        description="Download and verify an artifact's files. Files that are here and right stay.",
    )
    output.artifact_argument(pull)
    pull.add_argument("into", type=Path, help="folder to write to; made if missing")
    pull.add_argument(
        "--only", action="append", metavar="GLOB", help="only files whose path matches; repeatable"
    )
    pull.set_defaults(run=_pull)

    verify = actions.add_parser(
        "verify",
        help="compare every byte with the manifest",
        parents=[output.json_option()],
        description="Read every byte of an artifact and compare it with what the manifest says.",
    )
    output.artifact_argument(verify)
    verify.add_argument(
        "--quick", action="store_true", help="only look whether every file is there with its size"
    )
    verify.set_defaults(run=_verify)


def _show(args: argparse.Namespace) -> int:
    manifest, ref = _resolve(args.open_store(), args.uri)
    if args.json:
        content = json.loads(manifest.to_bytes())
        output.answer({"uri": str(ref.uri), "digest": ref.digest, "manifest": content})
        return 0
    said = manifest.compliance
    output.text(f"{manifest.kind} {manifest.name}")
    output.text(f"  uri          {ref.uri}")
    output.text(f"  digest       {ref.digest}")
    if up := manifest.upstream:
        output.text(f"  upstream     {up.model_id} ({up.family}) at {up.revision}")
    output.text(f"  license      {said.license_expression} ({said.license_class})")
    output.text(f"  attribution  {said.attribution_required}")
    for item in manifest.inputs:
        output.text(f"  made from    {item.role} {item.name} {item.digest}")
    for key, value in sorted(manifest.details.items()):
        output.text(f"  {key:<12} {json.dumps(value, ensure_ascii=False)}")
    output.text(f"  files        {len(manifest.files)}, {output.size(manifest.size_bytes)}")
    for file in manifest.files:
        output.text(f"    {output.size(file.size_bytes):>9}  {file.digest.short}  {file.path}")
    if said.obligations:
        output.text("  asks for")
        for each in said.obligations:
            source = f"{each.source.license} {each.source.clause}"
            output.text(f"    {each.text} [{source}; {each.condition}]")
    return 0


def _pull(args: argparse.Namespace) -> int:
    source = args.open_store()
    manifest, ref = _resolve(source, args.uri)
    progress = output.Progress("pull", shown=not args.json)
    reader.fetch(source, ref, args.into, args.only, manifest=manifest, progress=progress)
    files = [file.path for file in reader.select(manifest, args.only)]
    if args.json:
        where = str(args.into.resolve())
        output.answer({"uri": str(ref.uri), "digest": ref.digest, "into": where, "files": files})
    else:
        output.text(f"{len(files)} files of {ref.uri} are in {args.into}, verified")
    return 0


def _verify(args: argparse.Namespace) -> int:
    source = args.open_store()
    _, ref = _resolve(source, args.uri)
    if args.quick:
        manifest = reader.check(source, ref)
    else:
        progress = output.Progress("verify", shown=not args.json)
        manifest = reader.verify(source, ref, progress=progress)
    if args.json:
        output.answer(
            {
                "uri": str(ref.uri),
                "digest": ref.digest,
                "verified": "sizes" if args.quick else "bytes",
                "files": len(manifest.files),
                "sizeBytes": manifest.size_bytes,
            }
        )
    else:
        what = "sizes" if args.quick else "every byte"
        output.text(f"{ref.uri} is what {ref.digest} says: {what} of {len(manifest.files)} files")
    return 0


def _resolve(source: store.ObjectStore, given: str) -> tuple[manifests.Manifest, refs.ArtifactRef]:
    """The manifest that is there now, or the one with the digest that was asked for."""
    uri, digest = output.reference(given)
    where = uri if digest is None else refs.ArtifactRef(uri=uri, digest=digest)
    manifest, found = manifests.read(source, where)
    return manifest, refs.ArtifactRef(uri=uri, digest=found)
