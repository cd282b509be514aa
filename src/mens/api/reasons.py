"""Every reason that Mens gives, named once: status, events, metrics and logs use the same word.

A user greps one CamelCase word from YAML to code. Groups follow the question the reason answers.
Reasons that the artifact store and the provenance rules give are defined in their own rooms (they
know nothing of Kubernetes) and appear here under the same spelling.

The first paragraph below each says what it means, the second what to do: `make crds` makes
docs/reference/reasons.md of them.
"""

from __future__ import annotations

from typing import Final

# -- life of a run -----------------------------------------------------------------------------
PENDING: Final = "Pending"
"""Nothing has been started yet and nothing stands in the way.

Nothing: it goes on by itself."""
SUSPENDED: Final = "Suspended"
"""`spec.suspend` is true: no Job runs until it is false again.

Set `spec.suspend` to false when it shall go on."""
DISABLED: Final = "ReconcileDisabled"
"""The annotation `mens.vox-lang.org/reconcile: disabled` stops all changes.

Remove the annotation when it shall go on."""
QUEUED: Final = "Queued"
"""A Job exists and its pod is not running yet.

Nothing, unless it lasts: the condition `Queued` then says what it waits for."""
RUNNING: Final = "Running"
"""The pod runs.

Nothing: `status.progress` says how far it is."""
VERIFYING: Final = "Verifying"
"""The Job finished; its manifest is being read and checked.

Nothing: it goes on by itself."""
RETRYING: Final = "Retrying"
"""The last attempt ended early; another one follows.

Nothing, unless it happens again; the message says how the last attempt ended."""
SUCCEEDED: Final = "Succeeded"
"""The artifact was published: its manifest has its digest, and every file is there with its size.
Its bytes were verified by who published them, and are again by whoever uses them.

Nothing: `status.artifact` names what was made."""
FAILED: Final = "Failed"
"""The run ended and will not be tried again without a change of its spec.

Follow the message, and change the spec."""
RETRIES_EXHAUSTED: Final = "RetriesExhausted"
"""As many attempts as `spec.retry.limit` allows ended in an error of the program.

Read the log of the last pod, report the defect, and change the spec or raise `spec.retry.limit` to
try again."""
PREEMPTED: Final = "Preempted"
"""The pod was evicted or preempted; that does not count as an attempt.

Nothing: it starts again. If it happens often, use nodes or a priority that are not preempted."""
DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
"""The run took longer than `spec.activeDeadlineSeconds`.

Raise `spec.activeDeadlineSeconds`, or ask for less work or more resources."""
OUT_OF_MEMORY: Final = "OutOfMemory"
"""The process was killed for memory, or the accelerator ran out of it.

Nothing the first times: a run then halves its micro-batch. Else raise `spec.resources.memory`."""
INTERNAL_ERROR: Final = "InternalError"
"""A defect of Mens: the message says where; please report it.

Report the message with the log of the pod; it is tried again up to `spec.retry.limit` times."""
SCRATCH_FULL: Final = "ScratchFull"
"""The pod wrote more to its scratch volume than `spec.resources.scratch` allows.

Raise `spec.resources.scratch`; base model, corpus and output must fit into it together."""
OUTPUT_MISSING: Final = "OutputMissing"
"""The Job says it is done, but no manifest lies where it should.

Nothing the first times, as the store may be late; else look at the log of the pod and at the
bucket's own rules that delete objects."""

OBJECT_REFUSED: Final = "ObjectRefused"
"""The API server refuses the object that should exist (quota, policy, an invalid value): its own
words follow, and it is tried again.

Correct the field that its words name, or ask for more quota."""
OBJECT_CHANGED: Final = "ObjectChanged"
"""Somebody else has changed a field of a Deployment or Service of ours: it is put back.

Nothing; `kubectl get deployment <name> -o yaml --show-managed-fields` says who writes it, and
must stop."""

