"""What can go wrong between the operator and the API server; the class states the retry policy."""
# ruff: noqa: N818  # named by what happened, as the API server's own reasons are

from __future__ import annotations


class ClusterError(Exception):
    """Any failure of a call; try again with back-off."""


class Unavailable(ClusterError):
    """No answer, a timeout, 429 or 5xx: a write may or may not have happened."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the API server asks to wait; None if it does not say."""


class Conflict(ClusterError):
    """409: the object changed since it was read, or exists already; read again."""


class NotFound(ClusterError):
    """404 on a write: the object is gone; forget it."""


class Gone(ClusterError):
    """410: the resourceVersion of a watch is too old; list again."""


class Refused(ClusterError):
    """400, 403 or 422: the same call will be refused again until somebody changes something."""


class NotLeader(ClusterError):
    """The fence is down: this process must not write any more."""
