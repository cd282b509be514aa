"""How a job's process ends: SIGTERM obeyed once, a reason in the termination log, an exit code.

The corpus and the trainer share this edge; what each of them does before it ends is its own.
"""

from __future__ import annotations

import errno
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from mens.api import reasons
from mens.runtime import jobs

log = logging.getLogger(__name__)

End = tuple[jobs.ExitCode, jobs.Termination]
"""What became of a job."""


class Preempted(BaseException):  # like KeyboardInterrupt: no `except Exception` may eat it
    """SIGTERM arrived."""


def run(work: Callable[[], End], environ: Mapping[str, str]) -> int:
    """Do the work, leave its termination message and return the exit code of the process.

    SIGTERM raises `Preempted` within the work, once.
    """
    signal.signal(signal.SIGTERM, _preempt)
    code, termination = work()
    # What was decided stays decided: only the message is left to be written.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log.info("%s: %s", termination.reason, termination.message)
    leave(termination, environ)
    return int(code)


def leave(termination: jobs.Termination, environ: Mapping[str, str]) -> None:
    """Write the termination log, where there is one."""
    path = environ.get(jobs.TERMINATION_ENV)
    if not path:
        return
    try:
        Path(path).write_bytes(termination.to_log())
    except OSError as e:
        log.warning("the termination message is not written: %s", e)


def preempted(what: str) -> End:
    """The end of a job that SIGTERM ended; `what` says what that means for it."""
    return jobs.ExitCode.PREEMPTED, jobs.Termination(reason=reasons.PREEMPTED, message=what)


def defect(e: Exception) -> End:
    """The end by an error nobody foresaw: its kind and place are told, its text is only logged.

    The text of a foreign error may hold a credential; the log stays with those who may read pods.
    """
    log.error("unexpected error", exc_info=e)
    message = _place(e)
    if isinstance(e, OSError) and e.errno == errno.ENOSPC:
        message = "the scratch volume is full; raise spec.resources.scratch"
    termination = jobs.Termination(reason=reasons.INTERNAL_ERROR, message=message)
    return jobs.ExitCode.INTERNAL_ERROR, termination


def _place(e: Exception) -> str:
    frames = traceback.extract_tb(e.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(e).__name__} at {place}; the pod's log has the rest: please report it"


def _preempt(number: int, frame: FrameType | None) -> None:
    """Obey SIGTERM; a second one must not interrupt the clean-up of the first."""
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Preempted


def configure_logging() -> None:
    """Log one line per record to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
