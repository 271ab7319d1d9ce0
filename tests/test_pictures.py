"""Pictures, in both kinds of vision-language class: they reach the sampler, the loss and every part that may
learn from them.

The released collator of SFT dropped every picture silently (the book's ledger); nothing here may pass for a
model that is blind.
"""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from posttrain import policy as models
from posttrain import rollouts
from posttrain.decoding.drafting import NOTHING
from posttrain.environments import prompts
from posttrain.environments.general_points import GeneralPointsEnv
from posttrain.evaluation import CensusConfig, census, divergence
from posttrain.policy import Chat
from posttrain.policy.batching import padded, stacked
from posttrain.rendering import cards
from posttrain.rollouts import Opening, Sampling, roll
from posttrain.tasks import TASKS
from posttrain.trainers import ppo, sft
from posttrain.trainers.batch import collate

from tests.conftest import stir

CLASSES = ("llava", "mllama", "qwen2-vl", "qwen2.5-vl", "idefics3")
HANDS = (("A", "2", "10", "K"), ("7", "7", "J", "3"), ("Q", "Q", "Q", "Q"))
PICTURES = [partial(cards.draw, hand, ("S", "C", "S", "C"), cards.POCKET) for hand in HANDS]
MESSAGES = [
    [{"role": "user", "content": prompts.with_picture(f"{'look ' * i}here: [] and say", "[")}]
    for i in range(3)
]
ENVIRONMENT = {"vision": True, "suits": "black", "pixels": 56}


@pytest.fixture
def policy(seeing):
    def make(name, parts="vision", value=False, fast=True, stirred=True):
        made = models.add_lora(
            models.load(seeing[name]), models.LoraSettings(rank=4, alpha=8, parts=parts), seed=1, value=value
        )
        made.fast = fast
        if stirred:
            stir(made)
        return made

    return make


def rolled(policy, pictures=PICTURES, turns=2, temperature=1.0):
    seen = [0] * len(MESSAGES)

    def judge(row, text):
        seen[row] += 1
        return 1.0, prompts.feedback("x" * row), seen[row] > (row < turns), SimpleNamespace(correct=False)

    with policy.merged():
        openings = [Opening(messages, picture) for messages, picture in zip(MESSAGES, pictures)]
        return roll(policy, openings, judge, Sampling(5, temperature, torch.Generator().manual_seed(0)))


def trainer(policy, dialogues, **other):
    batch = collate([[d] for d in dialogues], policy.tokenizer.pad_token_id)
    logits, hidden = policy.score(batch.ids, batch.sampled, **(other or batch.inputs))
    return batch, logits.log_softmax(-1).gather(1, batch.ids[batch.sampled][:, None]).squeeze(1), hidden


def part(parameter):
    """As these classes call them."""
    if any(word in parameter for word in ("projector", "connector", "merger")):
        return "projector"
    return "vision" if any(word in parameter for word in ("vision", "visual")) else "language"


@pytest.mark.parametrize("name", CLASSES)
def test_the_sampler_sees_what_the_trainer_sees(policy, name):
    chosen = policy(name, value=True)
    dialogues = rolled(chosen)
    assert chosen.is_fast == (name == "llava") and [len(d.texts) for d in dialogues] == [2, 2, 1]
    batch, logprobs, hidden = trainer(chosen, dialogues)
    torch.testing.assert_close(batch.old[batch.sampled], logprobs.detach(), rtol=0, atol=5e-5)
    first = batch.sampled & ~batch.sampled.roll(
        1, 1
    )  # of each answer: its logits are read from the last prompt token's state
    values = chosen.value_head(hidden[first[batch.sampled]])
    torch.testing.assert_close(batch.values[batch.answered], values.detach(), rtol=0, atol=5e-5)
    # Not vacuous: with the pictures exchanged the same words have other probabilities.
    others = {k: v.roll(1, 0) for k, v in batch.inputs.items()}
    assert (trainer(chosen, dialogues, **others)[1] - logprobs).abs().max() > 1e-3


@pytest.mark.parametrize("name", CLASSES)
def test_a_guess_beside_a_picture_changes_nothing(policy, monkeypatch, name):
    chosen = policy(name, value=True)
    plain = rolled(chosen)
    ends = [
        next(k for k, sampled in enumerate([*d.sampled, False]) if k > d.ask[0] and not sampled)
        for d in plain
    ]
    said = [d.ids[d.ask[0] + 1 : end] for d, end in zip(plain, ends)]
    said[1] = said[1][:1] + [7] * 3
    monkeypatch.setattr(rollouts, "guessed", lambda *_: padded(said, NOTHING))
    guessed = rolled(chosen)
    assert max(map(len, said)) > 3 and [d.ids for d in guessed] == [d.ids for d in plain]
    for kind in ("logprobs", "values"):
        torch.testing.assert_close(
            *([x for d in dialogues for x in getattr(d, kind)] for dialogues in (guessed, plain)),
            rtol=0,
            atol=5e-5,
        )


