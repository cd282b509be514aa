"""`mens model import`: a Hugging Face folder becomes a Model artifact, with its license."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mens.artifacts import errors, manifests, publisher, refs
from mens.cli import folders, output
from mens.provenance import licenses, obligations


class LicenseUnknownError(errors.StoreError):
    """The license has to be found, or its being unknown to be accepted on purpose."""

    reason = licenses.LICENSE_UNKNOWN


class OtherArtifactError(errors.StoreError):
    """Something else lies where one wants to import to, and what was published never changes."""

    reason = "OtherArtifact"


def register(commands: Any) -> None:
    """Add the sub-commands."""
    parser = commands.add_parser("model", help="import a base model")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser(
        "import",
        help="publish a Hugging Face folder as a base model",
        parents=[output.json_option()],
        description=(
            "Publish a folder in Hugging Face layout (config.json, tokenizer, *.safetensors) as "
            "a Model artifact. Pickle files are refused by name. The license file is captured "
            "as it is, and its text decides which license it is. Repeating the command is safe."
        ),
    )
    add.add_argument("folder", type=Path, help="folder of the model on this machine")
    add.add_argument("uri", help="folder of the artifact: s3://bucket/models/<name>/<version>")
    add.add_argument("--family", required=True, help="family of the model, such as smollm2")
    add.add_argument("--model-id", required=True, help="its name where it was published")
    add.add_argument("--revision", required=True, help="its commit or version there")
    add.add_argument(
        "--license-file", required=True, type=Path, help="the original license text of the model"
    )
    add.add_argument(
        "--license", metavar="SPDX", help="declared license; default: what its README.md declares"
    )
    add.add_argument(
        "--allow-unknown",
        action="store_true",
        help="import even if the license is unknown; nothing will train on it or serve it",
    )
    add.set_defaults(run=_import)


def draft(
    folder: Path,
    *,
    upstream: manifests.Upstream,
    license_text: bytes,
    declared: str | None = None,
    allow_unknown: bool = False,
) -> manifests.Manifest:
    """All facts about a model folder but its files; `LicenseUnknownError` unless allowed."""
    declared = declared or folders.declared_license(folder)
    conclusion = licenses.conclude(declared, licenses.identify(license_text))
    if not conclusion.known and not allow_unknown:
        raise LicenseUnknownError(
            f"the license of {upstream.model_id} is unknown: {conclusion.message}. With "
            "--allow-unknown it is imported all the same, and recorded as Unknown"
        )
    return manifests.Manifest(
        kind=manifests.Kind.MODEL,
        name=upstream.model_id,
        upstream=upstream,
        compliance=obligations.of(conclusion, [license_text]),
        details=folders.details(folder),
        producer=manifests.Producer(image="local", versions={"mens": output.version()}),
    )


def _import(args: argparse.Namespace) -> int:
    uri = refs.Uri.parse(args.uri)
    paths = dict(folders.model_files(args.folder))
    try:
        license_text = args.license_file.read_bytes()
    except OSError as e:
        raise output.wrong(
            f"the license file cannot be read: {e.strerror}; correct --license-file"
        ) from e
    upstream = manifests.Upstream(
        family=args.family, model_id=args.model_id, revision=args.revision
    )
    manifest = draft(
        args.folder,
        upstream=upstream,
        license_text=license_text,
        declared=args.license,
        allow_unknown=args.allow_unknown,
    )
    with tempfile.TemporaryDirectory() as scratch:
        for held in manifest.compliance.licenses:
            captured = Path(scratch, Path(held.path).name)
            captured.write_bytes(license_text)
            paths[held.path] = captured
        target = args.open_store()
        if (present := publisher.existing(target, uri)) is not None:
            _refuse_other(uri, _other_facts(manifests.read(target, present)[0], manifest))
        shown = not args.json
        files = publisher.describe_all(paths, progress=output.Progress("hash", shown=shown))
        ref = publisher.publish_files(
            target,
            uri,
            paths,
            manifest,
            progress=output.Progress("import", shown=shown),
            described=files,
        )
        published, _ = manifests.read(target, ref)
        # Also what was published by this very command may be another's, who was faster.
        _refuse_other(uri, _other_facts(published, manifest) or _other_files(published, files))
    _tell(args, ref, published)
    return 0


def _refuse_other(uri: refs.Uri, differs: str) -> None:
    """Raise OtherArtifactError where something differs."""
    if differs:
        raise OtherArtifactError(
            f"{uri} already holds another model, with {differs}; what is published never changes: "
            "import to a folder of its own, such as one per version; or, if nothing was made from "
            f"what is there, delete {uri}/manifest.json first"
        )


def _other_facts(there: manifests.Manifest, wanted: manifests.Manifest) -> str:
    """Facts in which an artifact differs from what was to be imported; empty if in none."""
    if there.upstream is None or wanted.upstream is None:
        return "" if there.upstream == wanted.upstream else f"the kind {there.kind}"
    held, given = there.upstream.model_dump(), wanted.upstream.model_dump()
    named = [f"--{key.replace('_', '-')} {held[key]}" for key in held if held[key] != given[key]]
    # Not the obligations: a later table can word them differently for the same license.
    before, now = there.compliance, wanted.compliance
    if (before.license_expression, before.licenses) != (now.license_expression, now.licenses):
        named.append(f"the license {before.license_expression}")
    return ", ".join(named)


def _other_files(there: manifests.Manifest, files: Sequence[manifests.File]) -> str:
    """Files in which an artifact differs from what was to be imported; empty if in none."""
    held, given = ({file.path: file for file in each} for each in (there.files, files))
    other = sorted(name for name in {*held, *given} if held.get(name) != given.get(name))
    return f"other files: {', '.join(other[:3])}" if other else ""


def _tell(args: argparse.Namespace, ref: refs.ArtifactRef, manifest: manifests.Manifest) -> None:
    said = manifest.compliance
    if args.json:
        content = json.loads(said.model_dump_json(by_alias=True))
        facts = {"uri": str(ref.uri), "digest": ref.digest, "sizeBytes": manifest.size_bytes}
        output.answer(facts | {"compliance": content})
        return
    output.text(f"{manifest.name} is {ref.uri}")
    output.text(f"  digest   {ref.digest}")
    output.text(f"  license  {said.license_expression} ({said.license_class})")
    output.text(f"  files    {len(manifest.files)}, {output.size(manifest.size_bytes)}")