# -- scheduling --------------------------------------------------------------------------------
UNSCHEDULABLE: Final = "Unschedulable"
"""No node can take the pod; the scheduler's own words follow.

Ask for less in `spec.resources`, correct the GPU or the queue, or add a node."""
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
"""The kubelet cannot get the image.

Correct `imagePrefix` or `imagePullSecrets` in the chart's values, or push the image."""
POD_NOT_STARTED: Final = "PodNotStarted"
"""The pod was scheduled, but its container cannot start; the kubelet's words follow.

Correct what they name, most often a Secret or ConfigMap that is missing in the namespace."""
POD_ENDING: Final = "PodEnding"
"""A pod of an earlier attempt still works on the output; the next one begins once it has ended.

Nothing: it ends within its grace period."""
NODE_LOST: Final = "NodeLost"
"""A pod should have ended long ago and did not: its node does not answer. Nothing else can write
to the output until the node, or the pod, is deleted.

Bring the node back, or delete it, or delete the pod with `--force` if its node is surely off."""

# -- sources and corpora -----------------------------------------------------------------------
SOURCES_READY: Final = "SourcesReady"
"""All sources that are not optional could be read.

Nothing."""
SOURCE_NOT_FOUND: Final = "SourceNotFound"
"""A source names a bucket, prefix, repository or revision that does not exist.

Create it or correct the source in the spec; the run goes on by itself. A Git repository must be
readable without credentials."""
SOURCE_INVALID: Final = "SourceInvalid"
"""A source exists, but cannot be read as what it claims to be.

Correct `include`, `exclude`, `extract` or the file that the message names."""
EMPTY_CORPUS: Final = "EmptyCorpus"
"""Not one row was left after validation, license check and deduplication.

Look at the counts in the message, and correct `include`, `extract` or `maxCharacters`;
docs/troubleshooting.md explains each reason that is counted."""
NO_VALIDATION_ROWS: Final = "NoValidationRows"
"""The split left the held-out part without a row.

Let the corpus have at least two documents, and its `spec.split.validationFraction` be above 0."""
CORPUS_NOT_FOUND: Final = "CorpusNotFound"
"""`spec.corpusRef` names a MensCorpus that does not exist in this namespace.

Create the MensCorpus, or correct `spec.corpusRef`; the run goes on by itself."""
CORPUS_NOT_READY: Final = "CorpusNotReady"
"""The MensCorpus that `spec.corpusRef` names has not succeeded yet.

Nothing: the run goes on once it has. If the corpus does not go on, follow its own conditions."""
CORPUS_INVALID: Final = "CorpusInvalid"
"""The corpus cannot be trained on: wrong rows, or token ids outside the vocabulary.

Build the corpus again with this version, or name another one."""

# -- licenses ----------------------------------------------------------------------------------
LICENSE_CLEARED: Final = "LicenseCleared"
"""Every input has a known license of an allowed class.

Nothing."""
LICENSE_UNKNOWN: Final = "LicenseUnknown"
"""An input's license text matches no reviewed row of the table.

A model: import it with its original license file to a folder of its own (a taken one is refused:
OtherArtifact), and name that in the spec. A source: declare `license`, add its license file, or
correct the one that the message names. Else have the text reviewed and added to the table."""
LICENSE_NOT_ALLOWED: Final = "LicenseNotAllowed"
"""An input's license class is not among those the policy allows.

Choose another model or leave the source out, or widen `licensePolicy.allowClasses`."""

