"""Pictures of several sizes, by models that count patches, tiles, rows and columns: the batched path computes
what transformers computes for one dialogue alone, with its own processor's inputs."""

import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from posttrain import config
from posttrain import policy as models
from posttrain.environments import prompts
from posttrain.evaluation import CensusConfig, census
from posttrain.policy import Chat
from posttrain.policy.batching import end_to_end, one_a_row, padded, stacked
from posttrain.rollouts import Opening, Sampling, roll
from posttrain.tasks import TASKS
from posttrain.trainers import arm, ppo, sft

from tests.conftest import stir

CLASSES = ("qwen2-vl", "qwen2.5-vl", "idefics3")
SIZES = ((56, 56), (140, 56), (84, 168))
IMAGE = {"qwen2-vl": "<|image_pad|>", "qwen2.5-vl": "<|image_pad|>", "idefics3": "<image>"}
MESSAGES = [
    [{"role": "user", "content": prompts.with_picture(f"{'look ' * i}here: [] and say", "[")}]
    for i in range(3)
]


def noise(size):
    return Image.fromarray(np.random.default_rng(size).integers(0, 255, (*size, 3)).astype(np.uint8))


PICTURES = [partial(noise, size) for size in SIZES]


@pytest.fixture
def policy(seeing):
    def make(name, **how):
        made = models.add_lora(
            models.load(seeing[name]), models.LoraSettings(rank=4, alpha=8, parts="vision"), seed=1, **how
        )
        stir(made)
        return made

    return make


def rolled(policy):
    """Three dialogues of one to three answers."""
    seen = [0] * 3

    def judge(row, text):
        seen[row] += 1
        return 1.0, prompts.feedback("x" * row), seen[row] > row, SimpleNamespace(correct=False)

    with policy.merged():
        openings = [Opening(messages, picture) for messages, picture in zip(MESSAGES, PICTURES)]
        return roll(policy, openings, judge, Sampling(5, 1.0, torch.Generator().manual_seed(0)))


def alone(policy, row, ids):
    """float32 logits [time, vocabulary] of transformers' whole model, which finds positions and masks
    itself."""
    chat, processor = Chat(policy.tokenizer, policy.processor), policy.processor
    made = processor(
        text=[chat.render(MESSAGES[row]) + chat.lead],
        images=[[PICTURES[row]()]],
        return_tensors="pt",
        add_special_tokens=False,
    )
    opening = made.pop("input_ids")
    assert opening[0].tolist() == ids[: opening.shape[1]]
    made.pop("attention_mask")
    if (kinds := made.pop("mm_token_type_ids", None)) is not None:
        made["mm_token_type_ids"] = torch.nn.functional.pad(kinds, (0, len(ids) - kinds.shape[1]))
    with torch.no_grad():
        return policy.model(input_ids=torch.tensor([ids]), **made).logits[0]


