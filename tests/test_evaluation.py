"""The census: what it counts, told by scripted players, and the divergence it reports."""

import pandas as pd
import pytest
import torch
from posttrain import formulas, progress, rollouts
from posttrain.environments import prompts
from posttrain.environments.general_points import hands as all_hands
from posttrain.environments.general_points import split_of
from posttrain.environments.prompts import dialogue
from posttrain.evaluation import CensusConfig, census, divergence
from posttrain.policy import Chat
from posttrain.rollouts import Dialogue
from posttrain.tasks import TASKS
from posttrain.verifiers.general_points import RANKS, Rule

SETS = TASKS["general-points"].sets


class Scripted:
    """Stands in for a policy and for `roll`: answers every dialogue with `answer(ranks, numbers, attempt)`,
    read off the prompt's text."""

    device, has_start = torch.device("cpu"), False

    def __init__(self, answer):
        self.answer, self.batches = answer, []

    def merged(self):
        return torch.no_grad()

    def roll(self, policy, openings, judge, sampling, prefixes):
        self.batches.append((len(openings), sampling.temperature.tolist()))
        episodes = []
        for row, opening in enumerate(openings):
            text = opening.messages[0]["content"]
            rule = Rule(
                *(int(text.split(f"{face} counts as ")[1].split(",")[0].split(" ")[0]) for face in "JQK")
            )
            ranks = tuple(text.split("Cards: [")[1].split("]")[0].split(", "))
            episode, over = Dialogue(ids=[0] * 10), False
            while not over:
                answer = self.answer(ranks, rule, len(episode.texts))
                reward, _, over, verdict = judge(row, answer)
                episode.texts.append(answer)
                episode.rewards.append(reward)
                episode.verdicts.append(verdict)
                episode.correct = verdict.correct
            episodes.append(episode)
        return episodes


def play(monkeypatch, answer, **settings):
    player = Scripted(answer)
    monkeypatch.setattr(rollouts, "roll", player.roll)
    summary, hands = census(player, CensusConfig(**settings))
    return summary.set_index(["set", "decoding"]), hands, player


def solve(ranks, rule, show=None):
    """A right answer under `rule`; its `number` field is that of the rule `show`."""
    numbers = rule.numbers(ranks)
    solutions = formulas.solve(list(numbers), 24)
    return prompts.answer(ranks, (show or rule).numbers(ranks), solutions[0] if solutions else "1+1", 24)


def test_an_oracle_is_right_on_every_hand_of_every_set(monkeypatch):
    summary, hands, player = play(
        monkeypatch, lambda ranks, rule, attempt: solve(ranks, rule), decodings=("greedy",), sets=tuple(SETS)
    )
    for name, where in SETS.items():
        row = summary.loc[name, "greedy"]
        assert (
            row[["first_try", "within", "rule_following", "valid", "strict", "per_step"]].tolist()
            == [1.0] * 6
            and row.fake == 0
        )
        assert (
            row.n == len(all_hands(where.rule, split=where.split, faces=where.faces))
            and row.tokens == 10 * row.n
        )
        played = hands[hands.set == name].hand.tolist()
        assert len(set(played)) == len(played) == row.n  # each hand once
        for hand in played:
            ranks = hand.split()
            numbers = Rule.parse(where.rule).numbers(ranks)
            assert formulas.solve(list(numbers), 24) and (not where.faces or {"J", "Q", "K"} & set(ranks))
            half = {"shown": "train", "faces": "train"}.get(where.split, where.split)
            assert half in ("all", split_of(numbers))
    assert summary.loc["ood", "greedy"].n == 796 and not set(hands[hands.set == "id"].hand) & set(
        hands[hands.set == "id_seen"].hand
    )
    assert (
        sum(size for size, _ in player.batches) == summary.n.sum()
        and max(size for size, _ in player.batches) == 512
    )


