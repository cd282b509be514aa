"""The job of a pod: build the corpus of MENS_JOB, publish it, and write a termination message.

The artifact is complete or absent, because the manifest is written last. The job is idempotent: if
the artifact exists already, it succeeds at once.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mens.artifacts import publisher, refs, s3, store
from mens.runtime import jobs, process, termination
from mens_corpus import accounting, builder, compliance, progress
from mens_corpus.readers import registry

log = logging.getLogger(__name__)


def main(
    environ: Mapping[str, str] = os.environ,
    open_store: Callable[[Mapping[str, str]], store.ObjectStore] = s3.from_env,
) -> int:
    """Run the job of the environment and return the exit code of the process."""
    return process.run(lambda: run(environ, open_store), environ)


def run(
    environ: Mapping[str, str],
    open_store: Callable[[Mapping[str, str]], store.ObjectStore] = s3.from_env,
) -> termination.Outcome:
    """Run the job; every error becomes an exit code and a reason."""
    return termination.outcome_of(
        lambda: _build_and_publish(environ, open_store),
        preempted="the pod was terminated before the corpus was published; it starts again",
    )


def _build_and_publish(
    environ: Mapping[str, str], open_store: Callable[[Mapping[str, str]], store.ObjectStore]
) -> tuple[refs.ArtifactRef, str]:
    job = process.read_job(jobs.CorpusJob, environ, command="mens corpus build")
    output = refs.Uri.parse(job.output)
    objects = open_store(environ)
    existing = publisher.existing(objects, output)
    if existing is not None:
        return existing, f"{output} was already published"
    report_progress = progress.ProgressReporter(objects, output, time.monotonic, job.attempt)
    report_progress("Starting", 0, 0, 0)
    scratch = Path(tempfile.mkdtemp(prefix="corpus-", dir=environ.get(jobs.SCRATCH_ENV)))
    try:
        context = builder.BuildContext(
            open_reader=registry.opener(lambda: objects, scratch),
            license_table=compliance.license_table(),
            scratch=scratch,
            producer=process.image(environ),
            report_progress=report_progress,
        )
        built = builder.build(job.resource.name, job.spec, context)
        log.info("accounting:\n%s", accounting.format_table(built.counters.to_object()))
        report_progress("Publishing", 0, 0, built.train_rows + built.validation_rows)
        ref = publisher.publish(objects, output, built.folder, built.draft)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ref, f"{built.train_rows} training rows, {built.validation_rows} validation rows"
