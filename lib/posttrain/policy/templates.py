"""Chat templates as text: rendered with a date that stands still, and what they put around an answer.

`policy.chat.settle` tries whether dialogues can grow under a template; PROBES are what it tries.
"""

from __future__ import annotations

from typing import Any

DATE = "26 Jul 2024"  # for templates that print today's
CLOCK = "{%- macro strftime_now(format) -%}" + DATE + "{%- endmacro -%}"
LISTED = (  # for templates that know no content but lists of parts (Idefics3, LLaVA): a string would vanish
    "{%- set all = namespace(said=[]) -%}{%- for message in messages -%}{%- if message.content is string -%}"
    "{%- set parts = [{'type': 'text', 'text': message.content}] -%}"
    "{%- set all.said = all.said + [{'role': message.role, 'content': parts}] -%}"
    "{%- else -%}{%- set all.said = all.said + [message] -%}{%- endif -%}{%- endfor -%}"
    "{%- set messages = all.said -%}"
)
USER, ANSWER = "Where do I turn at the corner?", '{"cards": ["A", "10"], "formula": "10*1=24"}'
PROBES = (  # (answer, what is said to it); the tasks' answers begin with a brace and end with one
    (ANSWER, "You failed this attempt: the formula makes 10. Answer again in the same format."),
    ('{"action": "turn_direction(north)"}', "You failed this attempt."),
    ("no answer: é", "Two\n\nlines, and a number: 7/2."),
)


def render(tokenizer: Any, messages: list[dict], generate: bool) -> str:
    """The dialogue as text; with `generate` up to where an answer begins."""
    how = {"tokenize": False, "add_generation_prompt": generate, "date_string": DATE}
    return tokenizer.apply_chat_template(messages, **how)


def dialogue(answers: tuple = ()) -> list[dict]:
    """Messages of a dialogue whose answers are told to be wrong."""
    messages = [{"role": "user", "content": USER}]
    for answer, says in answers:
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": says}]
    return messages


def lead(tokenizer: Any) -> str:
    """The blanks that a template puts between an opening and an answer; ValueError if the rest differs."""
    opening, whole = render(tokenizer, dialogue(), True), render(tokenizer, dialogue(PROBES[:1])[:2], False)
    begin = whole.find(ANSWER)
    between = whole[len(opening) : begin] if whole.startswith(opening) else None
    if begin < 0 or between is None or between.strip():
        raise ValueError("its chat template renders an answer otherwise than it asks for one")
    return between


def end_of_turn(tokenizer: Any) -> str:
    """The token that ends an answer; ValueError if there is none of its own."""
    whole = render(tokenizer, dialogue(PROBES[:1])[:2], False)
    rest = whole[whole.rindex(ANSWER) + len(ANSWER) :]
    marks = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    mark = next((mark for mark in marks if mark.strip() and rest.startswith(mark)), None)
    if mark is None:
        raise ValueError(f"its chat template ends an answer with {rest[:20]!r}, no token of its own")
    return mark


def steady(tokenizer: Any) -> None:
    """Make the template's date stand still, strings shown and its end of turn the tokenizer's `eos_token`.
    ValueError or TemplateError where no dialogue could grow."""
    if "strftime_now" in tokenizer.chat_template and CLOCK not in tokenizer.chat_template:
        tokenizer.chat_template = CLOCK + tokenizer.chat_template
    if USER not in render(tokenizer, dialogue(), True):
        tokenizer.chat_template = LISTED + tokenizer.chat_template
    lead(tokenizer)
    if (mark := end_of_turn(tokenizer)) != tokenizer.eos_token:
        tokenizer.eos_token = mark
