"""Gates of the numbers: reading a rule, solving hands, revising.

Answers are compared with what the corpus would say; formulas are parsed and evaluated, never executed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from posttrain import formulas
from posttrain.environments import prompts
from posttrain.foundation.corpus import CALIBRATION_RULES, read_answer, read_prompt, write_prompt
from posttrain.foundation.documents import chat
from posttrain.verifiers.answers import listed
from posttrain.verifiers.general_points import RANKS, Deal, GeneralPointsVerifier, Rule

RULES = [Rule.parse(rule) for rule in CALIBRATION_RULES]
BATCH = 512  # texts that are completed together
Hand = tuple[str, ...]


def complete(model, tokens, texts: list[str], sample: bool = False, new_tokens: int = 48) -> list[str]:
    """One completion each, greedy or sampled at temperature 1."""
    completions = []
    how = {"temperature": 1.0, "top_k": 0} if sample else {"temperature": None, "top_k": None}
    how |= {"pad_token_id": tokens.pad_token_id, "eos_token_id": tokens.eos_token_id}
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        inputs = tokens(part, return_tensors="pt", padding=True, add_special_tokens=False)
        out = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=sample, **how)
        completions += tokens.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return completions


def hands(
    rng: Generator, count: int, keep: Callable[[Hand], bool] = lambda hand: True, rule: Rule | None = None
) -> list[Hand]:
    """`count` random hands that `keep` accepts, solvable for 24 where a rule is given."""
    drawn = []
    while len(drawn) < count:
        hand = tuple(RANKS[i] for i in rng.integers(0, 13, 4))
        if keep(hand) and (rule is None or formulas.solve(list(rule.numbers(hand)))):
            drawn.append(hand)
    return drawn


def has_face(hand: Hand) -> bool:
    return any(rank in "JQK" for rank in hand)


def correct(text: str, numbers: Sequence[int]) -> bool:
    """Whether `text` is <formula>=24 with a formula of `numbers` that makes it."""
    expression, _, stated = text.rpartition("=")
    try:
        tree = formulas.parse(expression)
        right = formulas.value(tree) == 24 and stated.strip() == "24"
        return right and sorted(formulas.numbers(tree)) == sorted(numbers)
    except formulas.FormulaError:
        return False


def last_formula(text: str) -> str:
    """The longest tail of `text` that parses as <formula>=<number>, with four numbers in the formula."""
    expression, _, stated = text.rpartition("=")
    for start in range(len(expression)):
        try:
            tree = formulas.parse(expression[start:])
        except formulas.FormulaError:
            continue
        if len(formulas.numbers(tree)) == 4:
            return f"{expression[start:].lstrip()}={stated}"
    return text


def _formula(answer: str) -> str:
    return answer.partition(prompts.ANSWER[2])[2].removesuffix(prompts.ANSWER[3])


def _complaint(formula: str, numbers: Sequence[int]) -> str:
    # The same messages as in the task: the verifier judges the formula as if the numbers were the cards of
    # these values.
    deal = Deal(tuple(RANKS[n - 1] for n in numbers), tuple(numbers))
    answer = prompts.answer(deal.ranks, numbers, formula.rpartition("=")[0])
    return GeneralPointsVerifier().judge(answer, deal).message


def _revise(model, tokens, hands: list[Sequence[int]]) -> tuple[float, float]:
    """Success at the first and within five answers when the verifier's message is put into the dialogue."""
    dialogues, unsolved, history = [[write_prompt(numbers, 24)] for numbers in hands], range(len(hands)), []
    for _ in range(5):
        answers = complete(model, tokens, [chat(dialogues[i]) for i in unsolved], sample=True)
        wrong = [(i, a) for i, a in zip(unsolved, answers) if not correct(_formula(a), hands[i])]
        for i, answer in wrong:
            dialogues[i] += [answer, prompts.feedback(_complaint(_formula(answer), hands[i]))]
        unsolved = [i for i, _ in wrong]
        history.append(1 - len(unsolved) / len(hands))
    return history[0], history[-1]


def shares(model, tokens, count: int, rng: Generator) -> dict[str, float]:
    """The measured share of each gate."""
    each, shares = count // len(RULES), {}

    def read(pairs: list[tuple[Rule, Hand]]) -> np.ndarray:
        texts = complete(model, tokens, [chat([read_prompt(*pair)]) for pair in pairs])
        answers = [read_answer(hand, rule.numbers(hand)) for rule, hand in pairs]
        return np.array([text == answer for text, answer in zip(texts, answers)])

    pairs = [(rule, hand) for rule in RULES for hand in hands(rng, each, has_face)]
    first = read(pairs)
    swapped = read([(RULES[(RULES.index(rule) + 1) % len(RULES)], hand) for rule, hand in pairs])
    shares["reads an unseen rule"], shares["follows a swapped rule"] = first.mean(), (first & swapped).mean()

    for name, keep in (("without", lambda hand: not has_face(hand)), ("with", has_face)):
        pairs = [(rule, hand) for rule in RULES for hand in hands(rng, each, keep, rule)]
        texts = [f"make 24; J={r.J} Q={r.Q} K={r.K}; cards: {listed(hand)}; answer: " for r, hand in pairs]
        # The layout leaves the joint between the list of numbers and the formula free: the formula stands
        # last.
        ends = [last_formula(text) for text in complete(model, tokens, texts)]
        right = [correct(end, rule.numbers(hand)) for end, (rule, hand) in zip(ends, pairs)]
        shares[f"solves hands {name} faces"] = np.mean(right)

    rule = Rule(11, 12, 13)
    large = [rule.numbers(hand) for hand in hands(rng, count, has_face, rule)]
    answers = complete(model, tokens, [chat([write_prompt(numbers, 24)]) for numbers in large])
    right = [correct(_formula(answer), numbers) for answer, numbers in zip(answers, large)]
    shares["solves hands with 11-13"] = np.mean(right)
    first_try, within = _revise(model, tokens, large)
    shares["revises"] = within - first_try

    deals = [(rule, Deal(h, rule.numbers(h))) for rule in RULES for h in hands(rng, each, rule=rule)]
    tasks = [chat([prompts.task(deal, rule)]) for rule, deal in deals]
    replies, verifier = complete(model, tokens, tasks, sample=True), GeneralPointsVerifier()
    right = [verifier.judge(reply, deal).correct for reply, (_, deal) in zip(replies, deals)]
    shares["cannot do the task yet"] = np.mean(right)
    return shares
