"""Our attention, cache and adapters compute what Hugging Face and PEFT compute, in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers
from peft import PeftModel

from mens_server.engines import interface, scheduling
from mens_server.engines.native import lora, model_runner
from mens_server.protocol import generation
from tests.model.server import tiny

pytestmark = pytest.mark.model

GREEDY = generation.SamplingParams(temperature=0)


@dataclass
class Case:
    """A base with five adapters, loaded both ways."""

    runner: model_runner.NativeRunner
    oracle: PeftModel

    def expected(self, adapter: str | None, tokens: list[int]) -> torch.Tensor:
        """The oracle's logits after these tokens."""
        with torch.inference_mode():
            if adapter is None:
                with self.oracle.disable_adapter():
                    return self._last_logits(tokens)
            self.oracle.set_adapter(adapter)
            return self._last_logits(tokens)

    def _last_logits(self, tokens: list[int]) -> torch.Tensor:
        logits: torch.Tensor = self.oracle(torch.tensor([tokens])).logits[0, -1]
        return logits


@pytest.fixture(scope="module", params=[tiny.llama, tiny.qwen3])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    make: Callable[[Path], Path] = request.param
    folder = tmp_path_factory.mktemp("oracle")
    base = make(folder / "base")
    adapters = {
        "a": tiny.adapter(base, folder / "a", seed=11),
        "b": tiny.adapter(base, folder / "b", seed=12, r=8, lora_alpha=8, use_rslora=True),
        "c": tiny.adapter(
            base,
            folder / "c",
            seed=13,
            target_modules=["q_proj", "v_proj"],
            rank_pattern={"q_proj": 2},
            # PEFT takes the first that matches.
            alpha_pattern={"layers.0.self_attn.q_proj": 5, "q_proj": 3, "0.self_attn.q_proj": 9},
        ),
        "d": tiny.adapter(
            base,
            folder / "d",
            seed=14,
            target_modules=["lm_head", "down_proj"],
            init_lora_weights="gaussian",
        ),
        "e": tiny.adapter(base, folder / "e", seed=15, target_modules=["lm_head"]),
    }
    runner = model_runner.load(base, slots=6, max_context=128, threads=1, dtype=torch.float32)
    for name, path in adapters.items():
        runner.load_adapter(interface.AdapterFiles(name, path))
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    oracle = PeftModel.from_pretrained(model, adapters["a"], adapter_name="a")
    for name in ("b", "c", "d", "e"):
        oracle.load_adapter(adapters[name], adapter_name=name)
    oracle.eval()
    return Case(runner, oracle)


def test_mixed_batch_with_joining_and_leaving_equals_the_oracle(case: Case) -> None:
    """Base and five adapters in one batch; requests join, leave and are chunked in the middle."""
    generator = torch.Generator().manual_seed(5)
    plan = [(None, 5, 0), ("a", 9, 0), ("b", 3, 2), ("c", 40, 3), (None, 1, 4), ("a", 21, 6)]
    plan += [("d", 7, 1), ("e", 2, 4), ("d", 30, 5), ("e", 12, 9)]
    schedule = scheduling.Schedule(
        slots=4,
        max_queue=9,
        max_context=128,
        vocabulary=260,
        stop_tokens=frozenset(),
        token_budget=16,
    )
    checked = 0
    for now in range(60):
        for adapter, length, joins in plan:
            if joins == now:
                prompt = tuple(torch.randint(0, 250, (length,), generator=generator).tolist())
                request = generation.GenerationRequest(prompt, 6 + length % 4, adapter, GREEDY)
                schedule.add(scheduling.ScheduledRequest(request=request, deliver=print))
        segments = schedule.plan()
        if not segments:
            continue
        asking = [segment for segment in segments if segment.sample]
        ours = case.runner.logits(segments)
        theirs = [case.expected(s.scheduled.request.adapter, s.scheduled.tokens) for s in asking]
        for mine, reference in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, reference, atol=2e-4, rtol=1e-4)
            assert mine.argmax() == reference.argmax()
            checked += 1
        list(schedule.apply(segments, [int(row.argmax()) for row in ours]))
    assert not schedule.busy
    assert checked == sum(6 + length % 4 for _, length, _ in plan)


def test_adapters_change_the_answer(case: Case) -> None:
    """The oracle test would prove nothing if all of them answered alike."""
    tokens = [5, 6, 7, 8]
    answers = [case.expected(name, tokens) for name in (None, *"abcde")]
    for index, one in enumerate(answers):
        for other in answers[index + 1 :]:
            assert (one - other).abs().max() > 0.05


def test_what_one_adapter_makes_infinite_stays_in_its_own_rows() -> None:
    """The ranks of others are left out and not multiplied with zero, which would give NaN."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"q": torch.nn.Linear(8, 8)})
    bank, x = lora.Bank(model), torch.randn(3, 8)
    for name, size in (("good", 1.0), ("huge", 3e38)):
        downs, ups = {"q": size * torch.ones(2, 8)}, {"q": torch.randn(2, 8)}
        bank.add(name, lora.Layers(2, downs, ups))
    bank.choose([(None, 1), ("good", 1)], drawing=[])
    alone = model["q"](x[:2])
    bank.choose([(None, 1), ("good", 1), ("huge", 1)], drawing=[])
    mixed = model["q"](x)
    torch.testing.assert_close(mixed[:2], alone)
    assert not torch.isfinite(mixed[2]).all()
