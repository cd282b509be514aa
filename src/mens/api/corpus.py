"""MensCorpus: a validated, deduplicated, license-checked dataset from sources."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar, Literal

import pydantic

from mens.api import kube, spec, status
from mens.artifacts import manifests


class Extractor(enum.StrEnum):
    """How rows are extracted from documents."""

    PYTHON_FUNCTIONS = "PythonFunctions"
    """One row per Python function with a docstring: the function is the prompt, the docstring the
    answer."""
    MARKDOWN_SECTIONS = "MarkdownSections"
    """One row per Markdown section: the heading is the prompt, the body the answer."""


class S3Source(kube.Model):
    """Objects in S3-compatible storage. They are read with the operator's storage settings."""

    uri: kube.S3Uri
    """Folder with the documents, for example `s3://bucket/prefix/`. Every object in it is a
    document."""


class GitSource(kube.Model):
    """A Git repository at one commit."""

    url: Annotated[str, pydantic.Field(pattern=r"^(https?|file)://[!-?A-~]+$", max_length=2048)]
    """URL to clone from. Must not contain credentials."""
    revision: Annotated[str, pydantic.Field(min_length=1, max_length=256)]
    """Commit, tag or branch. The manifest records the commit that it resolved to."""


Glob = Annotated[str, pydantic.Field(min_length=1, max_length=512)]
"""A path pattern: `*` matches within a folder, `**` matches across folders."""


class Source(kube.Model):
    """A source of documents. Set exactly one of `s3` and `git`."""

    RULES: ClassVar = (kube.one_of("s3", "git"),)

    name: kube.Name
    """Name of the source. Must be unique in the corpus; every row records it."""
    s3: S3Source | None = None
    """Reads the documents from S3-compatible storage."""
    git: GitSource | None = None
    """Reads the documents from a Git repository."""
    include: Annotated[tuple[Glob, ...], pydantic.Field(max_length=64)] = ()
    """Patterns of paths to read. By default, every path that an extractor supports. `*` matches
    within a folder, `**` across folders."""
    exclude: Annotated[tuple[Glob, ...], pydantic.Field(max_length=64)] = ()
    """Patterns of paths to skip, even if `include` matches them."""
    extract: Annotated[tuple[Extractor, ...], pydantic.Field(min_length=1, max_length=8)]
    """Extractors that produce rows. Each document goes to every extractor that supports it."""
    license: Annotated[str, pydantic.Field(min_length=1, max_length=256)] | None = None
    """SPDX license expression that you declare for the source. Applies to files without an SPDX
    header and without a license file with a reviewed text. Without any of the three, or if a
    license text contradicts the declaration, rows are quarantined with the reason
    LicenseUnknown."""
    weight: Annotated[kube.DecimalString, kube.decimal_range("0", "1000")] = "1.0"
    """Share of the source's rows to keep, a quoted decimal: 1.0 or more keeps all rows, 0.5 keeps
    half. A seeded hash of the row decides."""
    optional: bool = False
    """Builds the corpus without this source if the source does not exist."""
    max_characters: Annotated[int, pydantic.Field(ge=64, le=65536)] = 2000
    """Maximum length of a row's prompt in characters. Longer code is truncated at the end of a
    line; longer Markdown sections are skipped."""


class LicensePolicy(kube.Model):
    """License classes that the corpus accepts."""

    allow_classes: Annotated[
        tuple[manifests.LicenseClass, ...], pydantic.Field(min_length=1, max_length=6)
    ] = (manifests.LicenseClass.PERMISSIVE, manifests.LicenseClass.PERMISSIVE_WITH_ATTRIBUTION)
    """Accepted license classes. Rows of other classes are quarantined with the reason
    LicenseNotAllowed."""


class Split(kube.Model):
    """How held-out rows are selected. Files are never divided between the two parts."""

    validation_fraction: Annotated[kube.DecimalString, kube.decimal_range("0", "0.5")] = "0.05"
    """Fraction of rows to hold out for validation, a quoted decimal. Whole files are held out."""
    seed: Annotated[int, pydantic.Field(ge=0, le=2147483647)] = 17
    """Seed of the selection. The same seed and documents produce the same bytes."""


class MensCorpusSpec(spec.RunSpec):
    """Desired content of the corpus, and how to build it."""

    sources: Annotated[
        tuple[Source, ...], pydantic.Field(min_length=1, max_length=64), kube.list_map("name")
    ]
    """Sources of documents. Of two identical rows, the row of the earlier source is kept."""
    license_policy: LicensePolicy = LicensePolicy()
    """License classes that the corpus accepts."""
    split: Split = Split()
    """How held-out rows are selected."""
    resources: spec.Resources = spec.Resources(cpu="1", memory="2Gi")
    """Compute resources of the pod."""


class RowCounts(kube.Model):
    """Number of rows by outcome. The counts add up to all extracted rows."""

    train: kube.Count = 0
    """Number of rows for training."""
    validation: kube.Count = 0
    """Number of rows held out for validation."""
    duplicate: kube.Count = 0
    """Number of rows dropped as duplicates."""
    filtered: kube.Count = 0
    """Number of rows dropped by a rule of the extractor or by `weight`."""
    quarantined: kube.Count = 0
    """Number of rows or documents quarantined with a reason, in `quarantine.jsonl.zst`."""


class MensCorpusStatus(status.RunStatus):
    """Observed state of the corpus."""

    rows: RowCounts | None = None
    """Number of rows by outcome."""
    fingerprint: Annotated[str, pydantic.Field(max_length=128)] | None = None
    """Digest over all inputs and settings of the dataset. Equal fingerprints mean identical
    files."""


class MensCorpus(kube.Resource):
    """A dataset built from sources, with the license and provenance of every row."""

    NAMES: ClassVar = kube.Names(
        kind="MensCorpus", plural="menscorpora", singular="menscorpus", short="mc"
    )
    COLUMNS: ClassVar = (
        kube.condition_column("Succeeded", "Succeeded"),
        kube.condition_column("Reason", "Succeeded", "reason"),
        kube.Column("Train", ".status.rows.train", "Number of rows for training.", type="integer"),
        kube.Column(
            "Held-out",
            ".status.rows.validation",
            "Number of rows held out for validation.",
            type="integer",
        ),
        kube.Column(
            "License",
            ".status.compliance.licenseExpression",
            "SPDX license expression.",
            priority=1,
        ),
        kube.Column(
            "Digest", ".status.artifact.digest", "SHA-256 digest of the manifest.", priority=1
        ),
        kube.AGE,
    )

    kind: Literal["MensCorpus"] = "MensCorpus"
    """Always `MensCorpus`."""

    spec: MensCorpusSpec
    """Desired content of the corpus, and how to build it."""
    status: MensCorpusStatus = MensCorpusStatus()
    """Observed state of the corpus."""
