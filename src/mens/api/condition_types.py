"""Types of conditions. `reasons` has the reasons that a condition can have."""

from __future__ import annotations

from typing import Final

SUCCEEDED: Final = "Succeeded"
"""MensCorpus and MensTrainRun: True when the run succeeded, False when it failed permanently,
Unknown while it is in progress or retrying."""
READY: Final = "Ready"
"""MensServe: True when the endpoint serves everything that the spec requires."""
STORAGE_READY: Final = "StorageReady"
"""True when the object store can be used."""
SOURCES_READY: Final = "SourcesReady"
"""MensCorpus: True when every source that is not optional can be read."""
LICENSE_CLEARED: Final = "LicenseCleared"
"""True when the license of every input is known and allowed."""
VALIDATED: Final = "Validated"
"""MensTrainRun: True when the inputs exist, match each other and passed the preflight."""
QUEUED: Final = "Queued"
"""MensTrainRun: True while a pod waits for a queue, a node or an image."""
RUNNING: Final = "Running"
"""MensCorpus and MensTrainRun: True while a pod runs."""
ADAPTERS_READY: Final = "AdaptersReady"
"""MensServe: True when every adapter that is not optional is verified and matches the base."""

CORPUS: Final = (SOURCES_READY, LICENSE_CLEARED, STORAGE_READY, RUNNING, SUCCEEDED)
"""All conditions of a MensCorpus. The first reconciliation sets every one."""
TRAIN_RUN: Final = (VALIDATED, LICENSE_CLEARED, STORAGE_READY, QUEUED, RUNNING, SUCCEEDED)
"""All conditions of a MensTrainRun."""
SERVE: Final = (ADAPTERS_READY, LICENSE_CLEARED, STORAGE_READY, READY)
"""All conditions of a MensServe."""
