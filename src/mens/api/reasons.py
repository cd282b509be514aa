"""All reasons, each defined once. Status, events, metrics and logs use the same words.

Users search for one CamelCase word from YAML to code. The groups follow the questions that the
reasons answer. Reasons of the object store and of licenses are defined in `mens.artifacts` and
`mens.provenance`, which do not depend on the API; here they get their documentation.

In each docstring, the first paragraph is the meaning and the second one is what to do. `make crds`
generates docs/reference/reasons.md from them.
"""

from __future__ import annotations

from typing import Final

from mens.artifacts import errors
from mens.provenance import clearance, licenses

# -- runs --------------------------------------------------------------------------------------
PENDING: Final = "Pending"
"""The run has not started yet, and nothing blocks it.

No action required."""
SUSPENDED: Final = "Suspended"
"""`spec.suspend` is true: no Job runs until it is false again.

Set `spec.suspend` to false to resume the run."""
DISABLED: Final = "ReconcileDisabled"
"""The annotation `mens.vox-lang.org/reconcile: disabled` stops all changes.

Remove the annotation to resume reconciliation."""
QUEUED: Final = "Queued"
"""A Job exists and its pod does not run yet.

No action required, unless it persists: the condition `Queued` then reports what the pod waits
for."""
RUNNING: Final = "Running"
"""The pod runs.

No action required. `status.progress` reports the progress."""
VERIFYING: Final = "Verifying"
"""The Job finished; the operator is verifying its manifest.

No action required."""
SUCCEEDED: Final = "Succeeded"
"""The artifact is published: its manifest has the expected digest, and every file exists with its
size. The publisher verified the bytes, and every reader verifies them again.

No action required. `status.artifact` names the artifact."""
FAILED: Final = "Failed"
"""The run failed permanently. It is not retried until its spec changes.

Follow the message and change the spec."""
RETRIES_EXHAUSTED: Final = "RetriesExhausted"
"""The maximum number of attempts, set by `spec.retry.limit`, failed with an error of the program.

Read the log of the last pod and report the defect. To try again, change the spec or raise
`spec.retry.limit`."""
PREEMPTED: Final = "Preempted"
"""The pod was evicted or preempted; this does not count as an attempt.

No action required: the pod starts again. If it happens often, use nodes or a priority that are not
preempted."""
DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
"""The attempt took longer than `spec.activeDeadlineSeconds`.

Raise `spec.activeDeadlineSeconds`, reduce the work or request more resources."""
OUT_OF_MEMORY: Final = "OutOfMemory"
"""The process was killed because of its memory limit, or the GPU ran out of memory.

No action required at first: a training run halves its micro-batch size. If it persists, raise
`spec.resources.memory`."""
INTERNAL_ERROR: Final = "InternalError"
"""A defect of Mens; the message reports its place. Retried up to `spec.retry.limit` times.

Report the message together with the pod's log."""
SCRATCH_FULL: Final = "ScratchFull"
"""The pod exceeded the size of its scratch volume, `spec.resources.scratch`.

Raise `spec.resources.scratch`. Base model, corpus and output must fit together."""
OUTPUT_MISSING: Final = "OutputMissing"
"""The Job succeeded, but its manifest is not in the object store.

No action required at first: the store may be delayed. If it persists, read the pod's log and check
the bucket's lifecycle rules that delete objects."""
OBJECT_REFUSED: Final = "ObjectRefused"
"""The API server rejected an object of this resource because of quota, policy or an invalid value.
The message contains the API server's error; the operator retries.

Correct the field that the error names, or request more quota."""
OBJECT_CHANGED: Final = "ObjectChanged"
"""Another client changed a field of a Deployment or Service that the operator manages. The operator
restored it.

No action required, unless it repeats. Then find the client with `kubectl get deployment <name>
-o yaml --show-managed-fields` and stop it."""

