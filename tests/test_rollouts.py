"""Rollouts: what the sampler says a token's probability was is what the trainer computes, whatever the class
and the lengths."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from posttrain import rollouts
from posttrain.decoding.drafting import NOTHING
from posttrain.decoding.prefixes import Prefixes
from posttrain.environments import prompts
from posttrain.environments.general_points import GeneralPointsEnv
from posttrain.environments.navigation import NavigationEnv
from posttrain.policy import Chat
from posttrain.policy.batching import padded
from posttrain.rollouts import Opening, Sampling, roll
from posttrain.trainers.batch import collate

CLASSES = ("pocket", "grouped", "biased", "mllama")
OPENINGS = [
    Opening(prompts.dialogue(text))
    for text in (
        "x",
        "a much longer question: 1, 2, 3?",
        prompts.task(SimpleNamespace(ranks=("A", "2", "10", "K"), target=24), "10"),
        "7 7",
    )
]


def judge_until(turns):
    """A judge that says something of another length to every row and ends row r after `turns[r]` answers."""
    seen = [0] * len(turns)

    def judge(row, text):
        seen[row] += 1
        return (
            float(seen[row]),
            prompts.feedback("x" * (row + seen[row])),
            seen[row] == turns[row],
            SimpleNamespace(correct=row == 0),
        )

    return judge


def rolled(policy, turns=(1, 3, 2, 3), temperature=1.0, max_tokens=6, seed=0, openings=OPENINGS):
    with policy.merged():
        sampling = Sampling(max_tokens, temperature, torch.Generator().manual_seed(seed))
        return roll(policy, openings, judge_until(turns), sampling)


def trainer_logprobs(policy, episodes, temperature=1.0):
    batch = collate([[e] for e in episodes], policy.tokenizer.pad_token_id)
    with torch.no_grad():
        logits, hidden = policy.score(batch.ids, batch.sampled)
    return (
        batch,
        (logits / temperature).log_softmax(-1).gather(1, batch.ids[batch.sampled][:, None]).squeeze(1),
        hidden,
    )


@pytest.mark.parametrize("name", CLASSES)
def test_sampled_logprobs_and_values_are_the_trainers(policy, name):
    chosen = policy(name, value=True, brief=True)
    episodes = rolled(chosen, temperature=0.7)
    batch, logprobs, hidden = trainer_logprobs(chosen, episodes, 0.7)
    ended = [
        sum(e.ids[i] == chosen.tokenizer.eos_token_id for i, s in enumerate(e.sampled) if s) for e in episodes
    ]
    assert (
        [len(e.texts) for e in episodes] == [1, 3, 2, 3]
        and 0 < sum(ended) < 9
        and len({sum(e.sampled) for e in episodes}) > 2
    )
    torch.testing.assert_close(batch.old[batch.sampled], logprobs, rtol=0, atol=2e-5)
    first = batch.sampled & ~batch.sampled.roll(
        1, 1
    )  # of each answer: its logits are read from the last prompt token's state
    torch.testing.assert_close(
        batch.values[batch.answered], chosen.value_head(hidden[first[batch.sampled]]), rtol=0, atol=2e-5
    )
    # Not vacuous: the probabilities are those of the adapted model, and differ from the starting model's.
    with chosen.start():
        assert (trainer_logprobs(chosen, episodes, 0.7)[1] - logprobs).abs().max() > 1e-2


def test_fast_and_transformers_path_sample_the_same_dialogues(policy):
    fast, slow = (rolled(policy(value=True, fast=fast, brief=True)) for fast in (True, False))
    assert [e.ids for e in fast] == [e.ids for e in slow]
    torch.testing.assert_close(
        [x for e in fast for x in e.values], [x for e in slow for x in e.values], rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("name", CLASSES)
def test_greedy_equals_transformers_generate(policy, name):
    chosen = policy(name, brief=True)
    episodes = rolled(chosen, turns=[1] * 4, temperature=0.0, max_tokens=8)
    for opening, episode in zip(OPENINGS, episodes):
        ids = torch.tensor([Chat(chosen.tokenizer).opening(opening.messages)])
        expected = chosen.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=8,
            eos_token_id=chosen.tokenizer.eos_token_id,
            pad_token_id=chosen.tokenizer.pad_token_id,
        )
        assert episode.ids == expected[0].tolist()
    assert len({tuple(e.ids[-4:]) for e in episodes}) > 1


def test_same_generator_same_episodes(policy):
    chosen = policy()
    once, again, other = rolled(chosen, seed=5), rolled(chosen, seed=5), rolled(chosen, seed=6)
    assert [vars(e)["ids"] for e in once] == [e.ids for e in again] != [e.ids for e in other]
    assert [e.logprobs for e in once] == [e.logprobs for e in again]


def test_each_row_has_its_own_temperature_and_greedy_rows_ignore_their_batch(policy):
    chosen = policy(brief=True)
    mixed = rolled(chosen, temperature=[0.0, 1.0, 0.0, 1.0])
    other = rolled(chosen, temperature=[0.0, 1.0, 0.0, 1.0], seed=9)
    for row in (0, 2):
        # The same row alone, with the same feedback: a judge made for one row would count from row 0.
        turns = [1, 3, 2, 3]
        judge = partial(judge_until(turns), row)
        with chosen.merged():
            alone = roll(chosen, [OPENINGS[row]], lambda _, text, judge=judge: judge(text), Sampling(6, 0.0))
        assert alone[0].ids == mixed[row].ids == other[row].ids
        assert alone[0].sampled == mixed[row].sampled
    assert mixed[1].ids != other[1].ids and mixed[3].ids != other[3].ids


def test_temperature_is_that_of_the_distribution(policy):
    """4,000 draws of one token: frequencies of the likeliest tokens as softmax(logits / temperature) says."""
    chosen = policy()
    episodes = rolled(chosen, turns=[1] * 4000, temperature=0.5, max_tokens=1, openings=[OPENINGS[0]] * 4000)
    ids = torch.tensor([Chat(chosen.tokenizer).opening(OPENINGS[0].messages) + [0]])
    learned = torch.zeros_like(ids, dtype=torch.bool)
    learned[0, -1] = True
    with torch.no_grad():
        expected = (chosen.score(ids, learned)[0][0] / 0.5).softmax(-1)
    drawn = torch.tensor([e.ids[-1] for e in episodes]).bincount(minlength=len(expected)) / len(episodes)
    likely = expected.topk(5).indices
    assert expected[likely[0]] > 0.02
    assert (
        (drawn - expected).abs()[likely]
        < 4 * (expected[likely] * (1 - expected[likely]) / len(episodes)).sqrt()
    ).all()


def test_cut_answers_get_an_end_token_that_is_not_learned(policy):
    chosen = policy(brief=True)
    end = chosen.tokenizer.eos_token_id
    episodes = rolled(chosen, max_tokens=2)
    cut = [e for e in episodes if len(e.ask) > 1 and e.ids[e.ask[0] + 2] != end]
    assert cut and len(cut) < 3  # and some ended by themselves
    for episode in cut:
        first = episode.ask[0] + 1
        assert episode.sampled[first : first + 3] == [True, True, False] and episode.ids[first + 2] == end
    for episode in episodes:
        assert sum(episode.sampled) <= 2 * len(episode.texts) and len(episode.ids) == len(
            episode.sampled
        ) == len(episode.logprobs)
        assert all(lp == 0 for lp, s in zip(episode.logprobs, episode.sampled) if not s)
        assert not any(episode.sampled[a] for a in episode.ask) and all(
            episode.sampled[a + 1] for a in episode.ask
        )


@pytest.mark.parametrize("name", ("pocket", "mllama"))
def test_the_dialogue_is_the_environments(policy, name):
    """What the policy reads, token by token, is the environment's own dialogue through the chat template."""
    chosen = policy(name)
    environments = [GeneralPointsEnv(verify_steps=steps) for steps in (1, 2, 3)]
    dialogues = [e.reset(seed=i)[1]["messages"] for i, e in enumerate(environments)]
    openings, read = [Opening(messages) for messages in dialogues], []

    def judge(row, text):
        says, reward, terminated, truncated, info = environments[row].step(text)
        read.append((row, info["messages"][:-1] if terminated or truncated else info["messages"]))
        return reward, says, terminated or truncated, info["verdict"]

    with chosen.merged():
        episodes = roll(chosen, openings, judge, Sampling(5, 1.0, torch.Generator().manual_seed(2)))
    for row, episode in enumerate(episodes):
        messages = [m for r, m in read if r == row][-1]
        parts = [m["content"] for m in messages if m["role"] == "user"]
        cuts = [
            chosen.tokenizer.decode(episode.ids[start + 1 : ask + 1])
            for start, ask in zip([-1, *episode.ask], episode.ask)
        ]
        assert len(parts) == len(episode.texts) == row + 1 and all(
            part in cut for part, cut in zip(parts, cuts)
        )
        assert [m["content"] for m in messages if m["role"] == "assistant"] == episode.texts


