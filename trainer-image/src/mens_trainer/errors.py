"""How a run ends early: the class says who has to act, and so the exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from mens.api import reasons
from mens.runtime import errors, jobs
from mens_trainer import memory


class TrainError(errors.JobError):
    """Ends the run without an artifact.

    Args:
        reason: One of `mens.api.reasons`.
        message: Cause and next step; never a secret.
    """


class InputWrong(TrainError):  # noqa: N818  # named by what it says in the exit code
    """Somebody must change an input; tried again slowly."""

    exit_code = jobs.ExitCode.INVALID_INPUT


class OutOfMemory(TrainError):  # noqa: N818  # named by what it says in the exit code
    """The device ran out of memory; the next attempt uses half the micro-batch."""

    exit_code = jobs.ExitCode.OUT_OF_MEMORY

    def __init__(self, message: str) -> None:
        super().__init__(reasons.OUT_OF_MEMORY, message)


class Diverged(TrainError):  # noqa: N818  # named by what it says in the exit code
    """Training left the numbers; the same spec ends the same, so it is not repeated."""

    def __init__(self, message: str) -> None:
        super().__init__(reasons.DIVERGED, message)


@contextlib.contextmanager
def blamed(refusal: Callable[[str], InputWrong], *passing: type[Exception]) -> Iterator[None]:
    """Refuse an input over which a library stumbles, whatever the library raises.

    Over a bad file that is a ZeroDivisionError as well as an AttributeError or, out of Rust, a
    plain Exception. Memory that ran out is not the input's fault, and our own errors stay.

    Args:
        refusal: Makes the error from what the library said.
        passing: Errors that say nothing about the input here.
    """
    try:
        yield
    except Exception as e:
        if isinstance(e, (TrainError, *passing)) or memory.ran_out(e):
            raise
        raise refusal(f"{type(e).__name__}: {' '.join(str(e).split())[:300]}") from e
