"""`mens lineage`: what an artifact was made from, down to its sources."""

from __future__ import annotations

import argparse
from typing import Any

from mens.artifacts import manifests, refs
from mens.cli import output
from mens.provenance import lineage


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "lineage",
        help="what an artifact was made from",
        parents=[output.json_option()],
        description="Show the tree of inputs of an artifact, with digests and licenses.",
    )
    output.artifact_argument(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    source = args.open_store()
    uri, digest = output.reference(args.uri)
    if digest is None:
        _, digest = manifests.read(source, uri)
    tree = lineage.trace(refs.ArtifactRef(uri=uri, digest=digest), lineage.reader(source))
    if args.json:
        output.answer(_as_json(tree))
        return 0
    for level, node in tree.walk():
        mark = "" if level == 0 else "   " * (level - 1) + "└─ "
        kind = node.kind if level == 0 else node.role
        output.text(f"{mark}{kind} {node.name}  [{node.license_expression}]")
        indent = " " * (len(mark) + 2)
        output.text(f"{indent}{node.digest}  {node.uri}")
        if node.problem:
            output.text(f"{indent}! {node.problem}")
    return 0


def _as_json(node: lineage.Node) -> dict[str, Any]:
    content: dict[str, Any] = {
        "role": node.role,
        "kind": node.kind,
        "name": node.name,
        "uri": node.uri,
        "digest": node.digest,
        "licenseExpression": node.license_expression,
        "problem": node.problem,
        "inputs": [_as_json(parent) for parent in node.parents],
    }
    return {key: value for key, value in content.items() if value != ""}
