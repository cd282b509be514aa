"""From a job to an engine that answers: fetch, check, load, warm up; and again after trouble.

Runs in one thread beside HTTP. A server never exits because an artifact is wrong: it stays
unready, says why at /ready, and tries again, so that it recovers by itself once the cause is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from mens.api import jobs, reasons
from mens.artifacts import errors, manifests, publishing, refs
from mens_server import catalog, checks, readiness
from mens_server.app import service as services
from mens_server.engines import ports

_log = logging.getLogger(__name__)

NOTICE_LIMIT: Final = 1 << 20
"""Bytes of a NOTICE that /attribution shows."""


class Fetch(Protocol):
    """Brings a verified artifact into a folder; the folder has its files and no others."""

    def __call__(
        self, ref: refs.ArtifactRef, into: Path, progress: publishing.Progress
    ) -> manifests.Manifest:
        """Return the manifest.

        Raises:
            errors.StoreError: The artifact cannot be read, or is not what the digest says.
        """
        ...


BuildEngine = Callable[[Path], ports.Engine]
"""Loads a checked model folder."""


class Loader:
    """Brings one service from nothing to ready."""

    def __init__(
        self,
        job: jobs.ServeJob,
        service: services.Service,
        *,
        fetch: Fetch,
        build: BuildEngine,
        scratch: Path,
    ) -> None:
        self._job = job
        self._service = service
        self._fetch = fetch
        self._build = build
        self._scratch = scratch
        self._stop = threading.Event()
        self._loaded: set[str] = set()
        for adapter in job.adapters:
            self._state(adapter, "Waiting", "", "")

    def start(self) -> threading.Thread:
        """Load in a thread of its own."""
        thread = threading.Thread(target=self.run, name="loader", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Do not try again."""
        self._stop.set()

    def run(self) -> None:
        """Try until everything is loaded, with growing pauses."""
        shortest, longest = self._service.limits.retry_seconds
        pause = shortest
        while not self._stop.is_set():
            if self._attempt():
                return
            self._stop.wait(pause)
            pause = min(2 * pause, longest)

    def _attempt(self) -> bool:
        """Whether there is nothing left to try."""
        state = self._service.readiness
        try:
            if self._service.engine is None:
                self._load_base()
            complete = self._load_adapters()
        except (errors.StoreError, checks.Refused) as error:
            _log.warning("%s: %s", error.reason, error)
            state.trouble(error.reason, str(error))
            return False
        except Exception as error:
            _log.exception("loading failed")
            state.trouble(reasons.INTERNAL_ERROR, f"{type(error).__name__}: {error}"[:500])
            return False
        return complete

    def _load_base(self) -> None:
        state, ref = self._service.readiness, self._job.base
        state.enter("FetchingBase")
        folder = self._scratch / "base"
        manifest = self._fetch(ref, folder, state.progress)
        if manifest.kind is not manifests.Kind.MODEL:
            raise checks.Refused(
                reasons.BASE_MODEL_INVALID, f"{ref.uri} is a {manifest.kind}, not a Model."
            )
        state.enter("CheckingBase")
        checks.check_base(folder)
        state.enter("LoadingBase")
        engine = self._build(folder)
        self._service.models.put(
            _entry(self._job.base_name, manifest, ref, ref, folder, is_adapter=False)
        )
        self._service.engine = engine
        state.overcome()

    def _load_adapters(self) -> bool:
        """Load what is missing; ready as soon as every required adapter is in."""
        state = self._service.readiness
        if not state.ready:
            state.enter("LoadingAdapters")
        worst: tuple[str, str] | None = None
        for adapter in self._job.adapters:
            if adapter.name in self._loaded:
                continue
            try:
                self._load_adapter(adapter)
            except (errors.StoreError, checks.Refused) as error:
                _log.warning("adapter %s: %s: %s", adapter.name, error.reason, error)
                self._state(adapter, "KeptOut", error.reason, str(error))
                self._service.models.keep_out(adapter.name, f"{error.reason}: {error}")
                if adapter.required:
                    worst = worst or (error.reason, f"Adapter {adapter.name}: {error}")
        if worst is not None:
            state.trouble(*worst)
        elif not state.ready and not self._stop.is_set():
            state.enter(readiness.READY)
            _log.info("ready: %s", state.report()["seconds"])
        return len(self._loaded) == len(self._job.adapters)

    def _load_adapter(self, adapter: jobs.ServedAdapter) -> None:
        ref, base = adapter.artifact, self._job.base
        folder = self._scratch / "adapters" / adapter.name
        manifest = self._fetch(ref, folder, lambda _done, _total: None)
        if manifest.kind is not manifests.Kind.ADAPTER:
            raise checks.Refused(
                reasons.ADAPTER_INVALID, f"{ref.uri} is a {manifest.kind}, not an Adapter."
            )
        trained_on = manifest.input(manifests.Role.BASE)
        if trained_on is None or trained_on.digest != base.digest:
            found = "no base" if trained_on is None else f"{trained_on.name} {trained_on.digest}"
            raise checks.Refused(
                reasons.BASE_MISMATCH,
                f"It was trained on {found}, but this server's base is {base.digest}: serve it on "
                "its own base, or train it on this one.",
            )
        engine = self._service.engine
        assert engine is not None
        engine.load_adapter(ports.AdapterFiles(str(ref.digest), folder))
        self._service.models.put(_entry(adapter.name, manifest, ref, base, folder, is_adapter=True))
        self._loaded.add(adapter.name)
        self._state(adapter, "Loaded", "", "")

    def _state(self, adapter: jobs.ServedAdapter, state: str, reason: str, message: str) -> None:
        self._service.readiness.adapter(
            adapter.name,
            str(adapter.artifact.digest),
            state=state,
            reason=reason,
            message=message,
        )


def clean(into: Path, manifest: manifests.Manifest) -> None:
    """Remove what an earlier attempt left in a folder and the manifest does not name."""
    known = {into / file.path for file in manifest.files}
    for path in sorted(into.rglob("*")):
        if path.is_symlink() or (path.is_file() and path not in known):
            path.unlink()


def _entry(
    name: str,
    manifest: manifests.Manifest,
    ref: refs.ArtifactRef,
    base: refs.ArtifactRef,
    folder: Path,
    *,
    is_adapter: bool,
) -> catalog.Entry:
    notice = folder / "NOTICE"
    text = notice.read_bytes()[:NOTICE_LIMIT].decode(errors="replace") if notice.exists() else ""
    upstream = manifest.upstream
    return catalog.Entry(
        name=name,
        digest=str(ref.digest),
        base_digest=str(base.digest),
        is_adapter=is_adapter,
        compliance=manifest.compliance.model_dump(mode="json", by_alias=True),
        upstream=upstream.model_dump(mode="json", by_alias=True) if upstream else None,
        notice=text,
        created=int(time.time()),
    )
