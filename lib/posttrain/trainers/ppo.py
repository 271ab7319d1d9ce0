"""PPO for sequential revision, with a critic (paper, section 4.2 and appendix C; Schulman et al. 2017; Zhai et al. 2024).

TRL has no PPO since 1.14, hence our own. A dialogue is one sequence: all its answers are scored in one forward pass. An answer is
one action with one reward, one value (read at the last prompt token of its turn) and one advantage; GAE runs across the answers of
an episode, which in navigation has a dialogue at each point of the route.

Implementation details, numbered as in the book's ledger:
 1. The probability ratio is taken per token by default (`ratio="token"`), per whole answer as released (`ratio="answer"`).
 2. `thought_coefficient` weighs the tokens before the answer's last field; 1 here, 0.5 as released (needs `ratio="answer"`).
 3. An episode's end never bootstraps; `bootstrap_truncated=True` is the released bug (the next episode's value is used).
 4. The value head reads detached hidden states (`detach_value`); as released its gradient reaches the backbone.
 5. Log-probabilities, ratios and advantages are float32; sampling is from the full softmax at `temperature`.
 6. Advantages are normalised over all answers of an iteration, on all processes.
 7. Over several processes (accelerate) each rolls out its own episodes; the gradients of the adapter are averaged.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce

from posttrain.config import PPOConfig
from posttrain.policy.load import Policy, average_gradients
from posttrain.rollouts import Dialogue, parts, play, stacked


def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    answered: torch.Tensor,
    gamma: float,
    lam: float,
    after: torch.Tensor | None = None,
) -> torch.Tensor:
    """Generalised advantage estimates across the answers of each episode (Schulman et al. 2016).

    rewards, values: FloatTensor[episodes, answers]; answered: BoolTensor, true for answers that exist (a prefix of each row);
    after: FloatTensor[episodes], the value behind the last answer; zero where an episode truly ends, which is everywhere in `clean`.
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


@dataclass
class Batch:
    """Dialogues as tensors. Shapes: D dialogues, T tokens, K answers.

    ids, sampled (true for the policy's tokens), turn (answer a token belongs to), old (log-probabilities), weight: [D, T];
    ask (index of the last prompt token), rewards, values, answered, advantages, returns: [D, K]; lengths (tokens), correct: [D];
    episode (which one a dialogue belongs to; those of one episode follow each other): [D]; inputs: the pictures, each [D, ...].
    """

    ids: torch.Tensor
    sampled: torch.Tensor
    turn: torch.Tensor
    old: torch.Tensor
    weight: torch.Tensor
    ask: torch.Tensor
    rewards: torch.Tensor
    values: torch.Tensor
    answered: torch.Tensor
    lengths: torch.Tensor
    correct: torch.Tensor
    episode: torch.Tensor
    inputs: dict[str, torch.Tensor]
    advantages: torch.Tensor | None = None
    returns: torch.Tensor | None = None


def collate(games: list[list[Dialogue]], pad: int) -> Batch:
    dialogues = [dialogue for game in games for dialogue in game]
    time_, answers = max(len(d.ids) for d in dialogues), max(len(d.ask) for d in dialogues)

    def padded(rows, width, fill, dtype):
        return torch.tensor([list(row) + [fill] * (width - len(row)) for row in rows], dtype=dtype)

    # `turn` counts the questions asked so far, so every sampled token knows its answer.
    turns = [np.searchsorted(d.ask, np.arange(len(d.ids)), side="left") - 1 for d in dialogues]
    return Batch(
        ids=padded([d.ids for d in dialogues], time_, pad, torch.long),
        sampled=padded([d.sampled for d in dialogues], time_, False, torch.bool),
        turn=padded([t.clip(min=0).tolist() for t in turns], time_, 0, torch.long),
        old=padded([d.logprobs for d in dialogues], time_, 0.0, torch.float32),
        weight=torch.ones(len(dialogues), time_),
        ask=padded([d.ask for d in dialogues], answers, 0, torch.long),
        rewards=padded([d.rewards for d in dialogues], answers, 0.0, torch.float32),
        values=padded([d.values for d in dialogues], answers, 0.0, torch.float32),
        answered=padded([[True] * len(d.ask) for d in dialogues], answers, False, torch.bool),
        lengths=torch.tensor([len(d.ids) for d in dialogues]),
        correct=torch.tensor([d.correct for d in dialogues]),
        episode=torch.tensor([i for i, game in enumerate(games) for _ in game]),
        inputs=stacked(dialogues),
    )


