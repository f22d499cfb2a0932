"""Writing GGUF: the same bytes again, models of every family, tokenizers of every kind."""

import json

import numpy as np
import pytest

from refquant import QuantizedTensor, quantize
from refquant.errors import FormatError, UnsupportedError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint, TokenizerSpec
from refquant.formats.gguf_export import plan_gguf
from refquant.formats.gguf_file import read_gguf
from refquant.formats.gguf_pairs import (
    METADATA_DOCUMENT,
    kept_metadata,
    made_metadata,
    read_metadata,
)
from refquant.formats.gguf_tokens import tokenizer_pairs
from refquant.formats.rq import read, write_checkpoint
from refquant.formats.tokenizers_gguf import tokenizer_from_gguf
from refquant.runtime import Tokenizer
from tests import gguf_bytes as made
from tests.architecture_models import GOLDEN, NAMES, run, states_in
from tests.gguf_bytes import ARRAY, BOOL, F64, I8, STRING, U32, U64
from tests.tokenizer_texts import random_texts
from tests.tokenizer_vocabularies import byte_level_file, load, sentencepiece_file, wordpiece_file

# Names against the alphabet, a type that ggml alone has, and a tensor behind smaller ones.
TENSORS = [
    ("z.weight", (3, 64), 3, np.random.default_rng(1).bytes(3 * 40)),
    ("a.bias", (5,), 0, np.float32([1, -0.0, np.nan, 3e-42, -9]).tobytes()),
    ("m.weight", (2, 2, 256), 14, np.random.default_rng(2).bytes(4 * 210)),
]
PAIRS = (
    ("general.architecture", STRING, "unheard-of"),
    ("general.file_type", U32, 3),
    ("odd KEY ü", ARRAY, (I8, [-1, 2])),
    ("wide", F64, 0.1),
    ("big", U64, 1 << 63),
    ("flags", ARRAY, (BOOL, [True, False])),
    ("nothing", ARRAY, (STRING, [])),
)


def written(checkpoint, path, wanted="ggml/q8_0"):
    verdicts = {}
    plan = plan_gguf(checkpoint, wanted)
    size = plan.write(path, verdicts.__setitem__)
    assert size == path.stat().st_size
    return verdicts


@pytest.fixture
def foreign(tmp_path):
    path = tmp_path / "foreign.gguf"
    path.write_bytes(made.build(PAIRS, TENSORS))
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [32, 64])
@pytest.mark.parametrize("way", ["straight", "through rq"])
def test_a_gguf_file_comes_back_byte_for_byte(tmp_path, version, alignment, way):
    source, target = tmp_path / "source.gguf", tmp_path / "target.gguf"
    pairs = PAIRS if alignment == 32 else (*PAIRS, ("general.alignment", U32, alignment))
    content = bytearray(made.pad(made.build(pairs, TENSORS, alignment), alignment))
    content[4] = version
    source.write_bytes(content)
    checkpoint = open_checkpoint(source)
    if way == "through rq":
        write_checkpoint(tmp_path / "middle.rq", checkpoint)
        checkpoint = read(tmp_path / "middle.rq")
    verdicts = written(checkpoint, target)
    assert target.read_bytes() == content
    assert {one.verdict for one in verdicts.values()} == {"exact"}


def test_other_types_get_another_number_of_their_mixture(foreign, tmp_path):
    checkpoint = open_checkpoint(foreign)
    eight = {"z.weight": quantize(checkpoint.tensors["z.weight"].dequantize(), "ggml/q8_0")}
    changed = Checkpoint(
        None, {**checkpoint.tensors, **eight, "m.weight": eight["z.weight"]}, {}, None,
        checkpoint.documents, {},
    )  # fmt: skip
    written(changed, tmp_path / "eight.gguf")
    before, after = read_gguf(foreign).metadata, read_gguf(tmp_path / "eight.gguf").metadata
    assert after["general.file_type"] == 7
    assert [str(one) for one in after] == [str(one) for one in before]


def test_what_ggml_cannot_hold_gets_what_was_asked_for_and_its_loss(foreign, tmp_path):
    checkpoint = open_checkpoint(foreign)
    values = np.random.default_rng(5).standard_normal((3, 64)).astype(np.float32)
    values[:, 0] = 1
    tensors = {
        "z.weight": quantize(values, "int/affine[bits=8,channel]"),
        "a.bias": checkpoint.tensors["a.bias"],
        "f8": quantize(values, "float/f8_e4m3fn"),
        "narrow": quantize(values[:, :33], "int/affine[bits=8,channel]"),
        "same": quantize(values, "t2n/q40_legacy"),
        "mx": quantize(values, "mx/mxfp4"),
        "rows": quantize(values, "int/affine[bits=8,channel]"),
    }
    scales = np.float32(tensors["rows"].planes["scales"].view("<f4")).astype(np.float16)
    planes = {**tensors["rows"].planes, "scales": scales.astype("<f4").view(np.uint8)}
    tensors["rows"] = QuantizedTensor.from_planes(tensors["rows"].scheme, (3, 64), planes)
    changed = Checkpoint(None, tensors, {}, None, checkpoint.documents, {})
    found = written(changed, tmp_path / "out.gguf", "ggml/q5_0")
    assert {name: one.tensor.scheme.name for name, one in found.items()} == {
        "z.weight": "ggml/q5_0", "a.bias": "float/f32", "f8": "float/f16",
        "narrow": "float/f16", "same": "ggml/q4_0", "mx": "ggml/mxfp4", "rows": "ggml/q8_0",
    }  # fmt: skip
    before = tensors["z.weight"].dequantize().astype(np.float64)
    after = open_checkpoint(tmp_path / "out.gguf").tensors["z.weight"].dequantize()
    expected = np.sqrt(np.sum((after - before) ** 2) / np.sum(before**2))
    assert (found["z.weight"].verdict, found["z.weight"].loss) == ("requantized", expected)
    assert 0.001 < expected < 0.1
    for name in ("f8", "same", "mx", "rows"):
        assert (found[name].verdict, found[name].loss) == ("repacked", 0.0)
        after = open_checkpoint(tmp_path / "out.gguf").tensors[name].dequantize()
        assert np.array_equal(after, tensors[name].dequantize())


