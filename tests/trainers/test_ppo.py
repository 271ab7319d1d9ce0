"""PPO: its gradient against exact and hand-written ones, its bookkeeping, its resumption, and several
processes."""

import io
import itertools
import pickle
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from accelerate import PartialState
from posttrain import policy as models
from posttrain.environments import NavigationEnv, prompts
from posttrain.environments.general_points import GeneralPointsEnv
from posttrain.policy import Chat
from posttrain.rollouts import Dialogue
from posttrain.trainers.batch import collate
from posttrain.trainers.ppo import PPO, PPOConfig, gae

from tests import conftest, processes


def changed(config, **changes):
    return config.model_copy(update=changes)


SMALL = PPOConfig(episodes=8, max_tokens=6, minibatches=2, value_clip=0.2)


class Toy:
    """A Gymnasium-like text environment: `score(text)` is the reward; an answer that scores above 0 is
    correct and ends the episode."""

    FIELDS = ("cards", "number", "formula")

    def __init__(self, score, steps=3, task="say it"):
        self.score, self.steps, self.task = score, steps, task

    def reset(self, seed=None):
        self.left = self.steps
        return self.task, {"messages": prompts.dialogue(f"{self.task} {seed % 7 if seed else 0}")}

    def step(self, text):
        self.left -= 1
        reward = self.score(text)
        verdict = SimpleNamespace(correct=reward > 0, follows_rule=False, valid=True)
        says = "no" * (1 + self.left)
        return (
            says,
            reward,
            reward > 0,
            not reward > 0 and self.left == 0,
            {"verdict": verdict, "messages": [{"role": "user", "content": says}]},
        )


def vowels(text):
    return float(sum(text.count(v) for v in "aeiou") > 2) - 0.3 * ("," in text)


def trainer(policy, config=SMALL, seed=0, steps=3, score=vowels):
    return PPO(policy, [Toy(score, steps) for _ in range(config.episodes)], config, seed)


def gradients(policy):
    adapter = {n: p for n, p in policy.model.named_parameters() if p.requires_grad}
    found = {
        n: None if p.grad is None else p.grad.clone()
        for n, p in (adapter | dict(policy.value_head.named_parameters())).items()
    }
    policy.model.zero_grad()
    policy.value_head.zero_grad()
    return found


def same(got, expected, rtol=1e-4):
    """Gradients, compared relative to the largest entry of each tensor."""
    assert got.keys() == expected.keys()
    for name, wanted in expected.items():
        wanted = torch.zeros(1) if wanted is None else wanted
        found = torch.zeros_like(wanted) if got[name] is None else got[name]
        assert (found - wanted).abs().max() <= rtol * wanted.abs().max() + 1e-7, name


def adapter(policy):
    return {n: p.detach().clone() for n, p in policy.model.named_parameters() if p.requires_grad}


