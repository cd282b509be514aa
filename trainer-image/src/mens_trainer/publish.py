"""The adapter as an artifact: model card, licenses, notice and manifest."""

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

CARD: Final = "README.md"
"""Name of the model card."""


@dataclass(frozen=True)
class Parent:
    """An artifact that the adapter is made from."""

    role: manifests.Role
    """Base or Corpus."""
    ref: refs.ArtifactRef
    """Where it lies."""
    manifest: manifests.Manifest
    """Its verified manifest."""

    def to_input(self) -> manifests.Input:
        """The parent as an input of the adapter's manifest."""
        return manifests.Input(
            role=self.role,
            name=self.manifest.name,
            uri=str(self.ref.uri),
            digest=self.ref.digest,
            license_expression=self.manifest.compliance.license_expression,
        )


def captured_licenses(
    objects: store.ObjectStore, parents: Sequence[Parent]
) -> dict[digests.Digest, bytes]:
    """The license texts of all parents, verified, by the digest of their bytes."""
    found: dict[digests.Digest, bytes] = {}
    for parent in parents:
        for held in parent.manifest.compliance.licenses:
            file = parent.manifest.file(held.path)
            if file is not None and held.text_digest not in found:
                found[held.text_digest] = reader.read_file(objects, parent.ref.uri, file)
    return found


def captured_notices(
    objects: store.ObjectStore, parents: Sequence[Parent]
) -> tuple[notice.Quoted, ...]:
    """The NOTICE files of all parents, verified."""
    return tuple(
        notice.Quoted(
            file.path, parent.manifest.name, reader.read_file(objects, parent.ref.uri, file)
        )
        for parent in parents
        for file in parent.manifest.files
        if notice.is_notice_file(file.path)
    )


def draft(
    name: str,
    parents: Sequence[Parent],
    plan: recipe.Recipe,
    outcome: training.Outcome,
    producer: manifests.Producer,
) -> manifests.Manifest:
    """The adapter's manifest, without its files."""
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
            "targets": list(outcome.targets),
            "quantization": plan.quantization,
            "computeDtype": outcome.compute_dtype,
            "heldOutLoss": {"before": round(outcome.before, 6), "after": round(outcome.after, 6)},
            "tokensPerSecond": round(outcome.tokens_per_second, 2),
            "peakRssBytes": outcome.peak_rss,
            "steps": outcome.counters.step,
            "samples": outcome.counters.samples,
            "supervisedTokens": outcome.counters.targets,
            "seed": plan.seed,
            "baseDigest": str(base.ref.digest),
            "preflightDigest": outcome.preflight_digest,
        },
    )


def complete(
    folder: Path,
    manifest: manifests.Manifest,
    captured: dict[digests.Digest, bytes],
    notices: Sequence[notice.Quoted],
) -> None:
    """Put card, licenses and notice into the folder, and correct what PEFT wrote.

    PEFT names the base by the folder it was loaded from, which exists in this pod only.
    """
    files = notice.assemble(
        manifest.name,
        manifest.compliance,
        captured,
        inputs=manifest.inputs,
        upstream=manifest.upstream,
        quoted=notices,
    )
    notice.write(folder, files)
    config_file = folder / "adapter_config.json"
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = base_name(manifest)
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / CARD).write_text(card(manifest), encoding="utf-8")


def base_name(manifest: manifests.Manifest) -> str:
    """What the world calls the base: its id upstream, else its name here."""
    if manifest.upstream is not None:
        return manifest.upstream.model_id
    base = manifest.input(manifests.Role.BASE)
    return base.name if base else ""


def card(manifest: manifests.Manifest) -> str:
    """The model card: facts only, in Hugging Face's form."""
    details, compliance = manifest.details, manifest.compliance
    loss = details["heldOutLoss"]
    assert isinstance(loss, dict)
    made_from = "\n".join(
        f"| {each.role} | {each.name} | {each.license_expression} | `{each.digest}` |"
        for each in manifest.inputs
    )
    asked = "\n".join(f"- {each.text} ({each.condition})" for each in compliance.obligations)
    return f"""---
base_model: {base_name(manifest)}
base_model_relation: adapter
library_name: peft
license: other
license_name: {json.dumps(compliance.license_expression)}
license_link: NOTICE
pipeline_tag: text-generation
tags: [lora, {str(details["method"]).lower()}]
---
# {manifest.name}

A LoRA adapter of rank {details["rank"]} (alpha {details["alpha"]}) for {base_name(manifest)},
trained for {details["steps"]} steps on {details["supervisedTokens"]} answer tokens.

Held-out loss: {loss["before"]} before, {loss["after"]} after (nats per answer token).

| role | name | license | digest |
|---|---|---|---|
{made_from}

License: {compliance.license_expression} (class {compliance.license_class}, attribution required:
{compliance.attribution_required}). `NOTICE` and `LICENSES/` travel with the adapter.
{asked}

`training-preflight.json` holds the plan ({details["preflightDigest"]}), `telemetry.jsonl` and
`report.html` how it went.
"""