@pytest.mark.parametrize("temperature", [0.0, 1.0, [0.0, 1.0, 0.7, 0.0]])
@pytest.mark.parametrize("name", CLASSES)
def test_a_guess_saves_steps_and_changes_nothing(policy, monkeypatch, name, temperature):
    """The very answers as guesses, one of them spoilt in its middle, one missing, one cut off: the same
    tokens, probabilities and values."""
    chosen, steps = policy(name, value=True, brief=True), []
    plain = rolled(chosen, temperature=temperature)
    first = [next(k for k in range(len(e.ids)) if not (e.sampled + [False])[e.ask[0] + 1 + k]) for e in plain]
    said = [e.ids[e.ask[0] + 1 : e.ask[0] + 1 + n] for e, n in zip(plain, first)]
    assert max(first) > 3
    said[1] = [*said[1][:1], (said[1][1] + 1) % 50, *said[1][2:]] if first[1] > 1 else []
    said[3] = said[3][:2]
    answer = rollouts.answer
    monkeypatch.setattr(rollouts, "guessed", lambda *_: padded(said, NOTHING))
    monkeypatch.setattr(
        rollouts, "answer", lambda *a: steps.append(int((a[-1].guess != NOTHING).sum())) or answer(*a)
    )
    guessed = rolled(chosen, temperature=temperature)
    assert (
        steps[0] > 5
        and [e.ids for e in guessed] == [e.ids for e in plain]
        and [e.rewards for e in guessed] == [e.rewards for e in plain]
    )
    for kind in ("logprobs", "values"):
        torch.testing.assert_close(
            [x for e in guessed for x in getattr(e, kind)],
            [x for e in plain for x in getattr(e, kind)],
            rtol=0,
            atol=2e-5,
        )


