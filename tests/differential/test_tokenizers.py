"""Rebuilt tokenizers against llama.cpp, on texts drawn anew from every alphabet."""

import pytest
from tokenizers import Tokenizer

from refquant.formats.gguf_file import read_gguf
from refquant.formats.tokenizers_gguf import tokenizer_from_gguf
from tests.differential.golden_tokenizers import ids_of_bytes, llama_cpp_ids
from tests.tokenizer_texts import TEXTS, random_texts
from tests.tokenizer_vocabularies import byte_level_file, load, sentencepiece_file

pytestmark = pytest.mark.differential

TEXTS_HERE = [*TEXTS, *random_texts(2000, seed=11)]

# One name for each way of cutting that llama.cpp spells as the models do: `gpt-4o` and `tekken`
# differ at combining marks (tests/test_tokenizer_gguf.py); `deepseek-coder` at U+2009, which its
# class of Chinese characters includes and llama.cpp replaces before it looks.
WAYS = ("default", "gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "falcon", "deepseek-v3",
        "bloom", "viking")  # fmt: skip


def library(path) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_from_gguf(read_gguf(path).metadata).json.decode())


def assert_same(tokenizer, expected):
    for text, ids in zip(TEXTS_HERE, expected, strict=True):
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, ascii(text)


@pytest.mark.parametrize("pre", WAYS)
def test_byte_level(oracle, tmp_path, pre):
    data = byte_level_file(load("byte_level"), pre)
    (tmp_path / "v.gguf").write_bytes(data)
    expected = ids_of_bytes(oracle("llama"), data, TEXTS_HERE)
    assert_same(library(tmp_path / "v.gguf"), expected)


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(oracle, tmp_path, prefix):
    data = sentencepiece_file(load("sentencepiece"), add_space_prefix=prefix)
    (tmp_path / "v.gguf").write_bytes(data)
    expected = ids_of_bytes(oracle("llama"), data, TEXTS_HERE)
    assert_same(library(tmp_path / "v.gguf"), expected)


def test_smollm2(oracle, smollm2_gguf):
    assert_same(library(smollm2_gguf), llama_cpp_ids(oracle("llama"), smollm2_gguf, TEXTS_HERE))