# -- models and adapters -----------------------------------------------------------------------
BASE_MODEL_NOT_FOUND: Final = "BaseModelNotFound"
"""`spec.baseModel.uri` holds nothing.

Correct `spec.baseModel.uri`, or import the model there: `mens model import <folder> <uri>`."""
BASE_MODEL_NOT_IMPORTED: Final = "BaseModelNotImported"
"""`spec.baseModel.uri` holds files but no manifest: `mens model import` writes one.

Run `mens model import <folder> <uri>` on a folder with the model."""
BASE_MODEL_INVALID: Final = "BaseModelInvalid"
"""The base cannot be loaded: an architecture, a configuration key or a file is refused.

Choose a base that is supported, or correct the file or key that the message names and import it to
a folder of its own."""
BASE_MISMATCH: Final = "BaseMismatch"
"""An adapter was trained on another base than the one it should be served on.

Serve the adapter on the base that its manifest names, or train it again on this one."""
PICKLE_REFUSED: Final = "PickleRefused"
"""A model folder holds a pickle file; those can run code when they are opened.

Convert the weights to safetensors, remove the file and import the model again."""
PREFLIGHT_PASSED: Final = "PreflightPassed"
"""The plan was hashed and what was loaded agrees with it.

Nothing."""
PREFLIGHT_MISMATCH: Final = "PreflightMismatch"
"""What was loaded differs from what the preflight planned.

Report the message: plan and loaded model must never differ."""
DIVERGED: Final = "Diverged"
"""Loss or gradient stopped being a number: the learning rate is too high for this run.

Lower `spec.schedule.learningRate` or warm up longer; `telemetry.jsonl` in the run's folder has the
curve. The same spec would diverge again, so it is not tried."""
DOES_NOT_FIT: Final = "DoesNotFit"
"""A run or an endpoint needs more memory than the pod has; the message gives the numbers.

Raise `spec.resources.memory` or use a larger GPU; or lower a run's `spec.schedule.maxTokens` or
micro-batch, an endpoint's `spec.limits.maxTokens`."""
TRAIN_RUN_NOT_FOUND: Final = "TrainRunNotFound"
"""An adapter refers to a MensTrainRun that does not exist in this namespace.

Create the MensTrainRun, or correct the adapter's reference."""
TRAIN_RUN_NOT_READY: Final = "TrainRunNotReady"
"""An adapter refers to a MensTrainRun that has not succeeded yet.

Nothing: the adapter is served once it has. If the run does not go on, follow its conditions."""
ADAPTERS_READY: Final = "AdaptersReady"
"""Every adapter that is not optional is verified and served.

Nothing."""
ADAPTER_INVALID: Final = "AdapterInvalid"
"""An adapter's files are not a LoRA adapter that this server can load.

Correct what the message names, and train or publish the adapter again."""

# -- storage -----------------------------------------------------------------------------------
STORAGE_READY: Final = "StorageReady"
"""The endpoint answers, the credentials work and the bucket exists.

Nothing."""
STORAGE_UNREACHABLE: Final = "StorageUnreachable"
"""The S3 endpoint does not answer.

The message says why. Certificate not trusted: chart value `s3.caConfigMap` (`MENS_S3_CA_BUNDLE`).
Unknown host or refused: the endpoint. No answer in time: the network policy or the server."""
STORAGE_DENIED: Final = "StorageDenied"
"""The S3 endpoint refuses the credentials, or they lack a permission.

Correct the Secret or the permissions on the bucket; it goes on by itself."""
BUCKET_NOT_FOUND: Final = "BucketNotFound"
"""The bucket does not exist.

Create the bucket or correct its name."""
OBJECT_NOT_FOUND: Final = "ObjectNotFound"
"""An object that a manifest names does not exist.

As for DigestMismatch."""
DIGEST_MISMATCH: Final = "DigestMismatch"
"""Bytes in the store are not those that the manifest or the reference names.

A model: `mens model import` the same folder to the same URI, which writes what is missing or
damaged. A corpus or an adapter: delete the resource and apply it again. Then `mens artifact verify
<uri>`."""
MANIFEST_INVALID: Final = "ManifestInvalid"
"""A manifest is not valid: wrong schema, unknown field or unsafe file name.

Publish the artifact again with this version; something else may have written to its folder."""
NAME_REFUSED: Final = "NameRefused"
"""A file name in an artifact could leave its folder, or cannot be a key.

Rename the object or file, or correct the field that the message names."""

# -- serving -----------------------------------------------------------------------------------
SERVING: Final = "Serving"
"""As many replicas as wanted are ready.

Nothing."""
PROGRESSING: Final = "Progressing"
"""Pods are being started or replaced.

Nothing, unless it lasts: then look at the pods of the Deployment."""
REPLICAS_UNAVAILABLE: Final = "ReplicasUnavailable"
"""Fewer replicas are ready than wanted; the message mirrors the pod's own reason.

Follow the pod's reason in the message."""
SCALED_TO_ZERO: Final = "ScaledToZero"
"""`spec.replicas` is 0: nothing is wanted, nothing runs.

Raise `spec.replicas` when it shall answer."""
SPEC_INVALID: Final = "SpecInvalid"
"""The stored spec cannot be read by this operator; the message names the field.

Correct that field and apply again; CRDs and operator should have the same version."""
