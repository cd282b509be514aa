"""How many requests are decoded together, and where: decided before the first one comes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode

from mens.runtime import machine
from mens_server import model_validation
from mens_server.engines import fake, interface, scheduling, worker
from mens_server.engines.native import attention, lora, memory, model_runner
from mens_server.protocol import generation
from tests.model.server import running_server, tiny

pytestmark = pytest.mark.model

GIB = 1 << 30
SMOLLM2 = memory.Needs(fixed=GIB, position=46_080, context=8192)
"""SmolLM2-135M in float32; in bfloat16 a token takes half of it."""


@pytest.mark.parametrize(("limit", "slots"), [(None, 256), (100 * GIB, 256), (8 * GIB, 19)])
def test_as_many_slots_as_fit(limit: int | None, slots: int) -> None:
    """What was asked for where it fits, else what fits, with both ways to change that."""
    found = memory.fit(SMOLLM2, 256, limit)
    assert found.slots == slots
    assert bool(found.note) == (slots < 256)
    if found.note:
        assert "spec.limits.maxBatchSize to 19" in found.note
        assert "spec.resources.memory to at least 91.00Gi" in found.note
        assert memory.fit(SMOLLM2, 256, 91 * GIB).slots == 256


def test_what_does_not_fit_at_all_is_refused() -> None:
    """With the numbers and the smallest changes that fit; a shorter context only if that helps."""
    with pytest.raises(model_validation.InvalidModelError) as refusal:
        memory.fit(SMOLLM2, 8, GIB + (1 << 28))
    assert refusal.value.reason == "DoesNotFit"
    assert "spec.resources.memory to at least 1.36Gi" in refusal.value.message
    assert "spec.limits.maxTokens to at most 5825" in refusal.value.message
    with pytest.raises(model_validation.InvalidModelError) as refusal:
        memory.fit(SMOLLM2, 8, GIB // 2)
    assert "maxTokens" not in refusal.value.message


def test_no_field_makes_a_gpu_larger() -> None:
    """On a GPU the advice is another GPU, or less at once; never the pod's own memory."""
    note = memory.fit(SMOLLM2, 256, 8 * GIB, gpu=True).note
    assert "Set spec.limits.maxBatchSize to 19, or take a GPU of at least 91.00Gi." in note
    with pytest.raises(model_validation.InvalidModelError) as refusal:
        memory.fit(SMOLLM2, 8, GIB + (1 << 28), gpu=True)
    for words in (note, refusal.value.message):
        assert "spec.resources.memory" not in words
    assert "Take a GPU of at least 1.36Gi" in refusal.value.message


def test_the_limit_is_the_smaller_of_pod_and_machine(tmp_path: Path) -> None:
    """The cgroup says a number or `max`; without one the machine's memory counts."""
    cgroup, meminfo = tmp_path / "memory.max", tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  4 kB\nMemFree: 1 kB\n")
    assert machine.memory_limit(cgroup, meminfo) == 4096
    for text, found in (("max\n", 4096), ("1000\n", 1000), ("9999\n", 4096)):
        cgroup.write_text(text)
        assert machine.memory_limit(cgroup, meminfo) == found


def test_a_server_with_fewer_slots_says_so(
    models: Path, bucket: running_server.Bucket, tmp_path: Path
) -> None:
    """It serves, and /ready tells why and what to do."""
    slot = 2 * 3 * 2 * 8 * 4 * 200  # keys and values, layers, heads, size, float32, tokens

    def build(folder: Path) -> interface.Engine:
        options = {"max_context": 200, "threads": 1, "dtype": torch.float32}
        whole = model_runner.load(folder, slots=1, **options)  # type: ignore[arg-type]
        limit = model_runner._needs(whole._model, 200, 0).fixed + 3 * slot
        return worker.WorkerEngine(
            model_runner.load(folder, slots=8, limit=limit, **options),  # type: ignore[arg-type]
            max_queue=2,
        )

    job = running_server.job(bucket.model("base", models / "base"))
    with running_server.stand(job, bucket, tmp_path, build) as where, where.client() as client:
        report = running_server.wait_for(client, lambda report: bool(report["ready"]))
        assert "spec.limits.maxBatchSize to 3" in str(report["note"])
        assert 'mens_server_slots{model_name="base"} 3.0' in client.get("/metrics").text


def test_a_step_computes_on_one_device() -> None:
    """Everything follows the model to its device: torch refuses to mix two of them.

    Fake tensors know their device and no numbers, so this needs no GPU.
    """
    transformers.AttentionInterface.register(attention.IMPLEMENTATION, attention.attend)
    config = transformers.LlamaConfig(**tiny.SHAPE, attn_implementation=attention.IMPLEMENTATION)
    schedule = scheduling.Schedule(
        slots=4,
        max_queue=9,
        max_context=64,
        vocabulary=260,
        stop_tokens=frozenset(),
        token_budget=8,
    )
    with FakeTensorMode():
        with torch.device("cuda"):
            model = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
        runner = model_runner.NativeRunner(
            model,
            fake.ByteTokenizer(),
            stop_tokens=frozenset(),
            slots=4,
            max_context=64,
            threads=1,
        )
        for name in ("a", "b"):
            downs, ups = {}, {}
            for layer in ("lm_head", "model.layers.1.self_attn.q_proj"):
                linear = model.get_submodule(layer)
                base = getattr(linear, "base", linear)
                downs[layer] = torch.zeros(2, base.in_features)
                ups[layer] = torch.zeros(2, base.out_features)
            runner._bank.add(name, lora.Layers(2, downs, ups))
        for length, adapter in ((3, "a"), (20, "b"), (4, None)):
            request = generation.GenerationRequest((1,) * length, 3, adapter)
            schedule.add(scheduling.ScheduledRequest(request=request, deliver=print))
        while segments := schedule.plan():
            # Without inference mode, which fake tensors do not know.
            logits = model_runner.NativeRunner.logits.__wrapped__(runner, segments)  # type: ignore[attr-defined]
            assert logits.device.type == "cuda"
            list(schedule.apply(segments, [1] * len(logits)))
    assert not schedule.busy
