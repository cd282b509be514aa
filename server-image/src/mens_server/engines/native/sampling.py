"""From logits to tokens."""

from __future__ import annotations

from typing import Final

import torch

from mens_server.protocol import generation

GREEDY_BELOW: Final = 1e-3
"""Temperature below which only the best token counts: at 1e-3 one that is 0.1 behind in logits has
a probability of e⁻¹⁰⁰, and much smaller numbers are zero in float32."""


class Sampler:
    """Draws tokens for the requests of each slot; one random generator per request."""

    def __init__(self) -> None:
        self._generators: dict[int, torch.Generator] = {}

    def begin(self, slot: int, sampling: generation.SamplingParams) -> None:
        """A new request holds the slot."""
        generator = torch.Generator()
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed)
        self._generators[slot] = generator

    def draw(
        self, logits: torch.Tensor, slots: list[int], samplings: list[generation.SamplingParams]
    ) -> list[int]:
        """One token for each row of logits (N, vocabulary), on any device.

        The best tokens are found there; drawing is done by the processor, so that a seed means the
        same everywhere.
        """
        if not slots:
            return []
        # A row with a NaN would end in an arbitrary token; an error is the honest answer. It comes
        # before anything is drawn: the valid rows are drawn again, from the same seeds.
        if not torch.isfinite(logits).all():
            raise ArithmeticError("the model produced logits that are not finite")
        greedy: list[int] = logits.argmax(dim=-1).tolist()
        return [
            token if sampling.temperature < GREEDY_BELOW else self._sample(row, slot, sampling)
            for token, row, slot, sampling in zip(greedy, logits, slots, samplings, strict=True)
        ]

    def _sample(self, row: torch.Tensor, slot: int, sampling: generation.SamplingParams) -> int:
        row = row.float().cpu()
        # The largest becomes 0 before it is divided, so that no quotient is infinite.
        probabilities = torch.softmax((row - row.max()) / sampling.temperature, dim=-1)
        if sampling.top_p >= 1:
            return int(torch.multinomial(probabilities, 1, generator=self._generators[slot]))
        ordered, tokens = probabilities.sort(descending=True)
        # A token stays while the probability before it is below top_p. The first always stays,
        # also where top_p is zero in float32.
        left_out = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        left_out[0] = False
        ordered[left_out] = 0
        index = torch.multinomial(ordered, 1, generator=self._generators[slot])
        return int(tokens[index])
