"""The pocket corpus: a broad synthetic mixture for pretraining, made without a solver.

What a foundation model brings to the study is reading a rule in context, arithmetic, JSON, dialogue. The
corpus teaches these in many layouts. Formulas are made backwards: a random expression, whose value becomes
the target, so 24 is no favourite. The chat frame holds the *parts* of the GeneralPoints task (cards ->
numbers, numbers -> formula, revising) and never their composition: the base must not be able to answer the
task before Init (paper, Figure 9). Rules that gates or experiments use for "a rule never seen" are left out
(`HELD_OUT_RULES`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.random import Generator

from posttrain import formulas
from posttrain.config import FoundationConfig
from posttrain.environments import prompts
from posttrain.environments.general_points import IN_RANGE_RULES
from posttrain.foundation.documents import ANSWER, JOINTS, Document, Mixture, ask, chat, pick, shuffled
from posttrain.verifiers.answers import listed
from posttrain.verifiers.general_points import FACES, RANKS, Rule

CALIBRATION_RULES = ("3/8/6", "12/4/11", "7/13/2")  # the gates', never an experiment's
HELD_OUT_RULES = frozenset(Rule.parse(rule) for rule in CALIBRATION_RULES + IN_RANGE_RULES)


# --- random expressions -------------------------------------------------------------------------------------


def expression(rng: Generator, numbers: list[int]) -> tuple[int, str]:
    """A random formula of all `numbers` (order random) with a whole value, and that value."""
    while True:
        parts = [(n, (str(n), 3)) for n in rng.permutation(numbers).tolist()]
        draws = rng.random(2 * len(parts)).tolist()
        while len(parts) > 1:
            i = int(draws.pop() * (len(parts) - 1))
            operator = "+-*/"[int(draws.pop() * 4)]
            (x, a), (y, b) = parts[i], parts[i + 1]
            if operator == "/" and (y == 0 or x % y):
                break
            value = {"+": x + y, "-": x - y, "*": x * y, "/": x // (y or 1)}[operator]
            parts[i : i + 2] = [(value, formulas.join(operator, a, b))]
        if len(parts) == 1 and abs(parts[0][0]) <= 999:
            return parts[0][0], parts[0][1][0]


def problem(rng: Generator, numbers: list[int]) -> tuple[int, str]:
    """Like `expression`, with a value fit for a target (1 to 100)."""
    while True:
        value, text = expression(rng, numbers)
        if 1 <= value <= 100:
            return value, text


def rule(rng: Generator) -> Rule:
    """Half the rules are random, the rest are the two rules that people know."""
    draw = rng.random()
    if draw < 0.25:
        return Rule(10, 10, 10)
    if draw < 0.5:
        return Rule(11, 12, 13)
    while True:
        values = rng.integers(1, 14, 3).tolist()
        drawn = Rule(*([values[0]] * 3 if draw > 0.92 else values))
        if drawn not in HELD_OUT_RULES:
            return drawn


def ranks(rng: Generator, count: int = 4) -> list[str]:
    return [RANKS[i] for i in rng.integers(0, 13, count).tolist()]


def numbers(rng: Generator, count: int = 4) -> list[int]:
    return rng.integers(1, 14, count).tolist()


# --- plain layouts: order, delimiters and words drawn per document ------------------------------------------

_LISTS = (  # between the items, before and behind them
    *((" ", "", ""), (", ", "", ""), (",", "", ""), ("-", "", "")),
    *((", ", "[", "]"), (" ", "(", ")"), ("; ", "{", "}")),
)
_TARGET = ("target ", "make ", "value: ", "goal=", "reach ", "24 game, but with ")
_CARDS = ("cards ", "hand: ", "cards: ", "you hold ", "")
_NUMBERS = ("numbers ", "numbers: ", "use ", "values=", "")
_RULE = ((" = ", ", "), ("=", " "), (": ", "; "), (" is ", ", "), (" counts as ", ", "), (" -> ", " "))


def vocabulary() -> list[str]:
    """All texts that the pocket tokenizer of this corpus holds as one token each."""
    texts = (
        *(*_TARGET, *_CARDS, *_NUMBERS, *ANSWER, *JOINTS, *sum(_RULE, ())),
        *(*(joint for joint, _, _ in _LISTS), *_READ, *_WRITE, *_RECORD),
        *("not ", " is wrong", "try again", "right", "compute "),
    )
    return [*prompts.phrases(), *(text for text in dict.fromkeys(texts) if len(text) > 1)]


def _list(rng: Generator, items: Iterable[Any]) -> str:
    joint, start, end = pick(rng, _LISTS)
    return f"{start}{joint.join(map(str, items))}{end}"


def _rule_text(rng: Generator, rule: Rule) -> str:
    equals, joint = pick(rng, _RULE)
    return joint.join(f"{FACES[i]}{equals}{rule[i]}" for i in rng.permutation(3).tolist())


def plain_lookup(rng) -> Document:
    """A rule and one to five cards, in either order -> their numbers."""
    drawn, hand = rule(rng), ranks(rng, int(rng.integers(1, 6)))
    prompt = shuffled(rng, _rule_text(rng, drawn), pick(rng, _CARDS) + _list(rng, hand))
    return Document("lookup", prompt, _list(rng, drawn.numbers(hand)))


def plain_formula(rng) -> Document:
    """A target and two to four numbers, in either order -> a formula."""
    hand = numbers(rng, pick(rng, (2, 3, 4, 4, 4)))
    target, text = problem(rng, hand)
    prompt = shuffled(rng, f"{pick(rng, _TARGET)}{target}", pick(rng, _NUMBERS) + _list(rng, hand))
    return Document("formula", prompt, f"{text}={target}")


def plain_points(rng) -> Document:
    """Rule, cards and target in one document: the whole task, in every layout but the chat frame's JSON."""
    drawn, hand = rule(rng), ranks(rng)
    values = list(drawn.numbers(hand))
    target, text = problem(rng, values)
    fields = f"{pick(rng, _TARGET)}{target}", _rule_text(rng, drawn), pick(rng, _CARDS) + _list(rng, hand)
    prompt = shuffled(rng, *fields)
    return Document("points", prompt, f"{_list(rng, values)}{pick(rng, JOINTS)}{text}={target}")