@pytest.mark.parametrize("name", CLASSES)
def test_a_batch_of_pictures_of_several_sizes_reads_as_each_does_alone(policy, name):
    chosen = policy(name)
    dialogues = rolled(chosen)
    assert [len(d.texts) for d in dialogues] == [1, 2, 3]
    counts = [d.ids.count(chosen.base.config.image_token_id) for d in dialogues]
    assert counts == ([4, 10, 18] if name != "idefics3" else [5, 3, 3]), counts
    ids = padded([d.ids for d in dialogues], chosen.tokenizer.pad_token_id)
    learned = padded([[False] + [True] * (len(d.ids) - 1) for d in dialogues], False, torch.bool)
    with torch.no_grad():
        logits = chosen.score(ids, learned, **stacked([d.inputs for d in dialogues]))[0]
    image = chosen.base.config.image_token_id
    for row, (d, own) in enumerate(zip(dialogues, logits.split(learned.sum(1).tolist()))):
        plain = alone(chosen, row, d.ids)
        plain[:, image] = own[:, image][0]
        torch.testing.assert_close(own, plain[:-1], rtol=0, atol=1e-4)
        said = plain[:-1].log_softmax(-1).gather(1, torch.tensor(d.ids[1:])[:, None])[:, 0]
        sampled = torch.tensor(d.sampled[1:])
        # The sampler's: padded on the left, with a cache that grows over the turns and loses rows.
        torch.testing.assert_close(torch.tensor(d.logprobs)[1:][sampled], said[sampled], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_a_dialogue_decodes_to_what_its_template_renders(policy, name):
    chosen = policy(name)
    chat = Chat(chosen.tokenizer, chosen.processor)
    ids, inputs = chat.openings(MESSAGES, PICTURES)
    answer, says = '{"formula": "1+2"}', prompts.feedback("no")
    for row, (opening, messages) in enumerate(zip(ids, MESSAGES)):
        whole = [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": says}]
        told = chat.decode([*opening, *chat.encode(answer), chat.end, *chat.feedback(says)])
        head, tail = (chat.render(whole) + chat.lead).split(IMAGE[name])
        shown = told.removeprefix(head).removesuffix(tail)
        assert told == head + shown + tail and prompts.text(messages[0])[-8:] in tail and answer in tail
        if name == "idefics3":  # tiles of one token here, and some are padding
            assert shown.count(IMAGE[name]) == inputs["pixel_values"][row].flatten(1).any(1).sum()
        else:
            assert shown == IMAGE[name] * int(inputs["image_grid_thw"][row].prod() // 4)


@pytest.mark.parametrize("task", ("general-points-vision", "navigation-vision"))
@pytest.mark.parametrize("name", CLASSES)
def test_a_picture_study(policy, name, task, tmp_path):
    """Evaluation, SFT and PPO; the first update sees the sampler's probabilities."""
    chosen, losses = policy(name, value=True), []
    posed = TASKS[task]
    make = partial(posed.environment, **{**posed.training, "pixels": 56, "verify_steps": 2})
    summary, _ = census(chosen, CensusConfig(task=task, sets=("id",), limit=1, max_tokens=4, kl_hands=1))
    assert set(summary["decoding"]) == {"greedy", "sampled"} and summary["kl"].max() > 1e-3
    data, _ = sft.take(
        sft.examples(make(), Chat(chosen.tokenizer, chosen.processor), np.random.default_rng(0)), 2, None, 2
    )
    how = sft.SFTConfig(batch_size=2, learning_rate=1e-2)
    sft.train(chosen, data, how, tmp_path, on_step=lambda step, logs: losses.append(logs["loss"]))
    assert len(losses) == 2 and np.isfinite(losses).all()
    how = ppo.PPOConfig(episodes=2, minibatches=1, max_tokens=4)
    metrics = ppo.PPO(chosen, [make() for _ in range(2)], how, seed=1).iterate()
    assert abs(metrics["approx_kl"]) < 1e-4 and metrics["clipped"] == 0


def test_patches_there_and_back():
    made = {
        "pixel_values": torch.arange(10.0)[:, None],
        "image_grid_thw": torch.tensor([[1, 2, 2], [1, 2, 3]]),
    }
    rows = one_a_row(made, 2)
    assert rows["pixel_values"].shape == (2, 6, 1)
    again = stacked([{name: value[row] for name, value in rows.items()} for row in (1, 0)])
    assert end_to_end(again)["pixel_values"][:, 0].tolist() == [4, 5, 6, 7, 8, 9, 0, 1, 2, 3]
    assert torch.equal(end_to_end(rows)["pixel_values"], made["pixel_values"])


def test_a_processor_that_mixes_pictures_is_refused(policy, seeing, monkeypatch):
    """As of classes that lay the tiles of all pictures end to end and tell no grid."""
    settings = {"census": {"sets": ["id"]}, "task": "general-points-vision"}
    settings["arms"] = {"sft": {"algorithm": "sft", "budget_gflop": 1, "sft": {}}}
    whole = {"seeds": [0], "model": seeing["qwen2-vl"], "studies": {"one": settings}}
    run = config.check("tiny", whole, True).run("one/sft/0")
    chat = Chat(*models.words(seeing["qwen2-vl"]))
    arm.check_sight(run, chat)
    monkeypatch.setattr(chat.processor.image_processor, "model_input_names", ["pixel_values"])
    with pytest.raises(
        ValueError, match="^one/sft/0: this model's processor makes .* rows of pixel_values for"
    ):
        arm.check_sight(run, chat)
    with pytest.raises(ValueError, match="^one/sft/0: this model reads text only"):
        arm.check_sight(run, Chat(chat.tokenizer))


def test_a_processor_whose_packages_are_missing(seeing, tmp_path, monkeypatch):
    """Without its part for films where that is what is missing, also when saved so; else refused."""

    def missing(*_, **__):
        raise ImportError("\nEyes requires the Lens library but it was not found.\nInstall it.")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", missing)
    processor = models.words(seeing["qwen2-vl"])[1]
    monkeypatch.undo()
    folder = shutil.copytree(seeing["qwen2-vl"], tmp_path / "copy")
    (folder / "preprocessor_config.json").unlink()
    assert models.words(folder)[1] is None  # a text-only copy
    processor.save_pretrained(folder)
    assert models.words(folder)[1].image_processor.to_dict() == processor.image_processor.to_dict()
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", missing)
    monkeypatch.setattr("transformers.AutoImageProcessor.from_pretrained", missing)
    with pytest.raises(
        ValueError, match="copy: its processor cannot be loaded: Eyes requires the Lens library .*found$"
    ):
        models.words(folder)