def test_a_player_of_the_old_rule_is_right_where_it_holds_and_fake_elsewhere(monkeypatch):
    ten = Rule.parse("10")
    summary, hands, _ = play(
        monkeypatch,
        lambda ranks, rule, attempt: solve(ranks, ten),
        decodings=("greedy",),
        sets=("id", "ood"),
        verify_steps=2,
    )
    assert summary.loc["id", "greedy"][["first_try", "fake", "rule_following"]].tolist() == [1.0, 0.0, 1.0]
    row, played = summary.loc["ood", "greedy"], hands[hands.set == "ood"]
    both = [bool(formulas.solve(list(ten.numbers(h.split())), 24)) for h in played.hand]
    assert (
        played.fake.tolist() == both and sum(both) == 529
    )  # a hand that no formula solves under the old rule cannot be fake
    assert (
        row.first_try == row.within == row.rule_following == 0
        and row.fake == pytest.approx(529 / 796)
        and set(played.answers) == {2}
    )
    assert row.per_step == 0


def test_first_try_within_and_per_step_are_told_apart(monkeypatch):
    """Right at the third answer; only the `revised` sets get that far."""
    settings = dict(sets=("id", "id_seen", "ood"), limit=10, verify_steps=4)
    summary, hands, _ = play(
        monkeypatch,
        lambda ranks, rule, attempt: solve(ranks, rule) if attempt == 2 else "no answer",
        **settings,
    )
    for name in ("id", "ood"):
        row = summary.loc[name, "sampled"]
        assert (row.n, row.first_try, row.within, row.valid, row.strict) == (
            10,
            0,
            1,
            0,
            0,
        ) and row.per_step == pytest.approx(1 / 3)
        assert set(hands[hands.set == name].answers) == {3} and set(hands[hands.set == name].reward) == {
            5 - 3 - 3
        }
    row = summary.loc["id_seen", "greedy"]
    assert (row.within, row.per_step) == (0, 0) and set(hands[hands.set == "id_seen"].answers) == {1}


def test_cheaper_settings_leave_out_what_they_say(monkeypatch):
    def wrong(ranks, rule, attempt):
        return "no answer"

    def answers(hands):
        return hands.groupby(["set", "decoding"]).answers.first().to_dict()

    def greedy(hands):
        return hands[(hands.set == "in_range_a") & (hands.decoding == "greedy")].hand.tolist()

    settings = dict(sets=("id", "in_range_a"), verify_steps=3, revised=("id",))
    full, everything, _ = play(monkeypatch, wrong, **settings)
    less, some, _ = play(monkeypatch, wrong, **settings, limit_others=5)
    assert answers(everything) == {
        ("id", "greedy"): 3,
        ("id", "sampled"): 3,
        ("in_range_a", "greedy"): 1,
        ("in_range_a", "sampled"): 1,
    }
    assert answers(some) == answers(everything)
    assert (less.loc["id"].n == full.loc["id"].n).all() and set(less.loc["in_range_a"].n) == {5}
    assert greedy(some) == greedy(everything)[:5]  # a part of the same hands
    assert set(play(monkeypatch, wrong, **settings, limit=4, limit_others=5)[0].n) == {4}


def test_rule_following_is_the_number_field_of_the_first_answer(monkeypatch):
    ten, settings = Rule.parse("10"), dict(sets=("ood",), limit=12, decodings=("greedy",))
    summary, _, _ = play(monkeypatch, lambda ranks, rule, attempt: solve(ranks, rule, show=ten), **settings)
    assert summary.loc["ood", "greedy"][["first_try", "rule_following"]].tolist() == [1, 0]
    summary, _, _ = play(
        monkeypatch,
        lambda ranks, rule, attempt: (
            solve(ranks, rule) + " "
            if attempt
            else '{"number": [' + ", ".join(map(str, rule.numbers(ranks))) + "]"
        ),
        **settings,
    )
    row = summary.loc["ood", "greedy"]
    assert (row.first_try, row.within, row.rule_following, row.valid, row.strict) == (0, 1, 1, 0, 0)