def test_a_picture_changes_only_what_comes_behind_it(policy):
    chosen = policy("llava")
    ids, inputs = Chat(chosen.tokenizer, chosen.processor).openings(MESSAGES[:1] * 2, PICTURES[:2])
    ids = torch.tensor(ids)
    hidden = chosen.score(ids, torch.ones_like(ids, dtype=torch.bool), **inputs)[1].view(
        2, ids.shape[1] - 1, -1
    )
    image = int((ids[0] == chosen.base.config.image_token_id).nonzero()[0])
    assert image > 3 and torch.equal(ids[0], ids[1])
    torch.testing.assert_close(hidden[0, :image], hidden[1, :image], rtol=0, atol=1e-6)
    assert ((hidden[0, image:] - hidden[1, image:]).abs().amax(1) > 1e-4).all()


def test_the_mask_of_cross_attention_is_the_processors(policy):
    chosen = policy("mllama")
    made = chosen.processor(
        text=[Chat(chosen.tokenizer).render(m) for m in MESSAGES],
        images=[[p()] for p in PICTURES],
        padding=True,
        return_tensors="pt",
        add_special_tokens=False,
    )
    ids, inputs = Chat(chosen.tokenizer, chosen.processor).openings(MESSAGES, PICTURES)
    for r, row in enumerate(ids):
        own = chosen.visible(torch.tensor([row]), {k: v[r : r + 1] for k, v in inputs.items()})[
            "cross_attention_mask"
        ][0]
        assert (
            torch.equal(own, made["cross_attention_mask"][r, -len(row) :].to(own.dtype))
            and 0 < own.sum() < own.numel()
        )


@pytest.mark.parametrize("name", CLASSES)
def test_the_image_token_is_never_said(policy, name):
    """Said, it would take the place of a picture that is not there: every row behind it would see another
    one's."""
    chosen = policy(name)
    token, head = chosen.base.config.image_token_id, chosen.base.get_output_embeddings().weight
    with torch.no_grad():  # as likely as the likeliest
        if token < len(head):
            head[token] = 20 * head[chosen.tokenizer.eos_token_id]
    dialogues = rolled(chosen)
    said = [i for d in dialogues for i, s in zip(d.ids, d.sampled) if s]
    batch, logprobs, _ = trainer(chosen, dialogues)
    assert token not in said and logprobs.isfinite().all()
    torch.testing.assert_close(batch.old[batch.sampled], logprobs.detach(), rtol=0, atol=5e-5)


def test_fast_and_transformers_path_agree_on_pictures(policy):
    results = {}
    for fast in (True, False):
        chosen = policy("llava", fast=fast)
        dialogues = rolled(chosen)
        _, logprobs, _ = trainer(chosen, dialogues)
        logprobs.sum().backward()
        results[fast] = (
            [d.ids for d in dialogues],
            logprobs.detach(),
            {n: p.grad for n, p in chosen.model.named_parameters() if p.requires_grad},
        )
    assert results[True][0] == results[False][0]
    torch.testing.assert_close(results[True][1], results[False][1], rtol=0, atol=5e-5)
    for name, gradient in results[True][2].items():
        other = results[False][2][name]
        torch.testing.assert_close(
            gradient, other, rtol=2e-3, atol=2e-4 * float(other.abs().max()), msg=(name + ": {}").format
        )


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("parts", ("language", "projector", "vision"))
def test_the_adapter_is_where_parts_says(policy, name, parts):
    chosen = policy(name, parts)
    _, logprobs, _ = trainer(chosen, rolled(chosen))
    logprobs.sum().backward()
    moved = {
        n for n, p in chosen.model.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 0
    }
    assert {part(n) for n in moved} == set(models.PARTS[: models.PARTS.index(parts) + 1])
    with pytest.raises(ValueError, match="'language', 'projector' or 'vision'"):
        models.LoraSettings(parts="eyes")


@pytest.mark.parametrize("name", CLASSES)
def test_pictures_reach_the_loss_of_sft(policy, name, tmp_path, monkeypatch):
    """The loss that SFTTrainer reports is that of the examples with their pictures, and another one without
    them."""
    chosen, losses = policy(name), []
    chat = Chat(chosen.tokenizer, chosen.processor)
    data, counts = sft.take(
        sft.examples(GeneralPointsEnv(**ENVIRONMENT), chat, np.random.default_rng(0)), 2, None, 3
    )
    assert len(data.pictures) == 6 and all(isinstance(p(), Image.Image) for p in data.pictures)

    def loss(pictures):
        rows = [data.rows[i] for i in range(3)]
        ids = padded([row["input_ids"] for row in rows], chosen.tokenizer.pad_token_id)
        learned = padded([row["labels"] for row in rows], -100) != -100
        with torch.no_grad():
            return float(
                torch.nn.functional.cross_entropy(
                    chosen.score(ids, learned, **chat.pixels(pictures))[0], ids[learned]
                )
            )

    shown, exchanged = loss(data.pictures[:3]), loss(data.pictures[3:])
    sft.train(
        chosen,
        data,
        sft.SFTConfig(batch_size=3, learning_rate=0.0),
        tmp_path,
        on_step=lambda step, logs: losses.append(logs["loss"]),
    )
    assert losses[0] == pytest.approx(shown, abs=1e-5) and abs(exchanged - shown) > 1e-5


