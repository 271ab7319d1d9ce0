"""The arithmetic of bytes against what torch keeps and allocates of small random models; hours by hand."""

import weakref

import pytest
import torch
from posttrain import config, hardware, policy
from posttrain.config import LoraSettings
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, MllamaConfig, MllamaForConditionalGeneration

MODES = [(full, bf16) for full in (False, True) for bf16 in (False, True)]
LORA = {False: LoraSettings(rank=6, alpha=6), True: LoraSettings(full=True)}


def made(full, bf16, layers=2, vocabulary=97, keys=2):
    """A Llama as a GPU would train it: LoRA beside bfloat16 weights, full tuning of float32 ones."""
    sizes = {"hidden_size": 64, "intermediate_size": 176, "num_attention_heads": 4}
    shape = {"vocab_size": vocabulary, "num_hidden_layers": layers, "num_key_value_heads": keys, **sizes}
    model = LlamaForCausalLM(LlamaConfig(attn_implementation="sdpa", **shape)).eval().requires_grad_(False)
    model = model.to(torch.bfloat16 if bf16 and not full else torch.float32)
    return policy.add_lora(policy.Policy(model, None, bf16=bf16, fast=False), LORA[full])


def asked(time, learned, rows=2):
    ids = torch.randint(0, 97, (rows, time))
    return ids, (torch.arange(time) >= time - learned).expand(rows, -1)


def kept(chosen, time, rows=2, **inputs):
    """Bytes of all that autograd keeps of a forward pass, each storage once, the model's own apart."""
    own = {p.untyped_storage().data_ptr() for p in [*chosen.model.parameters(), *chosen.model.buffers()]}
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        chosen.score(*asked(time, 8, rows), **inputs)[0].sum()
    return sum(storage.nbytes() for place, storage in storages.items() if place not in own)


def slope(measure, chosen):
    """Bytes of one more token: two rows, 64 and 192 tokens long."""
    return (measure(chosen, 192) - measure(chosen, 64)) / 256


@pytest.mark.parametrize("keys", [2, 4])
@pytest.mark.parametrize(("full", "bf16"), MODES)
def test_what_autograd_keeps_of_a_token(full, bf16, keys):
    """Exactly for a layer; of the whole, embeddings, the last norm and angles are left out."""
    two, four = (made(full, bf16, layers, keys=keys) for layers in (2, 4))
    by_hand = [hardware.activations(hardware.shape(p.model.config), LORA[full], bf16) for p in (two, four)]
    measured = [slope(kept, chosen) for chosen in (two, four)]
    assert measured[1] - measured[0] == by_hand[1] - by_hand[0]
    assert by_hand[1] <= measured[1] < 1.05 * by_hand[1]


def test_a_mllama_keeps_its_layers_of_text(checkpoints):
    loaded = policy.load(checkpoints["mllama"])
    loaded.model.set_attn_implementation("sdpa")  # a tiny model's is eager on a CPU
    chosen = policy.add_lora(loaded, LORA[False])
    own = hardware.shape(chosen.model.config)
    assert own.layers == 2 and len(chosen.base.model.language_model.layers) == 3
    by_hand = hardware.activations(own, LORA[False], False)
    assert slope(kept, chosen) == pytest.approx(by_hand, rel=0.04)


@pytest.mark.parametrize(("full", "bf16"), MODES)
def test_checkpointing_keeps_the_inputs_of_layers(full, bf16):
    """Reentrant, because only that kind shows to the hooks what it keeps."""
    chosen = made(full, bf16, layers=4)
    chosen.base.gradient_checkpointing_enable({"use_reentrant": True})
    chosen.base.enable_input_require_grads()
    chosen.model.train()
    own = hardware.shape(chosen.model.config)
    one = hardware.activations(own._replace(layers=1), LORA[full], bf16)
    by_hand = hardware.activations(own, LORA[full], bf16, checkpointing=True) - one
    # Beyond that the last norm, which stands outside: what it reads, gives and is read for.
    assert by_hand <= slope(kept, chosen) < by_hand + 4 * (3 * own.hidden + 64)


# --- pictures -----------------------------------------------------------------------------------------------


def sighted(tower=2, behind=1, crossed=(1,), size=56, adapted=True):
    """A Mllama of four tiles, in bfloat16."""
    seen = {"hidden_size": 64, "intermediate_size": 160, "attention_heads": 4, "image_size": size}
    seen |= {"num_hidden_layers": tower, "num_global_layers": behind, "intermediate_layers_indices": [0]}
    text = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 176, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "num_hidden_layers": 2 + len(crossed), "pad_token_id": 0}
    text["cross_attention_layers"] = list(crossed)
    whole = MllamaConfig(
        text_config=text, vision_config=seen | {"vision_output_dim": 128}, image_token_index=5
    )
    model = MllamaForConditionalGeneration(whole)
    model.set_attn_implementation("sdpa")
    model = model.eval().requires_grad_(False).to(torch.bfloat16)
    chosen = policy.Policy(model, None, bf16=True, fast=False)
    return policy.add_lora(chosen, LoraSettings(rank=6, alpha=6, parts="vision")) if adapted else chosen


