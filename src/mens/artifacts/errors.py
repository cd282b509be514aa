"""What can be wrong with a store or an artifact; the class says who has to act.

Every error carries a `reason` (one CamelCase word, the same in status, event, metric and log) and
a message that ends with the next step. Messages name URIs, endpoints and error codes; never keys,
tokens or request headers. `transient` tells whether trying again may help without anyone acting
on the input.
"""
# ruff: noqa: N818  # the class is named by its reason, and the reason is a condition's word

from __future__ import annotations

from typing import ClassVar, Final

STORAGE_UNREACHABLE: Final = "StorageUnreachable"
"""The S3 endpoint does not answer, or answers that it cannot serve now."""
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
"""A folder holds a pickle file; those can run code when they are opened."""
NAME_REFUSED: Final = "NameRefused"
"""A bucket, key or file name is not one that Mens writes or follows."""


class StoreError(Exception):
    """Anything that keeps an artifact from being written or read."""

    reason: ClassVar[str] = STORAGE_UNREACHABLE
    transient: ClassVar[bool] = False


class StoreUnreachable(StoreError):
    """Nobody answers, or the answer is that the server cannot serve now. Try again."""

    reason = STORAGE_UNREACHABLE
    transient = True


class StoreDenied(StoreError):
    """The server answers and refuses. Secrets rotate, so trying again later is right."""

    reason = STORAGE_DENIED
    transient = True


class BucketNotFound(StoreError):
    """The bucket has to be created, or its name corrected."""

    reason = BUCKET_NOT_FOUND
    transient = True


class ObjectNotFound(StoreError):
    """The input has to appear, or its name to be corrected."""

    reason = OBJECT_NOT_FOUND


class DigestMismatch(StoreError):
    """The bytes are not what somebody signed for; using them is never right."""

    reason = DIGEST_MISMATCH


class ManifestInvalid(StoreError):
    """The manifest has to be written anew by whoever made it."""

    reason = MANIFEST_INVALID


class PickleRefused(StoreError):
    """The model has to be converted to safetensors."""

    reason = PICKLE_REFUSED


class NameRefused(StoreError, ValueError):
    """A name would leave its folder or is no S3 name; also a ValueError for pydantic's sake."""

    reason = NAME_REFUSED
