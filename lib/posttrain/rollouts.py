"""Rollouts: batched multi-turn generation against text environments (sequential revision, paper section 4.1 and Figure 3).

One answer is one action. The key-value cache is kept across turns: a new turn costs its own tokens only. Rows of a batch may
differ in length; the gaps this leaves in the cache are masked, and positions count real tokens, so that the trainer, which
sees each dialogue as one gapless sequence, computes the same probabilities.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Callable, Sequence

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from posttrain import prompts
from posttrain.models import Policy


class _RoomyLayer(DynamicLayer):
    """A cache layer that grows by doubling instead of copying everything at every token."""

    def update(self, key_states, value_states, *args, **kwargs):
        used, new = self.get_seq_length(), key_states.shape[-2]
        if not self.is_initialized or used + new > self._room[0].shape[-2]:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], max(64, 2 * (used + new)), key_states.shape[-1])
            room = (key_states.new_empty(shape), value_states.new_empty(shape))
            if used:
                room[0][:, :, :used], room[1][:, :, :used] = self._old
            self._room = room
        for room, states in zip(self._room, (key_states, value_states)):
            room[:, :, used:used + new] = states
        self.keys, self.values = self._old = tuple(room[:, :, :used + new] for room in self._room)
        return self.keys, self.values

    def batch_select_indices(self, indices):
        self._room = tuple(room[indices] for room in self._room)
        length = self.get_seq_length()
        self.keys, self.values = self._old = tuple(room[:, :, :length] for room in self._room)


class RoomyCache(DynamicCache):
    def __init__(self, config):
        super().__init__(config=config)
        if all(type(layer) is DynamicLayer for layer in self.layers):  # others (cross-attention, sliding) keep their own
            self.layers = [_RoomyLayer() for _ in self.layers]
        if getattr(self, "layer_class_to_replicate", None) is DynamicLayer:
            self.layer_class_to_replicate = _RoomyLayer


class Chat:
    """The chat template of one tokenizer, cut into what must be appended to a running dialogue."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.end = tokenizer.eos_token_id
        self.feedback = lru_cache(maxsize=4096)(self._feedback)

    def _render(self, messages, generate: bool) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)

    def opening(self, messages: list[prompts.Message]) -> list[int]:
        """Token ids of a dialogue up to the place where the answer begins."""
        return self.tokenizer(self._render(messages, True), add_special_tokens=False)["input_ids"]

    def _feedback(self, text: str) -> list[int]:
        """Token ids from behind an answer's end token up to where the next answer begins."""
        start = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "answer"}]
        answered = self._render(start, False)
        tail = answered[answered.rindex("answer") + len("answer"):].partition(self.tokenizer.eos_token)[2]
        turn = self._render([*start, {"role": "user", "content": text}], True)[len(answered):]
        return self.tokenizer(tail + turn, add_special_tokens=False)["input_ids"]


@dataclass
class Episode:
    """One dialogue as the trainer sees it. Lists over tokens have equal length; lists over answers too."""

    ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)  # true where the policy chose the token
    logprobs: list[float] = field(default_factory=list)  # of sampled tokens, float32, 0 elsewhere
    ask: list[int] = field(default_factory=list)  # per answer: index of the last prompt token
    texts: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)  # of the dialogue before each answer, where the policy has a value head
    verdicts: list = field(default_factory=list)
    correct: bool = False
    task: object = None


Judge = Callable[[int, str], tuple[float, str, bool, object]]  # (row, text) -> reward, what the verifier says, episode over, verdict