# --- the objective ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", ["token", "answer"])
@pytest.mark.parametrize("name", ["pocket", "grouped", "biased"])
def test_at_ratio_one_the_gradient_is_the_exact_policy_gradient(policy, name, ratio):
    """Two turns, all dialogues with a reward enumerated: d/dθ of the expected return, by autograd through
    transformers' own forward."""
    chosen = policy(name, value=True)
    chat = Chat(chosen.tokenizer)
    opening, said = chat.opening(prompts.dialogue("which?")), chat.feedback("no")
    first, second = [[20], [300, 8], [61, 7], [61, 9]], [[30], [31, 77], [12]]
    rewards = (
        {a: 0.5 * a - 1 for a in range(4)},
        {(a, b): (a + 1) * (b - 0.7) for a in range(4) for b in range(3)},
    )
    expected, episodes, chances = 0.0, [], []
    for a, b in itertools.product(range(4), range(3)):
        ids = opening + first[a] + said + second[b]
        sampled = (
            [False] * len(opening) + [True] * len(first[a]) + [False] * len(said) + [True] * len(second[b])
        )
        logprobs = chosen.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        steps = [logprobs[t - 1, ids[t]] if s else 0.0 for t, s in enumerate(sampled)]
        one, both = sum(steps[: len(opening) + len(first[a])]), sum(steps)
        expected = expected + both.exp() * rewards[1][a, b] + (one.exp() * rewards[0][a] if b == 0 else 0.0)
        # The first answer's reward counts with the first answer's chance: these three seconds are not all.
        for second_reward, chance, part in ((rewards[1][a, b], both, ids), (None, one, ids)):
            if second_reward is None and b:
                continue
            short = second_reward is None
            cut = len(opening) + len(first[a]) if short else len(ids)
            episodes.append(
                Dialogue(
                    part[:cut],
                    sampled[:cut],
                    [float(torch.as_tensor(s).detach()) for s in steps[:cut]],
                    [len(opening) - 1] + ([] if short else [len(ids) - len(second[b]) - 1]),
                    rewards=[rewards[0][a]] if short else [0.0, second_reward],
                    values=[0.0] * (1 if short else 2),
                )
            )
            chances.append(chance.exp().item())
    expected.backward()
    wanted = gradients(chosen)
    assert wanted["base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"].abs().max() > 0

    made = trainer(chosen, changed(SMALL, value_coefficient=0.0, ratio=ratio))
    batch = collate([[e] for e in episodes], chosen.tokenizer.pad_token_id)
    batch.returns = gae(batch.rewards, batch.values, batch.answered, 1.0, 1.0)
    answers = float(batch.answered.sum())
    batch.advantages = (
        batch.returns * torch.tensor(chances)[:, None] * answers
    )  # a mean over draws becomes the expectation
    loss, metrics = made.loss(batch, torch.arange(len(episodes)), answers)
    loss.backward()
    same(gradients(chosen), {n: None if g is None else -g for n, g in wanted.items()}, 1e-3)
    assert metrics["clipped"] == 0 and abs(metrics["approx_kl"]) < 1e-6


def clipped(change, advantage, clip):
    """The clipped surrogate of one log-probability's change."""
    return torch.minimum(change.exp() * advantage, change.exp().clamp(1 - clip, 1 + clip) * advantage)


def by_hand(policy, config, batch, rows, answers):
    """PPO's loss written as loops over episodes, answers and tokens, without padding, through transformers'
    own forward."""
    total = 0.0
    for r in rows.tolist():
        n = int(batch.lengths[r])
        out = policy.model(input_ids=batch.ids[r : r + 1, :n], output_hidden_states=True)
        logprobs = (out.logits[0] / config.temperature).log_softmax(-1)
        with torch.no_grad(), policy.model.disable_adapter():
            reference = (
                policy.model(input_ids=batch.ids[r : r + 1, :n]).logits[0] / config.temperature
            ).log_softmax(-1)
        for k in range(int(batch.answered[r].sum())):
            ask = int(batch.ask[r, k])
            unsampled = [t for t in range(ask + 1, n) if not batch.sampled[r, t]]
            tokens = range(ask + 1, min(unsampled, default=n))
            assert tokens
            surrogate = partial(clipped, advantage=batch.advantages[r, k], clip=config.clip)
            changes = [logprobs[t - 1, batch.ids[r, t]] - batch.old[r, t] for t in tokens]
            if config.ratio == "token":
                total = total - sum(surrogate(change) for change in changes)
            else:
                total = total - surrogate(
                    sum(batch.weight[r, t] * change for t, change in zip(tokens, changes))
                )
            for t in tokens:
                p = logprobs[t - 1].exp()
                total = total + config.entropy_coefficient * (p * logprobs[t - 1]).sum()
                total = total + config.kl_coefficient * (p * (logprobs[t - 1] - reference[t - 1])).sum()
            state = out.hidden_states[-1][0, ask]
            value, before = (
                policy.value_head(state.detach() if config.detach_value else state),
                batch.values[r, k],
            )
            near = before + (value - before).clamp(-config.value_clip, config.value_clip)
            total = total + config.value_coefficient * 0.5 * torch.maximum(
                (value - batch.returns[r, k]) ** 2, (near - batch.returns[r, k]) ** 2
            )
    return total / answers


