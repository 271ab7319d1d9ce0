"""PPO for sequential revision, with a critic (paper, section 4.2, appendix C; Schulman 2017; Zhai 2024).

TRL has no PPO since 1.14, hence our own. A dialogue is one sequence: all its answers are scored in one
forward pass. An answer is one action with one reward, one value (read at the last prompt token of its turn)
and one advantage; GAE runs across the answers of an episode, in navigation a dialogue at each point of the
route.

Implementation details (the book's ledger, paper versus code, has them too):
 1. The probability ratio is taken per token (`ratio="token"`); as released per whole answer (`"answer"`).
 2. `thought_coefficient` weighs tokens before an answer's last field: 1; as released 0.5 (`"answer"`).
 3. An episode's end never bootstraps; `bootstrap_truncated` is the released bug: the next episode's value.
 4. The value head reads detached states (`detach_value`); as released its gradient reaches the backbone.
 5. Log-probabilities, ratios, advantages are float32; sampling is from the full softmax at `temperature`.
 6. Advantages are normalised over all answers of an iteration, on all processes.
 7. Each process (accelerate) rolls out its own episodes; the gradients of the adapter are averaged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import numpy as np
import torch
from accelerate import PartialState

from posttrain.config import PPOConfig
from posttrain.policy import Policy
from posttrain.policy.batching import parts
from posttrain.rollouts import Dialogue, Sampling, play
from posttrain.trainers.batch import Batch, collate
from posttrain.trainers.processes import average_gradients, total


def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    answered: torch.Tensor,
    gamma: float,
    lam: float,
    after: torch.Tensor | None = None,
) -> torch.Tensor:
    """Generalised advantage estimates across the answers of each episode (Schulman et al. 2016).

    rewards, values: FloatTensor[episodes, answers]; answered: BoolTensor, true for answers that exist (a
    prefix of each row); after: FloatTensor[episodes], the value behind the last answer; zero where an episode
    truly ends, which is everywhere in `clean`.
    """
    advantages, running = torch.zeros_like(rewards), torch.zeros(rewards.shape[0])
    following = torch.zeros(rewards.shape[0]) if after is None else after.clone()
    for t in range(rewards.shape[1] - 1, -1, -1):
        here = answered[:, t]
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = torch.where(here, delta + gamma * lam * running, running)
        following = torch.where(here, values[:, t], following)
        advantages[:, t] = torch.where(here, running, 0.0)
    return advantages


class PPO:
    """The trainer: `iterate()` rolls out episodes and updates the policy; `state()` resumes exactly.

    environments: a Gymnasium text environment per episode of an iteration, `config.episodes` of them, of one
    task. ValueError if their number is another one, or if the policy has no value head.
    """

    def __init__(self, policy: Policy, environments: list, config: PPOConfig = PPOConfig(), seed: int = 0):
        if policy.value_head is None:
            raise ValueError("PPO needs a value head: policy.add_lora(policy, value=True)")
        if len(environments) != config.episodes:
            raise ValueError(
                f"{config.episodes} environments are needed, one an episode, not {len(environments)}"
            )
        self.policy, self.environments, self.config = policy, environments, config
        self.processes = PartialState()
        child = np.random.SeedSequence(seed).spawn(self.processes.num_processes)[self.processes.process_index]
        self.rng = np.random.default_rng(child)
        self.sampler = torch.Generator(device=policy.device).manual_seed(int(self.rng.integers(2**63)))
        self.optimizer = torch.optim.AdamW(
            [
                {"params": policy.trainable(), "lr": config.learning_rate},
                {"params": list(policy.value_head.parameters()), "lr": config.value_learning_rate},
            ],
            weight_decay=0.0,
        )
        self.iteration, self.trained, self.processed = 0, 0, 0  # tokens, over all processes

    # --- one iteration ------------------------------------------------------------------------------------

    def iterate(self) -> dict[str, float]:
        """Roll out, estimate advantages, update. Returns what was measured: first_try, rule_following, valid
        over dialogues; within (all last answers are right), reward, answers over episodes; spread: the
        deviation between the episodes' rewards, without which there is nothing to learn from."""
        began = time.perf_counter()
        games = self.rollout()
        rolled = time.perf_counter()
        dialogues = [dialogue for game in games for dialogue in game]
        batch = collate(games, self.policy.tokenizer.pad_token_id)
        if self.config.thought_coefficient != 1:
            self._weigh_thoughts(dialogues, batch)
        metrics = self._update(self._estimate(batch))
        tokens = int(batch.lengths.sum())
        self.iteration += 1
        self.processed += self._total(tokens)
        self.trained += self._total(tokens) * self.config.epochs
        first = [d.verdicts[0] for d in dialogues]
        rewards = torch.zeros(len(games)).index_add(0, batch.episode, batch.rewards.sum(1))
        return {
            "iteration": self.iteration,
            "first_try": _mean(v.correct for v in first),
            "within": _mean(all(d.correct for d in game) for game in games),
            "rule_following": _mean(v.follows_rule for v in first),
            "valid": _mean(v.valid for v in first),
            "reward": float(rewards.mean()),
            "spread": float(rewards.std(correction=0)),
            "answers": float(batch.answered.sum()) / len(games),
            **metrics,
            "tokens": tokens,
            "rollout_seconds": rolled - began,
            "seconds": time.perf_counter() - began,
        }

    def rollout(self) -> list[list[Dialogue]]:
        """One episode in every environment, sampled from the current policy."""
        seeds = self.rng.integers(2**31, size=len(self.environments)).tolist()
        infos = [environment.reset(seed=seed)[1] for environment, seed in zip(self.environments, seeds)]
        sampling = Sampling(self.config.max_tokens, self.config.temperature, self.sampler)
        with self.policy.merged():
            return play(self.policy, self.environments, infos, sampling)

    def _weigh_thoughts(self, dialogues: list[Dialogue], batch: Batch) -> None:
        """As released: tokens of an answer before the key of its last field count `thought_coefficient`."""
        key = f'"{self.environments[0].FIELDS[-1]}"'
        for row, dialogue in enumerate(dialogues):
            for ask in dialogue.ask:
                text, position = "", ask + 1
                while position < len(dialogue.ids) and dialogue.sampled[position] and key not in text:
                    batch.weight[row, position] = self.config.thought_coefficient
                    text += self.policy.tokenizer.decode([dialogue.ids[position]])
                    position += 1

    def _estimate(self, batch: Batch) -> Batch:
        """`batch` with its advantages, normalised over all answers of all processes, and returns."""
        config = self.config
        # Row-major order over an episode's dialogues is the order in which its answers were given.
        episode = batch.episode[:, None].expand_as(batch.answered)[batch.answered]
        counts = episode.bincount()
        nth = torch.arange(len(episode)) - (counts.cumsum(0) - counts)[episode]
        rewards, values = (
            torch.zeros(len(counts), int(counts.max())).index_put((episode, nth), x[batch.answered])
            for x in (batch.rewards, batch.values)
        )
        answered = torch.arange(rewards.shape[1]) < counts[:, None]
        after = None
        if config.bootstrap_truncated:
            arrived = batch.correct[batch.episode.bincount().cumsum(0) - 1]  # the last dialogue's last answer
            after = torch.where(arrived, torch.zeros(len(counts)), values[:, 0].roll(-1))
        advantages = gae(rewards, values, answered, config.gamma, config.gae_lambda, after)[episode, nth]
        batch.advantages = torch.zeros_like(batch.rewards)
        batch.advantages[batch.answered] = advantages
        batch.returns = batch.advantages + batch.values
        count, summed, squares = (
            self._total(x)
            for x in (float(len(advantages)), float(advantages.sum()), float(advantages.square().sum()))
        )
        mean = summed / count
        batch.advantages = (batch.advantages - mean) / math.sqrt(max(squares / count - mean**2, 1e-8))
        return batch

    def _update(self, batch: Batch) -> dict[str, float]:
        """The optimizer steps of one iteration; the objective's parts (see `loss`) and the gradient's norm,
        means over steps."""
        config, sums, steps = self.config, {}, 0
        for _ in range(config.epochs):
            order = torch.from_numpy(self.rng.permutation(len(batch.ids)))
            for rows in order.chunk(config.minibatches):
                answers = self._total(float(batch.answered[rows].sum()))
                self.optimizer.zero_grad(set_to_none=True)
                with self.policy.accumulating():
                    for part in parts(batch.lengths[rows].tolist(), config.microbatch_tokens):
                        loss, metrics = self.loss(batch, rows[part], answers / self.processes.num_processes)
                        loss.backward()
                        for name, value in metrics.items():
                            sums[name] = sums.get(name, 0.0) + value
                adapter, head = self.policy.trainable(), list(self.policy.value_head.parameters())
                average_gradients(adapter + head)
                if self.iteration < config.value_warmup:
                    for weight in adapter:
                        weight.grad = None
                norm = torch.nn.utils.clip_grad_norm_(adapter, config.max_grad_norm)
                torch.nn.utils.clip_grad_norm_(head, config.max_grad_norm)
                self.optimizer.step()
                sums["grad_norm"] = sums.get("grad_norm", 0.0) + float(norm)
                steps += 1
        return {name: value / steps for name, value in sums.items()}

    def loss(self, batch: Batch, rows: torch.Tensor, answers: float) -> tuple[torch.Tensor, dict[str, float]]:
        """PPO's objective on the dialogues `rows`, per answer (`answers` of them in the whole minibatch), and
        its parts.

        The policy term is the sum over an answer's tokens, so at ratio 1 its gradient is the exact policy
        gradient.
        """
        config, device = self.config, self.policy.device
        width = int(batch.lengths[rows].max())
        ids, sampled, turn = (x[rows, :width].to(device) for x in (batch.ids, batch.sampled, batch.turn))
        inputs = {name: value[rows].to(device) for name, value in batch.inputs.items()}
        advantages, answered = batch.advantages[rows].to(device), batch.answered[rows].to(device)
        logits, hidden = self.policy.score(ids, sampled, **inputs)
        logits = logits if config.temperature == 1 else logits / config.temperature
        logprobs = logits.log_softmax(-1)

        new = logprobs.gather(1, ids[sampled][:, None]).squeeze(1)
        old, weight = (x[rows, :width].to(device)[sampled] for x in (batch.old, batch.weight))
        # The answer of each sampled token, counted over the part: rows * answers-per-row cells.
        cell = (torch.arange(len(rows), device=device)[:, None] * answered.shape[1] + turn)[sampled]
        if config.ratio == "answer":
            summed = torch.zeros(answered.numel(), device=device).index_add(0, cell, weight * (new - old))
            log_ratio, advantage = summed[answered.flatten()], advantages[answered]
        else:
            log_ratio, advantage = new - old, advantages.flatten()[cell]
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
        policy_loss = -torch.minimum(ratio * advantage, clipped * advantage).sum() / answers

        # The state of the last prompt token is the one that predicts an answer's first token.
        first = (sampled.flatten().cumsum(0).view(sampled.shape) - 1).gather(
            1, batch.ask[rows].to(device) + 1
        )
        states = (hidden.detach() if config.detach_value else hidden)[first[answered]]
        values = self.policy.value_head(states)
        before, returns = (x[rows].to(device)[answered] for x in (batch.values, batch.returns))
        near = before + (values - before).clamp(-config.value_clip, config.value_clip)
        value_loss = (
            0.5 * torch.maximum((values - returns).square(), (near - returns).square()).sum() / answers
        )

        loss = policy_loss + config.value_coefficient * value_loss
        # Entropy is measured also where it is no part of the objective.
        with torch.set_grad_enabled(config.entropy_coefficient != 0):
            entropy = -(logprobs.exp() * logprobs).sum(-1)
        if config.entropy_coefficient:
            loss = loss - config.entropy_coefficient * entropy.sum() / answers
        if config.kl_coefficient:
            with torch.no_grad(), self.policy.start():
                reference = self.policy.score(ids, sampled, **inputs)[0] / config.temperature
            kl = (logprobs.exp() * (logprobs - reference.log_softmax(-1))).sum()
            loss = loss + config.kl_coefficient * kl / answers
        share = float(answered.sum()) / answers
        return loss, {
            "policy_loss": float(policy_loss.detach()),
            "value_loss": float(value_loss.detach()),
            "entropy": float(entropy.detach().mean()) * share,
            "approx_kl": float((ratio - 1 - log_ratio).detach().mean()) * share,
            "clipped": float(((ratio - 1).abs() > config.clip).float().mean()) * share,
        }

    def _total(self, amount: float) -> float:
        return total(amount, self.policy.device)

    # --- resuming -----------------------------------------------------------------------------------------

    def state(self) -> dict:
        """All that decides what comes next: adapter, value head, optimizer, generators, counters (iterations,
        and tokens trained and processed). Tensors, numbers and text in dictionaries and lists:
        `torch.load(weights_only=True)` reads it."""
        parameters = self.policy.model.named_parameters()
        return {
            "adapter": {name: p.detach().clone() for name, p in parameters if p.requires_grad},
            "value_head": self.policy.value_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "sampler": self.sampler.get_state(),
            "counters": [self.iteration, self.trained, self.processed],
        }

    def load_state(self, state: dict) -> None:
        """Go on where `state()` was called; KeyError, RuntimeError or ValueError if it is not its own."""
        self.policy.model.load_state_dict(state["adapter"], strict=False)
        self.policy.value_head.load_state_dict(state["value_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.sampler.set_state(state["sampler"])
        self.iteration, self.trained, self.processed = state["counters"]


def _mean(values: Iterable) -> float:
    values = [float(v) for v in values]
    return sum(values) / len(values)
