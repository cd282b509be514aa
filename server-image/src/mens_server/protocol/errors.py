"""Why a request is not answered: one class per cause, with the HTTP status and the OpenAI code."""

from __future__ import annotations

from typing import Any, ClassVar


class Rejection(Exception):  # noqa: N818  # a rejected request is not a defect
    """A request that is not answered, and what to tell its sender."""

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str] = "invalid_request"
    leaves_body: ClassVar[bool] = False
    """Whether the rest of the body was not read, so that the connection has to be closed."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds: int | None = None

    def to_openai(self) -> dict[str, Any]:
        """Error body in OpenAI's shape."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def to_ollama(self) -> dict[str, Any]:
        """Error body in Ollama's shape."""
        return {"error": self.message}


class InvalidRequest(Rejection):
    """The body is not what the route takes."""


class UnsupportedParameter(Rejection):
    """The body asks for something that this server does not do; never ignored silently."""

    code = "unsupported_parameter"


class ContextTooLong(Rejection):
    """Prompt and answer do not fit into the context."""

    code = "context_length_exceeded"


class ModelNotFound(Rejection):
    """No base or adapter has this name; the base never answers in its place."""

    status = 404
    code = "model_not_found"


class RouteNotFound(Rejection):
    """The path does not exist."""

    status = 404
    code = "not_found"


class MethodNotAllowed(Rejection):
    """The path exists, but not for this method."""

    status = 405
    code = "method_not_allowed"


class NotImplementedHere(Rejection):
    """The route exists at others; this server says so instead of pretending."""

    status = 501
    code = "not_implemented"


class BodyTooLarge(Rejection):
    """The body is larger than the limit."""

    status = 413
    code = "body_too_large"
    leaves_body = True


class BodyTooSlow(Rejection):
    """The body did not arrive in time."""

    status = 408
    code = "body_too_slow"
    leaves_body = True


class QueueFull(Rejection):
    """As many requests wait as may wait."""

    status = 429
    kind = "rate_limit_error"
    code = "queue_full"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TooManyOpen(QueueFull):
    """As many requests are open, waiting or not, as may be."""

    code = "too_many_open"
    leaves_body = True


class Unavailable(Rejection):
    """Not ready yet, or draining."""

    status = 503
    kind = "server_error"
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(Rejection):
    """The answer took longer than the limit."""

    status = 504
    kind = "server_error"
    code = "deadline_exceeded"


class EngineFailed(Rejection):
    """A defect of ours."""

    status = 500
    kind = "server_error"
    code = "internal_error"
