"""The loop's proofs: gradients, accumulation, the full graph. Tiny models in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mens.api import reasons
from mens_trainer import data, errors, loop, model, recipe, telemetry
from tests.support import models

pytestmark = pytest.mark.model

PLAN = recipe.Recipe(rank=4, alpha=8, quantization=None, batch=4, micro_batch=4, seed=3)


def _examples(count: int = 6, last_k: int = 0) -> list[data.Example]:
    """Rows of different lengths with different masks, the first of them with two answers."""
    random = torch.Generator().manual_seed(5)
    made = []
    for i in range(count):
        ids = torch.randint(3, 320, (9 + 5 * i,), generator=random).tolist()
        mask = [0] * 4 + [1] * (len(ids) - 4) if i else [0, 0, 1, 1, 0, 0, 0, 1, 1]
        made.append(data.example(ids, mask, last_k))
    return made


def _adapted(family: str = "llama", plan: recipe.Recipe = PLAN) -> Any:
    base = models.build(family, seed=2).requires_grad_(False)
    causal = model.adapt(base, plan, model.wanted(base, plan))
    for name, parameter in causal.named_parameters():
        if "lora_B" in name:  # zero at first, which would make every gradient of A zero
            torch.nn.init.normal_(parameter, std=0.1)
    return causal


def _gradients(causal: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in causal.named_parameters() if p.grad is not None}
    causal.zero_grad()
    return found


def _full_logits_loss(causal: Any, examples: list[data.Example]) -> torch.Tensor:
    """The textbook loss: all logits, everything but answers masked out, one row at a time."""
    total = torch.zeros(())
    for each in examples:
        tokens = torch.tensor([list(each.tokens)])
        labels = torch.where(torch.tensor([list(each.supervised)]) == 1, tokens, -100)
        logits = causal(input_ids=tokens).logits
        total = total + torch.nn.functional.cross_entropy(
            logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum"
        )
    return total / sum(each.targets for each in examples)


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("last_k", [0, 3])
def test_selected_logits_have_the_gradients_of_full_logits(family: str, last_k: int) -> None:
    """Loss and every gradient equal those of the masked loss over all logits, without padding."""
    causal, examples = _adapted(family), _examples(last_k=last_k)
    expected_loss = _full_logits_loss(causal, examples)
    expected_loss.backward()
    expected = _gradients(causal)
    batch = loop.collate(examples)
    with loop.SelectedHead(causal) as head:
        logits = head.logits(batch)
        assert logits.shape == (sum(e.targets for e in examples), 320)
        loss = head.loss_sum(batch) / len(batch.targets)
    loss.backward()
    found = _gradients(causal)
    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-6)
    assert found.keys() == expected.keys()
    assert max(float((found[n] - expected[n]).abs().max()) for n in found) <= 1e-6


@pytest.mark.parametrize("family", models.FAMILIES)
def test_the_same_batch_has_bit_equal_gradients(family: str) -> None:
    """On one padded batch, picking positions before the head changes no gradient at all."""
    causal = _adapted(family)
    batch = loop.collate(_examples(4))
    logits = causal(input_ids=batch.tokens).logits[batch.predicts]
    torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum").backward()
    expected = _gradients(causal)
    with loop.SelectedHead(causal) as head:
        head.loss_sum(batch).backward()
    found = _gradients(causal)
    assert max(float((found[n] - expected[n]).abs().max()) for n in found) <= 1e-7


@pytest.mark.parametrize("family", models.FAMILIES)
def test_gradients_reach_the_prompt(family: str) -> None:
    """One supervised token at the end sends a gradient to every position before it."""
    causal = _adapted(family)
    example = data.example([5, 6, 7, 8, 9, 10, 11], [0, 0, 0, 0, 0, 0, 1], 0)
    embedded: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    causal.get_input_embeddings().register_forward_hook(keep)
    with loop.SelectedHead(causal) as head:
        head.loss_sum(loop.collate([example])).backward()
    norms = embedded[0].grad[0].norm(dim=-1)  # type: ignore[index]
    assert torch.all(norms[:-1] > 0)
    assert norms[-1] == 0  # the last token predicts nothing


def test_the_head_is_itself_again_afterwards() -> None:
    """Outside of the loop a model gives all logits."""
    causal = _adapted()
    with loop.SelectedHead(causal):
        pass
    assert causal(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 320)


def test_accumulation_changes_nothing() -> None:
    """One micro-batch of 4 and four of 1 end with the same adapter and the same counters."""
    ends = []
    for size in (4, 3, 1):
        plan = recipe.Recipe(
            **{**PLAN.to_object(), "micro_batch": size, "max_steps": 4, "epochs": 3}
        )
        causal = _adapted(plan=plan)
        losses: list[float] = []
        counters = loop.train(causal, _examples(), plan, lambda f, to=losses: to.append(f.loss))
        weights = torch.cat([p.detach().flatten() for p in causal.parameters() if p.requires_grad])
        ends.append((weights, losses, (counters.samples, counters.tokens, counters.targets)))
    for weights, losses, counted in ends[1:]:
        assert losses == pytest.approx(ends[0][1], abs=1e-5)
        assert float((weights - ends[0][0]).abs().max()) < 1e-5
        assert counted == ends[0][2]


def test_the_same_seed_gives_the_same_adapter() -> None:
    """Bit for bit on a processor."""

    def run() -> torch.Tensor:
        torch.manual_seed(99)
        plan = recipe.Recipe(**{**PLAN.to_object(), "max_steps": 3})
        base = models.build(seed=2).requires_grad_(False)
        causal = model.adapt(base, plan, model.wanted(base, plan))
        loop.train(causal, _examples(), plan, lambda _: None)
        return torch.cat([p.detach().flatten() for p in causal.parameters() if p.requires_grad])

    assert torch.equal(run(), run())


def test_evaluation_does_not_depend_on_batches() -> None:
    """The held-out loss is a mean over tokens, whatever rows are computed together."""
    causal, examples = _adapted(), _examples()
    found = [loop.evaluate(causal, examples, recipe.Recipe(micro_batch=size)) for size in (1, 2, 6)]
    assert found == pytest.approx([_full_logits_loss(causal, examples).item()] * 3, abs=1e-5)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_a_number_ends_the_run_before_it_spreads(what: str) -> None:
    """As Diverged, with the settings to change; no weight has moved."""
    causal = _adapted()
    first = next(p for n, p in causal.named_parameters() if "lora_B" in n)
    if what == "loss":
        with torch.no_grad():
            first.fill_(torch.nan)
    else:
        first.register_hook(lambda gradient: gradient * torch.inf)
    before = [p.detach().clone() for p in causal.parameters() if p.requires_grad]
    with pytest.raises(
        errors.Diverged, match=r"step 1 of 2.*learningRate \(now 0.0002\)"
    ) as caught:
        loop.train(causal, _examples(), PLAN, lambda _: None)
    assert caught.value.reason == reasons.DIVERGED
    after = [p.detach() for p in causal.parameters() if p.requires_grad]
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(after, before, strict=True))


def test_counters_are_exact() -> None:
    """Rows, tokens, padding and supervised tokens of an epoch are those of the examples."""
    examples = _examples()
    seen: list[telemetry.StepFacts] = []
    done = loop.train(_adapted(), examples, PLAN, seen.append)
    assert done.samples == len(examples)
    assert done.tokens == sum(len(e.tokens) for e in examples)
    assert done.targets == sum(e.targets for e in examples)
    assert done.padded >= done.tokens
    assert [f.counters.step for f in seen] == [1, 2]
    assert seen[-1].eta_seconds == 0
