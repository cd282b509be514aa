"""Errors of a store or an artifact.

Every error has a `reason` (one CamelCase word, the same in status, event, metric and log) and a
message that ends with the next step. Messages name URIs, endpoints and error codes, and never keys,
tokens or request headers. `transient` is true if a retry can succeed without a changed input.
"""
# ruff: noqa: N818  # the class is named by its reason, and the reason is a condition's word

from __future__ import annotations

from typing import ClassVar, Final

STORAGE_UNREACHABLE: Final = "StorageUnreachable"
"""The S3 endpoint does not answer, or reports that it cannot serve requests now."""
STORAGE_DENIED: Final = "StorageDenied"
"""The S3 endpoint refuses the credentials, or they lack a permission."""
BUCKET_NOT_FOUND: Final = "BucketNotFound"
"""The bucket does not exist."""
OBJECT_NOT_FOUND: Final = "ObjectNotFound"
"""An object that a reference or a manifest names does not exist."""
DIGEST_MISMATCH: Final = "DigestMismatch"
"""Bytes in the store are not those that the manifest or the reference names."""
MANIFEST_INVALID: Final = "ManifestInvalid"
"""A manifest is not valid: not canonical, wrong schema, unknown field or unsafe file name."""
PICKLE_REFUSED: Final = "PickleRefused"
"""A folder contains a pickle file, which can run code when it is opened."""
NAME_REFUSED: Final = "NameRefused"
"""A bucket, key or file name is not one that Mens accepts."""


class StoreError(Exception):
    """An artifact cannot be written or read."""

    reason: ClassVar[str] = STORAGE_UNREACHABLE
    transient: ClassVar[bool] = False


class StoreUnreachable(StoreError):
    """The server does not answer, or cannot serve requests now. Retry."""

    reason = STORAGE_UNREACHABLE
    transient = True


class StoreDenied(StoreError):
    """The server denies access. Retry later, because credentials rotate."""

    reason = STORAGE_DENIED
    transient = True


class BucketNotFound(StoreError):
    """The bucket does not exist: create it, or correct its name."""

    reason = BUCKET_NOT_FOUND
    transient = True


class ObjectNotFound(StoreError):
    """The object does not exist: create it, or correct its name."""

    reason = OBJECT_NOT_FOUND


class DigestMismatch(StoreError):
    """The bytes differ from the digest in the manifest. They must not be used."""

    reason = DIGEST_MISMATCH


class ManifestInvalid(StoreError):
    """The manifest is invalid: publish the artifact again."""

    reason = MANIFEST_INVALID


class PickleRefused(StoreError):
    """A file is a pickle: convert the model to safetensors."""

    reason = PICKLE_REFUSED


class NameRefused(StoreError, ValueError):
    """A name is unsafe or not valid in S3. Also a ValueError, which pydantic requires."""

    reason = NAME_REFUSED
