"""Faulty models and devices: each is refused in one line that names it and says what to do, before anything
is trained; where the files' heads tell it, in the plan too."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from posttrain import cli, config, policy
from posttrain.policy import faults
from safetensors.torch import load_file, save_file

STUDY = {
    "checkpoints": 1,
    "census": {"sets": ["id"], "revised": [], "limit": 2, "kl_hands": 2, "batch": 8, "max_tokens": 60},
    "arms": {"init": {"algorithm": "init", "steps": 1, "sft": {"batch_size": 2}}},
}
WEIGHTS, POINTER = "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n"


def said(**changes):
    """A fault: config.json says something else."""

    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def cut(name, size):
    """A fault: a file's first bytes alone."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def bin_only(content):
    """A fault: weights as pickle, and broken."""

    def change(folder):
        (folder / WEIGHTS).unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return change


def not_finite(value):
    def change(folder):
        weights = load_file(folder / WEIGHTS)
        weights["model.layers.1.mlp.down_proj.weight"][3, 2] = value
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    return change


def odd_tokenizer(folder):
    said = json.loads((folder / "tokenizer.json").read_text())
    said["model"]["type"] = "Foo"
    (folder / "tokenizer.json").write_text(json.dumps(said))


ALL = "take config.json, tokenizer and weights from one checkpoint"
AGAIN, TOKENIZER = (
    "copy or download the weights again",
    "copy or download tokenizer.json and tokenizer_config.json",
)
REMOTE = {"AutoConfig": "x.FooConfig", "AutoModelForCausalLM": "x.Foo"}
FAULTS = {  # what is done to a good model, what is told, what to do
    "weights cut off": (cut(WEIGHTS, 10_000), "its weights cannot be read (", AGAIN),
    "weights empty": (cut(WEIGHTS, 0), "its weights cannot be read (", AGAIN),
    "weights missing": (
        without(WEIGHTS),
        "it has no weights that can be read (",
        "copy or download it again",
    ),
    "weights a pointer": (written(WEIGHTS, POINTER), f"{WEIGHTS} is a git-LFS pointer", "`git lfs pull`"),
    "pickle cut off": (bin_only(b"PK\x03\x04"), "its weights cannot be read (", AGAIN),
    "pickle empty": (bin_only(b""), "its weights cannot be read (", AGAIN),
    "fewer layers": (said(num_hidden_layers=3), "the weights lack 9 of the tensors", ALL),
    "further layers": (said(num_hidden_layers=1), "the weights have 9 tensors of layers", ALL),
    "other width": (said(hidden_size=64), "config.json says [", ALL),
    "few tokens": (said(vocab_size=100), "and the model 100 (vocab_size in config.json)", ALL),
    "not a number": (
        not_finite(float("nan")),
        "values that are not finite (model.layers.1.mlp.down",
        "another copy",
    ),
    "infinite": (
        not_finite(-float("inf")),
        "values that are not finite (model.layers.1.mlp.down",
        "another copy",
    ),
    "odd heads": (said(num_attention_heads=5), "config.json is wrong (", "correct it or download it again"),
    "odd activation": (
        said(hidden_act="foo"),
        "no model can be made from it (KeyError 'foo')",
        "correct config.json",
    ),
    "unknown kind": (said(model_type="mamba9"), "knows no model_type 'mamba9'", "use a model that it knows"),
    "no kind": (said(model_type=None), "knows no model_type None", "use a model that it knows"),
    "remote code": (
        said(model_type="foo", auto_map=REMOTE),
        "foo has code of its own, which is never run",
        "use a",
    ),
    "quantized": (said(quantization_config={"quant_method": "bitsandbytes"}), "are quantized", "from before"),
    "both directions": (said(model_type="bert"), "a bert reads in both directions", "use a decoder-only"),
    "no text": (said(model_type="vit"), "a vit writes no text", "use a decoder-only"),
    "tokenizer missing": (
        without("tokenizer.json", "tokenizer_config.json"),
        "its tokenizer cannot be read (",
        TOKENIZER,
    ),
    "tokenizer cut off": (cut("tokenizer.json", 500), "its tokenizer cannot be read (", TOKENIZER),
    "tokenizer a pointer": (written("tokenizer.json", POINTER), "its tokenizer cannot be read (", TOKENIZER),
    "odd tokenizer": (odd_tokenizer, "its tokenizer cannot be read (data did not match", TOKENIZER),
    "no template": (without("chat_template.jinja"), "has no chat template", "use an instruction-tuned"),
    "bad template": (
        written("chat_template.jinja", "{% for"),
        "its chat template refuses",
        "use another instruction-tuned",
    ),
    "short context": (
        said(max_position_embeddings=64),
        "its context has 64 tokens, and dialogues of gp-l/init/0 up to ",
        "lower max_tokens or verify_steps, or use another model",
    ),
}
UNSEEN = ("not a number", "infinite")  # by the plan, which reads no weights
DEVICES = {"cuda:99": "use cpu", "cpu:3": "use cpu", "meta": "use cpu", "tpu": "use cpu, cuda or mps"}


@pytest.fixture
def posttrain(monkeypatch, capsys, tmp_path):
    """posttrain(model, command, ...): the exit code and the lines on stderr, of a profile with this model;
    what it made lies below `tmp_path / "root"`."""

    def call(model, *arguments, **changes):
        settings = {"seeds": [0], "model": str(model), "studies": {"gp-l": STUDY | changes}}
        load = lambda name, fresh=False: config.check("mine", settings, True, root=tmp_path / "root")  # noqa: E731
        monkeypatch.setattr(config, "load", load)
        capsys.readouterr()
        code = cli.main(list(arguments))
        return code, capsys.readouterr().err.splitlines()

    return call


TRAIN = ("train", "--run", "gp-l/init/0")


def nothing_made(root):
    return not [path for path in root.rglob("*") if path.name == "run.json" or path.suffix == ".parquet"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_model_is_refused_in_one_line(name, checkpoints, posttrain, tmp_path):
    harm, told, advice = FAULTS[name]
    folder = tmp_path / "model"
    shutil.copytree(checkpoints["pocket"], folder)
    harm(folder)
    code, (line,) = posttrain(folder, *TRAIN)
    assert code == 2 and line.startswith(f"posttrain train: {folder}")
    assert told in line and advice in line and line.index(told) < line.index(advice)
    assert nothing_made(tmp_path / "root")
    if name in UNSEEN:
        assert posttrain(folder, "plan") == (0, [])
    else:
        assert posttrain(folder, "plan") == (2, [line.replace("posttrain train", "posttrain plan")])


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_is_not_there_is_refused_in_one_line(device, checkpoints, posttrain, tmp_path):
    code, (line,) = posttrain(checkpoints["pocket"], *TRAIN, "--device", device)
    assert code == 2 and device in line and DEVICES[device] in line and nothing_made(tmp_path / "root")


def test_a_model_that_was_not_downloaded_is_refused_in_one_line(posttrain, tmp_path):
    code, (line,) = posttrain("nobody/no-such-model", *TRAIN)
    assert code == 2 and line.startswith("posttrain train: model nobody/no-such-model is not on this machine")
    assert "HF_HUB_OFFLINE=0" in line and "hf download nobody/no-such-model" in line
    assert posttrain("nobody/no-such-model", "plan") == (0, []) and nothing_made(tmp_path / "root")


def test_a_good_model_has_a_plan_and_needs_no_torch_for_it(checkpoints, posttrain, monkeypatch, tmp_path):
    assert posttrain(checkpoints["pocket"], "plan") == (0, [])
    folder = tmp_path / "model"
    shutil.copytree(checkpoints["pocket"], folder)
    cut(WEIGHTS, 0)(folder)
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert posttrain(folder, "plan") == (0, [])


def test_room_is_counted_for_all_answers(checkpoints, posttrain):
    late = {"algorithm": "ppo", "budget_gflop": 1, "ppo": {"episodes": 4, "max_tokens": 100}}
    code, (line,) = posttrain(checkpoints["pocket"], "plan", arms={"late": late})
    assert code == 2 and "its context has 512 tokens, and dialogues of gp-l/late/0 up to " in line
    assert "5 answers of 100 (ppo.max_tokens)" in line
    assert (
        posttrain(checkpoints["pocket"], "plan", arms={"late": late}, environment={"verify_steps": 2})[0] == 0
    )


def test_an_outline_has_the_shapes_of_the_model_and_no_weights(checkpoints, seeing):
    for path in (checkpoints["pocket"], seeing["llava"], seeing["mllama"]):
        outline, model = policy.outline(path), policy.load(path).model
        shapes = {name: weight.shape for name, weight in model.named_parameters()}
        assert {name: weight.shape for name, weight in outline.named_parameters()} == shapes
        assert {weight.device.type for weight in outline.parameters()} == {"meta"}


def test_a_tower_that_lacks_weights_or_has_another_language_model_is_refused(seeing, checkpoints, tmp_path):
    llava, pocket = tmp_path / "llava", tmp_path / Path(checkpoints["pocket"]).name
    shutil.copytree(seeing["llava"], llava)
    shutil.copytree(checkpoints["grouped"], pocket)
    with pytest.raises(
        ValueError, match=f"^{pocket}: its weights are not the language model's .*; make it with"
    ):
        policy.load(llava)
    weights = load_file(llava / WEIGHTS)
    lost = min(weights)
    save_file({name: weight for name, weight in weights.items() if name != lost}, llava / WEIGHTS)
    for read in (policy.load, policy.outline):
        with pytest.raises(ValueError, match=f"^{llava}: the weights lack 1 of the tensors .*{lost}"):
            read(llava)


def test_a_model_without_layers_to_adapt_is_refused(tokenizer, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": len(tokenizer)}
    with torch.random.fork_rng():
        GPT2LMHeadModel(GPT2Config(**shape, pad_token_id=0, bos_token_id=1, eos_token_id=2)).save_pretrained(
            tmp_path
        )
    tokenizer.save_pretrained(tmp_path)
    made = policy.load(tmp_path)
    with pytest.raises(
        ValueError, match=f"^{tmp_path}: a GPT2LMHeadModel has no linear layers .*; tune every"
    ):
        policy.add_lora(made)


def test_an_error_is_told_in_one_sentence_or_by_its_class():
    assert faults.first(ValueError("one\n two. three")) == "one two"
    assert faults.first(KeyError("foo")) == "KeyError 'foo'" and faults.first(EOFError()) == "EOFError"
    assert len(faults.first(ValueError("word " * 99))) <= 120
