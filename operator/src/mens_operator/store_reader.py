"""Answers a plan's questions about the store, off the event loop and remembered for a while.

`mens.artifacts` blocks; a few threads do that, so that one slow endpoint never stops the operator.
Equal questions that come together are read once; what a thousand runs ask of one bucket too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pydantic

from mens.api import reasons
from mens.artifacts import digests, errors, layout, manifests, names, reader, refs, store
from mens.provenance import clearance
from mens.runtime import jobs
from mens_operator.plans import facts

_LOG = logging.getLogger(__name__)
_THREADS: Final = 8
_TIMEOUT: Final = 30.0
"""Seconds for one answer; the store's own timeouts are shorter."""
_REMEMBERED: Final = 10_000
_PROGRESS_BYTES: Final = 64 * 1024

_SECONDS: Final[dict[type, float]] = {
    facts.Storage: 60.0,
    facts.BaseModel: 60.0,
    facts.Output: 120.0,
    facts.Progress: 10.0,
}
"""How long a good answer is believed. An artifact never changes under its digest, but it can be
deleted."""
_PROBLEM_SECONDS: Final = 2.0
"""How long a bad answer is believed: long enough for a thousand runs to share it."""


class StoreReader:
    """Reads facts; one for each operator."""

    def __init__(self, source: store.ObjectStore, clock: Callable[[], float]) -> None:
        self._store = source
        self._clock = clock
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._known: dict[facts.Query, tuple[float, facts.Answer]] = {}
        self._asking: dict[facts.Query, asyncio.Task[facts.Answer]] = {}

    def close(self) -> None:
        """Let the threads go; one that hangs in a call ends with that call."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def answer(self, query: facts.Query) -> facts.Answer:
        """Return an answer, a fresh one if the last is too old."""
        known = self._known.get(query)
        if known is not None and known[0] > self._clock():
            return known[1]
        task = self._asking.get(query)
        if task is None:
            task = asyncio.create_task(self._read(query))
            self._asking[query] = task
            task.add_done_callback(lambda _: self._asking.pop(query, None))
        return await asyncio.shield(task)

    async def _read(self, query: facts.Query) -> facts.Answer:
        loop = asyncio.get_running_loop()
        reading_ = loop.run_in_executor(self._pool, read, self._store, query)
        try:
            answer = await asyncio.wait_for(reading_, _TIMEOUT)
        except TimeoutError:
            text = "The object store did not answer in time. Check MENS_S3_ENDPOINT."
            answer = facts.Problem(reasons.STORAGE_UNREACHABLE, text, storage=True)
        good = not isinstance(answer, facts.Problem)
        seconds = _SECONDS[type(query)] if good else _PROBLEM_SECONDS
        while len(self._known) >= _REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[query] = (self._clock() + seconds, answer)
        return answer


def read(source: store.ObjectStore, query: facts.Query) -> facts.Answer:
    """Read one fact; every way it can fail is an answer too."""
    try:
        return _read(source, query)
    except errors.StoreError as error:
        return facts.Problem(error.reason, _sentence(str(error)), storage=_is_storage(error))
    except pydantic.ValidationError:
        return facts.Problem(reasons.MANIFEST_INVALID, "The progress file cannot be read.")
    except Exception:
        _LOG.exception("unexpected failure while reading %s", query)
        text = "The operator failed while reading the store: see its log."
        return facts.Problem(reasons.INTERNAL_ERROR, text)


def _read(source: store.ObjectStore, query: facts.Query) -> facts.Answer:
    match query:
        case facts.Storage(bucket):
            source.probe(refs.Uri.parse(bucket))
            return facts.StorageReady()
        case facts.BaseModel(uri):
            return _base(source, refs.Uri.parse(uri))
        case facts.Output(uri, digest):
            return _output(source, refs.Uri.parse(uri), digest)
        case facts.Progress(uri, _):
            where = layout.progress(refs.Uri.parse(uri))
            data = source.get_bytes(where, max_bytes=_PROGRESS_BYTES)
            return jobs.Progress.model_validate_json(data)


def _base(source: store.ObjectStore, uri: refs.Uri) -> facts.Answer:
    """Read a base model's manifest, and say what the folder holds instead if it has none."""
    try:
        manifest, digest = manifests.read(source, uri)
    except errors.ObjectNotFound:
        return _unimported(source, uri)
    for file in manifest.files:
        names.refuse_pickle(file.path)
    if manifest.kind is not manifests.Kind.MODEL:
        text = f"{uri} is a {manifest.kind}, not a Model. Correct spec.baseModel.uri."
        return facts.Problem(reasons.BASE_MODEL_INVALID, text)
    texts = [manifest.file(held.path) for held in manifest.compliance.licenses]
    captured = {each.path: reader.read_file(source, uri, each) for each in texts if each}
    return facts.Artifact(manifest, digest, _judge(manifest, captured))


def _judge(
    manifest: manifests.Manifest, captured: Mapping[str, bytes] | None = None
) -> facts.Problem | None:
    said = clearance.judge(manifest, captured=captured)
    return None if said.ok else facts.Problem(said.reason, _sentence(said.message))


def _unimported(source: store.ObjectStore, uri: refs.Uri) -> facts.Problem:
    found = False
    for info in source.list(uri):
        found = True
        names.refuse_pickle(info.uri.key)
    if found:
        text = f"{uri} holds files but no manifest. Import them: mens model import"
        return facts.Problem(reasons.BASE_MODEL_NOT_IMPORTED, text)
    text = f"{uri} holds nothing. Import a model there (mens model import), or correct"
    return facts.Problem(reasons.BASE_MODEL_NOT_FOUND, f"{text} spec.baseModel.uri.")


def _output(source: store.ObjectStore, uri: refs.Uri, digest: str | None) -> facts.Answer:
    """Verify manifest, presence and size of every file, and the bytes of small ones."""
    if digest is None:
        _, read_now = manifests.read(source, uri)
        digest = str(read_now)
    ref = refs.ArtifactRef(uri=uri, digest=digests.Digest.parse(digest))
    manifest = reader.check(source, ref)
    for file in manifest.files:
        if file.size_bytes <= _PROGRESS_BYTES:
            reader.read_file(source, uri, file)
    return facts.Artifact(manifest, ref.digest, _judge(manifest))


def _is_storage(error: errors.StoreError) -> bool:
    return isinstance(error, errors.StoreUnreachable | errors.StoreDenied | errors.BucketNotFound)


def _sentence(text: str) -> str:
    begins_with_address = "://" in text.split(" ", 1)[0]
    first = text[:1] if begins_with_address else text[:1].upper()
    return first + text[1:] + ("" if text.endswith(".") else ".")
