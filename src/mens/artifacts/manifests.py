"""The manifest of an artifact: its files, where it came from and what its use obliges to.

The bytes are canonical JSON (RFC 8785), so an artifact's digest is a fact about its content and
not about who wrote the JSON. Laws: `Manifest.parse(m.to_bytes()) == m`, and
`Manifest.parse(data).to_bytes() == data` for every manifest this version wrote.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self

import pydantic
import rfc8785
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from mens.artifacts import digests, errors, names, refs, store

SCHEMA_V1: Final = "mens.artifact/v1"
"""The one schema so far; readers of later versions keep reading it."""
FILE_NAME: Final = "manifest.json"
"""Name of the manifest in the artifact's folder; it is written last."""
PROGRESS_NAME: Final = "progress.json"
"""Name of the progress file that may lie beside it while a job works."""
RESERVED: Final = frozenset({FILE_NAME, PROGRESS_NAME})
"""Names at the top of the folder that no file of an artifact may have."""
SAFE_INT: Final = 2**53 - 1
"""The largest integer that JSON readers agree on."""


class Kind(enum.StrEnum):
    """What an artifact is."""

    MODEL = "Model"
    CORPUS = "Corpus"
    ADAPTER = "Adapter"


class Role(enum.StrEnum):
    """What an input was to the artifact."""

    BASE = "Base"
    """The model that was fine-tuned."""
    CORPUS = "Corpus"
    """The data it was fine-tuned on."""
    SOURCE = "Source"
    """Something a corpus was built from."""


class LicenseClass(enum.StrEnum):
    """How much a license asks, least first; the order of definition is the order of the lattice."""

    PERMISSIVE = "Permissive"
    """Use without condition."""
    PERMISSIVE_WITH_ATTRIBUTION = "PermissiveWithAttribution"
    """Use with notice and license copy."""
    COMMUNITY_RESTRICTED = "CommunityRestricted"
    """Open weights with thresholds or a use policy."""
    COPYLEFT = "Copyleft"
    """Derived works carry the same license."""
    NON_COMMERCIAL = "NonCommercial"
    """No commercial use."""
    UNKNOWN = "Unknown"
    """The text matches no reviewed row; never cleared."""

    @property
    def rank(self) -> int:
        """Place in the order, 0 for the class that asks least."""
        return list(type(self)).index(self)


class Attribution(enum.StrEnum):
    """Whether somebody must be named where the artifact is used."""

    YES = "Yes"
    CONDITIONAL = "Conditional"
    """It depends on how it is used: see the obligations' conditions."""
    NO = "No"


class Part(BaseModel):
    """A part of a manifest: frozen, camelCase on the wire, no unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


RelativePath = Annotated[str, AfterValidator(names.relative)]


class File(Part):
    """One file of an artifact; its bytes lie in the blob that its digest names."""

    path: RelativePath
    """Path inside the folder, with slashes."""
    digest: digests.Digest
    """SHA-256 of its bytes."""
    size_bytes: Annotated[int, Field(ge=0, le=SAFE_INT)]
    """Number of its bytes."""


class Input(Part):
    """Something the artifact was made from."""

    role: Role
    """What it was used as."""
    name: str
    """Name a person knows it by."""
    uri: str
    """Where it was read: an artifact's folder, or the address of a source."""
    digest: digests.Digest
    """Manifest digest of an artifact; for a source, the digest of what was read."""
    license_expression: str
    """SPDX expression of its concluded license, or NOASSERTION."""


class Upstream(Part):
    """Where a model comes from outside of Mens; inherited by everything made from it."""

    family: str
    """Family of the model, such as `smollm2`."""
    model_id: str
    """Name of the model where it was published."""
    revision: str
    """Commit or version there."""


class ObligationSource(Part):
    """Which sentence of which license obliges."""

    license: str
    """SPDX id of the license."""
    clause: str
    """Where in its text, such as `4(d)`."""
    text_digest: digests.Digest | None = None
    """SHA-256 of the license's normalized text; None where only an id is known."""


class Obligation(Part):
    """One thing that users of an artifact must do or must not do."""

    id: str
    """Stable name: `<license>/<what>`; equal ids are the same obligation."""
    kind: str
    """Its kind, one of `mens.provenance.obligations.Kind`."""
    text: str
    """What to do, in our own words; the license's words decide."""
    condition: str
    """`always`, `onDistribution`, `onHosting`, or a threshold: `monthlyUsers > 700000000`."""
    source: ObligationSource
    """Where it says so."""


class License(Part):
    """A license text that the artifact carries."""

    id: str
    """SPDX id or `LicenseRef-…`."""
    text_digest: digests.Digest
    """SHA-256 of the captured file's bytes."""
    path: RelativePath
    """Where the captured text lies in the folder."""


class Compliance(Part):
    """What the artifact's use obliges to; joined over everything it was made from."""

    license_expression: str
    """SPDX expression over all inputs, or NOASSERTION if one is unknown."""
    license_class: LicenseClass
    """The class that asks most among the inputs."""
    attribution_required: Attribution
    """Whether somebody must be named."""
    obligations: tuple[Obligation, ...] = ()
    """All obligations of all inputs, sorted by id."""
    licenses: tuple[License, ...] = ()
    """The license texts in the folder, sorted by path."""


