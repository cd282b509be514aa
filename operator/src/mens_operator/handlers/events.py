"""The event handlers: kopf watches the three kinds and forwards their events.

Only `on.event` is used (and `on.login` for credentials): kopf's other handlers write annotations,
finalizers or peering objects, and act on differences instead of states.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import kopf

from mens_operator.cluster import kinds

EventHandler: TypeAlias = Callable[[str, Mapping[str, Any]], None]
"""Told the type of each event and its object; called in kopf's thread."""

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def registry(on_event: EventHandler) -> kopf.OperatorRegistry:
    """Return a registry of its own, so that no import elsewhere can add handlers."""
    own = kopf.OperatorRegistry()

    async def login(**arguments: Any) -> Any:
        return _service_account() or kopf.login_with_kubeconfig(**arguments)

    async def handle(event: Mapping[str, Any], **_: Any) -> None:
        on_event(event["type"] or "ADDED", event["object"])

    kopf.on.login(registry=own)(login)
    for kind in kinds.RESOURCES:
        group, version = kind.api_version.split("/")
        kopf.on.event(group, version, kind.plural, registry=own, id=kind.plural)(handle)
    return own


def _service_account() -> Any:
    """Return the pod's credentials; kopf's own function needs the cluster's DNS for that."""
    token, host = _ACCOUNT / "token", os.environ.get("KUBERNETES_SERVICE_HOST")
    if not host or not token.exists():
        return None
    shown = f"[{host}]" if ":" in host else host
    return kopf.ConnectionInfo(
        server=f"https://{shown}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}",
        ca_path=str(_ACCOUNT / "ca.crt"),
        token=token.read_text().strip(),
    )


def settings() -> kopf.OperatorSettings:
    """Return settings under which kopf writes nothing and needs namespaced permissions only."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.process.ultimate_exiting_timeout = None
    chosen.watching.chunk_size = 250
    chosen.queueing.idle_timeout = 0.1
    chosen.peering.standalone = True
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 5
    chosen.persistence.diffbase_storage = _NoDiffBase()
    chosen.persistence.progress_storage = _NoProgress()
    return chosen


class _NoDiffBase(kopf.DiffBaseStorage):  # type: ignore[misc]  # kopf is not followed
    """Remembers nothing: the essence of each object costs a third of kopf's CPU."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):  # type: ignore[misc]  # kopf is not followed
    """Remembers nothing."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence
