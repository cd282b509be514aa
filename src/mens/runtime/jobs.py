"""What the operator tells a pod and what the pod tells the operator.

A pod gets one environment variable, `MENS_JOB`, with the JSON of a `CorpusJob`, `TrainJob` or
`ServeJob`. It answers in three places: `progress.json` beside its output while it works, the
termination log when it ends (`Termination`, with the exit code of `ExitCode`), and the artifact
manifest, which alone makes a run a success.

These models cross a process and a version border: unknown fields are ignored on reading, so that
an older image survives a newer operator.
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
TERMINATION_ENV: Final = "MENS_TERMINATION_LOG"
"""Name of the environment variable with the path of the termination log."""
TERMINATION_LIMIT: Final = 4096
"""Bytes the kubelet keeps of a termination log; a longer one would be cut in the middle."""
PROGRESS_FILE: Final = "progress.json"
"""Name of the progress file in the output folder."""


class ExitCode(enum.IntEnum):
    """How a job ended; the class decides whether and how fast it is tried again."""

    DONE = 0
    """The manifest is published."""
    INPUT_WRONG = 64
    """Somebody must change an input; tried again slowly, so that it recovers by itself."""
    INTERNAL_ERROR = 70
    """A defect of ours, tried again up to `spec.retry.limit` times; or a run that diverged, which
    is not, since the same spec would end so again."""
    OUT_OF_MEMORY = 71
    """The accelerator ran out of memory; the next attempt uses half the micro-batch."""
    STORAGE_TROUBLE = 75
    """Storage or network; tried again soon."""
    KILLED = 137
    """SIGKILL, in a container nearly always the memory limit."""
    PREEMPTED = 143
    """SIGTERM was obeyed; does not count as an attempt."""


class Resource(kube.Model):
    """Which custom resource a pod works for."""

    namespace: str
    """Namespace of the resource."""
    name: str
    """Name of the resource."""
    uid: str
    """UID of the resource; names its folder in the store."""
    generation: int
    """Generation of the spec that the job was made from."""


class CorpusJob(kube.Model):
    """Build a corpus."""

    resource: Resource
    """The MensCorpus."""
    spec: corpus.MensCorpusSpec
    """Its spec, as it was when the job was made."""
    attempt: int = 0
    """Number of the attempt, which its progress carries; 0 from operators that did not say it."""
    output: str
    """Folder of the artifact, `s3://…`, without a trailing slash."""


class TrainJob(kube.Model):
    """Train an adapter."""

    resource: Resource
    """The MensTrainRun."""
    spec: trainrun.MensTrainRunSpec
    """Its spec, as it was when the job was made; an attempt after an OutOfMemory has a smaller
    `schedule.microBatchSize`."""
    attempt: int = 0
    """Number of the attempt, which its progress carries; 0 from operators that did not say it."""
    base: refs.ArtifactRef
    """The base model's artifact."""
    corpus: refs.ArtifactRef
    """The corpus's artifact."""
    output: str
    """Folder of the artifact, `s3://…`, without a trailing slash."""
    threads: int = 1
    """CPU threads to compute with: the CPU limit, rounded down, at least 1."""


class ServedAdapter(kube.Model):
    """One adapter that a server holds."""

    name: str
    """Name under which clients ask for it."""
    artifact: refs.ArtifactRef
    """The adapter's artifact."""
    required: bool = True
    """Whether the server is unready without it."""


class ServeJob(kube.Model):
    """Serve a base model and its adapters."""

    resource: Resource
    """The MensServe."""
    base: refs.ArtifactRef
    """The base model's artifact."""
    base_name: str
    """Name under which clients ask for the base itself."""
    adapters: tuple[ServedAdapter, ...] = ()
    """Adapters to load before the server is ready."""
    host: str = "0.0.0.0"  # noqa: S104  # a pod serves its own network namespace
    """Address to listen on."""
    port: int = 8000
    """Port to listen on."""
    threads: int = 1
    """CPU threads to compute with."""
    max_batch_size: int = 8
    """Requests decoded together in one step."""
    max_queue_length: int = 64
    """Requests that may wait; one more gets 429."""
    max_tokens: int = 1024
    """Most tokens of prompt and answer together in one request."""


class Progress(kube.Model):
    """How far a job is; fractions are decimal strings, as in the resource's status."""

    stage: str
    """What is being done now, one CamelCase word."""
    attempt: int = 0
    """The attempt that it tells of; 0 where the job was not told its number."""
    step: int = 0
    """Units of the stage that are done (files, optimizer steps)."""
    total_steps: int = 0
    """Units of the stage in all; 0 while unknown."""
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
    """MENS_JOB is not what this program reads; the message names the field and the cause."""


JobT = TypeVar("JobT", CorpusJob, TrainJob, ServeJob)


def parse(kind: type[JobT], text: str) -> JobT:
    """Read what the operator has put into MENS_JOB; raises `UnreadableJobError`."""
    try:
        return kind.model_validate_json(text)
    except pydantic.ValidationError as e:
        first = e.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableJobError(
            f"{JOB_ENV}: {where}: {first['msg']}; operator and image differ in version"
        ) from None


class Termination(kube.Model):
    """What a pod leaves in its termination log."""

    reason: str
    """One of `mens.api.reasons`."""
    message: str
    """Cause and next step in a sentence or two; never a secret."""
    artifact: refs.ArtifactRef | None = None
    """What was published, if anything."""
    adapter: str | None = None
    """Name of the adapter that a server could not load; None if it is about something else."""

    def to_log(self) -> bytes:
        """JSON that fits into the kubelet's limit; an overlong message loses its end."""
        data = self.model_dump_json(by_alias=True, exclude_none=True).encode()
        if len(data) <= TERMINATION_LIMIT:
            return data
        # JSON escapes can take six bytes a character, so the cut leaves room for the worst case.
        short = self.model_copy(update={"message": self.message[: TERMINATION_LIMIT // 8] + "…"})
        return short.model_dump_json(by_alias=True, exclude_none=True).encode()