def arithmetic(rng) -> Document:
    """A formula -> its value."""
    value, text = expression(rng, numbers(rng, pick(rng, (2, 2, 3, 4))))
    return Document("arithmetic", f"compute {text}=", str(value))


_RECORD = ("name", "age", "city", "size", "count")


def record(rng) -> Document:
    """Copy a field list into a JSON object."""
    keys = [_RECORD[i] for i in rng.permutation(len(_RECORD))[:3].tolist()]
    values = rng.integers(0, 101, 3).tolist()
    prompt = pick(rng, JOINTS).join(f"{k} {v}" for k, v in zip(keys, values)) + ask(rng)
    return Document("record", prompt, "{" + ", ".join(f'"{k}": {v}' for k, v in zip(keys, values)) + "}")


# --- the chat frame: parts of the task ----------------------------------------------------------------------

_READ = (
    "Say what the cards below are worth.",
    "\n\n[Output]\nAnswer with one JSON object with two fields: the cards and their values.",
    "]}",
)
_WRITE = (
    "Using the numbers below, write one formula with the value ",
    ". Use every number exactly once, and only the symbols + - * / and brackets.",
    "\n\n[Input]\nNumbers: [",
    '{"number": [',
    "\n\n[Output]\nAnswer with one JSON object with two fields: the numbers and the formula.",
)


def read_prompt(rule: Rule, ranks) -> str:
    return _READ[0] + prompts.rule_sentence(rule) + prompts.cards(ranks) + _READ[1]


def read_answer(ranks, values) -> str:
    return f"{prompts.ANSWER[0]}{prompts.QUOTED.join(ranks)}{prompts.ANSWER[1]}{listed(values)}{_READ[2]}"


def write_prompt(numbers, target: int) -> str:
    return f"{_WRITE[0]}{target}{_WRITE[1]}{_WRITE[2]}{listed(numbers)}]{_WRITE[4]}"


def write_answer(numbers, formula: str, target: int) -> str:
    return f"{_WRITE[3]}{listed(numbers)}{prompts.ANSWER[2]}{formula}={target}{prompts.ANSWER[3]}"


def chat_read(rng) -> Document:
    """Cards -> numbers in the chat frame: the first half of the task."""
    drawn, hand = rule(rng), ranks(rng)
    return Document("chat read", chat([read_prompt(drawn, hand)]), read_answer(hand, drawn.numbers(hand)))


def chat_write(rng) -> Document:
    """Numbers -> formula in the chat frame: the second half of the task."""
    hand = numbers(rng)
    target, text = problem(rng, hand)
    return Document("chat write", chat([write_prompt(hand, target)]), write_answer(hand, text, target))


