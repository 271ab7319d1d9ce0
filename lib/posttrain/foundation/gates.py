"""The gates a foundation must pass before any post-training, on rules that no experiment uses.

Fixed before the first post-training run. A gate has a bound; `measure` returns a table with one row a gate.
"""
from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from posttrain import formulas, prompts
from posttrain.foundation import corpus
from posttrain.verifiers.general_points import RANKS, Deal, GeneralPointsVerifier, Rule, listed

# gate -> (bound, True where the measured share must be at least the bound, what it says)
GATES: dict[str, tuple[float, bool, str]] = {
    "reads an unseen rule": (0.95, True, "cards -> numbers under rules that the corpus never held, chat frame"),
    "follows a swapped rule": (0.90, True, "both answers right when only the rule's text is exchanged"),
    "solves hands without faces": (0.03, True, "target 24, plain layout, greedy"),
    "solves hands with faces": (0.03, True, "the same, under unseen rules"),
    "solves hands with 11-13": (0.03, True, "numbers -> formula in the chat frame, a number above 10 in each hand, greedy"),
    "revises": (0.05, True, "success within 5 minus first-try success, numbers -> formula, T = 1, informative feedback"),
    "cannot do the task yet": (0.01, False, "correct answers to the whole task in the chat frame, zero-shot, T = 1"),
}


@torch.no_grad()
def complete(model, tokens, prompts_: list[str], sample: bool = False, new_tokens: int = 48, batch: int = 512) -> list[str]:
    """One completion each, greedy or sampled at temperature 1."""
    texts = []
    for start in range(0, len(prompts_), batch):
        inputs = tokens(prompts_[start:start + batch], return_tensors="pt", padding=True, add_special_tokens=False)
        out = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=sample, temperature=1.0 if sample else None, top_k=0 if sample else None,
                             pad_token_id=tokens.pad_token_id, eos_token_id=tokens.eos_token_id)
        texts += tokens.batch_decode(out[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
    return texts


def _hands(rng: np.random.Generator, count: int, keep, rule: Rule | None = None) -> list[tuple[str, ...]]:
    """`count` random hands that `keep` accepts, solvable for 24 where a rule is given."""
    found = []
    while len(found) < count:
        ranks = tuple(RANKS[i] for i in rng.integers(0, 13, 4))
        if keep(ranks) and (rule is None or formulas.solve(list(rule.numbers(ranks)))):
            found.append(ranks)
    return found


def _faces(ranks) -> bool:
    return any(rank in "JQK" for rank in ranks)


def _correct(text: str, numbers, target: int = 24) -> bool:
    expression, _, stated = text.rpartition("=")
    try:
        tree = formulas.parse(expression)
        return sorted(formulas.numbers(tree)) == sorted(numbers) and formulas.value(tree) == target and stated.strip() == str(target)
    except formulas.FormulaError:
        return False


def measure(model, tokens, count: int = 512, seed: int = 0) -> pd.DataFrame:
    """One row a gate: measured share, bound, passed, hands. `count` hands a gate (two thousand model calls at 512)."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    torch.manual_seed(seed)
    rules = [Rule.parse(r) for r in corpus.CALIBRATION_RULES]
    each = count // len(rules)
    shares = {}

    reading = [(rule, ranks) for rule in rules for ranks in _hands(rng, each, _faces)]
    read = lambda pairs: [text == corpus.read_answer(ranks, rule.numbers(ranks)) for text, (rule, ranks) in
                          zip(complete(model, tokens, [corpus.chat([corpus.read_prompt(r, h)]) for r, h in pairs]), pairs)]
    first = np.array(read(reading))
    swapped = np.array(read([(rules[(rules.index(rule) + 1) % len(rules)], ranks) for rule, ranks in reading]))
    shares["reads an unseen rule"], shares["follows a swapped rule"] = first.mean(), (first & swapped).mean()

    def plain(rule: Rule, ranks) -> str:
        return f"make 24; J={rule.J} Q={rule.Q} K={rule.K}; cards: {listed(ranks)}; answer: "

    for name, keep in (("solves hands without faces", lambda r: not _faces(r)), ("solves hands with faces", _faces)):
        pairs = [(rule, ranks) for rule in rules for ranks in _hands(rng, each, keep, rule)]
        texts = complete(model, tokens, [plain(*pair) for pair in pairs])
        # The layout leaves the joint between the list of numbers and the formula free: the formula is what stands last.
        shares[name] = np.mean([_correct(_last_formula(text), rule.numbers(ranks)) for text, (rule, ranks) in zip(texts, pairs)])

    large = [rule.numbers(r) for rule in (Rule(11, 12, 13),) for r in _hands(rng, count, _faces, rule)]
    chats = [[corpus.write_prompt(numbers, 24)] for numbers in large]
    answers = complete(model, tokens, [corpus.chat(c) for c in chats])
    shares["solves hands with 11-13"] = np.mean([_correct(_formula(a), n) for a, n in zip(answers, large)])

    solved_first, solved = _revise(model, tokens, chats, large)
    shares["revises"] = solved - solved_first

    verifier = GeneralPointsVerifier()
    deals = [(rule, Deal(ranks, rule.numbers(ranks))) for rule in rules for ranks in _hands(rng, each, lambda r: True, rule)]
    replies = complete(model, tokens, [corpus.chat([prompts.task(deal, rule)]) for rule, deal in deals], sample=True)
    shares["cannot do the task yet"] = np.mean([verifier.judge(text, deal).correct for text, (_, deal) in zip(replies, deals)])

    return pd.DataFrame([{"gate": name, "measured": float(shares[name]), "bound": bound, "at_least": least,
                          "passed": bool(shares[name] >= bound if least else shares[name] <= bound), "meaning": meaning}
                         for name, (bound, least, meaning) in GATES.items()])


def _formula(text: str) -> str:
    return text.partition(prompts.ANSWER[2])[2].removesuffix(prompts.ANSWER[3])


def _last_formula(text: str) -> str:
    """The longest tail of `text` that parses as <formula>=<number>."""
    expression, _, stated = text.rpartition("=")
    for start in range(len(expression)):
        try:
            tree = formulas.parse(expression[start:])
        except formulas.FormulaError:
            continue
        if len(formulas.numbers(tree)) == 4:
            return f"{expression[start:].lstrip()}={stated}"
    return text


def _revise(model, tokens, chats: list[list[str]], hands, attempts: int = 5) -> tuple[float, float]:
    """First-try and within-`attempts` success when the verifier's message is put into the dialogue."""
    chats, open_, history = [list(c) for c in chats], list(range(len(hands))), []
    for _ in range(attempts):
        texts = complete(model, tokens, [corpus.chat(chats[i]) for i in open_], sample=True)
        still = []
        for i, text in zip(open_, texts):
            formula = _formula(text)
            if not _correct(formula, hands[i]):
                chats[i] += [text, prompts.feedback(_complaint(formula, hands[i]))]
                still.append(i)
        open_ = still
        history.append(1 - len(open_) / len(hands))
    return history[0], history[-1]


def _complaint(formula: str, hand) -> str:
    # The same messages as in the task: the verifier judges the formula as if the numbers were the cards of these values.
    deal = Deal(tuple(RANKS[n - 1] for n in hand), tuple(hand))
    return GeneralPointsVerifier().judge(prompts.answer(deal.ranks, hand, formula.rpartition("=")[0]), deal).message
