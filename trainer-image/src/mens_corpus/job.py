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
from typing import Final

from mens.api import reasons
from mens.artifacts import errors as store_errors
from mens.artifacts import publisher, refs, s3, store
from mens.runtime import jobs, termination
from mens_corpus import accounting, builder, compliance, errors, progress
from mens_corpus.readers import registry

log = logging.getLogger(__name__)

IMAGE_ENV: Final = "MENS_IMAGE"
"""Name of the image that runs, for the manifest; `local` where it is not set."""


def main(
    environ: Mapping[str, str] = os.environ,
    open_store: Callable[[Mapping[str, str]], store.ObjectStore] = s3.from_env,
) -> int:
    """Run the job of the environment and return the exit code of the process."""
    return termination.run(lambda: ended(environ, open_store), environ)


def ended(
    environ: Mapping[str, str],
    open_store: Callable[[Mapping[str, str]], store.ObjectStore] = s3.from_env,
) -> termination.End:
    """Run the job; every way to end becomes an exit code and a reason."""
    try:
        ref, message = _run(environ, open_store)
    except errors.BuildError as e:
        return e.exit_code, jobs.Termination(reason=e.reason, message=str(e))
    except store_errors.StoreError as e:
        code = jobs.ExitCode.STORAGE_TROUBLE if e.transient else jobs.ExitCode.INPUT_WRONG
        return code, jobs.Termination(reason=e.reason, message=str(e))
    except termination.Preempted:
        return termination.preempted(
            "the pod was ended before the corpus was published; it starts again"
        )
    except Exception as e:  # the border of the process: nothing may leave unnamed
        return termination.defect(e)
    succeeded = jobs.Termination(reason=reasons.SUCCEEDED, message=message, artifact=ref)
    return jobs.ExitCode.DONE, succeeded


def _run(
    environ: Mapping[str, str], open_store: Callable[[Mapping[str, str]], store.ObjectStore]
) -> tuple[refs.ArtifactRef, str]:
    job = _job(environ)
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
            producer=environ.get(IMAGE_ENV) or "local",
            report=report,
        )
        built = builder.build(job.resource.name, job.spec, around)
        log.info("accounting:\n%s", accounting.table(built.ledger.to_object()))
        report("Publishing", 0, 0, built.train + built.validation)
        ref = publisher.publish(objects, output, built.folder, built.draft)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ref, f"{built.train} rows to train on, {built.validation} held out"


def _job(environ: Mapping[str, str]) -> jobs.CorpusJob:
    text = environ.get(jobs.JOB_ENV)
    if not text:
        raise errors.InputWrong(
            reasons.SPEC_INVALID,
            f"{jobs.JOB_ENV} is not set; the operator sets it. A person runs: mens corpus build",
        )
    try:
        return jobs.parse(jobs.CorpusJob, text)
    except jobs.UnreadableJobError as e:
        raise errors.InputWrong(reasons.SPEC_INVALID, str(e)) from None
