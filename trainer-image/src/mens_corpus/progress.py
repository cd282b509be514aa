"""Progress of a job: `progress.json` in its output folder, and a log line at each update."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mens.artifacts import errors as store_errors
from mens.artifacts import layout, refs, store
from mens.runtime import jobs

log = logging.getLogger(__name__)

MIN_INTERVAL: Final = 3.0
"""Minimum seconds between two updates of a stage; a new stage is written at once."""


class ProgressReporter:
    """Writes the progress; a failed write is logged and does not fail the job.

    Args:
        objects: Store of the output.
        folder: Output folder.
        clock: Monotonic clock, in seconds.
        attempt: Number of the attempt; 0 if unknown.
    """

    def __init__(
        self,
        objects: store.ObjectStore,
        folder: refs.Uri,
        clock: Callable[[], float],
        attempt: int = 0,
    ) -> None:
        self._attempt = attempt
        self._objects = objects
        self._uri = layout.progress(folder)
        self._clock = clock
        self._stage = ""
        self._last = 0.0

    def __call__(self, stage: str, step: int, total: int, rows: int) -> None:
        """Record progress; the signature is that of `source_pipeline.ReportProgress`."""
        now = self._clock()
        if stage == self._stage and now - self._last < MIN_INTERVAL:
            return
        self._stage, self._last = stage, now
        log.info("%s: %d of %d, %d rows", stage, step, total, rows)
        progress = jobs.Progress(
            stage=stage, attempt=self._attempt, step=step, total_steps=total, samples_seen=rows
        )
        try:
            data = progress.model_dump_json(by_alias=True, exclude_none=True).encode()
            self._objects.put_bytes(self._uri, data)
        except store_errors.StoreError as e:
            log.warning("cannot write the progress: %s", e)
