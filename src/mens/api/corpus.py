"""MensCorpus: sources become a validated, deduplicated, licensed, fingerprinted dataset."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar, Literal

import pydantic

from mens.api import kube, status
from mens.artifacts import manifests


class Extractor(enum.StrEnum):
    """How documents of a source become rows."""

    PYTHON_FUNCTIONS = "PythonFunctions"
    """One row for each Python function that has a docstring: describe this function."""
    MARKDOWN_SECTIONS = "MarkdownSections"
    """One row for each Markdown section: its heading asks, its body answers."""


class S3Source(kube.Model):
    """Objects in S3-compatible storage, read with the operator's storage settings."""

    uri: kube.S3Uri
    """A folder, `s3://bucket/prefix/`: every object below it is a document."""


class GitSource(kube.Model):
    """A Git repository, read at one commit."""

    url: Annotated[str, pydantic.Field(pattern=r"^(https?|file)://[!-?A-~]+$", max_length=2048)]
    """Where to clone from, without credentials in it."""
    revision: Annotated[str, pydantic.Field(min_length=1, max_length=256)]
    """A commit, tag or branch. What it meant is recorded as a commit in the manifest."""


Glob = Annotated[str, pydantic.Field(min_length=1, max_length=512)]
"""A path pattern: `*` stays within a folder, `**` crosses folders."""


class Source(kube.Model):
    """One origin of documents: exactly one of `s3` and `git`."""

    RULES: ClassVar = (kube.one_of("s3", "git"),)

    name: kube.Name
    """Name of the source within the corpus; every row carries it."""
    s3: S3Source | None = None
    """Read objects from S3-compatible storage."""
    git: GitSource | None = None
    """Read files from a Git repository."""
    include: Annotated[tuple[Glob, ...], pydantic.Field(max_length=64)] = ()
    """Paths to read; empty means every path that an extractor understands."""
    exclude: Annotated[tuple[Glob, ...], pydantic.Field(max_length=64)] = ()
    """Paths to leave out, though included."""
    extract: Annotated[tuple[Extractor, ...], pydantic.Field(min_length=1, max_length=8)]
    """How documents become rows; each document goes to the extractors that understand it."""
    license: Annotated[str, pydantic.Field(min_length=1, max_length=256)] | None = None
    """SPDX expression that the owner declares. Used where neither the file's header nor a license
    file whose text was reviewed says what holds; without any of them rows are quarantined as
    unknown, and so they are where such a text contradicts it."""
    weight: Annotated[kube.DecimalString, kube.decimal_range("0", "1000")] = "1.0"
    """Share of this source's rows relative to the others: 1.0 keeps all of them, 0.5 half, by a
    seeded hash of the row. Above 1.0 all are kept."""
    optional: bool = False
    """Whether the corpus is built without this source where it does not exist."""
    max_characters: Annotated[int, pydantic.Field(ge=64, le=65536)] = 2000
    """Longest text of a row's question in characters; code is cut at the end of a line, Markdown
    sections that are longer are left out."""


class LicensePolicy(kube.Model):
    """Which licenses may enter the corpus."""

    allow_classes: Annotated[
        tuple[manifests.LicenseClass, ...], pydantic.Field(min_length=1, max_length=6)
    ] = (manifests.LicenseClass.PERMISSIVE, manifests.LicenseClass.PERMISSIVE_WITH_ATTRIBUTION)
    """Rows of other classes are quarantined with the reason LicenseNotAllowed."""


class Split(kube.Model):
    """How held-out rows are chosen: by whole files, so that none is on both sides."""

    validation_fraction: Annotated[kube.DecimalString, kube.decimal_range("0", "0.5")] = "0.05"
    """Share of rows that are held out, a decimal in quotes; taken in whole files."""
    seed: Annotated[int, pydantic.Field(ge=0, le=2147483647)] = 17
    """Seed of the choice; the same seed and documents give the same bytes."""


class MensCorpusSpec(kube.Model):
    """What the corpus is made of."""

    sources: Annotated[
        tuple[Source, ...], pydantic.Field(min_length=1, max_length=64), kube.list_map("name")
    ]
    """Origins of documents; of two equal rows the one of the earlier source stays."""
    license_policy: LicensePolicy = LicensePolicy()
    """Which licenses may enter."""
    split: Split = Split()
    """How held-out rows are chosen."""
    resources: status.Resources = status.Resources(cpu="1", memory="2Gi")
    """What the pod asks for."""
    retry: status.Retry = status.Retry()
    """How often an attempt that ended in a defect is repeated."""
    suspend: bool = False
    """Stops the run; a running pod is ended, and started again when this is false."""
    active_deadline_seconds: Annotated[int, pydantic.Field(ge=1, le=31536000)] | None = None
    """Seconds after which an attempt is ended; none by default."""
    ttl_seconds_after_finished: Annotated[int, pydantic.Field(ge=0, le=315360000)] | None = None
    """Seconds after which the finished resource is deleted; the artifact stays. None keeps it."""


class RowCounts(kube.Model):
    """Rows of the dataset and where the others went; they add up."""

    train: kube.Count = 0
    """Rows to train on."""
    validation: kube.Count = 0
    """Rows held out."""
    duplicate: kube.Count = 0
    """Rows left out as equal to one that stayed."""
    filtered: kube.Count = 0
    """Rows left out by a rule of the extractor or by weight."""
    quarantined: kube.Count = 0
    """Rows or documents set aside with a reason, in `quarantine.jsonl.zst`."""


class MensCorpusStatus(status.RunStatus):
    """What is known about the corpus."""

    rows: RowCounts | None = None
    """Rows of the dataset."""
    fingerprint: Annotated[str, pydantic.Field(max_length=128)] | None = None
    """Digest of everything the dataset depends on; equal fingerprints mean equal files."""


class MensCorpus(kube.Resource):
    """A dataset made from sources, with license and provenance of every row."""

    NAMES: ClassVar = kube.Names(
        kind="MensCorpus", plural="menscorpora", singular="menscorpus", short="mc"
    )
    COLUMNS: ClassVar = (
        kube.condition_column("Succeeded", "Succeeded"),
        kube.condition_column("Reason", "Succeeded", "reason"),
        kube.Column("Train", ".status.rows.train", "Rows to train on.", type="integer"),
        kube.Column("Held-out", ".status.rows.validation", "Rows held out.", type="integer"),
        kube.Column(
            "License", ".status.compliance.licenseExpression", "SPDX expression.", priority=1
        ),
        kube.Column("Digest", ".status.artifact.digest", "Digest of the manifest.", priority=1),
        kube.AGE,
    )

    kind: Literal["MensCorpus"] = "MensCorpus"
    """Always `MensCorpus`."""

    spec: MensCorpusSpec
    """What the corpus is made of."""
    status: MensCorpusStatus = MensCorpusStatus()
    """What is known about it."""
