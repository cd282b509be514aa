"""The job of a pod: do what MENS_JOB says, publish, and leave a termination message.

Whatever happens, there is a whole artifact or none: the manifest is written last. Running the same
job again finds the artifact and is done. An interrupted run starts again from its first step.
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
from mens.runtime import jobs, process, termination
from mens_trainer import errors, publish, recipe, telemetry

log = logging.getLogger(__name__)

BASE_FILES: Final = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What is fetched of a base model: configuration, tokenizer, chat template and weights."""

CORPUS_FILES: Final = ("train.jsonl.zst", "validation.jsonl.zst")
"""What is fetched of a corpus."""

ADAPTER: Final = "adapter"
"""Folder of the adapter on the scratch volume."""

KEPT_BYTES: Final = 2**20
"""Most bytes of telemetry that a failed attempt leaves: about two thousand steps."""

OpenStore = Callable[[Mapping[str, str]], store.ObjectStore]
"""Makes the store from the environment."""


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
    lines = telemetry.LogLines(time.monotonic)
    try:
        with telemetry.ProgressFile(objects, output) as file:

            def tell(progress: jobs.Progress) -> None:
                lines(progress)
                file(progress.model_copy(update={"attempt": job.attempt}))

            remembering = telemetry.Remembering(tell)
            return _train(job, objects, scratch, remembering, process.image(environ))
    except store_errors.StoreError:  # no use in asking the store for one thing more
        raise
    except Exception:
        _keep_telemetry(objects, output, scratch / ADAPTER / telemetry.FILE_NAME)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _train(
    job: jobs.TrainJob,
    objects: store.ObjectStore,
    scratch: Path,
    tell: telemetry.Reporter,
    image: str,
) -> tuple[refs.ArtifactRef, str]:
    """Fetch, train and publish."""
    tell(jobs.Progress(stage="Fetching"))
    parents = _parents(objects, job)
    captured = publish.captured_licenses(objects, parents)
    notices = publish.captured_notices(objects, parents)
    for parent in parents:
        _must_be_cleared(parent, captured)
    plan = recipe.Recipe.from_spec(job.spec)
    _fetch_and_import(objects, parents, scratch)
    from mens_trainer import training  # noqa: PLC0415  # imported by now, beside the transfer

    adapter = scratch / ADAPTER
    inputs = training.Inputs(
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
    outcome = training.run(inputs, plan, adapter, tell)
    tell(jobs.Progress(stage="Publishing"))
    producer = manifests.Producer(image=image, versions=training.versions())
    manifest = publish.draft(job.resource.name, parents, plan, outcome, producer)
    publish.complete(adapter, manifest, captured, notices)
    ref = publisher.publish(objects, refs.Uri.parse(job.output), adapter, manifest)
    return ref, (
        f"held-out loss {outcome.before:.4f} → {outcome.after:.4f} in {outcome.counters.step} steps"
    )


def _keep_telemetry(objects: store.ObjectStore, output: refs.Uri, path: Path) -> None:
    """Leave a failed attempt's telemetry beside its progress: how the loss went says why it failed.

    The newest lines only, and only if the store takes them; the next attempt's replace it.
    """
    try:
        data = path.read_bytes()
    except OSError:  # it ended before there was any
        return
    if len(data) > KEPT_BYTES:
        data = data[-KEPT_BYTES:].partition(b"\n")[2]
    uri = output / telemetry.FILE_NAME
    try:
        objects.put_bytes(uri, data)
    except store_errors.StoreError as e:
        log.warning("the telemetry of the failed attempt is not kept: %s", e)
    else:
        log.info("the telemetry of the failed attempt lies at %s", uri)


def _parents(objects: store.ObjectStore, job: jobs.TrainJob) -> list[publish.Parent]:
    """Base and corpus with their manifests, verified; refuses what is not what it should be."""
    found = []
    wanted = (
        (manifests.Role.BASE, job.base, manifests.Kind.MODEL, reasons.BASE_MODEL_INVALID),
        (manifests.Role.CORPUS, job.corpus, manifests.Kind.CORPUS, reasons.CORPUS_INVALID),
    )
    for role, ref, kind, reason in wanted:
        manifest, _ = manifests.read(objects, ref)
        if manifest.kind is not kind:
            raise errors.InputWrong(reason, f"{ref.uri} is a {manifest.kind}, not a {kind}")
        for file in manifest.files:
            names.refuse_pickle(file.path)
        found.append(publish.Parent(role, ref, manifest))
    return found


def _must_be_cleared(parent: publish.Parent, captured: Mapping[digests.Digest, bytes]) -> None:
    """Refuse an input whose license nobody reviewed, before anything is computed."""
    by_path = {
        held.path: captured[held.text_digest]
        for held in parent.manifest.compliance.licenses
        if held.text_digest in captured
    }
    verdict = clearance.judge(parent.manifest, captured=by_path)
    if not verdict.ok:
        raise errors.InputWrong(verdict.reason, verdict.message)


def _fetch_and_import(
    objects: store.ObjectStore, parents: list[publish.Parent], scratch: Path
) -> None:
    """Fetch the inputs while torch is imported: both take seconds and use different things."""
    globs = {manifests.Role.BASE: BASE_FILES, manifests.Role.CORPUS: CORPUS_FILES}
    begin = time.perf_counter()
    stopped = threading.Event()

    def go_on(done: int, total: int) -> None:
        del done, total
        if stopped.is_set():
            raise futures.CancelledError

    pool = futures.ThreadPoolExecutor(max_workers=2)
    try:
        running = [
            pool.submit(
                reader.fetch,
                objects,
                parent.ref,
                scratch / parent.role.value.lower(),
                globs[parent.role],
                manifest=parent.manifest,
                progress=go_on,
            )
            for parent in parents
        ]
        importlib.import_module("mens_trainer.training")
        for future in running:
            future.result()
    except Exception:
        # The other transfer ends at its next chunk, and before the scratch folder is removed.
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        # After SIGTERM nobody waits, not even for a chunk.
        pool.shutdown(wait=False, cancel_futures=True)
    log.info("fetched inputs and imported torch in %.1f s", time.perf_counter() - begin)