def shown(chosen, rows):
    size = chosen.base.config.vision_config.image_size
    tiles = {"pixel_values": torch.randn(rows, 1, 4, 3, size, size)}
    return tiles | {
        "aspect_ratio_ids": torch.full((rows, 1), 6),
        "aspect_ratio_mask": torch.ones(rows, 1, 4).long(),
    }


def of_a_picture(chosen):
    """Bytes of one more row of no text."""

    def row(time):
        return (kept(chosen, time, 3, **shown(chosen, 3)) - kept(chosen, time, 1, **shown(chosen, 1))) / 2

    return row(40) - 40 * (row(72) - row(40)) / 32


@pytest.mark.parametrize("sizes", [{}, {"tower": 4}, {"behind": 3}, {"crossed": (1, 2)}, {"size": 84}])
def test_what_autograd_keeps_of_a_picture(sizes):
    """To the byte; on a CPU autocast leaves a tower's norms in bfloat16, on a GPU it does not."""
    chosen = sighted(**sizes)
    config = chosen.base.config
    layers = config.vision_config.num_hidden_layers + config.vision_config.num_global_layers
    norms = hardware.sight(config).positions * layers * (4 * 64 + 8)
    by_hand = hardware.picture(config, LoraSettings(rank=6, alpha=6, parts="vision"))
    assert of_a_picture(chosen) == by_hand - norms


def test_what_a_picture_is_not_counted_for(checkpoints):
    config = sighted(adapted=False).model.config
    with pytest.raises(ValueError, match="for adapters on all parts"):
        hardware.picture(config, LoraSettings())
    with pytest.raises(ValueError, match="for a mllama, not for a llama"):
        hardware.sight(policy.load(checkpoints["pocket"]).model.config)


def test_operations_of_a_picture():
    """Against torch's own count; patches are taken to be as many as positions."""
    chosen = sighted(size=112, adapted=False)
    chosen.model.set_attn_implementation("eager")  # of fused attention on a CPU torch counts nothing

    def counted(time, **inputs):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            chosen.score(*asked(time, 8, 1), **inputs)
        return counter.get_total_flops()

    one = shown(chosen, 1)
    alone = counted(40, **one) - 40 * (counted(72, **one) - counted(40, **one)) / 32
    assert hardware.looking(chosen.model) == pytest.approx(alone, rel=0.03)


