"""The training job of a pod: fetch the inputs, train, publish, and write a termination message.

An artifact is complete or absent: the manifest is written last. Running the job again finds the
artifact and succeeds. An interrupted run starts again from its first step.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
from typing import Final

from mens.api import reasons
from mens.artifacts import digests, manifests, names, publisher, reader, refs, s3, store
from mens.artifacts import errors as store_errors
from mens.provenance import clearance
from mens.runtime import errors, jobs, process, termination
from mens_trainer import progress, publish, recipe, telemetry

log = logging.getLogger(__name__)

BASE_FILES: Final = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""Files of a base model to fetch: configuration, tokenizer, chat template and weights."""

CORPUS_FILES: Final = ("train.jsonl.zst", "validation.jsonl.zst")
"""Files of a corpus to fetch."""

ADAPTER_FOLDER: Final = "adapter"
"""Name of the adapter's folder on the scratch volume."""

MAX_TELEMETRY_BYTES: Final = 2**20
"""Maximum bytes of telemetry to keep of a failed attempt: about two thousand steps."""

OpenStore = Callable[[Mapping[str, str]], store.ObjectStore]
"""Creates the store from the environment."""


def main(environ: Mapping[str, str] = os.environ, open_store: OpenStore = s3.from_env) -> int:
    """Run the job of the environment and return the exit code of the process."""
    return process.run(lambda: run(environ, open_store), environ)


def run(environ: Mapping[str, str], open_store: OpenStore = s3.from_env) -> termination.Outcome:
    """Run the job; every error becomes an exit code and a reason."""
    return termination.outcome_of(
        lambda: _train_and_publish(environ, open_store),
        preempted="the pod was terminated before the adapter was published; training starts again",
    )


def _train_and_publish(
    environ: Mapping[str, str], open_store: OpenStore
) -> tuple[refs.ArtifactRef, str]:
    job = process.read_job(jobs.TrainJob, environ, command="mens train")
    output = refs.Uri.parse(job.output)
    objects = open_store(environ)
    present = publisher.existing(objects, output)
    if present is not None:
        return present, f"{output} was already published"
    scratch = Path(tempfile.mkdtemp(prefix="train-", dir=environ.get(jobs.SCRATCH_ENV)))
    logger = progress.ProgressLogger(time.monotonic)
    try:
        with progress.ProgressWriter(objects, output) as writer:

            def on_progress(update: jobs.Progress) -> None:
                logger(update)
                writer(update.model_copy(update={"attempt": job.attempt}))

            merger = progress.ProgressMerger(on_progress)
            return _train(job, objects, scratch, merger, process.image(environ))
    except store_errors.StoreError:  # another request to the store would fail too
        raise
    except Exception:
        _keep_telemetry(objects, output, scratch / ADAPTER_FOLDER / telemetry.FILE_NAME)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _train(
    job: jobs.TrainJob,
    objects: store.ObjectStore,
    scratch: Path,
    on_progress: progress.ProgressCallback,
    image: str,
) -> tuple[refs.ArtifactRef, str]:
    """Fetch, train and publish."""
    on_progress(jobs.Progress(stage="Fetching"))
    parents = _parents(objects, job)
    license_texts = publish.read_license_texts(objects, parents)
    notices = publish.read_notices(objects, parents)
    for parent in parents:
        _check_license(parent, license_texts)
    plan = recipe.Recipe.from_spec(job.spec)
    _fetch_and_import(objects, parents, scratch)
    from mens_trainer import preparation, training  # noqa: PLC0415  # already imported during the transfer

    adapter = scratch / ADAPTER_FOLDER
    inputs = preparation.Inputs(
        name=job.resource.name,
        base=scratch / "base",
        corpus=scratch / "corpus",
        identity={parent.role.value.lower(): str(parent.ref.digest) for parent in parents},
        compliance={
            parent.role.value.lower(): f"{parent.manifest.compliance.license_expression} "
            f"({parent.manifest.compliance.license_class})"
            for parent in parents
        },
        threads=job.threads,
    )
    result = training.run(inputs, plan, adapter, on_progress)
    on_progress(jobs.Progress(stage="Publishing"))
    producer = manifests.Producer(image=image, versions=training.package_versions())
    manifest = publish.draft_manifest(job.resource.name, parents, plan, result, producer)
    publish.complete_folder(adapter, manifest, license_texts, notices)
    ref = publisher.publish(objects, refs.Uri.parse(job.output), adapter, manifest)
    return ref, (
        f"held-out loss {result.base_eval_loss:.4f} → {result.eval_loss:.4f} in "
        f"{result.counters.step} steps"
    )


