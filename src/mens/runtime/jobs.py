"""The contract between the operator and its pods.

A pod gets one environment variable, `MENS_JOB`, with the JSON of a `CorpusJob`, `TrainJob` or
`ServeJob`. It reports in three places: `progress.json` in its output folder while it runs, the
termination log when it ends (`Termination`, with an exit code of `ExitCode`), and the artifact
manifest. A run succeeded only if the manifest exists.

Operator and image may have different versions. Readers therefore ignore unknown fields: an older
image works with a newer operator.
"""

from __future__ import annotations

import enum
from typing import Final, TypeVar

import pydantic

from mens.api import corpus, kube, trainrun
from mens.artifacts import refs

JOB_ENV: Final = "MENS_JOB"
"""Name of the environment variable that carries the job."""
SCRATCH_ENV: Final = "MENS_SCRATCH"
"""Name of the environment variable with the folder for large temporary files."""
IMAGE_ENV: Final = "MENS_IMAGE"
"""Name of the environment variable with the name of the container image."""
TERMINATION_ENV: Final = "MENS_TERMINATION_LOG"
"""Name of the environment variable with the path of the termination log."""
TERMINATION_LIMIT: Final = 4096
"""Maximum bytes of a termination log; the kubelet truncates a longer one."""
PROGRESS_FILE: Final = "progress.json"
"""Name of the progress file in the output folder."""


class ExitCode(enum.IntEnum):
    """Exit codes of a pod; they determine whether and how fast the operator retries the job."""

    SUCCEEDED = 0
    """The manifest is published."""
    INVALID_INPUT = 64
    """An input must change. Retried slowly: the job recovers once the input is corrected."""
    INTERNAL_ERROR = 70
    """A defect of the program, retried up to `spec.retry.limit` times; or a run that diverged,
    which is not retried, since the same spec diverges again."""
    OUT_OF_MEMORY = 71
    """The accelerator ran out of memory; the next attempt uses half the micro-batch size."""
    STORAGE_ERROR = 75
    """The storage or the network failed; retried soon."""
    KILLED = 137
    """SIGKILL; in a container, nearly always because of the memory limit."""
    PREEMPTED = 143
    """SIGTERM ended the process; does not count as an attempt."""


class Resource(kube.Model):
    """The custom resource that a pod runs for."""

    namespace: str
    """Namespace of the resource."""
    name: str
    """Name of the resource."""
    uid: str
    """UID of the resource; names its folder in the store."""
    generation: int
    """Generation of the spec that the job was created from."""


class CorpusJob(kube.Model):
    """Build a corpus."""

    resource: Resource
    """The MensCorpus."""
    spec: corpus.MensCorpusSpec
    """Its spec at the time when the job was created."""
    attempt: int = 0
    """Number of the attempt, repeated in its progress; 0 from operators that do not set it."""
    output: str
    """Folder of the artifact, `s3://…`, without a trailing slash."""


class TrainJob(kube.Model):
    """Train an adapter."""

    resource: Resource
    """The MensTrainRun."""
    spec: trainrun.MensTrainRunSpec
    """Its spec at the time when the job was created; an attempt after OutOfMemory has a smaller
    `schedule.microBatchSize`."""
    attempt: int = 0
    """Number of the attempt, repeated in its progress; 0 from operators that do not set it."""
    base: refs.ArtifactRef
    """The base model's artifact."""
    corpus: refs.ArtifactRef
    """The corpus's artifact."""
    output: str
    """Folder of the artifact, `s3://…`, without a trailing slash."""
    threads: int = 1
    """CPU threads to compute with: the CPU limit, rounded down, at least 1."""


class ServedAdapter(kube.Model):
    """One adapter that a server loads."""

    name: str
    """Model name that clients request."""
    artifact: refs.ArtifactRef
    """The adapter's artifact."""
    required: bool = True
    """Whether the server needs the adapter to become ready."""


class ServeJob(kube.Model):
    """Serve a base model and its adapters."""

    resource: Resource
    """The MensServe."""
    base: refs.ArtifactRef
    """The base model's artifact."""
    base_name: str
    """Model name that clients request for the base model without an adapter."""
    adapters: tuple[ServedAdapter, ...] = ()
    """Adapters to load before the server is ready."""
    host: str = "0.0.0.0"  # noqa: S104  # a pod serves its own network namespace
    """Address to listen on."""
    port: int = 8000
    """Port to listen on."""
    threads: int = 1
    """CPU threads to compute with."""
    max_batch_size: int = 8
    """Maximum number of requests decoded together in one step."""
    max_queue_length: int = 64
    """Maximum number of waiting requests; further requests get 429."""
    max_tokens: int = 1024
    """Maximum number of tokens in the prompt and the answer of one request."""


class Progress(kube.Model):
    """Progress of a job; fractions are decimal strings, as in the resource's status."""

    stage: str
    """The current stage, one CamelCase word."""
    attempt: int = 0
    """Number of the attempt; 0 if the job does not know it."""
    step: int = 0
    """Completed units of the stage (files, optimizer steps)."""
    total_steps: int = 0
    """Total units of the stage; 0 while unknown."""
    samples_seen: int = 0
    """Rows read or trained on so far."""
    tokens_seen: int = 0
    """Supervised tokens trained on so far."""
    loss: str | None = None
    """Loss of the last step."""
    loss_ema: str | None = None
    """Exponential moving average of the loss."""
    tokens_per_second: str | None = None
    """Throughput over the last steps."""
    eta_seconds: int | None = None
    """Estimated seconds to the end of the stage."""


class UnreadableJobError(ValueError):
    """MENS_JOB is not a job of this program; the message names the field and the cause."""


JobT = TypeVar("JobT", CorpusJob, TrainJob, ServeJob)


def parse(kind: type[JobT], text: str) -> JobT:
    """Read the text of MENS_JOB; raises `UnreadableJobError`."""
    try:
        return kind.model_validate_json(text)
    except pydantic.ValidationError as e:
        first = e.errors(include_url=False, include_context=False, include_input=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        raise UnreadableJobError(
            f"{JOB_ENV}: {location}: {first['msg']}; operator and image have different versions"
        ) from None


class Termination(kube.Model):
    """The message that a pod writes to its termination log."""

    reason: str
    """One of `mens.api.reasons`."""
    message: str
    """The cause and the next step in one or two sentences; never a secret."""
    artifact: refs.ArtifactRef | None = None
    """The published artifact; None if nothing was published."""
    adapter: str | None = None
    """Name of the adapter that a server could not load; None for any other cause."""

    def to_log(self) -> bytes:
        """Return JSON within `TERMINATION_LIMIT`; a longer message is truncated."""
        data = self.model_dump_json(by_alias=True, exclude_none=True).encode()
        if len(data) <= TERMINATION_LIMIT:
            return data
        # JSON escapes can take six bytes a character, so the cut leaves room for the worst case.
        short = self.model_copy(update={"message": self.message[: TERMINATION_LIMIT // 8] + "…"})
        return short.model_dump_json(by_alias=True, exclude_none=True).encode()
