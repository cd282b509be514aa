"""How a job ends: an outcome with an exit code, and a message in the termination log.

`outcome_of` is the process boundary of the three programs: it converts every exception of a job
into an outcome.
"""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from mens.api import reasons
from mens.artifacts import errors as store_errors
from mens.artifacts import refs
from mens.runtime import errors, jobs

log = logging.getLogger(__name__)

Outcome = tuple[jobs.ExitCode, jobs.Termination]
"""The exit code of a job and its termination message."""


class Preempted(BaseException):  # like KeyboardInterrupt: no `except Exception` may catch it
    """The process received SIGTERM."""


def outcome_of(work: Callable[[], tuple[refs.ArtifactRef, str]], *, preempted: str) -> Outcome:
    """Run the work and return its outcome; every exception becomes an exit code and a reason.

    Args:
        work: Returns the published artifact and a message about it.
        preempted: The message if SIGTERM ends the work: what is lost and what happens next.
    """
    try:
        artifact, message = work()
    except Preempted:
        termination = jobs.Termination(reason=reasons.PREEMPTED, message=preempted)
        return jobs.ExitCode.PREEMPTED, termination
    except Exception as e:  # the process boundary: every error must become a reason
        return failure(e)
    termination = jobs.Termination(reason=reasons.SUCCEEDED, message=message, artifact=artifact)
    return jobs.ExitCode.SUCCEEDED, termination


def failure(error: Exception) -> Outcome:
    """Return the outcome of a job that failed with this error.

    Anything but a `JobError` or a `StoreError` is a defect. Its type and place go into the
    message; its text goes only into the log, since a foreign error's text may hold a credential.
    """
    match error:
        case errors.JobError():
            code, reason, message = error.exit_code, error.reason, error.message
        case store_errors.StoreError():
            transient = error.transient
            code = jobs.ExitCode.STORAGE_ERROR if transient else jobs.ExitCode.INVALID_INPUT
            reason, message = error.reason, str(error)
        case _:
            log.error("unexpected error", exc_info=error)
            code, reason = jobs.ExitCode.INTERNAL_ERROR, reasons.INTERNAL_ERROR
            message = _describe(error)
    return code, jobs.Termination(reason=reason, message=message)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the scratch volume is full; raise spec.resources.scratch"
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {place}; see the pod's log for details and report it"


def write(termination: jobs.Termination, environ: Mapping[str, str]) -> None:
    """Write the termination log, if the environment names one."""
    path = environ.get(jobs.TERMINATION_ENV)
    if not path:
        return
    try:
        Path(path).write_bytes(termination.to_log())
    except OSError as e:
        log.warning("cannot write the termination message: %s", e)