def rolled_batch(made, scatter=0.0, seed=0):
    """A real rollout's batch; `scatter` moves old log-probabilities and values, so that clips bite."""
    batch = collate(made.rollout(), made.policy.tokenizer.pad_token_id)
    if scatter:
        generator = torch.Generator().manual_seed(seed)
        batch.old += scatter * torch.randn(batch.old.shape, generator=generator) * batch.sampled
        batch.values += scatter * torch.randn(batch.values.shape, generator=generator) * batch.answered
    return made._estimate(batch)


@pytest.mark.parametrize(
    "name, changes",
    [
        ("pocket", {}),
        ("pocket", {"ratio": "answer"}),
        ("pocket", {"detach_value": False, "value_coefficient": 2.0}),
        ("pocket", {"temperature": 0.6, "clip": 0.05}),
        ("biased", {"ratio": "answer", "thought_coefficient": 0.5}),
        ("pocket", {"entropy_coefficient": 0.3, "kl_coefficient": 0.7, "temperature": 1.5}),
        (
            "mllama",
            {"entropy_coefficient": 0.1, "kl_coefficient": 0.2, "value_clip": 0.01, "detach_value": False},
        ),
    ],
)
def test_the_loss_is_the_one_written_by_hand(policy, name, changes):
    chosen = policy(name, value=True, brief=True)
    made = trainer(chosen, changed(SMALL, **changes))
    batch = rolled_batch(made, scatter=0.3)
    if "thought_coefficient" in changes:
        batch.weight[:, ::2] = changes["thought_coefficient"]
    rows = torch.tensor([6, 0, 3, 5, 2])
    loss, metrics = made.loss(batch, rows, 9.0)
    loss.backward()
    got = gradients(chosen)
    expected = by_hand(chosen, made.config, batch, rows, 9.0)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    same(got, gradients(chosen), 1e-3)
    assert (
        metrics["clipped"] > 0.05
        and len(set(batch.lengths[rows].tolist())) > 1
        and batch.answered.sum() > len(batch.ids)
    )
    # Only sampled tokens and true positions count: garbage elsewhere and more padding change nothing.
    wide = replace(
        batch,
        **{
            f: torch.cat([getattr(batch, f), getattr(batch, f)[:, :5]], 1)
            for f in ("ids", "turn", "old", "weight")
        },
        sampled=torch.cat([batch.sampled, torch.zeros_like(batch.sampled[:, :5])], 1),
    )
    beyond = torch.arange(wide.ids.shape[1]) >= batch.lengths[:, None]
    wide.ids[beyond] = 33
    wide.old[~wide.sampled], wide.weight[~wide.sampled] = 5.0, 9.0
    for f in ("advantages", "returns", "values", "rewards"):
        setattr(wide, f, torch.where(batch.answered, getattr(batch, f), torch.tensor(7.0)))
    again, _ = made.loss(wide, rows, 9.0)
    again.backward()
    assert again.item() == pytest.approx(loss.item(), rel=1e-5)
    same(gradients(chosen), got, 1e-3)


def test_right_after_a_rollout_the_ratio_is_one(policy):
    for config in (SMALL, changed(SMALL, ratio="answer"), changed(SMALL, temperature=0.5)):
        made = trainer(policy(value=True, brief=True), config)
        batch = rolled_batch(made)
        _, metrics = made.loss(batch, torch.arange(8), float(batch.answered.sum()))
        assert abs(metrics["approx_kl"]) < 1e-8 and metrics["clipped"] == 0 and metrics["entropy"] > 0.5
        assert metrics["value_loss"] == pytest.approx(
            0.5 * (batch.returns - batch.values)[batch.answered].square().mean().item(), rel=1e-3
        )


