"""What keeps a server unready, what it says about it, when it waits and when it ends."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mens.artifacts import errors, layout, manifests, publisher, refs, transfers
from mens.runtime import jobs
from mens_server import model_loader
from mens_server.app import service as services
from mens_server.engines import fake, interface, worker
from mens_server.engines.native import model_runner
from tests.model.server import running_server
from tests.support import memory_store

pytestmark = pytest.mark.model

Start = Callable[[jobs.ServeJob], running_server.RunningServer]


@pytest.fixture
def start(bucket: running_server.Bucket, tmp_path: Path) -> Iterator[Start]:
    """Start a server with the native engine's loader."""
    with ExitStack() as stack:

        def build(folder: Path) -> interface.Engine:
            runner = model_runner.load(
                folder, slots=2, max_context=100, threads=1, dtype=torch.float32
            )
            return worker.WorkerEngine(runner, max_queue=2)

        def begin(job: jobs.ServeJob) -> running_server.RunningServer:
            return stack.enter_context(
                running_server.stand(job, bucket, tmp_path / "scratch", build)
            )

        yield begin


def trouble(where: running_server.RunningServer, reason: str) -> dict[str, Any]:
    """Wait until /ready gives this reason; /health is fine meanwhile."""
    with where.client() as client:
        report = running_server.wait_for(client, lambda report: report["reason"] == reason)
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        answer = client.post("/v1/completions", json={"model": "base", "prompt": "x"})
        assert answer.status_code == 503
        assert reason in answer.json()["error"]["message"]
    return report


def refused(
    where: running_server.RunningServer,
    reason: str,
    code: jobs.ExitCode = jobs.ExitCode.INVALID_INPUT,
) -> dict[str, Any]:
    """Wait until the process ends with this reason; /ready says the same until then."""
    report = trouble(where, reason)
    deadline = time.monotonic() + 10
    while not where.ends and time.monotonic() < deadline:
        time.sleep(0.01)
    ((found, termination),) = where.ends
    assert (found, termination.reason, termination.message) == (code, reason, report["message"])
    return report