# -- scheduling --------------------------------------------------------------------------------
UNSCHEDULABLE: Final = "Unschedulable"
"""No node can run the pod. The message contains the scheduler's explanation.

Request less in `spec.resources`, correct the GPU or the queue, or add a node."""
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
"""The kubelet cannot pull the image.

Correct `imagePrefix` or `imagePullSecrets` in the chart's values, or push the image."""
POD_NOT_STARTED: Final = "PodNotStarted"
"""The pod is scheduled, but its container cannot start. The message contains the kubelet's error.

Correct what the error names, usually a Secret or ConfigMap that is missing in the namespace."""
POD_ENDING: Final = "PodEnding"
"""A pod of an earlier attempt is still terminating. The next attempt starts after it.

No action required: the pod terminates within its grace period."""
NODE_LOST: Final = "NodeLost"
"""A pod did not terminate in time because its node does not respond. To protect the output, no
other attempt starts until the node or the pod is deleted.

Recover the node or delete it. If the node is certainly off, delete the pod with `--force`."""

# -- sources and corpora -----------------------------------------------------------------------
SOURCES_READY: Final = "SourcesReady"
"""All sources that are not optional can be read.

No action required."""
SOURCE_NOT_FOUND: Final = "SourceNotFound"
"""A source refers to a bucket, prefix, repository or revision that does not exist.

Create it or correct the source in the spec; the run resumes. Git repositories must be readable
without credentials."""
SOURCE_INVALID: Final = "SourceInvalid"
"""A source exists but cannot be read as its spec describes it.

Correct `include`, `exclude`, `extract` or the file that the message names."""
EMPTY_CORPUS: Final = "EmptyCorpus"
"""No row remains after validation, license check and deduplication.

Read the counts in the message and correct `include`, `extract` or `maxCharacters`.
docs/troubleshooting.md explains each reason in the counts."""
NO_VALIDATION_ROWS: Final = "NoValidationRows"
"""The split selected no rows for validation.

Use at least two documents and a `spec.split.validationFraction` above 0."""
CORPUS_NOT_FOUND: Final = "CorpusNotFound"
"""`spec.corpusRef` refers to a MensCorpus that does not exist in this namespace.

Create the MensCorpus or correct `spec.corpusRef`; the run resumes."""
CORPUS_NOT_READY: Final = "CorpusNotReady"
"""The MensCorpus of `spec.corpusRef` has not succeeded yet.

No action required: the run resumes once the corpus has succeeded. If the corpus makes no progress,
read its conditions."""
CORPUS_INVALID: Final = "CorpusInvalid"
"""The corpus cannot be used for training: it has invalid rows, or token IDs outside the vocabulary.

Build the corpus again with this version, or refer to another one."""

# -- licenses ----------------------------------------------------------------------------------
LICENSE_CLEARED: Final = clearance.CLEARED
"""Every input has a known license of an allowed class.

No action required."""
LICENSE_UNKNOWN: Final = licenses.LICENSE_UNKNOWN
"""The license text of an input does not match a reviewed entry of the license table.

For a model, import it with its original license file to a new folder (an existing one is rejected
with OtherArtifact) and use that folder in the spec. For a source, declare `license`, add its
license file, or correct the file that the message names. Otherwise, have the text reviewed and
added to the table."""
LICENSE_NOT_ALLOWED: Final = licenses.LICENSE_NOT_ALLOWED
"""The license class of an input is not one of the allowed classes.

Use another model, remove the source, or extend `licensePolicy.allowClasses`."""

