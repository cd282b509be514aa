"""The adapter as an artifact: model card, license texts, NOTICE and manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mens.artifacts import digests, manifests, reader, refs, store
from mens.provenance import notice, obligations
from mens_trainer import recipe

if TYPE_CHECKING:
    from mens_trainer import training

MODEL_CARD: Final = "README.md"
"""File name of the model card."""


@dataclass(frozen=True)
class Parent:
    """An artifact that the adapter is derived from."""

    role: manifests.Role
    """Base or Corpus."""
    ref: refs.ArtifactRef
    """Its reference: URI and digest."""
    manifest: manifests.Manifest
    """Its verified manifest."""

    def to_input(self) -> manifests.Input:
        """Return the parent as an input of the adapter's manifest."""
        return manifests.Input(
            role=self.role,
            name=self.manifest.name,
            uri=str(self.ref.uri),
            digest=self.ref.digest,
            license_expression=self.manifest.compliance.license_expression,
        )


def read_license_texts(
    objects: store.ObjectStore, parents: Sequence[Parent]
) -> dict[digests.Digest, bytes]:
    """Return the verified license texts of all parents, by digest."""
    texts: dict[digests.Digest, bytes] = {}
    for parent in parents:
        for license_ in parent.manifest.compliance.licenses:
            file = parent.manifest.file(license_.path)
            if file is not None and license_.text_digest not in texts:
                texts[license_.text_digest] = reader.read_file(objects, parent.ref.uri, file)
    return texts


def read_notices(
    objects: store.ObjectStore, parents: Sequence[Parent]
) -> tuple[notice.Quoted, ...]:
    """Return the verified NOTICE files of all parents."""
    return tuple(
        notice.Quoted(
            file.path, parent.manifest.name, reader.read_file(objects, parent.ref.uri, file)
        )
        for parent in parents
        for file in parent.manifest.files
        if notice.is_notice_file(file.path)
    )


def draft_manifest(
    name: str,
    parents: Sequence[Parent],
    plan: recipe.Recipe,
    result: training.Result,
    producer: manifests.Producer,
) -> manifests.Manifest:
    """Return the adapter's manifest, without its files."""
    base = next(parent for parent in parents if parent.role is manifests.Role.BASE)
    return manifests.Manifest(
        kind=manifests.Kind.ADAPTER,
        name=name,
        inputs=tuple(parent.to_input() for parent in parents),
        upstream=base.manifest.upstream,
        compliance=obligations.join([parent.manifest.compliance for parent in parents]),
        producer=producer,
        details={
            "method": "Qlora" if plan.quantization else "Lora",
            "rank": plan.rank,
            "alpha": plan.alpha,
            "targets": list(result.target_modules),
            "quantization": plan.quantization,
            "computeDtype": result.compute_dtype,
            "heldOutLoss": {
                "before": round(result.base_eval_loss, 6),
                "after": round(result.eval_loss, 6),
            },
            "tokensPerSecond": round(result.tokens_per_second, 2),
            "peakRssBytes": result.peak_rss,
            "steps": result.counters.step,
            "samples": result.counters.samples,
            "supervisedTokens": result.counters.supervised_tokens,
            "seed": plan.seed,
            "baseDigest": str(base.ref.digest),
            "preflightDigest": result.preflight_digest,
        },
    )


def complete_folder(
    folder: Path,
    manifest: manifests.Manifest,
    license_texts: dict[digests.Digest, bytes],
    notices: Sequence[notice.Quoted],
) -> None:
    """Add model card, license texts and NOTICE to the folder, and fix adapter_config.json.

    PEFT stores the folder that the base was loaded from as the base's name; that folder exists in
    this pod only.
    """
    files = notice.assemble(
        manifest.name,
        manifest.compliance,
        license_texts,
        inputs=manifest.inputs,
        upstream=manifest.upstream,
        quoted=notices,
    )
    notice.write(folder, files)
    config_file = folder / "adapter_config.json"
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = base_model_name(manifest)
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")


def base_model_name(manifest: manifests.Manifest) -> str:
    """Return the base model's upstream id if known, else the name of its artifact."""
    if manifest.upstream is not None:
        return manifest.upstream.model_id
    base = manifest.input(manifests.Role.BASE)
    return base.name if base else ""


def model_card(manifest: manifests.Manifest) -> str:
    """Return the model card in Hugging Face's format."""
    details, compliance = manifest.details, manifest.compliance
    loss = details["heldOutLoss"]
    assert isinstance(loss, dict)
    inputs = "\n".join(
        f"| {each.role} | {each.name} | {each.license_expression} | `{each.digest}` |"
        for each in manifest.inputs
    )
    duties = "\n".join(f"- {each.text} ({each.condition})" for each in compliance.obligations)
    return f"""---
base_model: {base_model_name(manifest)}
base_model_relation: adapter
library_name: peft
license: other
license_name: {json.dumps(compliance.license_expression)}
license_link: NOTICE
pipeline_tag: text-generation
tags: [lora, {str(details["method"]).lower()}]
---
# {manifest.name}

A LoRA adapter of rank {details["rank"]} (alpha {details["alpha"]}) for {base_model_name(manifest)},
trained for {details["steps"]} steps on {details["supervisedTokens"]} supervised tokens.

Held-out loss: {loss["before"]} before, {loss["after"]} after (nats per supervised token).

| Role | Name | License | Digest |
|---|---|---|---|
{inputs}

License: {compliance.license_expression} (class {compliance.license_class}, attribution required:
{compliance.attribution_required}). Distribute `NOTICE` and `LICENSES/` with the adapter.
{duties}

`training-preflight.json` contains the plan of the run ({details["preflightDigest"]}),
`telemetry.jsonl` and `report.html` its metrics.
"""
