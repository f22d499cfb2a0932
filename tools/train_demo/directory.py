"""The demo model as a Hugging Face directory: how it is written, and read again."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from network import CausalLM, Shape
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0


def configuration(shape: Shape) -> dict[str, object]:
    """The contents of ``config.json``."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(shape),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def tokenizer_configuration(shape: Shape) -> dict[str, object]:
    """The contents of ``tokenizer_config.json``."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": None,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.max_position_embeddings,
    }


def export(target: Path, weights: dict[str, Tensor], tokenizer: Tokenizer, shape: Shape) -> None:
    """Write the Hugging Face directory beside its place, then put it there."""
    fresh, stale = target.with_name(target.name + ".new"), target.with_name(target.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(weights, fresh / "model.safetensors", metadata={"format": "pt"})
    (fresh / "model.safetensors").chmod(0o644)
    tokenizer.save(str(fresh / "tokenizer.json"))
    for name, content in (
        ("config.json", configuration(shape)),
        ("tokenizer_config.json", tokenizer_configuration(shape)),
    ):
        (fresh / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    if target.exists():
        shutil.rmtree(stale, ignore_errors=True)
        target.rename(stale)
    fresh.rename(target)
    shutil.rmtree(stale, ignore_errors=True)


def load(directory: Path) -> tuple[CausalLM, Tokenizer, Shape]:
    """The model, tokenizer and shape of an exported directory."""
    config = json.loads((directory / "config.json").read_text("utf-8"))
    shape = Shape(**{name: config[name] for name in asdict(Shape())})
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return model_of(load_file(directory / "model.safetensors"), shape), tokenizer, shape


def model_of(weights: dict[str, Tensor], shape: Shape) -> CausalLM:
    """A model for inference in float32 from weights of any precision."""
    model = CausalLM(shape)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model.eval()
