"""The training job on a tiny model and an in-memory store, and every way in which it can end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from mens.api import reasons, trainrun
from mens.artifacts import digests, layout, manifests, publisher, reader, refs, store
from mens.artifacts import errors as store_errors
from mens.provenance import licenses, notice, obligations
from mens.runtime import jobs
from mens_trainer import dtypes, job, loop, model, preparation, recipe, telemetry
from tests.support import manifests as shortcuts
from tests.support import memory_store, models
from tests.unit.trainer import rows

pytestmark = pytest.mark.model

OUTPUT = refs.Uri("mens", "runs/uid/key")
UPSTREAM = manifests.Upstream(family="tiny", model_id="mens/tiny", revision="1")
LEARNING_SCHEDULE = {"maxSteps": 40, "epochs": 9, "microBatchSize": 8, "warmupSteps": 4}
LICENSE = Path(__file__).parents[3] / "LICENSE"


@dataclass
class Platform:
    """An in-memory bucket, and a folder as the scratch volume of the pod."""

    disk: Path
    objects: memory_store.MemoryStore = field(
        default_factory=lambda: memory_store.MemoryStore(["mens"])
    )
    output: refs.Uri = OUTPUT
    schedule: dict[str, Any] = field(default_factory=lambda: {"maxSteps": 2})

    def publish(
        self, kind: manifests.Kind, folder: Path, text: bytes | None = None
    ) -> refs.ArtifactRef:
        """Publish a folder with a license text, Apache-2.0 by default."""
        text = LICENSE.read_bytes() if text is None else text
        compliance = obligations.of(licenses.conclude(None, licenses.identify(text)), [text])
        staged = shutil.copytree(folder, self.disk / f"staged-{kind}", dirs_exist_ok=True)
        files = notice.assemble("it", compliance, {_digest(text): text})
        notice.write(staged, files)
        draft = shortcuts.draft(
            f"a-{kind.lower()}",
            kind=kind,
            compliance=compliance,
            upstream=UPSTREAM if kind is manifests.Kind.MODEL else None,
        )
        uri = refs.Uri("mens", f"inputs/{kind.lower()}-{_digest(text).short}")
        return publisher.publish(self.objects, uri, staged, draft)

    def environ(self, base: refs.ArtifactRef, corpus: refs.ArtifactRef) -> dict[str, str]:
        """Return the environment of the pod."""
        spec = {
            "baseModel": {"uri": str(base.uri)},
            "corpusRef": {"name": "c"},
            "lora": {"rank": 16, "alpha": 32},
            "schedule": {
                "learningRate": "1e-2",
                "effectiveBatchSize": 8,
                "microBatchSize": 4,
                "maxTokens": 200,
                **self.schedule,
            },
        }
        job = jobs.TrainJob(
            resource=jobs.Resource(namespace="ns", name="run", uid="uid", generation=1),
            spec=trainrun.MensTrainRunSpec.model_validate(spec),
            base=base,
            corpus=corpus,
            output=str(self.output),
            threads=2,
        )
        return {
            jobs.JOB_ENV: job.model_dump_json(by_alias=True),
            jobs.SCRATCH_ENV: str(self.disk / "scratch"),
            jobs.TERMINATION_ENV: str(self.disk / "termination-log"),
        }

    def run(
        self, base: refs.ArtifactRef, corpus: refs.ArtifactRef
    ) -> tuple[jobs.ExitCode, jobs.Termination]:
        """Run the job in this process."""
        (self.disk / "scratch").mkdir(exist_ok=True)
        end = job.run(self.environ(base, corpus), lambda _: self.objects)
        assert list((self.disk / "scratch").iterdir()) == [], "the scratch folder must be empty"
        return end

    def published_nothing(self) -> bool:
        """Return whether the output folder has no artifact."""
        return publisher.existing(self.objects, self.output) is None


def _digest(data: bytes) -> digests.Digest:
    return digests.Digest.of_bytes(data)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """An empty platform."""
    return Platform(tmp_path)


@pytest.fixture
def inputs(
    platform: Platform, base: Path, corpus: Path
) -> tuple[refs.ArtifactRef, refs.ArtifactRef]:
    """Published base and corpus."""
    return (
        platform.publish(manifests.Kind.MODEL, base),
        platform.publish(manifests.Kind.CORPUS, corpus),
    )


Inputs = tuple[refs.ArtifactRef, refs.ArtifactRef]


@dataclass(frozen=True)
class Trained:
    """The result of a successful job."""

    code: jobs.ExitCode
    termination: jobs.Termination
    manifest: manifests.Manifest
    inputs: Inputs
    progress: dict[str, Any]
    folder: Path
    """The fetched adapter."""


@pytest.fixture(scope="module")
def trained(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A successful job, run once."""
    p = Platform(tmp_path_factory.mktemp("trained"), schedule=LEARNING_SCHEDULE)
    inputs = p.publish(manifests.Kind.MODEL, base), p.publish(manifests.Kind.CORPUS, corpus)
    code, termination = p.run(*inputs)
    assert termination.artifact is not None, termination
    manifest = reader.fetch(p.objects, termination.artifact, p.disk / "adapter")
    progress = json.loads(p.objects.get_bytes(layout.progress(p.output)))
    return Trained(code, termination, manifest, inputs, progress, p.disk / "adapter")


