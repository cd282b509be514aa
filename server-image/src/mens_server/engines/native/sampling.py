"""From logits to tokens."""

from __future__ import annotations

import torch

from mens_server.protocol import generation


class Sampler:
    """Draws tokens for the requests of each slot; one random generator per request."""

    def __init__(self) -> None:
        self._generators: dict[int, torch.Generator] = {}

    def begin(self, slot: int, sampling: generation.Sampling) -> None:
        """A new request holds the slot."""
        generator = torch.Generator()
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed)
        self._generators[slot] = generator

    def draw(
        self, logits: torch.Tensor, slots: list[int], samplings: list[generation.Sampling]
    ) -> list[int]:
        """One token for each row of logits (N, vocabulary)."""
        if not slots:
            return []
        # A row with a NaN would end in an arbitrary token; an error is the honest answer.
        if not torch.isfinite(logits).all():
            raise ArithmeticError("the model produced logits that are not finite")
        greedy: list[int] = logits.argmax(dim=-1).tolist()
        return [
            token if sampling.temperature == 0 else self._sample(row, slot, sampling)
            for token, row, slot, sampling in zip(greedy, logits, slots, samplings, strict=True)
        ]

    def _sample(self, row: torch.Tensor, slot: int, sampling: generation.Sampling) -> int:
        probabilities = torch.softmax(row.float() / sampling.temperature, dim=-1)
        if sampling.top_p >= 1:
            return int(torch.multinomial(probabilities, 1, generator=self._generators[slot]))
        ordered, tokens = probabilities.sort(descending=True)
        # A token stays while the probability before it is below top_p; the first always stays.
        ordered[ordered.cumsum(dim=-1) - ordered >= sampling.top_p] = 0
        index = torch.multinomial(ordered, 1, generator=self._generators[slot])
        return int(tokens[index])
