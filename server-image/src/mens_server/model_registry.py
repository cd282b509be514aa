"""What this server serves: names, digests, licenses. Read by requests, written by the loader."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from mens_server.protocol import errors, names


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that clients can name: the base, or an adapter on it."""

    name: str
    """What clients write behind `model`."""
    digest: str
    """Digest of its manifest; for an adapter, the one the engine knows it by."""
    base_digest: str
    """Digest of the base's manifest."""
    is_adapter: bool
    """False for the base."""
    compliance: dict[str, Any]
    """The manifest's compliance, as JSON."""
    upstream: dict[str, Any] | None
    """Family, model id and revision of the base model's origin."""
    notice: str = ""
    """Text of the artifact's NOTICE file."""
    created: int = 0
    """When it was loaded, in seconds since 1970."""

    @property
    def adapter(self) -> str | None:
        """What the engine is asked for."""
        return self.digest if self.is_adapter else None


class ModelRegistry:
    """The models by name; an unknown name is an error and never the base."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, ServedModel] = {}
        self._kept_out: dict[str, str] = {}

    def put(self, entry: ServedModel) -> None:
        """Serve a model."""
        with self._lock:
            self._entries[entry.name] = entry
            self._kept_out.pop(entry.name, None)

    def reject(self, name: str, why: str) -> None:
        """Remember why a name of the job is not served."""
        with self._lock:
            self._kept_out[name] = why

    def entries(self) -> list[ServedModel]:
        """All models, the base first."""
        with self._lock:
            return list(self._entries.values())

    def find(self, name: str) -> ServedModel:
        """The model of this name.

        Raises:
            ModelNotFound: There is none, or it is kept out.
        """
        plain = names.parse(name)
        with self._lock:
            entry, why = self._entries.get(plain), self._kept_out.get(plain)
        if entry is not None:
            return entry
        reason = f"is kept out: {why}" if why else "does not exist"
        raise errors.ModelNotFound(f"The model {plain!r} {reason}. See /v1/models.", param="model")
