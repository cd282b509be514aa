"""Types of conditions, the questions that a status answers; `reasons` are the answers."""

from __future__ import annotations

from typing import Final

SUCCEEDED: Final = "Succeeded"
"""Runs: True at the good end, False at a bad one, Unknown while there is hope."""
READY: Final = "Ready"
"""MensServe: whether the endpoint answers for everything that the spec requires."""
STORAGE_READY: Final = "StorageReady"
"""Whether the object store can be used."""
SOURCES_READY: Final = "SourcesReady"
"""MensCorpus: whether every source that is not optional could be read."""
LICENSE_CLEARED: Final = "LicenseCleared"
"""Whether every input's license is known and allowed."""
VALIDATED: Final = "Validated"
"""MensTrainRun: whether the inputs exist, fit together and passed the preflight."""
QUEUED: Final = "Queued"
"""MensTrainRun: whether a pod waits for a queue, a node or an image."""
RUNNING: Final = "Running"
"""Whether a pod works now."""
ADAPTERS_READY: Final = "AdaptersReady"
"""MensServe: whether every adapter that is not optional is verified and fits the base."""

CORPUS: Final = (SOURCES_READY, LICENSE_CLEARED, STORAGE_READY, RUNNING, SUCCEEDED)
"""All conditions of a MensCorpus; every one is set on the first visit."""
TRAIN_RUN: Final = (VALIDATED, LICENSE_CLEARED, STORAGE_READY, QUEUED, RUNNING, SUCCEEDED)
"""All conditions of a MensTrainRun."""
SERVE: Final = (ADAPTERS_READY, LICENSE_CLEARED, STORAGE_READY, READY)
"""All conditions of a MensServe."""
