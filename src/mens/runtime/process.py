"""The process of a pod: it reads its job, handles SIGTERM and exits with a termination message."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TypeVar

from mens.api import reasons
from mens.runtime import errors, jobs, termination

log = logging.getLogger(__name__)

JobT = TypeVar("JobT", jobs.CorpusJob, jobs.TrainJob, jobs.ServeJob)


def read_job(kind: type[JobT], environ: Mapping[str, str], *, command: str | None = None) -> JobT:
    """Read the job from MENS_JOB.

    Args:
        kind: The job that this program runs.
        environ: The environment of the process.
        command: What a person runs instead, for the error message.

    Raises:
        errors.InvalidInputError: The variable is missing, or it is not a job of this kind.
    """
    text = environ.get(jobs.JOB_ENV)
    if not text:
        hint = f". To run it by hand, use: {command}" if command else f" to a {kind.__name__}"
        message = f"{jobs.JOB_ENV} is not set; the operator sets it{hint}"
        raise errors.InvalidInputError(reasons.SPEC_INVALID, message)
    try:
        return jobs.parse(kind, text)
    except jobs.UnreadableJobError as e:
        raise errors.InvalidInputError(reasons.SPEC_INVALID, str(e)) from None


def image(environ: Mapping[str, str]) -> str:
    """Return the name of the container image for the manifest; `local` outside a container."""
    return environ.get(jobs.IMAGE_ENV) or "local"


def run(work: Callable[[], termination.Outcome], environ: Mapping[str, str]) -> int:
    """Do the work, write its termination message and return the exit code of the process.

    SIGTERM raises `termination.Preempted` within the work, once.
    """
    signal.signal(signal.SIGTERM, _preempt)
    code, message = work()
    # The outcome is final: a SIGTERM from here on must not interrupt the writing of the message.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log.info("%s: %s", message.reason, message.message)
    termination.write(message, environ)
    return int(code)


def _preempt(number: int, frame: FrameType | None) -> None:
    """Raise once: a second SIGTERM must not interrupt the clean-up after the first."""
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise termination.Preempted


def configure_logging() -> None:
    """Log one line per record to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
