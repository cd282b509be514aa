"""The training loop: gradients, gradient accumulation, the full graph. Tiny models, float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mens.api import reasons
from mens_trainer import data, loop, model, recipe, telemetry
from tests.support import models

pytestmark = pytest.mark.model

PLAN = recipe.Recipe(rank=4, alpha=8, quantization=None, batch=4, micro_batch=4, seed=3)


def _examples(count: int = 6, last_k: int = 0) -> list[data.Example]:
    """Examples of different lengths and label masks, the first with two answers."""
    random = torch.Generator().manual_seed(5)
    examples = []
    for i in range(count):
        ids = torch.randint(3, 320, (9 + 5 * i,), generator=random).tolist()
        mask = [0] * 4 + [1] * (len(ids) - 4) if i else [0, 0, 1, 1, 0, 0, 0, 1, 1]
        examples.append(data.make_example(ids, mask, last_k))
    return examples


def _with_adapter(family: str = "llama", plan: recipe.Recipe = PLAN) -> Any:
    base = models.build(family, seed=2).requires_grad_(False)
    causal = model.attach_adapter(base, plan, model.select_modules(base, plan))
    for name, parameter in causal.named_parameters():
        if "lora_B" in name:  # zero initially, which makes every gradient of A zero
            torch.nn.init.normal_(parameter, std=0.1)
    return causal


def _gradients(causal: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in causal.named_parameters() if p.grad is not None}
    causal.zero_grad()
    return found


def _full_logits_loss(causal: Any, examples: list[data.Example]) -> torch.Tensor:
    """The standard loss: all logits, unsupervised labels ignored, one row at a time."""
    total = torch.zeros(())
    for each in examples:
        tokens = torch.tensor([list(each.input_ids)])
        labels = torch.where(torch.tensor([list(each.label_mask)]) == 1, tokens, -100)
        logits = causal(input_ids=tokens).logits
        total = total + torch.nn.functional.cross_entropy(
            logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum"
        )
    return total / sum(each.supervised_tokens for each in examples)


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("last_k", [0, 3])
def test_selective_logits_have_the_gradients_of_full_logits(family: str, last_k: int) -> None:
    """Loss and gradients equal those of the masked loss over all logits, without padding."""
    causal, examples = _with_adapter(family), _examples(last_k=last_k)
    expected_loss = _full_logits_loss(causal, examples)
    torch.autograd.backward(expected_loss)
    expected = _gradients(causal)
    batch = loop.collate(examples)
    with loop.SelectiveHead(causal) as head:
        logits = head.logits(batch)
        assert logits.shape == (sum(e.supervised_tokens for e in examples), 320)
        loss = head.loss_sum(batch) / len(batch.labels)
    torch.autograd.backward(loss)
    found = _gradients(causal)
    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-6)
    assert found.keys() == expected.keys()
    assert max(float((found[n] - expected[n]).abs().max()) for n in found) <= 1e-6


@pytest.mark.parametrize("family", models.FAMILIES)
def test_selecting_positions_does_not_change_gradients_of_a_batch(family: str) -> None:
    """Before or after the head, on one padded batch: within 1e-7."""
    causal = _with_adapter(family)
    batch = loop.collate(_examples(4))
    logits = causal(input_ids=batch.input_ids).logits[batch.logits_mask]
    torch.autograd.backward(
        torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum")
    )
    expected = _gradients(causal)
    with loop.SelectiveHead(causal) as head:
        torch.autograd.backward(head.loss_sum(batch))
    found = _gradients(causal)
    assert max(float((found[n] - expected[n]).abs().max()) for n in found) <= 1e-7


@pytest.mark.parametrize("family", models.FAMILIES)
def test_gradients_reach_the_prompt(family: str) -> None:
    """One supervised token at the end gives every position before it a gradient."""
    causal = _with_adapter(family)
    example = data.make_example([5, 6, 7, 8, 9, 10, 11], [0, 0, 0, 0, 0, 0, 1], 0)
    embedded: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    causal.get_input_embeddings().register_forward_hook(keep)
    with loop.SelectiveHead(causal) as head:
        torch.autograd.backward(head.loss_sum(loop.collate([example])))
    norms = embedded[0].grad[0].norm(dim=-1)  # type: ignore[index]
    assert torch.all(norms[:-1] > 0)
    assert norms[-1] == 0  # nothing follows the last token


def test_the_head_is_restored() -> None:
    """Outside the context manager, the model returns all logits."""
    causal = _with_adapter()
    with loop.SelectiveHead(causal):
        pass
    assert causal(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 320)


def test_gradient_accumulation_does_not_change_the_result() -> None:
    """Micro-batches of 4, 3 and 1 give equal adapters, losses and counters."""
    results = []
    for size in (4, 3, 1):
        plan = recipe.Recipe(
            **{**PLAN.to_object(), "micro_batch": size, "max_steps": 4, "epochs": 3}
        )
        causal = _with_adapter(plan=plan)
        steps: list[telemetry.StepMetrics] = []
        counters = loop.train(causal, _examples(), plan, steps.append)
        losses = [metrics.loss for metrics in steps]
        weights = torch.cat([p.detach().flatten() for p in causal.parameters() if p.requires_grad])
        results.append(
            (weights, losses, (counters.samples, counters.tokens, counters.supervised_tokens))
        )
    for weights, losses, counted in results[1:]:
        assert losses == pytest.approx(results[0][1], abs=1e-5)
        assert float((weights - results[0][0]).abs().max()) < 1e-5
        assert counted == results[0][2]


def test_equal_seeds_give_equal_adapters() -> None:
    """Bit-identical on CPU."""

    def run() -> torch.Tensor:
        torch.manual_seed(99)
        plan = recipe.Recipe(**{**PLAN.to_object(), "max_steps": 3})
        base = models.build(seed=2).requires_grad_(False)
        causal = model.attach_adapter(base, plan, model.select_modules(base, plan))
        loop.train(causal, _examples(), plan, lambda _: None)
        return torch.cat([p.detach().flatten() for p in causal.parameters() if p.requires_grad])

    assert torch.equal(run(), run())


def test_the_eval_loss_does_not_depend_on_the_micro_batch_size() -> None:
    """It is a mean over supervised tokens."""
    causal, examples = _with_adapter(), _examples()
    found = [loop.evaluate(causal, examples, recipe.Recipe(micro_batch=size)) for size in (1, 2, 6)]
    assert found == pytest.approx([_full_logits_loss(causal, examples).item()] * 3, abs=1e-5)


@pytest.mark.parametrize("source", ["loss", "gradient"])
def test_a_nonfinite_value_ends_the_run_before_the_optimizer_step(source: str) -> None:
    """As Diverged, with the fields to change; no weight changes."""
    causal = _with_adapter()
    first = next(p for n, p in causal.named_parameters() if "lora_B" in n)
    if source == "loss":
        with torch.no_grad():
            first.fill_(torch.nan)
    else:
        first.register_hook(lambda gradient: gradient * torch.inf)
    before = [p.detach().clone() for p in causal.parameters() if p.requires_grad]
    with pytest.raises(
        loop.DivergedError, match=r"step 1 of 2.*learningRate \(now 0.0002\)"
    ) as caught:
        loop.train(causal, _examples(), PLAN, lambda _: None)
    assert caught.value.reason == reasons.DIVERGED
    after = [p.detach() for p in causal.parameters() if p.requires_grad]
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(after, before, strict=True))


def test_counters_are_exact() -> None:
    """Rows, tokens and supervised tokens of an epoch are those of the examples."""
    examples = _examples()
    steps: list[telemetry.StepMetrics] = []
    counters = loop.train(_with_adapter(), examples, PLAN, steps.append)
    assert counters.samples == len(examples)
    assert counters.tokens == sum(len(e.input_ids) for e in examples)
    assert counters.supervised_tokens == sum(e.supervised_tokens for e in examples)
    assert counters.padded_tokens >= counters.tokens
    assert [m.counters.step for m in steps] == [1, 2]
    assert steps[-1].eta_seconds == 0
