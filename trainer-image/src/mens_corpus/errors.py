"""How a build ends early: the class says who has to act, and so the exit code."""

from __future__ import annotations

from mens.runtime import errors, jobs


class BuildError(errors.JobError):
    """Ends the build without an artifact.

    Args:
        reason: One of `mens.api.reasons`.
        message: Cause and next step; never a secret.
    """


class InputWrong(BuildError):  # noqa: N818  # named by what it says in the exit code
    """Somebody must change an input; tried again slowly."""

    exit_code = jobs.ExitCode.INVALID_INPUT


class SourceMissing(InputWrong):
    """The source does not exist; an optional one is left out."""


class Trouble(BuildError):  # noqa: N818  # named by what it says in the exit code
    """Storage or network; tried again soon."""

    exit_code = jobs.ExitCode.STORAGE_ERROR
