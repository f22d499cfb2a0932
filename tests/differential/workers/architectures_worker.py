"""Small random models of transformers, with the states behind every layer and their bounds.

    python architectures_worker.py FOLDER SEED NAME...

Runs in the environment of the `torch` oracle and imports nothing of refquant. For each NAME of
MODELS it leaves FOLDER/NAME as a Hugging Face directory (weights in bfloat16) and `states.npz` in
it, with for each state (`embedding`, `blk.0`, ..., `output_norm`, `logits`):

    STATE          f64[t, n]  the class of transformers in float64, angles and all
    STATE.bound    f32[t, n]  what no float32 evaluation with exact angles is away from it
    STATE.theirs   f32[t, n]  the same class in float32
    STATE.far      f32[t, n]  the bound for an evaluation with angles in float32
    STATE.half     f32[t, n]  the same, for one that looks GELU up in float16 as well

and `tokens`. How bounds come about: `rounding_marks.py`.

The families of diffusion are not in transformers: they are its Qwen2, Llama and Qwen3 under a mask
that lets tokens see later ones, saved under the names and keys that these families use.
"""

import json
import sys
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import transformers
from rounding_marks import Marks, Wide

TOKENS = 9
LLAMA = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 24,
    "vocab_size": 20,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA = {
    "num_hidden_layers": 3,
    "query_pre_attn_scalar": 6,
    "sliding_window": 4,
    "final_logit_softcapping": 3.0,
    "tie_word_embeddings": True,
    "head_dim": 8,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
# So short a context and so small a base that pairs lie on either side of each border and between.
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 100.0,
}
YARN = {
    "rope_type": "yarn",
    "factor": 8.0,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 100.0,
}


def llama(**changes):
    """A LlamaForCausalLM's configuration."""
    return transformers.LlamaConfig(**(LLAMA | changes))


MODELS = {
    "llama": llama,
    "llama3": lambda: llama(head_dim=8, rope_parameters=LLAMA3),
    "llama_linear": lambda: llama(
        rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    ),
    "llama_biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "llama_yarn": lambda: llama(head_dim=8, rope_parameters=YARN),
    "mistral": lambda: transformers.MistralConfig(**(LLAMA | {"sliding_window": 4})),
    "mixtral": lambda: transformers.MixtralConfig(**(LLAMA | EXPERTS | {"sliding_window": None})),
    "qwen2": lambda: transformers.Qwen2Config(**LLAMA),
    "qwen3": lambda: transformers.Qwen3Config(**LLAMA),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **LLAMA,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        norm_topk_prob=True,
    ),
    "qwen3_moe_plain": lambda: transformers.Qwen3MoeConfig(
        **LLAMA,
        num_experts=4,
        num_experts_per_tok=3,
        moe_intermediate_size=12,
        norm_topk_prob=False,
    ),
    "gemma2": lambda: transformers.Gemma2Config(
        **(LLAMA | GEMMA | {"attn_logit_softcapping": 2.0})
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **(LLAMA | GEMMA),
        sliding_window_pattern=3,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    ),
    "phi3": lambda: transformers.Phi3Config(
        **({name: LLAMA[name] for name in LLAMA if name != "head_dim"} | {"sliding_window": 5})
    ),
    "gpt2": lambda: transformers.GPT2Config(
        n_embd=16,
        n_layer=2,
        n_head=4,
        n_positions=32,
        vocab_size=20,
        bos_token_id=1,
        eos_token_id=2,
        activation_function="gelu_pytorch_tanh",
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **(LLAMA | EXPERTS | {"sliding_window": 4, "head_dim": 8}),
        rope_parameters=YARN | {"truncate": False},
    ),
    "bert": lambda: transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        vocab_size=20,
        max_position_embeddings=32,
        layer_norm_eps=1e-5,
        pad_token_id=None,
    ),
    "dream": lambda: transformers.Qwen2Config(**LLAMA),
    "llada": llama,
    "sdar": lambda: transformers.Qwen3Config(**LLAMA),
}
# Positions of a block whose tokens see each other.
BLOCKS = {"dream": TOKENS, "llada": TOKENS, "sdar": 4}
LLADA_KEYS = {
    "num_hidden_layers": "n_layers",
    "hidden_size": "d_model",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "intermediate_size": "mlp_hidden_size",
    "max_position_embeddings": "max_sequence_length",
    "tie_word_embeddings": "weight_tying",
}
LLADA_NAMES = {
    "model.embed_tokens": "model.transformer.wte",
    "model.layers": "model.transformer.blocks",
    "model.norm": "model.transformer.ln_f",
    "lm_head": "model.transformer.ff_out",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
    "self_attn.o_proj": "attn_out",
    "self_attn.": "",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}


def mask_of(name, length):
    """What attention adds to scores [1, 1, t, t], or nothing for the model's own causal mask."""
    if name not in BLOCKS:
        return {}
    block = torch.arange(length) // BLOCKS[name]
    hidden = block[:, None] < block[None, :]
    mask = torch.zeros(length, length).masked_fill(hidden, torch.finfo(torch.float32).min)
    return {"attention_mask": mask[None, None]}


