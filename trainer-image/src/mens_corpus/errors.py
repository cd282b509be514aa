"""How a build ends early: the class says who has to act, and so the exit code."""

from __future__ import annotations

from mens.runtime import jobs


class BuildError(Exception):
    """Ends the build without an artifact.

    Args:
        reason: One of `mens.api.reasons`.
        message: Cause and next step; never a secret.
    """

    exit_code = jobs.ExitCode.INTERNAL_ERROR

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InputWrong(BuildError):  # noqa: N818  # named by what it says in the exit code
    """Somebody must change an input; tried again slowly."""

    exit_code = jobs.ExitCode.INPUT_WRONG


class SourceMissing(InputWrong):
    """The source does not exist; an optional one is left out."""


class Trouble(BuildError):  # noqa: N818  # named by what it says in the exit code
    """Storage or network; tried again soon."""

    exit_code = jobs.ExitCode.STORAGE_TROUBLE