# -- models and adapters -----------------------------------------------------------------------
BASE_MODEL_NOT_FOUND: Final = "BaseModelNotFound"
"""The folder of `spec.baseModel.uri` is empty or does not exist.

Correct `spec.baseModel.uri`, or import the model there: `mens model import <folder> <uri>`."""
BASE_MODEL_NOT_IMPORTED: Final = "BaseModelNotImported"
"""The folder of `spec.baseModel.uri` has files but no manifest. `mens model import` writes the
manifest.

Run `mens model import <folder> <uri>` on a local folder with the model."""
BASE_MODEL_INVALID: Final = "BaseModelInvalid"
"""The base model cannot be loaded: the server does not support its architecture, a configuration
key or a file.

Use a supported base model; or correct the file or key that the message names and import the model
to a new folder."""
BASE_MISMATCH: Final = "BaseMismatch"
"""The adapter was trained on a different base model than the one that is served.

Serve the adapter with the base model that its manifest names, or train it again on this one."""
PICKLE_REFUSED: Final = errors.PICKLE_REFUSED
"""A model folder contains a pickle file, which can execute code when it is opened.

Convert the weights to safetensors, remove the file and import the model again."""
PREFLIGHT_PASSED: Final = "PreflightPassed"
"""The preflight hashed the plan, and the loaded model matches it.

No action required."""
PREFLIGHT_MISMATCH: Final = "PreflightMismatch"
"""The loaded model differs from the plan of the preflight.

Report the message: plan and loaded model must never differ."""
DIVERGED: Final = "Diverged"
"""The loss or the gradient is not finite: the learning rate is too high for this run. The run is
not retried, because the same spec diverges again.

Lower `spec.schedule.learningRate` or raise `spec.schedule.warmupSteps`. `telemetry.jsonl` in the
run's folder contains the loss curve."""
DOES_NOT_FIT: Final = "DoesNotFit"
"""The run or endpoint needs more memory than the pod has. The message contains the numbers.

Raise `spec.resources.memory` or use a larger GPU. Or lower `spec.schedule.maxTokens` or
`spec.schedule.microBatchSize` of a run, or `spec.limits.maxTokens` of an endpoint."""
TRAIN_RUN_NOT_FOUND: Final = "TrainRunNotFound"
"""An adapter refers to a MensTrainRun that does not exist in this namespace.

Create the MensTrainRun, or correct the adapter's reference."""
TRAIN_RUN_NOT_READY: Final = "TrainRunNotReady"
"""An adapter refers to a MensTrainRun that has not succeeded yet.

No action required: the adapter is served once the run has succeeded. If the run makes no progress,
read its conditions."""
ADAPTERS_READY: Final = "AdaptersReady"
"""Every adapter that is not optional is verified and served.

No action required."""
ADAPTER_INVALID: Final = "AdapterInvalid"
"""The files of an adapter are not a LoRA adapter that this server can load.

Correct what the message names, and train or publish the adapter again."""

# -- storage -----------------------------------------------------------------------------------
STORAGE_READY: Final = "StorageReady"
"""The endpoint responds, the credentials are valid and the bucket exists.

No action required."""
STORAGE_UNREACHABLE: Final = errors.STORAGE_UNREACHABLE
"""The S3 endpoint does not respond.

The message contains the cause. For an untrusted certificate, set the chart value `s3.caConfigMap`
(`MENS_S3_CA_BUNDLE`). For an unknown host or a refused connection, correct the endpoint. For a
timeout, check the network policy and the server."""
STORAGE_DENIED: Final = errors.STORAGE_DENIED
"""The S3 endpoint rejects the credentials, or they lack a permission.

Correct the Secret or the permissions on the bucket; the operator retries."""
BUCKET_NOT_FOUND: Final = errors.BUCKET_NOT_FOUND
"""The bucket does not exist.

Create the bucket or correct its name."""
OBJECT_NOT_FOUND: Final = errors.OBJECT_NOT_FOUND
"""An object that a manifest names does not exist.

Follow the steps of DigestMismatch."""
DIGEST_MISMATCH: Final = errors.DIGEST_MISMATCH
"""The bytes in the object store do not match the digest in the manifest or the reference.

For a model, run `mens model import` with the same folder and URI; it writes what is missing or
damaged. For a corpus or an adapter, delete the resource and apply it again. Then run `mens artifact
verify <uri>`."""
MANIFEST_INVALID: Final = errors.MANIFEST_INVALID
"""A manifest is not valid: it has a wrong schema, an unknown field or an unsafe file name.

Publish the artifact again with this version. Check whether another client writes to its folder."""
NAME_REFUSED: Final = errors.NAME_REFUSED
"""A file name of an artifact would leave its folder, or cannot be an object key.

Rename the object or file, or correct the field that the message names."""

# -- serving -----------------------------------------------------------------------------------
SERVING: Final = "Serving"
"""All desired replicas are ready.

No action required."""
PROGRESSING: Final = "Progressing"
"""Pods are starting or being replaced.

No action required, unless it persists: then inspect the pods of the Deployment."""
SCALED_TO_ZERO: Final = "ScaledToZero"
"""`spec.replicas` is 0: no pods run.

Raise `spec.replicas` to serve requests."""
SPEC_INVALID: Final = "SpecInvalid"
"""The operator cannot read the stored spec; the message names the field.

Correct the field and apply the resource again. CRDs and operator should have the same version."""