# A GGUF reader implies another number than these two were made with, and knows no SDAR.
REFUSED = {
    "gemma2": "score_divisor",
    "gemma3": "score_divisor",
    "qwen3_moe_plain": "router",
    "sdar": "no architecture for the sdar",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_family_computes_the_same_after_it(tmp_path, name):
    checkpoint, path = open_checkpoint(GOLDEN / name), tmp_path / "model.gguf"
    if name in REFUSED:
        with pytest.raises(UnsupportedError, match=REFUSED[name]):
            plan_gguf(checkpoint)
        return
    verdicts = written(checkpoint, path)
    assert {one.verdict for one in verdicts.values()} <= {"exact", "repacked"}
    states = states_in(GOLDEN / name)
    strays = states.strays(run(open_checkpoint(path), states.tokens))
    assert max(strays.values()) <= 1, strays


def test_norms_less_one_get_it_back(tmp_path):
    checkpoint = open_checkpoint(GOLDEN / "gemma2")
    checkpoint.architecture.fields["score_divisor"] = float(
        checkpoint.architecture.fields["head_width"]
    )
    written(checkpoint, tmp_path / "model.gguf")
    after = open_checkpoint(tmp_path / "model.gguf").tensors
    for name in ("output_norm.weight", "blk.0.post_ffw_norm.weight"):
        one = np.float32(1) + checkpoint.tensors[name].dequantize()
        assert after[name].dequantize().tobytes() == one.tobytes()


VOCABULARIES = {
    "byte level": lambda: byte_level_file(load("byte_level"), "qwen2"),
    "sentencepiece": lambda: sentencepiece_file(load("sentencepiece"), add_space_prefix=True),
    "no prefix": lambda: sentencepiece_file(load("sentencepiece"), add_space_prefix=False),
    "wordpiece": lambda: wordpiece_file(
        {"tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁the", "s", "▁cat"],
         "types": [3, 3, 3, 3, 1, 1, 1]}
    ),
}  # fmt: skip


def test_scores_keep_the_order_of_merges_against_that_of_ids(tmp_path):
    tokens = ["<unk>", "ab", "bc", "a", "b", "c"]
    vocabulary = {"tokens": tokens, "scores": [0, -5, -1, -6, -7, -8], "types": [2, 1, 1, 1, 1, 1]}
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(sentencepiece_file(vocabulary, add_space_prefix=False))
    before = tokenizer_from_gguf(read_gguf(path).metadata)
    document = made_metadata(tokenizer_pairs(before, len(tokens)))
    after = tokenizer_from_gguf(read_metadata(document).file.metadata)
    # Token 1 is where SentencePiece has its beginning of a text.
    assert Tokenizer(before).encode("abc") == Tokenizer(after).encode("abc") == [1, 3, 2]


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_a_tokenizer_says_the_same_after_it(tmp_path, kind):
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(VOCABULARIES[kind]())
    before = tokenizer_from_gguf(read_gguf(path).metadata)
    size = len(read_gguf(path).metadata["tokenizer.ggml.tokens"])
    document = made_metadata(tokenizer_pairs(before, size + 3))
    after = tokenizer_from_gguf(read_metadata(document).file.metadata)
    assert (after.kind, after.bos, after.eos, after.add_bos) == (
        before.kind, before.bos, before.eos, before.add_bos
    )  # fmt: skip
    ours, theirs = Tokenizer(before), Tokenizer(after)
    texts = ["The cats", "it's 2026\n\n  x", *random_texts(200, 7)]
    assert [theirs.encode(text) for text in texts] == [ours.encode(text) for text in texts]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "normalizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "x+"},
                    "behavior": "Isolated",
                }
            },
            "cutting words by .'x",
        ),
    ],
)
def test_a_tokenizer_that_gguf_cannot_spell_is_refused(change, reason):
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    text = json.dumps({"model": model, "added_tokens": [], **change}).encode()
    with pytest.raises(UnsupportedError, match=reason):
        tokenizer_pairs(TokenizerSpec("bpe-bytelevel-1", text, None, (), add_bos=False), 1)


def test_more_tokens_than_the_model_has_are_refused():
    text = json.dumps({"model": {"type": "BPE", "vocab": {"a": 4}, "merges": []}}).encode()
    with pytest.raises(UnsupportedError, match="the id 4, the model only 4"):
        tokenizer_pairs(TokenizerSpec("bpe-bytelevel-1", text, None, (), add_bos=False), 4)


def test_the_document_is_read_with_care(foreign):
    whole = kept_metadata(read_gguf(foreign))
    assert open_checkpoint(foreign).documents[METADATA_DOCUMENT].data == whole
    for size in (0, 3, 23, 24, len(whole) - 1):
        with pytest.raises(FormatError):
            read_metadata(whole[:size])
    with pytest.raises(FormatError, match="tensors"):
        read_metadata(foreign.read_bytes())
    plain = read_metadata(made_metadata([]))
    assert (plain.count, plain.pairs, plain.types) == (0, b"", {})
