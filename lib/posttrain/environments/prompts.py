"""The dialogue: task, answers and verifier messages as chat messages.

Paper: Figures 3, 11 and 12 and appendix A.2 (fields and their order; the words are ours). A dialogue is the
usual list of {"role", "content"} messages, so any chat template renders it. The face-card rule stands in one
sentence, the only text that differs between in-distribution and rule-OOD prompts; the released prompt repeats
it in the output block, ours refers to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from posttrain import formulas
from posttrain.verifiers.answers import TOO_LONG, TWO_ANSWERS
from posttrain.verifiers.general_points import NO_ANSWER, NOT_TEXT, Deal, Rule

Content = str | list[dict[str, str]]
Message = dict[str, Content]
IMAGE = {"type": "image"}  # where a message shows a picture; a chat template puts its own marker there

# The task as a template; each constant piece is one token of the pocket tokenizer.
TASK = (
    "You are an expert card player. Using the four cards below, write one formula with the value ",
    ". Use every card exactly once, and only the symbols + - * / and brackets.",
    "\n\n[Output]\nAnswer with one JSON object with three fields in this order: "
    '"cards", the list of the four cards; "number", the list of their values under the rule above; '
    '"formula", a text that ends in the equals sign and the value.',
)
RULE = (" J counts as ", ", Q counts as ", ", K counts as ", " and A counts as 1.")
CARDS = ("\n\n[Input]\nCards: [", "]")
QUOTED = '", "'
ANSWER = ('{"cards": ["', '"], "number": [', '], "formula": "', '"}')
FAILED = "You failed this attempt: "
AGAIN = ". Answer again in the same format."


def task(deal: Deal, rule: Rule | str) -> str:
    """The task prompt of `deal` under `rule`, in text (GP-L)."""
    return task_for(deal.target, rule, ", ".join(deal.ranks))


def task_for(target: int, rule: Rule | str, shown: str = "") -> str:
    """The task prompt with `shown` as its list of cards."""
    expert, symbols, output = TASK
    return f"{expert}{target}{symbols}{rule_sentence(rule)}{CARDS[0]}{shown}{CARDS[1]}{output}"


def rule_sentence(rule: Rule | str) -> str:
    """The one sentence that says what the face cards count as."""
    return "".join(f"{phrase}{value}" for phrase, value in zip(RULE, (*Rule.parse(rule), "")))


def cards(ranks: Iterable[str]) -> str:
    """The input block."""
    return f"{CARDS[0]}{', '.join(ranks)}{CARDS[1]}"


def answer(ranks: Iterable[str], numbers: Iterable[int], formula: str, target: int = 24) -> str:
    """An answer in the format that the task asks for: valid JSON, fields in the paper's order."""
    start, number, text, end = ANSWER
    return f"{start}{QUOTED.join(ranks)}{number}{', '.join(map(str, numbers))}{text}{formula}={target}{end}"


def with_picture(text: str, before: str) -> Content:
    """Message content of `text` with a picture behind its part `before`."""
    head, mark, tail = text.partition(before)
    return [{"type": "text", "text": head + mark}, IMAGE, {"type": "text", "text": tail}]


def text(message: Message) -> str:
    """What a message says; a picture in it says nothing."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def feedback(message: str) -> str:
    """What the dialogue says after a failed answer; an empty `message` gives the bare request."""
    return f"{FAILED}{message}{AGAIN}" if message else f"{FAILED.rstrip(': ')}{AGAIN}"


def dialogue(task: Content, attempts: Iterable[tuple[str, str]] = ()) -> list[Message]:
    """Chat messages: the task, then each failed answer and the verifier's message on it."""
    messages: list[Message] = [{"role": "user", "content": task}]
    for reply, message in attempts:
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": feedback(message)}]
    return messages


def phrases() -> list[str]:
    """Constant pieces of prompts, answers and messages: the pocket tokenizer holds each as one token, in this
    order."""
    return [
        *(*TASK, *RULE, *CARDS, *ANSWER, QUOTED, ", ", FAILED, AGAIN, feedback("")),
        *("the answer is wrong", "the formula makes ", "it must not use ", "it leaves out "),
        *("it uses too often ", " and ", NO_ANSWER, NOT_TEXT, TWO_ANSWERS, TOO_LONG),
        *("the formula does not end in =", "the formula is not valid: ", *formulas.REASONS),
        *("the formula holds illegal characters", "the formula is no solution"),
        *(" is the beginning of a solution", "the cards are not the ones shown"),
    ]