@pytest.mark.parametrize(
    "changes, measure", [({"entropy_coefficient": 1.0}, "entropy"), ({"kl_coefficient": 1.0}, "kl")]
)
def test_entropy_is_raised_and_divergence_lowered(policy, changes, measure):
    chosen = policy(value=True)
    made = trainer(chosen, changed(SMALL, value_coefficient=0.0, **changes))
    batch = rolled_batch(made)
    batch.advantages.zero_()

    def measured():
        with torch.no_grad():
            current = chosen.score(batch.ids, batch.sampled)[0].log_softmax(-1)
            with chosen.start():
                reference = chosen.score(batch.ids, batch.sampled)[0].log_softmax(-1)
        return float((current.exp() * (current - reference if measure == "kl" else -current)).sum(-1).mean())

    before = measured()
    loss, _ = made.loss(batch, torch.arange(8), float(batch.answered.sum()))
    loss.backward()
    with torch.no_grad():
        for parameter in chosen.trainable():
            parameter -= 0.01 * parameter.grad
    assert (measured() > before + 1e-4) if measure == "entropy" else (measured() < before - 1e-4)


def test_the_value_heads_gradient_reaches_the_backbone_only_if_asked(policy):
    for detach in (True, False):
        chosen = policy(value=True)
        made = trainer(chosen, changed(SMALL, detach_value=detach))
        batch = rolled_batch(made)
        batch.advantages.zero_()
        made.loss(batch, torch.arange(8), 8.0)[0].backward()
        found = gradients(chosen)
        assert (sum(g.abs().sum() for n, g in found.items() if "lora" in n and g is not None) > 0) == (
            not detach
        )
        assert found["layers.3.weight"].abs().sum() > 0


def test_thoughts_are_the_tokens_before_the_formula(policy):
    chosen = policy(value=True)
    made = trainer(chosen, changed(SMALL, ratio="answer", thought_coefficient=0.25))
    encode, chat = (
        lambda text: chosen.tokenizer(text, add_special_tokens=False)["input_ids"],
        Chat(chosen.tokenizer),
    )
    before, key, rest = (
        '{"cards": ["A", "2", "3", "4"], "number": [1, 2, 3, 4',
        '], "formula": "',
        '1*2*3*4=24"}',
    )
    ids, sampled, ask = chat.opening(prompts.dialogue("?")), [], []
    wanted = [1.0] * len(ids)
    for _ in range(2):
        sampled += [False] * (len(ids) - len(sampled))
        ask.append(len(ids) - 1)
        for text, weight in ((before, 0.25), (key, None), (rest, 1.0), ("<|end|>", 1.0)):
            ids += encode(text)
            wanted += [weight] * len(encode(text))
        sampled += [True] * (len(ids) - len(sampled))
        ids += chat.feedback("no")
        wanted += [1.0] * (len(ids) - len(wanted))
    sampled += [False] * (len(ids) - len(sampled))
    episodes = [Dialogue(ids, sampled, [0.0] * len(ids), ask, rewards=[0.0, 0.0], values=[0.0, 0.0])]
    batch = collate([[e] for e in episodes], chosen.tokenizer.pad_token_id)
    made._weigh_thoughts(episodes, batch)
    assert len(encode(key)) == 1
    assert all(w is None or got == w for got, w in zip(batch.weight[0].tolist(), wanted)) and batch.weight[
        0
    ].eq(0.25).sum() >= 2 * len(encode(before))


# --- advantages ---------------------------------------------------------------------------------------------


def test_gae_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [5.0, 9.0, 9.0], [-1.0, 3.0, 9.0]])
    values = torch.tensor([[0.5, 1.0, 2.0], [1.0, 9.0, 9.0], [2.0, -1.0, 9.0]])
    answered = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    got = gae(rewards, values, answered, 0.9, 0.5)
    # δ = r + 0.9 V' - V, and 0 behind the last answer; A = δ + 0.45 A'
    last = 4 - 2
    middle = 2 + 0.9 * 2 - 1 + 0.45 * last
    expected = [
        [1 + 0.9 * 1 - 0.5 + 0.45 * middle, middle, last],
        [5 - 1, 0, 0],
        [-1 + 0.9 * -1 - 2 + 0.45 * (3 + 1), 3 + 1, 0],
    ]
    torch.testing.assert_close(got, torch.tensor(expected))
    after = gae(rewards, values, answered, 0.9, 0.5, torch.tensor([10.0, 20.0, 0.0]))
    assert (
        after[0, 2] == pytest.approx(last + 9)
        and after[1, 0] == pytest.approx(4 + 18)
        and torch.equal(after[2], got[2])
    )
    assert after[0, 0] == pytest.approx(expected[0][0] + 0.45**2 * 9)
    # λ = 1: the discounted return minus the value, whatever the values in between.
    assert gae(rewards, values, answered, 0.9, 1.0)[0, 0] == pytest.approx(1 + 0.9 * 2 + 0.81 * 4 - 0.5)
    assert gae(rewards, values, answered, 0.9, 0.0)[0, 0] == pytest.approx(1 + 0.9 * 1 - 0.5)


