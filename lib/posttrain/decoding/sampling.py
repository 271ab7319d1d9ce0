"""Tokens drawn from the full softmax, a temperature for each row."""

from __future__ import annotations

import torch


class Sampler:
    """Draws by inversion, from a number for each token that an answer may have: what a row draws depends
    neither on guesses nor on when other rows end. temperature: FloatTensor[rows], 0 is greedy."""

    def __init__(self, temperature: torch.Tensor, max_tokens: int, generator: torch.Generator | None):
        device = temperature.device
        self.uniform = torch.rand(len(temperature), max_tokens, generator=generator, device=device)
        self.greedy = temperature == 0
        self.divisor = torch.where(self.greedy, 1.0, temperature)[:, None, None]
        self.any_greedy, self.any_scaled = bool(self.greedy.any()), bool((self.divisor != 1).any())

    def draw(
        self, logits: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens LongTensor[n, k] and their log-probabilities FloatTensor[n, k].

        logits: FloatTensor[n, k, vocabulary] of the batch's `rows` [n], at `positions` [n, k] of the answers.
        """
        chances = (logits / self.divisor[rows] if self.any_scaled else logits).softmax(-1)
        up_to = chances.cumsum(-1)
        uniform = self.uniform[rows].gather(1, positions.clamp(max=self.uniform.shape[1] - 1))[..., None]
        drawn = (up_to <= uniform * up_to[..., -1:]).sum(-1)
        if self.any_greedy:
            drawn = torch.where(self.greedy[rows, None], logits.argmax(-1), drawn)
        return drawn, chances.gather(2, drawn[..., None]).squeeze(2).log()