def test_a_job_publishes_an_adapter(trained: Trained) -> None:
    """The held-out loss falls, and the artifact is complete and names its inputs."""
    assert (trained.code, trained.termination.reason) == (
        jobs.ExitCode.SUCCEEDED,
        reasons.SUCCEEDED,
    )
    manifest, into, inputs = trained.manifest, trained.folder, trained.inputs
    assert manifest.kind is manifests.Kind.ADAPTER
    assert manifest.upstream == UPSTREAM
    assert [(i.role, i.digest) for i in manifest.inputs] == [
        (manifests.Role.BASE, inputs[0].digest),
        (manifests.Role.CORPUS, inputs[1].digest),
    ]
    assert manifest.details["baseDigest"] == inputs[0].digest
    assert manifest.compliance.license_expression == "Apache-2.0"
    assert manifest.compliance.license_class == "PermissiveWithAttribution"
    assert manifest.compliance.attribution_required == "Conditional"
    loss: Any = manifest.details["heldOutLoss"]
    assert loss["after"] < 0.3 * loss["before"]
    names = {file.path for file in manifest.files}
    assert names >= {
        "adapter_config.json", "adapter_model.safetensors", "README.md", "NOTICE", "report.html",
        "telemetry.jsonl", "training-preflight.json", "LICENSES/Apache-2.0.txt",
    }  # fmt: skip
    config = json.loads((into / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "mens/tiny"
    _assert_telemetry([json.loads(t) for t in (into / "telemetry.jsonl").read_text().splitlines()])
    _assert_report((into / "report.html").read_text())
    _assert_preflight(json.loads((into / "training-preflight.json").read_text()), manifest)
    card = (into / "README.md").read_text()
    assert "base_model: mens/tiny" in card
    assert str(inputs[1].digest) in card
    assert trained.progress["stage"] == "Publishing"


def _assert_telemetry(events: list[dict[str, Any]]) -> None:
    """The upstream keys, increasing counters, and a summary at the end."""
    kinds = [event["event"] for event in events]
    assert kinds.count("step") == 40
    assert kinds.index("train_start") < kinds.index("step")
    assert kinds[-1] == "train_complete"
    steps = [event for event in events if event["event"] == "step"]
    expected = {
        "step", "total_steps", "loss", "loss_ema", "learning_rate", "grad_norm", "step_seconds",
        "steps_per_sec_ema", "eta_seconds_remaining", "progress_fraction", "tokens_per_sec",
        "supervised_ratio_pct", "supervised_tokens", "valid_tokens", "theoretical_tokens",
        "samples_seen", "rss_bytes", "device_bytes", "event", "timestamp",
    }  # fmt: skip
    assert all(set(step) == expected for step in steps)
    assert [step["samples_seen"] for step in steps] == [8 * (i + 1) for i in range(40)]
    assert steps[-1]["progress_fraction"] == 1.0
    assert events[-1]["supervised_tokens"] == steps[-1]["supervised_tokens"]
    assert events[-1]["peak_rss_bytes"] > 0


def _assert_report(page: str) -> None:
    """Four charts, without external resources."""
    assert page.count("<svg") == 4
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


def _assert_preflight(content: dict[str, Any], manifest: manifests.Manifest) -> None:
    """The manifest contains the digest of the contract."""
    assert content["digest"] == manifest.details["preflightDigest"]
    quantized = [part for part in content["contract"]["modules"] if part["quantized"]]
    assert sum(part["count"] for part in quantized) == 14
    assert content["contract"]["identity"]["base"] == manifest.details["baseDigest"]
    assert content["memory"]["total"] > content["memory"]["weights"] > 0


def test_the_published_adapter_changes_the_answer_of_the_base(trained: Trained, base: Path) -> None:
    """Loaded with PEFT on the unquantized base, it answers as in the corpus."""
    plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = peft.PeftModel.from_pretrained(plain, trained.folder).eval()
    tokenizer = models.tokenizer()
    messages = [{"role": "user", "content": "Name it: add!"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    answer = tuned.generate(input_ids=ids, max_new_tokens=9, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(answer).startswith('{"name": ')


def test_running_again_finds_the_artifact(platform: Platform, inputs: Inputs) -> None:
    """It succeeds at once with the same artifact."""
    _, first = platform.run(*inputs)
    code, second = platform.run(*inputs)
    assert code is jobs.ExitCode.SUCCEEDED
    assert second.artifact == first.artifact
    assert "already" in second.message


# -- invalid input: a reason, a fix, no artifact


def _unknown_license(p: Platform, base: Path, corpus: Path) -> Inputs:
    strange = p.publish(manifests.Kind.MODEL, base, b"You may look at it on Tuesdays.\n" * 30)
    return strange, p.publish(manifests.Kind.CORPUS, corpus)


def _swapped(p: Platform, base: Path, corpus: Path) -> Inputs:
    model_, corpus_ = (
        p.publish(manifests.Kind.MODEL, base),
        p.publish(manifests.Kind.CORPUS, corpus),
    )
    return corpus_, model_


def _empty_corpus(p: Platform, base: Path, corpus: Path) -> Inputs:
    return p.publish(manifests.Kind.MODEL, base), p.publish(
        manifests.Kind.CORPUS, rows.corpus(p.disk / "empty", train=0)
    )


def _no_held_out_rows(p: Platform, base: Path, corpus: Path) -> Inputs:
    return p.publish(manifests.Kind.MODEL, base), p.publish(
        manifests.Kind.CORPUS, rows.corpus(p.disk / "empty", validation=0)
    )


def _rows_without_messages(p: Platform, base: Path, corpus: Path) -> Inputs:
    folder = rows.corpus(p.disk / "wrong")
    rows.write(folder / "train.jsonl.zst", [{"text": "no conversation"}])
    return p.publish(manifests.Kind.MODEL, base), p.publish(manifests.Kind.CORPUS, folder)


def _too_few_embeddings(p: Platform, base: Path, corpus: Path) -> Inputs:
    small = models.tiny(p.disk / "small", vocab_size=100)
    return p.publish(manifests.Kind.MODEL, small), p.publish(manifests.Kind.CORPUS, corpus)


def _weights_with_nan(p: Platform, base: Path, corpus: Path) -> Inputs:
    nan = shutil.copytree(base, p.disk / "nan")
    causal = transformers.AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        causal.model.norm.weight[3] = torch.nan
    causal.save_pretrained(nan)
    return p.publish(manifests.Kind.MODEL, nan), p.publish(manifests.Kind.CORPUS, corpus)


def _mixture_of_experts(p: Platform, base: Path, corpus: Path) -> Inputs:
    folder = shutil.copytree(base, p.disk / "experts")
    shape = models.config("qwen3").to_dict() | {"moe_intermediate_size": 64, "num_experts": 8}
    shape.pop("model_type")
    config = transformers.Qwen3MoeConfig(**shape)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return p.publish(manifests.Kind.MODEL, folder), p.publish(manifests.Kind.CORPUS, corpus)


def _missing_rows_file(p: Platform, base: Path, corpus: Path) -> Inputs:
    folder = rows.corpus(p.disk / "half")
    (folder / "train.jsonl.zst").unlink()
    return p.publish(manifests.Kind.MODEL, base), p.publish(manifests.Kind.CORPUS, folder)


def _remote_code(p: Platform, base: Path, corpus: Path) -> Inputs:
    evil = shutil.copytree(base, p.disk / "evil")
    config = json.loads((evil / "config.json").read_text()) | {"auto_map": {"AutoModel": "x.Y"}}
    (evil / "config.json").write_text(json.dumps(config))
    return p.publish(manifests.Kind.MODEL, evil), p.publish(manifests.Kind.CORPUS, corpus)


def _damaged_base(p: Platform, base: Path, corpus: Path) -> Inputs:
    found = p.publish(manifests.Kind.MODEL, base), p.publish(manifests.Kind.CORPUS, corpus)
    manifest, _ = manifests.read(p.objects, found[0])
    file = manifest.file("model.safetensors")
    assert file is not None
    uri = layout.blob(found[0].uri, file.digest)
    data = bytearray(b"".join(p.objects.open(uri)))
    data[-1] ^= 1
    p.objects.put_bytes(uri, bytes(data))
    return found


def _replaced_manifest(p: Platform, base: Path, corpus: Path) -> Inputs:
    found = p.publish(manifests.Kind.MODEL, base), p.publish(manifests.Kind.CORPUS, corpus)
    return found[0].model_copy(update={"digest": found[1].digest}), found[1]


def _pickle(p: Platform, base: Path, corpus: Path) -> Inputs:
    found = p.publish(manifests.Kind.MODEL, base), p.publish(manifests.Kind.CORPUS, corpus)
    manifest, _ = manifests.read(p.objects, found[0])
    bad = manifests.File(path="pytorch_model.bin", digest=_digest(b"\x80\x04."), size_bytes=3)
    forged = manifest.with_files([*manifest.files, bad])
    uri = refs.Uri("mens", "inputs/forged")
    p.objects.put_bytes(layout.manifest(uri), forged.to_bytes())
    return refs.ArtifactRef(uri=uri, digest=forged.digest), found[1]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_unknown_license, reasons.LICENSE_UNKNOWN),
        (_swapped, reasons.BASE_MODEL_INVALID),
        (_empty_corpus, reasons.EMPTY_CORPUS),
        (_no_held_out_rows, reasons.NO_VALIDATION_ROWS),
        (_rows_without_messages, reasons.CORPUS_INVALID),
        (_too_few_embeddings, reasons.BASE_MODEL_INVALID),
        (_remote_code, reasons.BASE_MODEL_INVALID),
        (_weights_with_nan, reasons.BASE_MODEL_INVALID),
        (_mixture_of_experts, reasons.BASE_MODEL_INVALID),
        (_missing_rows_file, reasons.CORPUS_INVALID),
        (_damaged_base, reasons.DIGEST_MISMATCH),
        (_replaced_manifest, reasons.DIGEST_MISMATCH),
        (_pickle, reasons.PICKLE_REFUSED),
    ],
)
def test_invalid_input_ends_with_its_reason(
    make: Callable[[Platform, Path, Path], Inputs],
    reason: str,
    platform: Platform,
    base: Path,
    corpus: Path,
) -> None:
    """With exit code 64, reason and fix; nothing is published."""
    code, termination = platform.run(*make(platform, base, corpus))
    assert (code, termination.reason) == (jobs.ExitCode.INVALID_INPUT, reason)
    assert len(termination.message) > 30
    assert termination.artifact is None
    assert platform.published_nothing()


def test_a_running_transfer_ends_before_its_folder_is_removed(
    platform: Platform, base: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One input is damaged during the transfer of the other: no file appears after the cleanup."""
    inputs = _damaged_base(platform, base, corpus)
    manifest, _ = manifests.read(platform.objects, inputs[1])
    slow = {str(layout.blob(inputs[1].uri, file.digest)) for file in manifest.files}
    fast = platform.objects.open

    ended = threading.Event()

    def open_slowly(uri: refs.Uri) -> Iterator[bytes]:
        try:
            if str(uri) in slow:
                time.sleep(1.0)  # meanwhile the job finds the damage of the other input
            yield from fast(uri)
        finally:
            if str(uri) in slow:
                ended.set()

    monkeypatch.setattr(platform.objects, "open", open_slowly)
    code, termination = platform.run(*inputs)
    assert (code, termination.reason) == (jobs.ExitCode.INVALID_INPUT, reasons.DIGEST_MISMATCH)
    assert ended.wait(30)
    time.sleep(0.2)  # a transfer that did not stop would create its file now
    assert list((platform.disk / "scratch").iterdir()) == []


class Unreachable(memory_store.MemoryStore):
    """A store that does not answer."""

    def get_bytes(self, uri: refs.Uri, *, max_bytes: int = store.SMALL) -> bytes:
        raise store_errors.StoreUnreachable("the endpoint does not answer: start it")


def test_a_store_error_is_temporary(platform: Platform, inputs: Inputs) -> None:
    """Exit code 75; the same job succeeds once the store answers."""
    (platform.disk / "scratch").mkdir()
    environ = platform.environ(*inputs)
    code, termination = job.run(environ, lambda _: Unreachable(["mens"]))
    assert (code, termination.reason) == (
        jobs.ExitCode.STORAGE_ERROR,
        reasons.STORAGE_UNREACHABLE,
    )
    assert platform.run(*inputs)[0] is jobs.ExitCode.SUCCEEDED


def test_a_difference_from_the_preflight_ends_the_run(
    platform: Platform, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before training, for example if a library silently skips a layer."""
    real = model.load

    def load_skipping_a_layer(folder: Path, selected: model.ModuleSelection, *rest: Any) -> Any:
        fewer = frozenset(n for n in selected.quantized if not n.endswith("down_proj"))
        unquantized = selected.unquantized | (selected.quantized - fewer)
        changed = model.ModuleSelection(fewer, selected.adapted, unquantized)
        return real(folder, changed, *rest)

    monkeypatch.setattr(model, "load", load_skipping_a_layer)
    code, termination = platform.run(*inputs)
    assert (code, termination.reason) == (
        jobs.ExitCode.INVALID_INPUT,
        reasons.PREFLIGHT_MISMATCH,
    )
    assert "down_proj" in termination.message
    assert platform.published_nothing()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_has_its_own_exit_code(
    error: Exception, platform: Platform, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """71: the operator halves the micro-batch."""

    def run_out_of_memory(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(loop, "train", run_out_of_memory)
    code, termination = platform.run(*inputs)
    assert (code, termination.reason) == (jobs.ExitCode.OUT_OF_MEMORY, reasons.OUT_OF_MEMORY)
    assert "4 rows" in termination.message


def test_a_run_that_cannot_fit_is_refused(
    platform: Platform, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a weight is read, with the numbers and the change that would fit."""
    monkeypatch.setattr(preparation, "available_memory", lambda _: 2**31)
    platform.schedule = {"effectiveBatchSize": 4096, "microBatchSize": 4096}
    code, termination = platform.run(*inputs)
    assert (code, termination.reason) == (jobs.ExitCode.INVALID_INPUT, reasons.DOES_NOT_FIT)
    assert "microBatchSize to " in termination.message


def _diverge_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the gradient of that step infinite."""
    real, calls = torch.nn.utils.clip_grad_norm_, list[None]()

    def clipped(weights: list[torch.nn.Parameter], norm: float) -> torch.Tensor:
        calls.append(None)
        if len(calls) == step:
            gradient = weights[0].grad
            assert gradient is not None
            gradient.fill_(torch.inf)
        return real(weights, norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clipped)


def test_a_diverged_run_keeps_its_telemetry(
    platform: Platform, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with its own reason, also at the last step; the loss curve is uploaded."""
    _diverge_at(2, monkeypatch)
    code, termination = platform.run(*inputs)
    assert (code, termination.reason) == (jobs.ExitCode.INTERNAL_ERROR, reasons.DIVERGED)
    assert "step 2 of 2" in termination.message
    assert "learningRate (now 0.01)" in termination.message
    assert platform.published_nothing()
    kept = platform.objects.get_bytes(OUTPUT / telemetry.FILE_NAME).decode().splitlines()
    events = [json.loads(text)["event"] for text in kept]
    assert events.count("step") == 1
    assert "train_start" in events


def test_the_telemetry_of_a_failed_attempt_is_bounded(
    platform: Platform, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest complete lines; the next attempt overwrites them."""
    monkeypatch.setattr(job, "MAX_TELEMETRY_BYTES", 900)
    platform.schedule = {"maxSteps": 3}
    for _ in range(2):
        with monkeypatch.context() as patched:
            _diverge_at(3, patched)
            platform.run(*inputs)
        kept = platform.objects.get_bytes(OUTPUT / telemetry.FILE_NAME)
        assert 0 < len(kept) <= 900
        events = [json.loads(line) for line in kept.splitlines()]
        assert events[-1]["step"] == 2


def test_an_unexpected_error_is_an_internal_error(
    platform: Platform, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 70 with the place; without the text, which could contain a secret."""

    def fail(*_: object, **__: object) -> None:
        raise KeyError("AWS_SECRET_ACCESS_KEY=hunter2")

    monkeypatch.setattr(loop, "train", fail)
    code, termination = platform.run(*inputs)
    assert (code, termination.reason) == (jobs.ExitCode.INTERNAL_ERROR, reasons.INTERNAL_ERROR)
    assert "hunter2" not in termination.message
    assert "KeyError at test_job.py" in termination.message


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_a_missing_or_unreadable_job_is_invalid_input(text: str | None, platform: Platform) -> None:
    """Not an internal error."""
    environ = {} if text is None else {jobs.JOB_ENV: text}
    code, termination = job.run(environ, lambda _: platform.objects)
    assert (code, termination.reason) == (jobs.ExitCode.INVALID_INPUT, reasons.SPEC_INVALID)


PREEMPTED_JOB = """
import os, signal, sys, time
from mens_trainer import job
from tests.support import memory_store

class Slow(memory_store.MemoryStore):
    def get_bytes(self, uri, **kw):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

sys.exit(job.main(open_store=lambda _: Slow(["mens"])))
"""


def test_sigterm_ends_the_process_cleanly(platform: Platform, inputs: Inputs) -> None:
    """At once, with exit code 143, a termination message and an empty scratch folder."""
    (platform.disk / "scratch").mkdir()
    environ = {**os.environ, **platform.environ(*inputs), "PYTHONPATH": os.pathsep.join(sys.path)}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PREEMPTED_JOB],
        env=environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == jobs.ExitCode.PREEMPTED, done.stderr.decode()
    assert time.monotonic() - begin < 25
    log = json.loads((platform.disk / "termination-log").read_bytes())
    assert log["reason"] == reasons.PREEMPTED
    assert list((platform.disk / "scratch").iterdir()) == []


def test_sigterm_during_training(
    platform: Platform, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is published, and the next attempt succeeds."""
    before = signal.getsignal(signal.SIGTERM)
    real = telemetry.TelemetryWriter.write_step

    def interrupted(self: telemetry.TelemetryWriter, metrics: telemetry.StepMetrics) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        real(self, metrics)

    monkeypatch.setattr(telemetry.TelemetryWriter, "write_step", interrupted)
    environ = platform.environ(*inputs)
    (platform.disk / "scratch").mkdir()
    try:
        assert job.main(environ, lambda _: platform.objects) == jobs.ExitCode.PREEMPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    assert platform.published_nothing()
    monkeypatch.undo()
    assert platform.run(*inputs)[0] is jobs.ExitCode.SUCCEEDED


def test_torch_is_imported_only_for_training() -> None:
    """Refusing a job and printing help do not need torch."""
    code = "import sys, mens_trainer.job, mens_trainer.command; print('torch' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_preflight_digest_covers_the_inputs(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another recipe, input, tokenizer or dtype gives another digest."""
    monkeypatch.setattr(dtypes, "fastest", lambda *_: "float32")
    plan = recipe.Recipe(rank=4, micro_batch=4, max_tokens=200)

    def digest(folder: Path = base, **changes: Any) -> str:
        inputs = preparation.Inputs(
            "r", folder, corpus, identity={"base": changes.pop("base", "d")}
        )
        chosen = recipe.Recipe(**{**plan.to_object(), **changes})
        return preparation.prepare(inputs, chosen, "cpu").preflight.digest

    other = shutil.copytree(base, tmp_path / "other")
    (other / "chat_template.jinja").write_text(models.CHAT_TEMPLATE + "{# other #}")
    found = [digest(), digest(), digest(rank=8), digest(base="e"), digest(other)]
    assert found[0] == found[1]
    monkeypatch.setattr(dtypes, "fastest", lambda *_: "bfloat16")
    found.append(digest())
    assert len(set(found[1:])) == 5
    assert found[0].startswith("sha256:")
