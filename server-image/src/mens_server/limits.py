"""Bounds of one server, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused, and how long things may take."""

    body_bytes: int = 1 << 20
    """Largest request body; 413 beyond."""
    body_seconds: float = 30.0
    """Time in which a body has to arrive; 408 beyond."""
    open_requests: int = 136
    """Requests below /v1 and /api that are read, wait or run; one more gets 429. Each holds its
    body, so this bounds memory; probes are not counted."""
    default_max_tokens: int = 512
    """Tokens of an answer when the request names no number."""
    answer_seconds: float = 600.0
    """Time from the request to the end of its answer, waiting included; 504 beyond."""
    heartbeat_seconds: float = 120.0
    """Age of the engine's heartbeat beyond which the pod is not alive."""
    drain_delay_seconds: float = 2.0
    """After SIGTERM, how long requests are still admitted while endpoints forget the pod."""
    drain_cap_seconds: float = 25.0
    """How long running answers may take after that; below Kubernetes' 30 s with the delay."""
    retry_seconds: tuple[float, float] = (2.0, 30.0)
    """First and longest pause before loading is tried again."""
    storage_seconds: float = 60.0
    """How long storage that does not answer is waited for before the process ends: a new one has
    the credentials that the Secret holds by then."""
