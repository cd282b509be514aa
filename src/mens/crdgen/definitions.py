"""One resource class → one CustomResourceDefinition."""

from __future__ import annotations

from typing import Any

from mens.api import corpus, kube, serve, trainrun
from mens.crdgen import json_schema, structural_schema

RESOURCES: tuple[type[kube.Resource], ...] = (
    corpus.MensCorpus,
    trainrun.MensTrainRun,
    serve.MensServe,
)
"""Every resource of the platform, in the order of work."""

CATEGORY = "mens"
"""`kubectl get mens` lists all of them."""


def name_of(resource: type[kube.Resource]) -> str:
    """Return metadata.name of the definition."""
    return f"{resource.NAMES.plural}.{kube.GROUP}"


def schema_of(resource: type[kube.Resource]) -> structural_schema.Schema:
    """Return the structural schema of a whole object."""
    spec = structural_schema.structural(json_schema.collect(resource))
    status = structural_schema.structural(json_schema.collect(resource), defaults=False)
    whole: structural_schema.Schema = {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {
                "type": "string",
                "description": "Version of this representation of an object.",
            },
            "kind": {"type": "string", "description": "Kind of the object."},
            "metadata": {"type": "object"},
            "spec": spec["properties"]["spec"],
            "status": status["properties"]["status"],
        },
    }
    if structural_schema.VALIDATIONS in spec:
        whole[structural_schema.VALIDATIONS] = spec[structural_schema.VALIDATIONS]
    return whole


def definition_of(resource: type[kube.Resource]) -> dict[str, Any]:
    """Return the CustomResourceDefinition as a JSON object."""
    names = resource.NAMES
    version = {
        "name": kube.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in resource.COLUMNS],
        "subresources": _subresources(resource),
        "schema": {"openAPIV3Schema": schema_of(resource)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name_of(resource)},
        "spec": {
            "group": kube.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": [names.short],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


def _column(column: kube.Column) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    return entry | ({"priority": column.priority} if column.priority else {})


def _subresources(resource: type[kube.Resource]) -> dict[str, Any]:
    found: dict[str, Any] = {"status": {}}
    if resource.SCALE is not None:
        found["scale"] = {
            "specReplicasPath": resource.SCALE.spec_path,
            "statusReplicasPath": resource.SCALE.status_path,
            "labelSelectorPath": resource.SCALE.selector_path,
        }
    return found
