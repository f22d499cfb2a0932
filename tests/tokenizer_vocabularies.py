"""Small vocabularies as GGUF files: what tests/data/tokenizers holds, written as metadata."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import gguf_bytes
from tests.gguf_bytes import ARRAY, BOOL, F32, I32, STRING, U32

__all__ = ["FOLDER", "byte_level_file", "load", "save", "sentencepiece_file", "wordpiece_file"]

FOLDER = Path(__file__).parent / "data" / "tokenizers"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

# What llama.cpp wants to see before it looks at a vocabulary; no number of it matters.
MODEL: tuple[gguf_bytes.Pair, ...] = (
    ("general.architecture", STRING, "llama"),
    ("llama.block_count", U32, 1),
    ("llama.context_length", U32, 16),
    ("llama.embedding_length", U32, 32),
    ("llama.feed_forward_length", U32, 32),
    ("llama.attention.head_count", U32, 1),
    ("llama.attention.layer_norm_rms_epsilon", F32, 0.5),
)


def load(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def save(name: str, content: Mapping[str, object]) -> None:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # One line for each entry, so that a change shows which one it is.
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(text.replace("],[", "],\n[") + "\n", encoding="utf-8")


def byte_level_file(vocabulary: Mapping[str, Sequence], pre: str) -> bytes:
    """A GGUF file of kind `gpt2` that cuts words as `pre` says."""
    pairs = (
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, pre),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, vocabulary["tokens"])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, vocabulary["types"])),
        ("tokenizer.ggml.merges", ARRAY, (STRING, vocabulary["merges"])),
        ("tokenizer.ggml.bos_token_id", U32, 0),
        ("tokenizer.ggml.eos_token_id", U32, 0),
    )
    return gguf_bytes.build((*MODEL, *pairs))


def sentencepiece_file(vocabulary: Mapping[str, Sequence], *, add_space_prefix: bool) -> bytes:
    """A GGUF file of kind `llama`."""
    pairs = (
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, vocabulary["tokens"])),
        ("tokenizer.ggml.scores", ARRAY, (F32, vocabulary["scores"])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, vocabulary["types"])),
        ("tokenizer.ggml.add_space_prefix", BOOL, add_space_prefix),
    )
    return gguf_bytes.build((*MODEL, *pairs))


def wordpiece_file(vocabulary: Mapping[str, Sequence], *, ends: bool = True) -> bytes:
    """A GGUF file of kind `bert`; `[UNK]`, `[CLS]` and `[SEP]` are the ids 1, 2 and 3."""
    stated = (
        ("tokenizer.ggml.bos_token_id", U32, 2),
        ("tokenizer.ggml.seperator_token_id", U32, 3),
        ("tokenizer.ggml.unknown_token_id", U32, 1),
    )
    pairs = (
        ("tokenizer.ggml.model", STRING, "bert"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, vocabulary["tokens"])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, vocabulary["types"])),
    )
    return gguf_bytes.build((*MODEL, *pairs, *(stated if ends else ())))