class PPO:
    """The trainer: `iterate()` rolls out `episodes` episodes and updates the policy once; `state()` resumes exactly.

    environments: one Gymnasium text environment per episode of an iteration (`config.episodes` of them), all of one task.
    """

    def __init__(self, policy: Policy, environments: list, config: PPOConfig = PPOConfig(), seed: int = 0):
        if policy.value_head is None:
            raise ValueError("PPO needs a value head: models.add_lora(policy, value=True)")
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

    # --- one iteration --------------------------------------------------------------------------------------------

    def iterate(self) -> dict[str, float]:
        """Roll out, estimate advantages, update. Returns what was measured: first_try, rule_following, valid are means over dialogues,
        within (every dialogue's last answer is right), reward, answers over episodes."""
        began = time.perf_counter()
        games = self.rollout()
        rolled = time.perf_counter()
        dialogues = [dialogue for game in games for dialogue in game]
        batch = collate(games, self.policy.tokenizer.pad_token_id)
        if self.config.thought_coefficient != 1:
            self._weigh_thoughts(dialogues, batch)
        metrics = self._update(self._estimate(batch))
        self.iteration += 1
        self.processed += self._total(int(batch.lengths.sum()))
        self.trained += self._total(int(batch.lengths.sum())) * self.config.epochs
        first = [d.verdicts[0] for d in dialogues]
        return {
            "iteration": self.iteration,
            "first_try": _mean(v.correct for v in first),
            "within": _mean(all(d.correct for d in game) for game in games),
            "rule_following": _mean(v.follows_rule for v in first),
            "valid": _mean(v.valid for v in first),
            "reward": float(batch.rewards.sum()) / len(games),
            "answers": float(batch.answered.sum()) / len(games),
            **metrics,
            "tokens": int(batch.lengths.sum()),
            "rollout_seconds": rolled - began,
            "seconds": time.perf_counter() - began,
        }

    def rollout(self) -> list[list[Dialogue]]:
        """One episode in every environment, sampled from the current policy."""
        seeds = self.rng.integers(2**31, size=len(self.environments)).tolist()
        infos = [environment.reset(seed=seed)[1] for environment, seed in zip(self.environments, seeds)]
        with self.policy.merged():
            return play(
                self.policy,
                self.environments,
                infos,
                self.config.max_tokens,
                self.config.temperature,
                self.sampler,
            )

    def _weigh_thoughts(self, dialogues: list[Dialogue], batch: Batch) -> None:
        """As released: tokens of an answer before the key of its last field count `thought_coefficient`."""
        key = f'"{self.environments[0].FIELDS[-1]}"'
        for row, dialogue in enumerate(dialogues):
            for k, ask in enumerate(dialogue.ask):
                text, position = "", ask + 1
                while position < len(dialogue.ids) and dialogue.sampled[position] and key not in text:
                    batch.weight[row, position] = self.config.thought_coefficient
                    text += self.policy.tokenizer.decode([dialogue.ids[position]])
                    position += 1

    def _estimate(self, batch: Batch) -> Batch:
        config = self.config
        # The answers of an episode, one behind the other: row-major order over its dialogues is the order in which they were given.
        episode = batch.episode[:, None].expand_as(batch.answered)[batch.answered]
        counts = episode.bincount()
        place = torch.arange(len(episode)) - (counts.cumsum(0) - counts)[episode]
        rewards, values = (
            torch.zeros(len(counts), int(counts.max())).index_put((episode, place), x[batch.answered])
            for x in (batch.rewards, batch.values)
        )
        answered = torch.arange(rewards.shape[1]) < counts[:, None]
        after = None
        if config.bootstrap_truncated:
            arrived = batch.correct[batch.episode.bincount().cumsum(0) - 1]  # the last dialogue's last answer
            after = torch.where(arrived, torch.zeros(len(counts)), values[:, 0].roll(-1))
        batch.advantages = torch.zeros_like(batch.rewards)
        batch.advantages[batch.answered] = gae(
            rewards, values, answered, config.gamma, config.gae_lambda, after
        )[episode, place]
        batch.returns = batch.advantages + batch.values
        chosen = batch.advantages[batch.answered]
        count, total, squares = (
            self._total(x) for x in (float(len(chosen)), float(chosen.sum()), float(chosen.square().sum()))
        )
        mean = total / count
        batch.advantages = (batch.advantages - mean) / math.sqrt(max(squares / count - mean**2, 1e-8))
        return batch

    def _microbatches(self, batch: Batch, rows: torch.Tensor) -> list[torch.Tensor]:
        return [rows[part] for part in parts(batch.lengths[rows].tolist(), self.config.microbatch_tokens)]

    def _update(self, batch: Batch) -> dict[str, float]:
        config, sums, steps = self.config, {}, 0
        for _ in range(config.epochs):
            order = torch.from_numpy(self.rng.permutation(len(batch.ids)))
            for rows in order.chunk(config.minibatches):
                answers = self._total(float(batch.answered[rows].sum()))
                self.optimizer.zero_grad(set_to_none=True)
                with self.policy.accumulating():
                    for part in self._microbatches(batch, rows):
                        loss, metrics = self.loss(batch, part, answers / self.processes.num_processes)
                        loss.backward()
                        for name, value in metrics.items():
                            sums[name] = sums.get(name, 0.0) + value
                parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
                average_gradients(parameters)
                norm = torch.nn.utils.clip_grad_norm_(self.policy.trainable(), config.max_grad_norm)
                torch.nn.utils.clip_grad_norm_(self.policy.value_head.parameters(), config.max_grad_norm)
                self.optimizer.step()
                sums["grad_norm"] = sums.get("grad_norm", 0.0) + float(norm)
                steps += 1
        return {name: value / steps for name, value in sums.items()}

    def loss(self, batch: Batch, rows: torch.Tensor, answers: float) -> tuple[torch.Tensor, dict[str, float]]:
        """PPO's objective on the dialogues `rows`, per answer (`answers` of them in the whole minibatch), and its parts.

        The policy term is the sum over an answer's tokens, so at ratio 1 its gradient is the exact policy gradient.
        """
        config, device = self.config, self.policy.device
        width = int(batch.lengths[rows].max())
        ids, sampled, turn = (x[rows, :width].to(device) for x in (batch.ids, batch.sampled, batch.turn))
        inputs = {name: value[rows].to(device) for name, value in batch.inputs.items()}
        logits, hidden = self.policy.score(ids, sampled, **inputs)
        logits = logits if config.temperature == 1 else logits / config.temperature
        logprobs = logits.log_softmax(-1)
        new = logprobs.gather(1, ids[sampled][:, None]).squeeze(1)
        old, weight = (x[rows, :width].to(device)[sampled] for x in (batch.old, batch.weight))
        advantages, answered = batch.advantages[rows].to(device), batch.answered[rows].to(device)
        # The answer of each sampled token, counted over the part: rows * answers-per-row places.
        place = (torch.arange(len(rows), device=device)[:, None] * answered.shape[1] + turn)[sampled]
        if config.ratio == "answer":
            log_ratio = torch.zeros(answered.numel(), device=device).index_add(
                0, place, weight * (new - old)
            )[answered.flatten()]
            advantage = advantages[answered]
        else:
            log_ratio, advantage = new - old, advantages.flatten()[place]
        ratio = log_ratio.exp()
        policy_loss = (
            -torch.minimum(ratio * advantage, ratio.clamp(1 - config.clip, 1 + config.clip) * advantage).sum()
            / answers
        )

        # The state of the last prompt token is the one that predicts an answer's first token.
        asked = (sampled.flatten().cumsum(0).view(sampled.shape) - 1).gather(
            1, batch.ask[rows].to(device) + 1
        )[answered]
        values = self.policy.value_head((hidden.detach() if config.detach_value else hidden)[asked])
        before, returns = (x[rows].to(device)[answered] for x in (batch.values, batch.returns))
        clipped = before + (values - before).clamp(-config.value_clip, config.value_clip)
        value_loss = (
            0.5 * torch.maximum((values - returns).square(), (clipped - returns).square()).sum() / answers
        )

        loss = policy_loss + config.value_coefficient * value_loss
        with torch.set_grad_enabled(
            config.entropy_coefficient != 0
        ):  # measured also where it is no part of the objective
            entropy = -(logprobs.exp() * logprobs).sum(-1)
        if config.entropy_coefficient:
            loss = loss - config.entropy_coefficient * entropy.sum() / answers
        if config.kl_coefficient:
            with torch.no_grad(), self.policy.start():
                reference = (self.policy.score(ids, sampled, **inputs)[0] / config.temperature).log_softmax(
                    -1
                )
            loss = loss + config.kl_coefficient * (logprobs.exp() * (logprobs - reference)).sum() / answers
        share = float(answered.sum()) / answers
        return loss, {
            "policy_loss": float(policy_loss.detach()),
            "value_loss": float(value_loss.detach()),
            "entropy": float(entropy.detach().mean()) * share,
            "approx_kl": float((ratio - 1 - log_ratio).detach().mean()) * share,
            "clipped": float(((ratio - 1).abs() > config.clip).float().mean()) * share,
        }

    def _total(self, amount: float) -> float:
        """Sum of a number over all processes."""
        if self.processes.num_processes == 1:
            return amount
        return type(amount)(reduce(torch.tensor(float(amount), device=self.policy.device), "sum").item())

    # --- resuming -------------------------------------------------------------------------------------------------

    def state(self) -> dict:
        """All that decides what comes next: adapter, value head, optimizer, generators, counters."""
        adapter = {
            name: p.detach().clone() for name, p in self.policy.model.named_parameters() if p.requires_grad
        }
        return {
            "adapter": adapter,
            "value_head": self.policy.value_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "sampler": self.sampler.get_state(),
            "counters": (self.iteration, self.trained, self.processed),
        }

    def load_state(self, state: dict) -> None:
        self.policy.model.load_state_dict(state["adapter"], strict=False)
        self.policy.value_head.load_state_dict(state["value_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.sampler.set_state(state["sampler"])
        self.iteration, self.trained, self.processed = state["counters"]


def _mean(values) -> float:
    values = [float(v) for v in values]
    return sum(values) / len(values)