def _keep_telemetry(objects: store.ObjectStore, output: refs.Uri, path: Path) -> None:
    """Upload the telemetry of a failed attempt beside progress.json, to diagnose the failure.

    The newest lines only; a store error is logged. The next failed attempt overwrites the file.
    """
    try:
        data = path.read_bytes()
    except OSError:  # the attempt failed before the first event
        return
    if len(data) > MAX_TELEMETRY_BYTES:
        data = data[-MAX_TELEMETRY_BYTES:].partition(b"\n")[2]
    uri = output / telemetry.FILE_NAME
    try:
        objects.put_bytes(uri, data)
    except store_errors.StoreError as e:
        log.warning("cannot upload the telemetry of the failed attempt: %s", e)
    else:
        log.info("uploaded the telemetry of the failed attempt to %s", uri)


def _parents(objects: store.ObjectStore, job: jobs.TrainJob) -> list[publish.Parent]:
    """Read the manifests of base and corpus; refuse another kind of artifact, and pickle files."""
    parents = []
    expected = (
        (manifests.Role.BASE, job.base, manifests.Kind.MODEL, reasons.BASE_MODEL_INVALID),
        (manifests.Role.CORPUS, job.corpus, manifests.Kind.CORPUS, reasons.CORPUS_INVALID),
    )
    for role, ref, kind, reason in expected:
        manifest, _ = manifests.read(objects, ref)
        if manifest.kind is not kind:
            raise errors.InvalidInputError(
                reason, f"{ref.uri} is a {manifest.kind}, expected a {kind}"
            )
        for file in manifest.files:
            names.refuse_pickle(file.path)
        parents.append(publish.Parent(role, ref, manifest))
    return parents


def _check_license(parent: publish.Parent, license_texts: Mapping[digests.Digest, bytes]) -> None:
    """Refuse an input with an unreviewed license, before any computation."""
    by_path = {
        license_.path: license_texts[license_.text_digest]
        for license_ in parent.manifest.compliance.licenses
        if license_.text_digest in license_texts
    }
    decision = clearance.judge(parent.manifest, captured=by_path)
    if not decision.ok:
        raise errors.InvalidInputError(decision.reason, decision.message)


def _fetch_and_import(
    objects: store.ObjectStore, parents: list[publish.Parent], scratch: Path
) -> None:
    """Fetch the inputs while importing torch: both take seconds and use different resources."""
    globs = {manifests.Role.BASE: BASE_FILES, manifests.Role.CORPUS: CORPUS_FILES}
    begin = time.perf_counter()
    stopped = threading.Event()

    def cancel_if_stopped(done: int, total: int) -> None:
        del done, total
        if stopped.is_set():
            raise futures.CancelledError

    pool = futures.ThreadPoolExecutor(max_workers=2)
    try:
        transfers = [
            pool.submit(
                reader.fetch,
                objects,
                parent.ref,
                scratch / parent.role.value.lower(),
                globs[parent.role],
                manifest=parent.manifest,
                progress=cancel_if_stopped,
            )
            for parent in parents
        ]
        importlib.import_module("mens_trainer.training")
        for future in transfers:
            future.result()
    except Exception:
        # The other transfer must end, at its next chunk, before the scratch folder is removed.
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        # After SIGTERM, do not wait even for a chunk.
        pool.shutdown(wait=False, cancel_futures=True)
    log.info("fetched inputs and imported torch in %.1f s", time.perf_counter() - begin)