def test_only_the_released_bug_bootstraps_behind_an_episode(policy):
    episodes = [
        Dialogue([1, 2], [False, True], [0.0, 0.0], [0], rewards=[r], values=[v], correct=c)
        for r, v, c in ((5.0, 1.0, True), (-1.0, 2.0, False), (-2.0, 4.0, False))
    ]
    for bug, expected in ((False, [5.0, -1.0, -2.0]), (True, [5.0, -1.0 + 0.9 * 4.0, -2.0 + 0.9 * 1.0])):
        batch = trainer(policy(value=True), changed(SMALL, bootstrap_truncated=bug))._estimate(
            collate([[e] for e in episodes], 0)
        )
        assert batch.returns[:, 0].tolist() == pytest.approx(expected)
        assert float(batch.advantages.mean()) == pytest.approx(0, abs=1e-6) and float(
            batch.advantages.std(correction=0)
        ) == pytest.approx(1, abs=1e-5)


def test_advantages_run_across_the_dialogues_of_an_episode(policy):
    """A route of three points, two answers at the second; and one that failed at its first point."""

    def dialogue(rewards, values, correct):
        count = len(rewards)
        return Dialogue(
            [1, 2] * count,
            [False, True] * count,
            [0.0] * 2 * count,
            list(range(0, 2 * count, 2)),
            rewards=rewards,
            values=values,
            correct=correct,
        )

    games = [
        [
            dialogue([1.0], [0.5], True),
            dialogue([-1.0, 1.0], [1.5, -0.5], True),
            dialogue([1.0], [2.0], True),
        ],
        [dialogue([-1.0, -1.5], [0.2, 0.1], False)],
    ]
    batch = trainer(policy(value=True), changed(SMALL, gae_lambda=1.0))._estimate(collate(games, 0))
    assert batch.episode.tolist() == [0, 0, 0, 1]
    returns = [
        1 + 0.9 * (-1 + 0.9 * (1 + 0.9 * 1)),
        -1 + 0.9 * (1 + 0.9 * 1),
        1 + 0.9 * 1,
        1.0,
        -1 + 0.9 * -1.5,
        -1.5,
    ]
    assert batch.returns[batch.answered].tolist() == pytest.approx(returns)
    bug = trainer(policy(value=True), changed(SMALL, bootstrap_truncated=True, gae_lambda=1.0))._estimate(
        collate(games, 0)
    )
    assert bug.returns[batch.answered].tolist() == pytest.approx(
        [*returns[:4], -1 + 0.9 * (-1.5 + 0.9 * 0.5), -1.5 + 0.9 * 0.5]
    )


def test_an_iteration_on_routes_learns_from_every_point_reached(policy):
    routes = NavigationEnv(split="held_out").routes[:3]
    chosen = policy(value=True, brief=True)
    made = PPO(chosen, [NavigationEnv(routes=routes) for _ in range(4)], changed(SMALL, episodes=4), seed=3)
    games = made.rollout()
    assert (
        all(len(d.texts) == 2 for game in games for d in game) and [len(game) for game in games] == [1] * 4
    )  # wrong twice: the route ends
    metrics = made.iterate()
    assert (
        metrics["within"] == metrics["first_try"] == 0 and metrics["answers"] == 2 and metrics["reward"] <= -2
    )
    assert metrics["spread"] == 0  # all routes were paid alike


