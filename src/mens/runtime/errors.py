"""Errors that end a job. The class determines the exit code, and so the retry policy."""

from __future__ import annotations

from typing import ClassVar

from mens.api import reasons
from mens.runtime import jobs


class JobError(Exception):
    """The job ends without an artifact.

    Args:
        reason: One of `mens.api.reasons`.
        message: The cause and the next step; never a secret.
    """

    exit_code: ClassVar[jobs.ExitCode] = jobs.ExitCode.INTERNAL_ERROR

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidInputError(JobError):
    """The job cannot succeed until an input changes; it is retried slowly."""

    exit_code = jobs.ExitCode.INVALID_INPUT


class StorageError(JobError):
    """The storage or the network failed; the job is retried soon."""

    exit_code = jobs.ExitCode.STORAGE_ERROR


class OutOfMemoryError(JobError):
    """The accelerator ran out of memory; the next attempt uses half the micro-batch size."""

    exit_code = jobs.ExitCode.OUT_OF_MEMORY

    def __init__(self, message: str) -> None:
        super().__init__(reasons.OUT_OF_MEMORY, message)
