"""From a job to an engine that answers: fetch, check, load, warm up; and again after trouble.

Runs in one thread beside HTTP, which says at /ready what is being done and what is in the way.
Storage that does not answer is waited for, for a while. Whatever else keeps the base or a required
adapter out ends the process: then the reason stands in the pod, where the operator finds it, and
the kubelet tries again, ever more slowly, with secrets and files as they are then. An optional
adapter never ends anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from mens.api import reasons
from mens.artifacts import manifests, refs, transfers
from mens.runtime import jobs, termination
from mens_server import model_registry, model_validation, readiness
from mens_server.app import service as services
from mens_server.engines import interface

_log = logging.getLogger(__name__)

NOTICE_LIMIT: Final = 1 << 20
"""Bytes of a NOTICE that /attribution shows."""


class Fetch(Protocol):
    """Brings a verified artifact into a folder; the folder has its files and no others."""

    def __call__(
        self, ref: refs.ArtifactRef, into: Path, progress: transfers.Progress
    ) -> manifests.Manifest:
        """Return the manifest.

        Raises:
            errors.StoreError: The artifact cannot be read, or is not what the digest says.
        """
        ...


BuildEngine = Callable[[Path], interface.Engine]
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._service = service
        self._fetch = fetch
        self._build = build
        self._scratch = scratch
        self._clock = clock
        self._stop = threading.Event()
        self._left = list(job.adapters)
        for adapter in job.adapters:
            self._state(adapter, "Waiting", "", "")

    def start(self, give_up: Callable[[termination.Outcome], object]) -> threading.Thread:
        """Load in a thread of its own; `give_up` is called there when the process has to end."""

        def load() -> None:
            end = self.run()
            if end is not None:
                give_up(end)

        thread = threading.Thread(target=load, name="loader", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Do not try again."""
        self._stop.set()

    def run(self) -> termination.Outcome | None:
        """Try until nothing is left, with growing pauses.

        Returns:
            How the process has to end; None when it need not.
        """
        bounds = self._service.limits
        pause, longest = bounds.retry_seconds
        deadline = None
        while not self._stop.is_set():
            lacking = self._lacking()
            end = self._attempt()
            if end is None and not self._left:
                return None
            if self._lacking() < lacking:
                deadline = None  # The storage answered: its timeout restarts.
            if end is not None:
                code, termination = end
                self._service.readiness.trouble(termination.reason, termination.message)
                now = self._clock()
                deadline = deadline or now + bounds.storage_seconds
                if code is not jobs.ExitCode.STORAGE_ERROR or now >= deadline:
                    return end
            self._stop.wait(pause)
            pause = min(2 * pause, longest)
        return None

    def _lacking(self) -> int:
        """How much is still to be loaded."""
        return (self._service.engine is None) + len(self._left)

    def _attempt(self) -> termination.Outcome | None:
        """Load what is missing; None as soon as everything required is in."""
        try:
            if self._service.engine is None:
                self._load_base()
        except Exception as error:
            return outcome_of_error(error)
        return self._load_adapters()

    def _load_base(self) -> None:
        state, ref = self._service.readiness, self._job.base
        state.enter("FetchingBase")
        folder = self._scratch / "base"
        manifest = self._fetch(ref, folder, state.progress)
        if manifest.kind is not manifests.Kind.MODEL:
            raise model_validation.InvalidModelError(
                reasons.BASE_MODEL_INVALID, f"{ref.uri} is a {manifest.kind}, not a Model."
            )
        state.enter("CheckingBase")
        model_validation.check_base(folder)
        state.enter("LoadingBase")
        engine = self._build(folder)
        self._service.models.put(
            _entry(self._job.base_name, manifest, ref, ref, folder, is_adapter=False)
        )
        self._service.engine = engine
        state.note(engine.note)
        state.overcome()

    def _load_adapters(self) -> termination.Outcome | None:
        state = self._service.readiness
        if not state.ready:
            state.enter("LoadingAdapters")
        ends = []
        for adapter in tuple(self._left):
            try:
                self._load_adapter(adapter)
            except Exception as error:  # one adapter's trouble, whatever it is, is not another's
                code, termination = outcome_of_error(error, adapter.name)
                self._keep_out(adapter, termination)
                if adapter.required:
                    ends.append((code, termination))
                elif isinstance(
                    error, model_validation.InvalidModelError
                ):  # a digest never means other bytes
                    self._left.remove(adapter)
            else:
                self._left.remove(adapter)
        if ends:
            # What waiting does not help comes first.
            return min(ends, key=lambda end: end[0] is jobs.ExitCode.STORAGE_ERROR)
        if not state.ready and not self._stop.is_set():
            state.enter(readiness.READY)
            _log.info("ready: %s", state.report()["seconds"])
        return None

    def _load_adapter(self, adapter: jobs.ServedAdapter) -> None:
        ref, base = adapter.artifact, self._job.base
        folder = self._scratch / "adapters" / adapter.name
        manifest = self._fetch(ref, folder, lambda _done, _total: None)
        if manifest.kind is not manifests.Kind.ADAPTER:
            raise model_validation.InvalidModelError(
                reasons.ADAPTER_INVALID, f"{ref.uri} is a {manifest.kind}, not an Adapter."
            )
        trained_on = manifest.input(manifests.Role.BASE)
        if trained_on is None or trained_on.digest != base.digest:
            found = "no base" if trained_on is None else f"{trained_on.name} {trained_on.digest}"
            raise model_validation.InvalidModelError(
                reasons.BASE_MISMATCH,
                f"It was trained on {found}, but this server's base is {base.digest}: serve it on "
                "its own base, or train it on this one.",
            )
        engine = self._service.engine
        assert engine is not None
        engine.load_adapter(interface.AdapterFiles(str(ref.digest), folder))
        self._service.models.put(_entry(adapter.name, manifest, ref, base, folder, is_adapter=True))
        self._state(adapter, "Loaded", "", "")

    def _keep_out(self, adapter: jobs.ServedAdapter, why: jobs.Termination) -> None:
        self._state(adapter, "KeptOut", why.reason, why.message)
        self._service.models.reject(adapter.name, f"{why.reason}: {why.message}")

    def _state(self, adapter: jobs.ServedAdapter, state: str, reason: str, message: str) -> None:
        self._service.readiness.adapter(
            adapter.name,
            str(adapter.artifact.digest),
            state=state,
            reason=reason,
            message=message,
        )


def outcome_of_error(error: Exception, adapter: str = "") -> termination.Outcome:
    """What an error of loading means for the process, if it concerns something required.

    `adapter` is the name of the one that was being loaded; empty for the base.
    """
    code, found = termination.failure(error)
    message = f"Adapter {adapter}: {found.message}" if adapter else found.message
    _log.warning("%s: %s", found.reason, message)
    return code, jobs.Termination(reason=found.reason, message=message, adapter=adapter or None)


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
) -> model_registry.ServedModel:
    notice = folder / "NOTICE"
    text = notice.read_bytes()[:NOTICE_LIMIT].decode(errors="replace") if notice.exists() else ""
    upstream = manifest.upstream
    return model_registry.ServedModel(
        name=name,
        digest=str(ref.digest),
        base_digest=str(base.digest),
        is_adapter=is_adapter,
        compliance=manifest.compliance.model_dump(mode="json", by_alias=True),
        upstream=upstream.model_dump(mode="json", by_alias=True) if upstream else None,
        notice=text,
        created=int(time.time()),
    )