def adapters(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {item["name"]: (item["state"], item["reason"]) for item in report["adapters"]}


def test_from_store_to_answer(models: Path, bucket: running_server.Bucket, start: Start) -> None:
    """Base and adapters are fetched, verified, loaded and answer differently."""
    base = bucket.model("base", models / "base")
    where = start(running_server.job(base, a=bucket.adapter("a", models / "a", base)))
    with where.client() as client:
        report = running_server.wait_for(client, lambda report: bool(report["ready"]))
        ask = {"prompt": "hello", "temperature": 0, "max_tokens": 8}
        texts = {
            name: client.post("/v1/completions", json={"model": name, **ask}).json()
            for name in ("base", "a")
        }
    assert adapters(report) == {"a": ("Loaded", "")}
    assert texts["base"]["choices"] != texts["a"]["choices"]


def test_an_adapter_of_another_base_is_kept_out(
    models: Path, bucket: running_server.Bucket, start: Start
) -> None:
    """A required one keeps the server unready; the message names both bases."""
    base, other = bucket.model("base", models / "base"), bucket.model("other", models / "other")
    report = refused(
        start(running_server.job(base, a=bucket.adapter("a", models / "a", other))), "BaseMismatch"
    )
    assert adapters(report) == {"a": ("KeptOut", "BaseMismatch")}
    assert str(other.digest) in report["message"]
    assert str(base.digest) in report["message"]


def test_an_optional_adapter_is_kept_out_and_the_rest_serves(
    models: Path, bucket: running_server.Bucket, start: Start
) -> None:
    """Ready without it; asking for it is a 404 that says why, never the base."""
    base, other = bucket.model("base", models / "base"), bucket.model("other", models / "other")
    job = running_server.job(base, a=bucket.adapter("a", models / "a", base))
    wrong = jobs.ServedAdapter(
        name="b", artifact=bucket.adapter("b", models / "b", other), required=False
    )
    where = start(job.model_copy(update={"adapters": (*job.adapters, wrong)}))
    with where.client() as client:
        report = running_server.wait_for(client, lambda report: bool(report["ready"]))
        assert adapters(report)["b"] == ("KeptOut", "BaseMismatch")
        answer = client.post("/v1/completions", json={"model": "b", "prompt": "x"})
        assert answer.status_code == 404
        assert "BaseMismatch" in answer.json()["error"]["message"]


@pytest.mark.parametrize("target", ["base", "a"])
def test_tampered_bytes_are_refused_until_they_are_restored(
    models: Path, bucket: running_server.Bucket, start: Start, target: str
) -> None:
    """One flipped byte in a blob: DigestMismatch; restored: the next process is ready."""
    base = bucket.model("base", models / "base")
    adapter = bucket.adapter("a", models / "a", base)
    ref = {"base": base, "a": adapter}[target]
    manifest, _ = manifests.read(bucket.store, ref)
    weights = next(file for file in manifest.files if file.path.endswith(".safetensors"))
    blob = layout.blob(ref.uri, weights.digest)
    right = bucket.store.get_bytes(blob, max_bytes=1 << 30)
    bucket.store.put_bytes(blob, right[:-1] + bytes([right[-1] ^ 1]))
    refused(start(running_server.job(base, a=adapter)), "DigestMismatch")
    bucket.store.put_bytes(blob, right)
    with start(running_server.job(base, a=adapter)).client() as client:
        running_server.wait_for(client, lambda report: bool(report["ready"]))


def test_a_replaced_manifest_is_refused(
    models: Path, bucket: running_server.Bucket, start: Start
) -> None:
    """The job names a digest; another manifest in its place is not read."""
    base = bucket.model("base", models / "base")
    manifest, _ = manifests.read(bucket.store, base)
    other = manifest.model_copy(update={"name": "another"})
    bucket.store.put_bytes(layout.manifest(base.uri), other.to_bytes())
    refused(start(running_server.job(base)), "DigestMismatch")


def test_a_pickle_is_refused_by_name(
    models: Path, bucket: running_server.Bucket, start: Start, tmp_path: Path
) -> None:
    """Even when a publisher of another kind put it into the store."""
    base = bucket.model("base", models / "base")
    manifest, _ = manifests.read(bucket.store, base)
    pickle = tmp_path / "pytorch_model.bin"
    pickle.write_bytes(b"\x80\x04.")
    file = publisher.describe("pytorch_model.bin", pickle)
    publisher.put_blob(bucket.store, base.uri, pickle, file)
    bad = publisher.write_manifest(
        bucket.store,
        refs.Uri.parse("s3://models/bad"),
        manifest.with_files([*manifest.files, file]),
    )
    report = refused(start(running_server.job(bad)), "PickleRefused")
    assert "safetensors" in report["message"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModelForCausalLM": "evil.Model"}),
        ("_attn_implementation_internal", "someone/kernel"),
        ("architectures", ["EvilForCausalLM"]),
        ("quantization_config", {"load_in_4bit": True}),
    ],
)
def test_config_keys_outside_the_list_are_refused(
    models: Path,
    bucket: running_server.Bucket,
    start: Start,
    tmp_path: Path,
    key: str,
    value: object,
) -> None:
    """A key that runs code, fetches code or changes what is computed."""
    folder = tmp_path / "changed"
    shutil.copytree(models / "base", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    report = refused(start(running_server.job(bucket.model("changed", folder))), "BaseModelInvalid")
    assert key in report["message"] or str(value[0]) in report["message"]  # type: ignore[index]


@pytest.mark.parametrize("cut", [1, 5000])
def test_torn_weights_are_refused(
    models: Path, bucket: running_server.Bucket, start: Start, tmp_path: Path, cut: int
) -> None:
    """A safetensors file that was published torn."""
    folder = tmp_path / "torn"
    shutil.copytree(models / "base", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-cut])
    report = refused(start(running_server.job(bucket.model("torn", folder))), "BaseModelInvalid")
    assert "torn" in report["message"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"peft_type": "IA3"}, "LoRA"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": 5}, "rank"),
        ({"r": 0}, "r=0"),
        ({"r": True}, "r=True"),
        ({"lora_alpha": float("inf")}, "lora_alpha=inf"),
        ({"lora_alpha": None}, "lora_alpha=None"),
        ({"rank_pattern": []}, "rank_pattern=[]"),
        ({"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern"),
        ({"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 8}}, "regular expression"),
        ({"rank_pattern": {r"layers\.0\..*q_proj": 8}}, "regular expression"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"bias": "all"}, "bias='all'"),
        ({"auto_mapping": {"base_model_class": "x"}}, "auto_mapping"),
    ],
)
def test_adapters_of_other_kinds_are_refused(
    models: Path,
    bucket: running_server.Bucket,
    start: Start,
    tmp_path: Path,
    change: dict[str, object],
    word: str,
) -> None:
    """Refused with what they ask for, never served as something else."""
    folder = tmp_path / "changed"
    shutil.copytree(models / "a", folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
    base = bucket.model("base", models / "base")
    report = refused(
        start(running_server.job(base, a=bucket.adapter("changed", folder, base))), "AdapterInvalid"
    )
    assert word in report["message"]


class Flaky(memory_store.MemoryStore):
    """Serves what another store holds, while it is online."""

    def __init__(self, inner: memory_store.MemoryStore) -> None:
        super().__init__(["models"])
        self._objects = inner._objects
        self.online = threading.Event()

    def get_bytes(self, uri: refs.Uri, *, max_bytes: int = 1 << 24) -> bytes:
        if not self.online.is_set() and uri.key.endswith("manifest.json"):
            raise errors.StoreUnreachable("nobody answers at the endpoint; check it")
        return super().get_bytes(uri, max_bytes=max_bytes)


@pytest.fixture
def flaky(bucket: running_server.Bucket) -> Flaky:
    assert isinstance(bucket.store, memory_store.MemoryStore)
    return Flaky(bucket.store)


def test_storage_that_does_not_answer(
    models: Path, bucket: running_server.Bucket, flaky: Flaky, tmp_path: Path
) -> None:
    """HTTP is up at once and says so; when the storage comes back, the server gets ready."""
    job = running_server.job(bucket.model("base", models / "base"))
    build = running_server.fake_engine(fake.FakeRunner())
    with running_server.stand(job, running_server.Bucket(flaky), tmp_path, build) as where:
        trouble(where, "StorageUnreachable")
        flaky.online.set()
        with where.client() as client:
            running_server.wait_for(client, lambda report: bool(report["ready"]))
        assert not where.ends


def test_storage_that_stays_away_ends_the_process(
    models: Path, bucket: running_server.Bucket, flaky: Flaky, tmp_path: Path
) -> None:
    """After a while only a new process can help: it gets the Secret as it is then."""
    job = running_server.job(bucket.model("base", models / "base"))
    build, bounds = (
        running_server.fake_engine(fake.FakeRunner()),
        replace(running_server.QUICK, storage_seconds=0.2),
    )
    with running_server.stand(job, running_server.Bucket(flaky), tmp_path, build, bounds) as where:
        refused(where, "StorageUnreachable", jobs.ExitCode.STORAGE_ERROR)


def test_storage_that_answers_restarts_the_timeout(
    models: Path, bucket: running_server.Bucket, tmp_path: Path
) -> None:
    """Short outages before and after the base do not add up to a minute without an answer."""
    base = bucket.model("base", models / "base")
    job = running_server.job(base, one=bucket.adapter("one", models / "a", base))
    blips = {str(base.uri): 1, str(job.adapters[0].artifact.uri): 1}
    now = [0.0]

    def fetch(
        ref: refs.ArtifactRef, into: Path, progress: transfers.Progress
    ) -> manifests.Manifest:
        now[0] += 50.0  # each answer takes that long; the minute is over before the second blip
        if blips[str(ref.uri)]:
            blips[str(ref.uri)] -= 1
            raise errors.StoreUnreachable("nobody answers at the endpoint; check it")
        return bucket.fetch(ref, into, progress)

    service = services.Service(replace(running_server.QUICK, storage_seconds=60.0), "base")
    build = running_server.fake_engine(fake.FakeRunner())
    loader = model_loader.Loader(
        job, service, fetch=fetch, build=build, scratch=tmp_path, clock=lambda: now[0]
    )
    assert loader.run() is None
    assert service.readiness.ready


class Failing(fake.FakeRunner):
    """Cannot load one adapter, for a reason nobody foresaw."""

    error: Exception = AttributeError("'list' object has no attribute 'items'")
    bad = ""

    def load_adapter(self, adapter: interface.AdapterFiles) -> None:
        if adapter.digest == self.bad:
            raise self.error
        super().load_adapter(adapter)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (AttributeError("secret"), "AttributeError at"),
        (OSError(errno.ENOSPC, "No space left on device"), "spec.resources.scratch"),
    ],
)
def test_an_adapter_that_fails_unexpectedly(
    models: Path, bucket: running_server.Bucket, tmp_path: Path, error: Exception, word: str
) -> None:
    """An optional one keeps nobody out; a required one ends the process as a defect of ours."""
    base = bucket.model("base", models / "base")
    job = running_server.job(
        base,
        b=bucket.adapter("b", models / "b", base),
        a=bucket.adapter("a", models / "a", base),
    )
    runner = Failing()
    runner.error, runner.bad = error, str(job.adapters[0].artifact.digest)
    with running_server.stand(job, bucket, tmp_path, running_server.fake_engine(runner)) as where:
        report = refused(where, "InternalError", jobs.ExitCode.INTERNAL_ERROR)
        assert word in report["message"]
        assert "secret" not in report["message"]
        assert adapters(report)["a"] == ("Loaded", "")
    optional = job.adapters[0].model_copy(update={"required": False})
    job = job.model_copy(update={"adapters": (optional, job.adapters[1])})
    with (
        running_server.stand(job, bucket, tmp_path, running_server.fake_engine(runner)) as where,
        where.client() as client,
    ):
        report = running_server.wait_for(client, lambda report: bool(report["ready"]))
        assert adapters(report) == {"b": ("KeptOut", "InternalError"), "a": ("Loaded", "")}
        runner.bad = ""
        running_server.wait_for(client, lambda report: adapters(report)["b"] == ("Loaded", ""))
        assert not where.ends


def test_file_names_are_not_globs(
    models: Path, bucket: running_server.Bucket, start: Start, tmp_path: Path
) -> None:
    """A file whose name has brackets is fetched like any other."""
    folder = tmp_path / "brackets"
    shutil.copytree(models / "a", folder)
    (folder / "a[1].json").write_text("{}")
    base = bucket.model("base", models / "base")
    with start(running_server.job(base, a=bucket.adapter("a", folder, base))).client() as client:
        running_server.wait_for(client, lambda report: bool(report["ready"]))
    assert (tmp_path / "scratch" / "adapters" / "a" / "a[1].json").exists()