def test_what_is_remembered_of_a_route_changes_nothing(policy, monkeypatch):
    """Every point's dialogue begins like the one before; routes end at different points, and a failed point
    is tried twice."""
    chosen, read = policy(value=True), []

    def play():
        environments = [
            NavigationEnv(actions=("absolute", "relative")[i % 2], skip_failed=i > 1) for i in range(5)
        ]
        infos = [environment.reset(seed=i)[1] for i, environment in enumerate(environments)]
        with chosen.merged():
            sampling = Sampling(6, [0.0, 1.0, 1.0, 0.0, 1.0], torch.Generator().manual_seed(1))
            return rollouts.play(chosen, environments, infos, sampling)

    begin = Prefixes.begin

    def watched(self, decoder, openings, device):
        held, (mask, left) = bool(self.openings), begin(self, decoder, openings, device)
        read.append((held, mask.sum(1).tolist(), list(map(len, openings))))
        return mask, left

    monkeypatch.setattr(Prefixes, "begin", watched)
    remembered = play()
    monkeypatch.setattr(Prefixes, "hold", lambda *_: None)
    later, calls = [(known, lengths) for held, known, lengths in read if held], len(read)
    afresh = play()
    assert len(later) > 5 and all(k > 0.5 * n for known, lengths in later for k, n in zip(known, lengths))
    assert not any(held for held, _, _ in read[calls:])
    assert [[d.ids for d in game] for game in remembered] == [
        [d.ids for d in game] for game in afresh
    ] and max(map(len, remembered)) > 8
    for kind in ("logprobs", "values"):
        torch.testing.assert_close(
            *(
                [x for game in games for d in game for x in getattr(d, kind)]
                for games in (remembered, afresh)
            ),
            rtol=0,
            atol=2e-5,
        )
