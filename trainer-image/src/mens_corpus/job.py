"""The job of a pod: do what MENS_JOB says, publish, and leave a termination message.

Whatever happens, there is a whole artifact or none: the manifest is written last. Running the same
job again finds the artifact and is done.
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
    present = publisher.existing(objects, output)
    if present is not None:
        return present, f"{output} was already published"
    report = progress.Progressing(objects, output, time.monotonic, job.attempt)
    report("Starting", 0, 0, 0)
    scratch = Path(tempfile.mkdtemp(prefix="corpus-", dir=environ.get(jobs.SCRATCH_ENV)))
    try:
        around = builder.Surroundings(
            open_tree=registry.opener(lambda: objects, scratch),
            table=compliance.table(),
            scratch=scratch,
            producer=process.image(environ),
            report=report,
        )
        built = builder.build(job.resource.name, job.spec, around)
        log.info("accounting:\n%s", accounting.table(built.ledger.to_object()))
        report("Publishing", 0, 0, built.train + built.validation)
        ref = publisher.publish(objects, output, built.folder, built.draft)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ref, f"{built.train} rows to train on, {built.validation} held out"