def test_advantages_are_normalised_over_answers_that_exist(policy):
    batch = rolled_batch(trainer(policy(value=True)))
    assert not batch.answered.all()
    chosen = batch.advantages[batch.answered]
    assert float(chosen.mean()) == pytest.approx(0, abs=1e-5) and float(
        chosen.std(correction=0)
    ) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(
        batch.returns, gae(batch.rewards, batch.values, batch.answered, 0.9, 0.95) + batch.values
    )


# --- iterations ---------------------------------------------------------------------------------------------


def test_collate_knows_each_tokens_answer(policy):
    made = trainer(policy(value=True, brief=True))
    games = made.rollout()
    episodes = [dialogue for game in games for dialogue in game]
    batch = collate(games, made.policy.tokenizer.pad_token_id)
    for r, episode in enumerate(episodes):
        answers = [
            [i for i, t, s in zip(ids, batch.turn[r].tolist(), batch.sampled[r].tolist()) if s and t == k]
            for ids in [batch.ids[r].tolist()]
            for k in range(len(episode.texts))
        ]
        assert made.policy.tokenizer.batch_decode(answers, skip_special_tokens=True) == episode.texts
        assert not batch.sampled[r, batch.ask[r]].any() and int(batch.answered[r].sum()) == len(episode.texts)


def test_microbatches_do_not_change_the_update(policy):
    results = []
    for tokens in (10**6, 60, 1):
        chosen = policy(value=True)
        made = trainer(chosen, changed(SMALL, minibatches=1, microbatch_tokens=tokens))
        with mock.patch.object(made, "loss", wraps=made.loss) as loss:
            metrics = made.iterate()
        parts = [call.args[1] for call in loss.call_args_list]
        results.append((gradients(chosen), metrics, len(parts)))
        assert sorted(torch.cat(parts).tolist()) == list(range(8))
    assert results[0][2] == 1 and 1 < results[1][2] < 8 and results[2][2] == 8
    for found, metrics, _ in results[1:]:
        same(found, results[0][0], 1e-3)
        assert metrics["policy_loss"] == pytest.approx(results[0][1]["policy_loss"], abs=1e-5)
        assert metrics["value_loss"] == pytest.approx(results[0][1]["value_loss"], rel=1e-4)


def test_epochs_and_minibatches_take_steps_and_count_tokens(policy):
    chosen = policy(value=True)
    made = trainer(chosen, changed(SMALL, epochs=3, minibatches=4))
    steps, start = [], adapter(chosen)
    made.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    first, second = made.iterate(), made.iterate()
    assert len(steps) == 24 and made.iteration == 2
    assert made.processed == first["tokens"] + second["tokens"] and made.trained == 3 * made.processed
    assert all(not torch.equal(start[n], p) for n, p in adapter(chosen).items()) and first["clipped"] >= 0
    assert all(p.grad is None for p in chosen.model.parameters() if not p.requires_grad)


def test_resuming_is_exact(policy):
    config = changed(SMALL, epochs=2)
    whole = trainer(policy(value=True), config)
    whole.iterate()
    stored = io.BytesIO()
    torch.save(whole.state(), stored)
    expected = [whole.iterate() for _ in range(2)]
    other = trainer(policy(value=True, stirred=False), config, seed=5)
    other.iterate()  # whatever it did before is overwritten
    stored.seek(0)
    other.load_state(torch.load(stored, weights_only=True))
    clocks = ("seconds", "rollout_seconds")
    for wanted in expected:
        got = other.iterate()
        assert {k: v for k, v in got.items() if k not in clocks} == {
            k: v for k, v in wanted.items() if k not in clocks
        }
    for a, b in (
        (adapter(whole.policy), adapter(other.policy)),
        (whole.policy.value_head.state_dict(), other.policy.value_head.state_dict()),
    ):
        assert all(torch.equal(a[n], b[n]) for n in a)
    assert (whole.iteration, whole.trained, whole.processed) == (
        other.iteration,
        other.trained,
        other.processed,
    )


def test_one_answer_an_episode_on_the_real_task(policy):
    config = changed(SMALL, episodes=4)
    made = PPO(policy(value=True), [GeneralPointsEnv(verify_steps=1) for _ in range(4)], config)
    metrics = made.iterate()
    assert (
        metrics["answers"] == 1 and metrics["reward"] == -3 and metrics["within"] == metrics["first_try"] == 0
    )


