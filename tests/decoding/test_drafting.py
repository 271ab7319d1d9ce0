"""Guesses: what is proposed, and which of the tokens drawn count."""

import torch
from posttrain.decoding.drafting import NOTHING, Draft, accepted, guessed
from posttrain.policy import Chat

END = 99


def test_a_draft_goes_on_behind_each_rows_tokens_as_long_as_most_rows_have_one():
    draft = Draft(torch.tensor([[1, 2, 3, 4], [5, 6, NOTHING, NOTHING], [7, 8, 9, NOTHING]]))
    rows = torch.arange(3)
    assert draft.next(rows, torch.tensor([0, 0, 0])).tolist() == [[1, 2, 3], [5, 6, NOTHING], [7, 8, 9]]
    assert draft.next(rows, torch.tensor([2, 1, 1])).tolist() == [[3, 4], [6, NOTHING], [8, 9]]
    assert draft.next(rows[:2], torch.tensor([1, 4])).shape == (2, 0)  # half of the rows are not most
    draft.drop(torch.tensor([0, 2]))
    assert draft.next(rows, torch.tensor([0, 0, 0])).shape == (3, 0)
    assert draft.next(torch.tensor([1]), torch.tensor([0])).tolist() == [[5, 6]]
    assert Draft(torch.zeros(2, 0, dtype=torch.long)).next(rows[:2], rows[:2]).shape == (2, 0)


def test_tokens_count_up_to_the_first_that_is_another_or_the_end():
    drafted = torch.tensor([[1, 2, 3], [1, 2, 3], [1, END, 3], [NOTHING, 2, 3]])
    drawn = torch.tensor([[1, 2, 3, 4], [1, 7, 3, 4], [1, END, 3, 4], [1, 2, 3, 4]])
    assert accepted(drawn, drafted, END).sum(1).tolist() == [4, 2, 2, 1]
    assert accepted(drawn[:, :1], drafted[:, :0], END).tolist() == [[True]] * 4


def test_guesses_are_cut_and_may_be_missing(tokenizer):
    chat = Chat(tokenizer)
    text = '{"cards": ["A", "2", "3", "4"]}'
    ids = guessed(chat, [text, "", "7"], 5)
    assert ids[0].tolist() == chat.encode(text)[:5] and ids[1].tolist() == [NOTHING] * 5
    assert ids[2].tolist() == chat.encode("7") + [NOTHING] * (5 - len(chat.encode("7")))
    assert guessed(chat, ["", ""], 5).shape == (2, 0)
