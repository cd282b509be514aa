"""How far a job is: `progress.json` beside its output, and a line in the log now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mens.artifacts import errors as store_errors
from mens.artifacts import layout, refs, store
from mens.runtime import jobs

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 3.0
"""Between two writes; a change of stage is written at once."""


class Progressing:
    """Writes progress, and never lets the job fail for it.

    Args:
        objects: Where the output lies.
        folder: The output.
        clock: Seconds that only grow.
        attempt: Number of the attempt, 0 if the job was not told.
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
        """Note how far the job is; see `collecting.Report`."""
        now = self._clock()
        if stage == self._stage and now - self._last < EVERY_SECONDS:
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
            log.warning("progress is not written: %s", e)