def test_success_rises_on_an_easy_task(policy):
    """Long tokens are words: one in twenty of the first draws, nearly all of the last."""
    chosen = policy(value=True, stirred=False, rank=8)
    with torch.no_grad():
        chosen.base.get_output_embeddings().weight.mul_(
            2
        )  # as it was built, no hidden state makes any token likely
    config = PPOConfig(episodes=96, minibatches=2, max_tokens=1, learning_rate=1e-2)
    made = trainer(chosen, config, steps=1, score=lambda text: 1.0 if len(text) > 3 else -1.0)
    success = [made.iterate()["first_try"] for _ in range(10)]
    assert 0.01 < success[0] < 0.3 and sum(success[-3:]) / 3 > 0.9


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"ratio": "word"}, "'token' or 'answer'"),
        ({"thought_coefficient": 0.5}, "unless ratio is answer"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"episodes": 9, "minibatches": 2}, "multiple"),
    ],
)
def test_settings_that_make_no_sense(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        PPOConfig(**changes)


def test_a_trainer_needs_a_value_head_and_its_environments(policy):
    with pytest.raises(ValueError, match="value head"):
        PPO(policy(), [Toy(vowels)] * 8, SMALL)
    with pytest.raises(ValueError, match="8 environments"):
        PPO(policy(value=True), [Toy(vowels)] * 7, SMALL)


# --- several processes --------------------------------------------------------------------------------------


def rank(number, folder, checkpoint):
    """One of two processes: two iterations, and what it holds behind the first and in the end."""
    PartialState(cpu=True)
    chosen = models.add_lora(
        models.load(checkpoint), models.LoraSettings(rank=4, alpha=8), seed=1, value=True
    )
    conftest.stir(chosen)
    made = trainer(chosen, PAIR, seed=4)
    rollout, seen = made.rollout, []
    made.rollout = lambda: seen.append(rollout()) or seen[-1]
    made.iterate()
    first = gradients(chosen)
    made.iterate()
    counters = made.iteration, made.trained, made.processed
    episodes = [vars(e) for game in seen[0] for e in game]
    lengths = [len(e.ids) for part in seen for game in part for e in game]
    final, head = adapter(chosen), chosen.value_head.state_dict()
    told = [episodes, first, final, head, counters, made.processes.num_processes, lengths]
    (folder / str(number)).write_bytes(pickle.dumps(told))
    PartialState().destroy_process_group()


PAIR = PPOConfig(
    episodes=4, max_tokens=6, minibatches=1, microbatch_tokens=60, max_grad_norm=1e9
)  # no clipping: it would hide a wrong scale


def test_two_processes_train_as_one_on_the_episodes_of_both(policy, checkpoints, tmp_path):
    told = tmp_path / "told"
    ranks = processes.ranks(rank, [(n, tmp_path, checkpoints["pocket"]) for n in range(2)], told)
    for process in ranks:
        process.join(240)
    assert [process.exitcode for process in ranks] == [0, 0], told.read_text()[-3000:]
    results = [pickle.loads((tmp_path / str(rank)).read_bytes()) for rank in range(2)]
    (
        (episodes, gradient, final, head, counters, world, lengths),
        (others, gradient2, final2, head2, counters2, _, lengths2),
    ) = results
    assert world == 2 and [e["ids"] for e in episodes] != [e["ids"] for e in others]
    for a, b in ((gradient, gradient2), (final, final2), (head, head2)):
        assert all(torch.equal(a[n], b[n]) for n in a)
    assert counters == counters2 == (2, sum(lengths + lengths2), sum(lengths + lengths2))
    chosen = policy(value=True)
    start = adapter(chosen)
    assert all(not torch.equal(start[n], final[n]) for n in start)
    alone = trainer(chosen, changed(PAIR, episodes=8))
    alone.rollout = lambda: [[Dialogue(**e)] for e in episodes + others]
    alone.iterate()
    same(gradients(chosen), gradient, 1e-3)
