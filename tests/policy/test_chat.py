"""The chat template, cut into tokens that are appended, and rendered at once."""

import pytest
from posttrain.environments import prompts
from posttrain.policy import Chat

LLAMA3 = (
    "{{ '<|user|>system' + '\n\n' + 'Date' + '<|end|>' }}"
    "{% for m in messages %}{{ '<|user|>' + m['role'] + '\n\n' + m['content'] | trim + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|user|>assistant\n\n' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|user|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|user|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("template", [None, LLAMA3, CHATML])
def test_the_cut_chat_template_makes_the_dialogue_rendered_at_once(tokenizer, template):
    kept = tokenizer.chat_template
    tokenizer.chat_template = template or kept
    try:
        chat, encode = Chat(tokenizer), lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
        attempts = [
            ('{"formula": "1+1"}', "the answer is wrong"),
            ("answer", ""),
            ("no answer at all", "it leaves out 4"),
        ]
        for n in range(len(attempts) + 1):
            messages = prompts.dialogue("a task", attempts[:n])
            ids = chat.opening(messages[:1])
            for (text, _), says in zip(attempts[:n], (m["content"] for m in messages[2::2])):
                ids = ids + encode(text) + [chat.end] + chat.feedback(says)
            assert ids == encode(
                tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            )
    finally:
        tokenizer.chat_template = kept