class Producer(Part):
    """What made the artifact."""

    image: str
    """Image that ran, or `local`."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages that matter for the result."""


class Manifest(Part):
    """All facts about one artifact."""

    schema_id: Literal["mens.artifact/v1"] = Field(default=SCHEMA_V1, alias="schema")
    """Schema of these facts."""
    kind: Kind
    """What the artifact is."""
    name: str
    """Name a person gave it."""
    files: tuple[File, ...] = ()
    """Its files, sorted by path; empty only before it is published."""
    inputs: tuple[Input, ...] = ()
    """What it was made from."""
    upstream: Upstream | None = None
    """Where its base comes from; None for a corpus."""
    compliance: Compliance
    """What its use obliges to."""
    details: dict[str, JsonValue] = Field(default_factory=dict)
    """Facts of its kind; any JSON."""
    producer: Producer
    """What made it."""

    @pydantic.field_validator("files")
    @classmethod
    def _unambiguous(cls, files: tuple[File, ...]) -> tuple[File, ...]:
        paths = [file.path for file in files]
        if paths != sorted(set(paths)):
            raise ValueError("files must be sorted by path, and no path may occur twice")
        taken = set(paths)
        for path in paths:
            if path in RESERVED:
                raise ValueError(
                    f"{path} is the store's own file and cannot be part of an artifact"
                )
            parts = path.split("/")
            for end in range(1, len(parts)):
                if (parent := "/".join(parts[:end])) in taken:
                    raise ValueError(f"{parent} cannot be a file and a folder")
        return files

    def with_files(self, files: Iterable[File]) -> Self:
        """The same facts with these files, put into order and checked."""
        ordered = tuple(sorted(files, key=lambda file: file.path))
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(fields | {"files": ordered}))

    def file(self, path: str) -> File | None:
        """The file with that path, if the artifact has one."""
        return next((file for file in self.files if file.path == path), None)

    def input(self, role: Role) -> Input | None:
        """The first input of a role, if there is one."""
        return next((item for item in self.inputs if item.role is role), None)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)

    def to_bytes(self) -> bytes:
        """Canonical JSON; `ManifestInvalid` for a number that JSON readers would not agree on."""
        try:
            return rfc8785.dumps(self.model_dump(mode="json", by_alias=True))
        except rfc8785.CanonicalizationError as e:
            raise errors.ManifestInvalid(
                f"the manifest of {self.name!r} cannot be written: {e}"
            ) from e

    @property
    def digest(self) -> digests.Digest:
        """Digest of the canonical bytes: the artifact's identity."""
        return digests.Digest.of_bytes(self.to_bytes())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read canonical bytes; anything else is `ManifestInvalid`."""
        content = canonical_json(data)
        try:
            return cls.model_validate(content)
        except pydantic.ValidationError as e:
            first = e.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "manifest"
            raise errors.ManifestInvalid(
                f"this version cannot read the manifest: {where}: {first['msg']}"
                + (f" (and {e.error_count() - 1} more)" if e.error_count() > 1 else "")
                + "; publish the artifact again, or use a newer version of Mens"
            ) from None


def canonical_json(data: bytes) -> Any:
    """Parse JSON that must be in the canonical form of RFC 8785: every reader reads the same."""
    try:
        content = json.loads(data, parse_int=_number)
        canonical = rfc8785.dumps(content)
    except (ValueError, RecursionError) as e:
        raise errors.ManifestInvalid(f"the manifest is not JSON ({type(e).__name__})") from e
    if canonical != data:
        raise errors.ManifestInvalid(
            "the manifest is not canonical JSON (RFC 8785): it was rewritten; publish the artifact "
            "again"
        )
    return content


def _number(text: str) -> int | float:
    """RFC 8785 writes 1e20 with all its zeros; such a number was a float and must stay one."""
    if len(text) > 400:  # no canonical number is that long, and int() of a long text is slow
        raise ValueError("a number of more than 400 digits")
    value = int(text)
    return value if abs(value) <= SAFE_INT else float(text)


def read(
    source: store.ObjectStore, where: refs.ArtifactRef | refs.Uri
) -> tuple[Manifest, digests.Digest]:
    """Manifest and digest of an artifact; for an `ArtifactRef` the digest must be its own."""
    uri = where.uri if isinstance(where, refs.ArtifactRef) else where
    data = source.get_bytes(uri / FILE_NAME)
    digest = digests.Digest.of_bytes(data)
    if isinstance(where, refs.ArtifactRef) and digest != where.digest:
        raise errors.DigestMismatch(
            f"the manifest of {uri} has digest {digest}, but {where.digest} was asked for: the "
            "artifact was replaced or damaged; restore it, or refer to the new digest on purpose"
        )
    try:
        return Manifest.parse(data), digest
    except errors.ManifestInvalid as e:
        raise errors.ManifestInvalid(f"{uri}: {e}") from e
