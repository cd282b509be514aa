"""S3 URIs and references to artifacts.

Law: `Uri.parse(str(uri)) == uri`. A `Uri` contains only checked names; its key needs no second
check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mens.artifacts import digests, errors, names

SCHEME: Final = "s3://"
"""The only scheme of artifacts."""


@dataclass(frozen=True, order=True, slots=True)
class Uri:
    """A bucket, or an object or folder in it; never with a trailing slash."""

    bucket: str
    """Name of the bucket."""
    key: str = ""
    """Key of the object or folder; empty for the bucket itself."""

    def __post_init__(self) -> None:
        names.bucket(self.bucket)
        if self.key:
            names.relative(self.key)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `s3://bucket/key`; one trailing slash is dropped. Raises `NameRefused`."""
        if not text.startswith(SCHEME):
            raise errors.NameRefused(f"{text[:120]!r} is not an S3 URI: write s3://bucket/key")
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        return cls(bucket, key.removesuffix("/"))

    def join(self, *parts: str) -> Self:
        """The object or folder below this one; each part may hold slashes, all are checked."""
        key = "/".join([*([self.key] if self.key else []), *parts])
        return type(self)(self.bucket, key)

    def __truediv__(self, part: str) -> Self:
        """`uri / "manifest.json"` is `uri.join("manifest.json")`."""
        return self.join(part)

    def below(self, folder: Uri) -> str:
        """The path of this object inside `folder`; ValueError if it lies elsewhere."""
        prefix = folder.key + "/" if folder.key else ""
        if self.bucket != folder.bucket or not self.key.startswith(prefix) or self.key == prefix:
            raise ValueError(f"{self} does not lie below {folder}")
        return self.key.removeprefix(prefix)

    @property
    def root(self) -> Self:
        """The bucket alone."""
        return type(self)(self.bucket)

    @property
    def name(self) -> str:
        """The last part of the key; the bucket's name for a bucket."""
        return self.key.rpartition("/")[2] or self.bucket

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}" + (f"/{self.key}" if self.key else "")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from_text = core_schema.no_info_after_validator_function(
            cls.parse, core_schema.str_schema()
        )
        return core_schema.json_or_python_schema(
            json_schema=from_text,
            python_schema=core_schema.union_schema(
                [core_schema.is_instance_schema(cls), from_text]
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema()
            ),
        )


class ArtifactRef(BaseModel):
    """An artifact and the bytes it must have: the folder, and the digest of its manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uri: Uri
    """The artifact's folder."""
    digest: digests.Digest
    """SHA-256 of the bytes of `manifest.json` in that folder."""

    def __str__(self) -> str:
        return f"{self.uri}@{self.digest}"