def disguise(name, target):
    """Turn a saved model into one of a family of diffusion."""
    config = json.loads((target / "config.json").read_text())
    config["mask_token_id"] = 19
    if name == "llada":
        config = {LLADA_KEYS.get(key, key): value for key, value in config.items()}
        config |= {"embedding_size": config["vocab_size"], "vocab_size": 18, "block_type": "llama"}
        tensors = safetensors.torch.load_file(target / "model.safetensors")
        renamed = {}
        for key, value in tensors.items():
            for theirs, ours in LLADA_NAMES.items():
                key = key.replace(theirs, ours)  # noqa: PLW2901  (one name after another)
            renamed[key] = value
        safetensors.torch.save_file(renamed, target / "model.safetensors")
    if name == "sdar":
        config["block_size"] = BLOCKS[name]
    config["model_type"] = {"dream": "Dream"}.get(name, name)
    (target / "config.json").write_text(json.dumps(config))


def build(config):
    """The model class of a configuration, with plain attention and plain experts."""
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    if config.model_type == "bert":
        return transformers.BertModel(config, add_pooling_layer=False).eval()
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def fill(model, seed):
    """Weights that keep every state near 1, so that a wrong formula shows; bfloat16 all of them."""
    random = np.random.default_rng(seed)
    less_one = model.config.model_type.startswith("gemma")
    oai = model.config.model_type == "gpt_oss"
    for name, parameter in model.named_parameters():
        values = random.standard_normal(tuple(parameter.shape))
        if "norm" in name.lower() or ".ln_" in name:
            values = 0.25 * values + (0 if less_one or name.endswith("bias") else 1)
        elif parameter.ndim == 1 or name.endswith("bias"):
            values *= 0.3
        elif "embed" in name or "wte" in name or "wpe" in name:
            # Gemma multiplies embeddings by the root of the width.
            values *= 0.4 if less_one else 1.5
        else:
            # gpt-oss cuts off gates beyond 7, which must happen.
            values *= 8 * 16**-0.5 if name.endswith("gate_up_proj") and oai else 16**-0.5
        rounded = torch.from_numpy(values).to(torch.bfloat16)
        parameter.data = rounded.to(parameter.dtype)


def states_of(model, tokens, mask):
    """The state behind every layer, by name."""
    found = {}
    kind = model.config.model_type
    base = model if kind == "bert" else model.base_model
    layers = base.encoder.layer if kind == "bert" else getattr(base, "h", None) or base.layers

    def keep(name, value):
        found[name] = (value[0] if isinstance(value, tuple) else value)[0]

    def before(_module, args, kwargs):
        keep("embedding", args[0] if args else kwargs["hidden_states"])

    hooks = [layers[0].register_forward_pre_hook(before, with_kwargs=True)]
    for number, layer in enumerate(layers):
        name = f"blk.{number}"
        hooks.append(layer.register_forward_hook(lambda _m, _a, y, name=name: keep(name, y)))
    if kind != "bert":
        last = base.ln_f if kind == "gpt2" else base.norm
        hooks.append(last.register_forward_hook(lambda _m, _a, y: keep("output_norm", y)))
    options = {} if kind == "bert" else {"use_cache": False}
    answer = model(input_ids=tokens[None], **options, **mask)
    if kind != "bert":
        keep("logits", answer.logits)
    for hook in hooks:
        hook.remove()
    return found


def measure(config, weights, tokens, mask):
    """STATE and its two bounds, from the class in float64."""
    torch.set_default_dtype(torch.float64)
    marks = Marks()
    results = {}
    with Wide():
        model = build(config)
    model.load_state_dict({name: value.double() for name, value in weights.items()})
    model = model.double()
    model.requires_grad_(False)
    for module in model.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            marks.watch_angles(module)
    with marks:
        states = states_of(model, tokens, mask)
    torch.set_default_dtype(torch.float32)
    for name, state in states.items():
        bounds = marks.bounds(state) if state.requires_grad else torch.zeros(3, *state.shape)
        results[name] = state.detach().numpy()
        for kind, bound in zip(("bound", "far", "half"), bounds, strict=True):
            up = np.nextafter(bound.float().numpy(), np.float32(np.inf))
            results[f"{name}.{kind}"] = up
    return results


def make(name, folder, seed):
    """One model's directory and its states."""
    model = build(MODELS[name]()).float()
    fill(model, seed)
    tokens = torch.from_numpy(np.random.default_rng(seed + 1).integers(3, 20, TOKENS))
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        theirs = states_of(model, tokens, mask_of(name, TOKENS))
    mask = {key: value.double() for key, value in mask_of(name, TOKENS).items()}
    results = measure(MODELS[name](), weights, tokens, mask)
    results |= {f"{key}.theirs": value.numpy() for key, value in theirs.items()}
    target = folder / name
    model.to(torch.bfloat16).save_pretrained(target)
    (target / "generation_config.json").unlink(missing_ok=True)
    if name in BLOCKS:
        disguise(name, target)
    config = json.loads((target / "config.json").read_text())
    config.pop("transformers_version")
    (target / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    np.savez(target / "states.npz", tokens=tokens.numpy(), **results)


def main():
    """Make the models that are asked for."""
    torch.set_num_threads(1)
    folder, seed, *names = sys.argv[1:]
    for name in names or MODELS:
        make(name, Path(folder), int(seed))


if __name__ == "__main__":
    main()