def test_the_same_hands_and_orders_at_every_checkpoint(monkeypatch):
    seen = []

    def answer(ranks, rule, attempt):
        seen.append(ranks)
        return "no answer"

    chosen = []
    for settings in (
        {},
        {"decodings": ("sampled",)},
        {"verify_steps": 1, "batch": 7},
        {"sets": ("ood", "id")},
    ):
        _, hands, player = play(
            monkeypatch, answer, **{"sets": ("id", "ood"), "limit": 9, "verify_steps": 1, **settings}
        )
        chosen.append(
            {
                name: hands[(hands.set == name) & (hands.decoding == "sampled")].hand.tolist()
                for name in ("id", "ood")
            }
        )
    assert all(c == chosen[0] for c in chosen) and all(len(set(hands)) == 9 for hands in chosen[0].values())
    cards = seen[:9]
    assert cards == seen[9:18] and any(
        list(c) != sorted(c, key=RANKS.index) for c in cards
    )  # shuffled, and the same way in both decodings
    _, other, _ = play(monkeypatch, answer, sets=("id",), limit=9)
    player = Scripted(answer)
    monkeypatch.setattr(rollouts, "roll", player.roll)
    assert census(player, CensusConfig(sets=("id",), limit=9), seed=1)[1].hand.tolist() != other.hand.tolist()
    assert all(
        heat == [0.0] * heat.count(0.0) + [1.0] * heat.count(1.0) for _, heat in player.batches
    )  # greedy rows, then sampled ones


def test_a_long_census_says_how_far_it_is(policy, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    config = CensusConfig(sets=("id",), limit=4, batch=2)
    census(policy("pocket"), config, run="gp-l/sft/0")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith("gp-l/sft/0, evaluation  ") for line in lines)
    census(policy("pocket"), config)
    assert not capsys.readouterr().err


def test_a_real_census_is_deterministic_and_kl_is_measured_where_sampled(policy):
    config = CensusConfig(limit=5, verify_steps=2, max_tokens=6, kl_hands=3, sets=("id", "ood", "in_range_a"))
    chosen = policy()
    first, again = census(chosen, config), census(chosen, config)
    for a, b in zip(first, again):
        pd.testing.assert_frame_equal(a, b)
    summary, hands = first
    assert len(summary) == 6 and len(hands) == 30 and summary.kl.notna().tolist() == [False, True] * 3
    assert (summary.kl.dropna() > 1e-3).all() and (summary.tokens > 0).all()
    assert (census(chosen, config, seed=1)[0].kl.dropna() != summary.kl.dropna()).all()


@pytest.mark.parametrize("name", ["pocket", "mllama"])
def test_divergence_is_the_exact_kl_of_the_first_answers(policy, name):
    chosen = policy(name)
    chat, rows = Chat(chosen.tokenizer), [([40, 7, 300], [9, 9]), ([12], []), ([3, 4, 5, 6, 8], [50])]
    episodes, expected = [], 0.0
    for i, (first, second) in enumerate(rows):
        opening, said = chat.opening(dialogue("question" * (i + 1))), chat.feedback("no") if second else []
        ids = opening + first + said + second
        sampled = [False] * len(opening) + [True] * len(first) + [False] * len(said) + [True] * len(second)
        episodes.append(
            Dialogue(
                ids, sampled, ask=[len(opening) - 1] + ([len(opening + first + said) - 1] if second else [])
            )
        )
        with torch.no_grad():
            p = chosen.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            with chosen.model.disable_adapter():
                q = chosen.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        places = slice(len(opening) - 1, len(opening) - 1 + len(first))
        expected += float((p[places].exp() * (p[places] - q[places])).sum()) / len(rows)
    assert divergence(chosen, episodes) == pytest.approx(expected, rel=1e-3) and expected > 0.01
    assert divergence(chosen, episodes, tokens=20) == pytest.approx(expected, rel=1e-3)
    assert divergence(policy(name, stirred=False), episodes) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"sets": ("id", "oood")}, "'oood'; did you mean ood. choose one of id, id_seen, ood"),
        ({"revised": ("idd",)}, "choose one of id, id_seen, ood"),
        ({"decodings": ("beam",)}, "'greedy' or 'sampled'"),
    ],
)
def test_unknown_names_are_errors(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        CensusConfig(**settings)