@pytest.mark.parametrize("shuffle", [1, 8])
def test_every_demonstration_has_its_own_picture(seeing, shuffle):
    """Past the examples that go through the processor together, and out of the buffer: an answer names the
    cards of its picture."""
    chosen = models.load(seeing["llava"])
    chat = Chat(chosen.tokenizer, chosen.processor)
    data, _ = sft.take(
        sft.examples(GeneralPointsEnv(**ENVIRONMENT), chat, np.random.default_rng(0), shuffle), 3, None, 50
    )
    for row, picture in zip(data.rows, data.pictures):
        answer = chosen.tokenizer.decode(
            [i for i, label in zip(row["input_ids"], row["labels"]) if label != -100],
            skip_special_tokens=True,
        )
        assert (
            tuple(json.loads(answer)["cards"]) == picture.arguments[0]
            and row["input_ids"].count(chosen.base.config.image_token_id) == 4
        )
    assert len({picture.arguments[0] for picture in data.pictures}) > 100


def test_sets_show_their_suits():
    sets = TASKS["general-points-vision"].sets
    for name, colours in {
        "id": cards.BLACK,
        "id_seen": cards.BLACK,
        "ood": cards.BLACK,
        "visual": cards.RED,
    }.items():
        for case in sets[name].cases(np.random.default_rng(0), 20):
            _, info = sets[name].pose(case)
            assert set(info["deal"].suits) <= set(colours) and info["picture"].arguments[0] == tuple(case)
    hands = [
        {sets[name].label(case) for case in sets[name].cases(np.random.default_rng(1), None)}
        for name in ("id", "visual")
    ]
    assert hands[0] == hands[1] and len(hands[0]) == 281  # the same hands in other suits


@pytest.mark.parametrize("name", CLASSES)
def test_ppo_learns_from_pictures(policy, name):
    chosen = policy(name, value=True, stirred=False)
    environments = [GeneralPointsEnv(verify_steps=2, **ENVIRONMENT) for _ in range(4)]
    learner = ppo.PPO(chosen, environments, ppo.PPOConfig(episodes=4, minibatches=1, max_tokens=4), seed=1)
    before = {n: p.detach().clone() for n, p in chosen.model.named_parameters() if p.requires_grad}
    metrics = [learner.iterate() for _ in range(2)]
    assert (
        abs(metrics[0]["approx_kl"]) < 1e-4 and metrics[0]["clipped"] == 0
    )  # ratio one: the sampler saw the trainer's pictures
    changed = {
        n for n, p in chosen.model.named_parameters() if p.requires_grad and not torch.equal(p, before[n])
    }
    assert {part(n) for n in changed} >= {"vision", "language"}


@pytest.mark.parametrize("name", CLASSES)
def test_census_with_pictures(policy, name):
    chosen = policy(name)
    config = CensusConfig(task="general-points-vision", limit=3, max_tokens=4, kl_hands=3)
    summary, hands = census(chosen, config)
    assert (
        set(summary["set"]) == {"id", "id_seen", "ood", "visual"}
        and {"recognized", "first_try", "kl"} <= set(summary)
        and {"recognized"} <= set(hands)
    )
    again, _ = census(chosen, config)
    assert summary.equals(again)  # suits and style belong to the hand
    dialogues = rolled(chosen)
    assert (
        set(stacked([d.inputs for d in dialogues])) >= {"pixel_values"}
        and divergence(chosen, dialogues) > 1e-4
    )


def test_a_census_shows_pictures_of_the_size_it_was_told(policy, monkeypatch):
    sizes = set()
    draw = cards.draw
    monkeypatch.setattr(cards, "draw", lambda *a: sizes.add(a[2].width) or draw(*a))
    census(
        policy("llava"),
        CensusConfig(
            task="general-points-vision", sets=("id",), limit=2, max_tokens=2, kl_hands=2, pixels=80
        ),
    )
    assert sizes == {80}


def test_a_text_model_says_that_it_cannot_see(checkpoints):
    chosen = models.load(checkpoints["pocket"])
    with pytest.raises(
        ValueError, match="reads text only: a task with pictures needs an image-text-to-text checkpoint"
    ):
        roll(chosen, [Opening(m, p) for m, p in zip(MESSAGES, PICTURES)], None)
