"""Where things lie in a bucket; the one place that knows.

    blobs/sha256/<hh>/<hex>       bytes, named by what they are, shared by all artifacts
    models/<name>/<version>/      a base model
    corpora/<uid>/<key>/          what a MensCorpus built
    runs/<uid>/<key>/             what a MensTrainRun trained

The last three are artifact folders: `manifest.json`, and `progress.json` while a job works.
"""

from __future__ import annotations

from mens.artifacts import digests, manifests, names, refs


def blob(bucket: refs.Uri, digest: digests.Digest) -> refs.Uri:
    """Where the bytes with that digest lie, in the bucket of any URI."""
    return bucket.root.join("blobs", "sha256", digest.hex[:2], digest.hex)


def model(bucket: refs.Uri, name: str, version: str) -> refs.Uri:
    """Folder of a base model."""
    return bucket.root.join("models", names.segment(name), names.segment(version))


def corpus(bucket: refs.Uri, uid: str, key: str) -> refs.Uri:
    """Folder of a corpus; `uid` is the resource's, `key` names what it was built from."""
    return bucket.root.join("corpora", names.segment(uid), names.segment(key))


def run(bucket: refs.Uri, uid: str, key: str) -> refs.Uri:
    """Folder of an adapter; `uid` is the resource's, `key` names what it was trained from."""
    return bucket.root.join("runs", names.segment(uid), names.segment(key))


def manifest(folder: refs.Uri) -> refs.Uri:
    """The manifest of an artifact folder."""
    return folder / manifests.FILE_NAME


def progress(folder: refs.Uri) -> refs.Uri:
    """The progress file of an artifact folder."""
    return folder / manifests.PROGRESS_NAME
