"""A reference to a base model, as runs and endpoints have it."""

from __future__ import annotations

from mens.api import kube


class BaseModel(kube.Model):
    """A base model in the object store. `mens model import` puts it there with its license."""

    uri: kube.S3Uri
    """Folder of the model's artifact, for example `s3://bucket/models/name`."""