@torch.no_grad()
def roll(policy: Policy, openings: Sequence[list[prompts.Message]], judge: Judge, max_tokens: int = 48, temperature: float = 1.0,
         generator: torch.Generator | None = None, keep_logprobs: bool = True) -> list[Episode]:
    """Roll out one episode a dialogue; temperature 0 is greedy. The policy should be `merged` (the caller's context).

    `judge(row, text)` steps the environment of that row. Tokens are sampled from the float32 softmax of the full vocabulary.
    """
    chat, model = Chat(policy.tokenizer), policy.base
    episodes = [Episode() for _ in openings]
    rows = list(range(len(openings)))  # the episode of each row of the batch
    pending = [chat.opening(messages) for messages in openings]
    cache = RoomyCache(model.config.get_text_config())
    mask = torch.zeros(len(rows), 0, dtype=torch.long, device=policy.device)
    while rows:
        width = max(map(len, pending))
        ids = torch.full((len(rows), width), policy.tokenizer.pad_token_id)
        real = torch.zeros(len(rows), width, dtype=torch.long)
        for r, (row, new) in enumerate(zip(rows, pending)):
            ids[r, width - len(new):] = torch.tensor(new)
            real[r, width - len(new):] = 1
            episode = episodes[row]
            episode.ids += new
            episode.sampled += [False] * len(new)
            episode.logprobs += [0.0] * len(new)
            episode.ask.append(len(episode.ids) - 1)
        answers, scores, values, mask = _answer(policy, model, cache, ids.to(policy.device), real.to(policy.device), mask, max_tokens, temperature, generator)
        texts = policy.tokenizer.batch_decode(answers, skip_special_tokens=True)
        kept, pending = [], []
        for r, row in enumerate(rows):
            episode, answer = episodes[row], answers[r]
            episode.ids += answer
            episode.sampled += [True] * len(answer)
            episode.logprobs += scores[r][:len(answer)] if keep_logprobs else [0.0] * len(answer)
            episode.texts.append(texts[r])
            reward, says, over, verdict = judge(row, texts[r])
            episode.rewards.append(reward)
            episode.values += values[r:r + 1]
            episode.verdicts.append(verdict)
            episode.correct = verdict.correct
            if not over:
                kept.append(r)
                # An answer cut off by the limit has no end token of its own; the dialogue gets one as context.
                pending.append(([] if answer[-1] == chat.end else [chat.end]) + chat.feedback(says))
        if len(kept) < len(rows) and kept:
            index = torch.tensor(kept, device=policy.device)
            cache.batch_select_indices(index)
            mask = mask[index]
        rows = [rows[r] for r in kept]
    return episodes


def _answer(policy, model, cache, ids, real, mask, max_tokens, temperature, generator):
    """One answer for every row: token ids, log-probabilities, values, and the mask of what the cache now holds."""
    end, pad, batch = policy.tokenizer.eos_token_id, policy.tokenizer.pad_token_id, ids.shape[0]
    mask = torch.cat([mask, real], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1]:]
    running = torch.ones(batch, dtype=torch.bool, device=ids.device)
    tokens, scores, flags, values = [], [], [], []
    for step in range(max_tokens):
        asked = step == 0 and policy.value_head is not None
        with policy.autocast():
            out = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
                        logits_to_keep=1, output_hidden_states=asked)
            values = policy.value_head(out.hidden_states[-1][:, -1]).tolist() if asked else values
        logits = out.logits[:, -1].float()
        if temperature == 0:
            chosen = logits.argmax(-1)
        else:
            noise = torch.rand(logits.shape, generator=generator, device=logits.device).clamp_(min=1e-10)
            chosen = (logits / temperature - torch.log(-torch.log(noise))).argmax(-1)  # Gumbel: a sample of the softmax
        scores.append((logits / (temperature or 1.0)).log_softmax(-1).gather(1, chosen[:, None]).squeeze(1))
        tokens.append(torch.where(running, chosen, pad))
        flags.append(running)
        # The token just chosen enters the cache with the next call, also the end token: the next turn continues behind it.
        mask = torch.cat([mask, running[:, None].long()], 1)
        positions = (mask.sum(1, keepdim=True) - 1).clamp(min=0)
        ids = tokens[-1][:, None]
        running = running & (chosen != end)
        if not running.any():
            break
    with policy.autocast():
        model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    lengths = torch.stack(flags, 1).sum(1).tolist()
    return [row[:n] for row, n in zip(torch.stack(tokens, 1).tolist(), lengths)], torch.stack(scores, 1).tolist(), values, mask
