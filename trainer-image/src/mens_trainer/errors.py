"""How a run ends early: the class says who has to act, and so the exit code."""

from __future__ import annotations

from mens.api import jobs, reasons


class TrainError(Exception):
    """Ends the run without an artifact.

    Args:
        reason: One of `mens.api.reasons`.
        message: Cause and next step; never a secret.
    """

    exit_code = jobs.ExitCode.INTERNAL_ERROR

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InputWrong(TrainError):  # noqa: N818  # named by what it says in the exit code
    """Somebody must change an input; tried again slowly."""

    exit_code = jobs.ExitCode.INPUT_WRONG


class OutOfMemory(TrainError):  # noqa: N818  # named by what it says in the exit code
    """The device ran out of memory; the next attempt uses half the micro-batch."""

    exit_code = jobs.ExitCode.OUT_OF_MEMORY

    def __init__(self, message: str) -> None:
        super().__init__(reasons.OUT_OF_MEMORY, message)