def _mistake(rng: Generator, hand: list[int], target: int) -> tuple[str, str]:
    """A wrong formula for `hand` and what the verifier would say of it."""
    draw = rng.random()
    if draw < 0.7:
        value, text = expression(rng, hand)
        while value == target:
            value, text = expression(rng, hand)
        return text, f"the formula makes {value}"
    if draw < 0.92:
        wrong, i = list(hand), int(rng.integers(len(hand)))
        while wrong[i] == hand[i]:
            wrong[i] = int(rng.integers(1, 14))
        return expression(rng, wrong)[1], f"it must not use {wrong[i]} and it leaves out {hand[i]}"
    text = expression(rng, hand)[1]
    return text + pick(rng, "+-*/"), f"the formula is not valid: {formulas.OPERATOR}"


def _mistakes(rng: Generator, hand: list[int], target: int, most: int) -> list[tuple[str, str]]:
    """One to `most` different mistakes; the messages say why, or only that, or nothing."""
    count = 1 + int(most * rng.random() ** 2)  # short dialogues are more frequent: long ones cost most tokens
    mistakes = dict(_mistake(rng, hand, target) for _ in range(count))
    kind = rng.random()
    if kind >= 0.6:
        mistakes = dict.fromkeys(mistakes, "the answer is wrong" if kind < 0.8 else "")
    return list(mistakes.items())


def chat_revise(rng) -> Document:
    """Numbers -> formula after one to four failed attempts in the dialogue; only the last one is learned."""
    hand = numbers(rng)
    target, text = problem(rng, hand)
    turns = [write_prompt(hand, target)]
    for wrong, message in _mistakes(rng, hand, target, 4):
        turns += [write_answer(hand, wrong, target), prompts.feedback(message)]
    return Document("chat revise", chat(turns), write_answer(hand, text, target))


def chat_points(rng) -> Document:
    """Rule, cards and target in the chat frame, answered in plain text: the task without prompt and JSON."""
    drawn, hand = rule(rng), ranks(rng)
    values = list(drawn.numbers(hand))
    target, text = problem(rng, values)
    prompt = f"make {target}{prompts.rule_sentence(drawn)}{prompts.cards(hand)}"
    return Document("chat points", chat([prompt]), f"{listed(values)}; {text}={target}")


def chat_add(rng) -> Document:
    """Cards -> numbers and their sum: JSON whose last field is computed from the one before."""
    drawn, hand = rule(rng), ranks(rng)
    values = drawn.numbers(hand)
    prompt = f"sum{prompts.rule_sentence(drawn)}{prompts.cards(hand)}"
    answer = read_answer(hand, values).removesuffix(_READ[2]) + f'], "sum": {sum(values)}}}'
    return Document("chat add", chat([prompt]), answer)


def chat_reread(rng) -> Document:
    """Cards -> numbers after a wrong reading."""
    drawn, hand = rule(rng), ranks(rng)
    right = drawn.numbers(hand)
    wrong = list(right)
    wrong[int(rng.integers(4))] = int(rng.integers(1, 14))
    if tuple(wrong) == right:
        return chat_read(rng)
    message = prompts.feedback(pick(rng, ("the answer is wrong", "")))
    turns = [read_prompt(drawn, hand), read_answer(hand, wrong), message]
    return Document("chat reread", chat(turns), read_answer(hand, right))


def plain_revise(rng) -> Document:
    """Target, three or four numbers and one or two formulas that are wrong -> another formula."""
    hand = numbers(rng, pick(rng, (3, 4)))
    target, text = problem(rng, hand)
    wrong = pick(rng, JOINTS).join(f"not {w}" for w, _ in _mistakes(rng, hand, target, 2))
    prompt = f"{pick(rng, _TARGET)}{target}; {pick(rng, _NUMBERS)}{_list(rng, hand)}; {wrong}{ask(rng)}"
    return Document("revise", prompt, f"{text}={target}")


# The first steps hold reading alone: mixed with everything else from the start, reading a rule in context is
# learned late or not at all, and how late differs from seed to seed.
READING: Mixture = {plain_lookup: 0.4, chat_read: 0.6}
MIXTURE: Mixture = {
    **{plain_lookup: 0.05, plain_formula: 0.10, plain_points: 0.12, arithmetic: 0.05, record: 0.01},
    **{chat_read: 0.12, chat_write: 0.22, chat_revise: 0.12, chat_reread: 0.02},
    **{plain_revise: 0.02, chat_points: 0.12, chat_add: 0.05},
}


def arguments(config: FoundationConfig) -> tuple[()]:
    """What the makers take besides the generator: nothing."""
    return ()