class Peak(TorchDispatchMode):
    """Most bytes that are there at once, `known` storages apart."""

    def __init__(self, known):
        super().__init__()
        self.now, self.most, self.known = 0, 0, {tensor.untyped_storage()._cdata for tensor in known}

    def gone(self, storage, size):
        self.known.discard(storage)
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in (one for one in tree_iter(out) if isinstance(one, torch.Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return out


def peak(loss):
    def measure(chosen, time):
        ids, learned = asked(time, time // 2)
        with Peak([*chosen.model.parameters(), *chosen.model.buffers()]) as watched:
            logits, _ = chosen.score(ids, learned)  # held, as the trainers hold them
            loss(logits, ids[learned]).backward()
        return watched.most

    return measure


def _sft(logits, said):
    return torch.nn.functional.cross_entropy(logits, said, reduction="sum")


def _ppo(logits, said):
    logprobs = logits.log_softmax(-1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(1, said[:, None]).sum() + 0 * entropy.sum()


@pytest.mark.parametrize("loss", [_sft, _ppo])
@pytest.mark.parametrize("vocabulary", [97, 4000])
@pytest.mark.parametrize(("full", "bf16"), MODES)
def test_what_an_update_allocates_at_most(full, bf16, vocabulary, loss):
    """Half of the tokens are learned. What a backward pass holds for a moment (a layer's gradients, here one
    of four layers) is left out: under a tenth."""
    chosen = made(full, bf16, layers=4, vocabulary=vocabulary)
    own = hardware.shape(chosen.model.config)
    by_hand = hardware.activations(own, LORA[full], bf16) + hardware.logits(own) / 2
    assert 0.99 * by_hand <= slope(peak(loss), chosen) < 1.1 * by_hand


def test_the_cache_of_a_token(checkpoints):
    for name in ("grouped", "mllama"):
        model = policy.load(checkpoints[name]).model

        def held(time, model=model):
            cache = model(input_ids=torch.zeros(1, time, dtype=torch.long), use_cache=True).past_key_values
            layers = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
            return sum(each.nbytes for layer in layers for each in (layer.keys, layer.values))

        assert held(7) - held(6) == hardware.cache(hardware.shape(model.config), 4)


def test_what_is_trained(checkpoints, seeing):
    for folder in (checkpoints["biased"], *seeing.values()):
        for full in (False, True):
            for parts in policy.PARTS:
                lora = LoraSettings(rank=3, alpha=3, full=full, parts=parts)
                expected = hardware.trained(policy.load(folder).model, lora)
                chosen = policy.add_lora(policy.load(folder), lora)
                assert expected == sum(p.numel() for p in chosen.trainable()), (folder, lora)


# --- the paper's model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eleven():
    """Llama-3.2-11B-Vision by its public sizes, which are transformers' defaults; without any weight."""
    with torch.device("meta"):
        return MllamaForConditionalGeneration(MllamaConfig(vision_config={"image_size": 560}))


def test_the_papers_model_has_its_size(eleven):
    assert sum(p.numel() for p in eleven.parameters()) == 10_670_220_835  # 10.7 B, as published


RUNS = [run for run in config.load("gpu").runs() if run.seed == 0]


def texts():
    """The runs of the gpu profile that read text, with one seed."""
    return [run for run in RUNS if not run.task.endswith("-vision")]


@pytest.mark.parametrize(
    "run", [run for run in RUNS if run.task.endswith("-vision")], ids=lambda run: run.name
)
def test_pictures_fit_a_card_one_at_a_time(eleven, run):
    assert hardware.sight(eleven.config) == (6432, 6404, 8)
    arm = run.settings
    need = hardware.memory(eleven, arm)
    assert need["pictures"] == hardware.picture(eleven.config, arm.lora) < 20 * hardware.GB
    assert need["peak"] < 0.9 * hardware.H100.memory
    if arm.algorithm != "ppo":  # four at once do not
        most = arm.model_copy(update={"sft": arm.sft.model_copy(update={"microbatch_tokens": 4096})})
        assert hardware.memory(eleven, most)["peak"] > hardware.H100.memory


@pytest.mark.parametrize("run", texts(), ids=lambda run: run.name)
def test_the_gpu_profile_fits_a_card(eleven, run):
    """With a tenth to spare; full tuning does not, and shared by eight cards would."""
    arm, fits = run.settings, 0.9 * hardware.H100.memory
    assert hardware.memory(eleven, arm)["peak"] < fits
    full = arm.model_copy(update={"lora": arm.lora.model_copy(update={"full": True, "parts": "vision"})})
    alone = hardware.memory(eleven, full)
    assert hardware.memory(eleven, full, sharing=8)["peak"] < fits < 200e9 < alone["peak"]
    held = sum(alone[name] for name in ("weights", "gradients", "optimizer", "start"))
    assert held == 20 * 10_670_220_835


def test_hours_by_hand(eleven):
    runs = {run.name: run.settings for run in texts()}
    arm, card = runs["gp-l/sft/0"], hardware.H100
    assert hardware.hours(eleven, arm) == pytest.approx(1e19 * 4 / 6 / (989e12 * 0.4) / 3600)
    full = arm.model_copy(update={"lora": LoraSettings(full=True)})
    assert hardware.hours(eleven, full, cards=8) == pytest.approx(1e19 / (989e12 * 0.4) / 3600 / 8)
    # Without the reading of weights PPO's updates and rollouts cost 4N + 2N of each 8N.
    fast = card._replace(bandwidth=1e30)
    ppo = runs["gp-l/ppo/0"]
    computed = hardware.hours(eleven, ppo, fast)
    assert computed == pytest.approx(1e19 * 6 / 8 / (989e12 * 0.4) / 3600)
    episode = 175 + 5 * (50 + 45)
    iterations = 1e19 / (8 * 10_670_220_835) / (ppo.ppo.episodes * episode)
    step = 2 * 10_670_220_835 / (3.35e12 * 0.3)  # one token of every dialogue
    read = hardware.hours(eleven, ppo) - computed
    assert read == pytest.approx(iterations * 5 * 50 * step / 3600)
    runs = {run.name: run.settings for run in RUNS}
    text, seen = (
        runs[name].model_copy(update={"budget_gflop": 1e9}) for name in ("gp-l/sft/0", "gp-vl/sft/0")
    )
    more = hardware.hours(eleven, seen) - hardware.hours(eleven, text)
    looked = 1e18 / (6 * 10_670_220_835) / (175 + 50) * 2 * hardware.looking(eleven)
    assert more == pytest.approx(looked / (989e12 * 0.4) / 3600)
    with pytest.raises(ValueError, match="no hours"):
        hardware.hours(eleven, runs["gp-l/init/0"])
    assert arm.sft.microbatch_tokens == 4096
