"""`refquant embed`: vectors on the screen, in JSON and in files, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from refquant.cli import main
from refquant.formats.gguf_file import read_gguf
from refquant.formats.rq import write_checkpoint
from refquant.formats.tokenizers_gguf import tokenizer_from_gguf
from refquant.runtime import Tokenizer, load_encoder
from refquant.tensor import quantize
from tests.architecture_models import golden
from tests.command_line import call, small_model
from tests.test_tokenizer_wordpiece import PIECES, SPECIAL, TYPES
from tests.tokenizer_vocabularies import wordpiece_file

TEXTS = ("The cats sat.", "uncats", "CAFÉ!")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("wordpiece") / "bert.gguf"
    path.write_bytes(wordpiece_file({"tokens": SPECIAL + PIECES, "types": TYPES}))
    spec = tokenizer_from_gguf(read_gguf(path).metadata)
    return replace(golden("bert")[0], tokenizer=spec)


@pytest.fixture(scope="module")
def model(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.rq"
    write_checkpoint(path, checkpoint)
    return path


def vectors_of(checkpoint, **options):
    encoder, tokenizer = load_encoder(checkpoint), Tokenizer(checkpoint.tokenizer)
    return [encoder.embed(tokenizer.encode_between_ends(text), **options) for text in TEXTS]


@pytest.mark.parametrize(
    ("arguments", "options", "pooling"),
    [
        ((), {}, "mean"),
        (("--pooling", "cls"), {"pooling": "first"}, "cls"),
        (("--pooling", "mean", "--normalize"), {"pooling": "mean", "normalize": True}, "mean"),
        (("--pooling", "none"), {"pooling": "none"}, "none"),
    ],
)
def test_json_holds_the_vectors_bit_for_bit(arguments, options, pooling, model, checkpoint, capsys):
    found = call(capsys, "embed", model, *TEXTS, *arguments, "--json")
    assert found.status == 0, found.err
    assert found.json["schema"] == "refquant.embed/1"
    assert (found.json["pooling"], found.json["normalize"]) == (pooling, "normalize" in options)
    for entry, text, vector in zip(
        found.json["texts"], TEXTS, vectors_of(checkpoint, **options), strict=True
    ):
        assert entry["text"] == text
        assert np.array_equal(np.float32(entry["vector"]), vector)
        assert len(entry["tokens"]) == len(vector) or pooling != "none"


def test_a_file_of_texts_becomes_a_file_of_vectors(model, checkpoint, capsys, tmp_path):
    texts, output = tmp_path / "texts.txt", tmp_path / "vectors.npy"
    texts.write_text("\n".join(TEXTS) + "\n\n", "utf-8")
    found = call(capsys, "embed", model, "-f", texts, "-o", output, "--normalize")
    assert found.status == 0, found.err
    vectors = np.load(output)
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 16))
    assert np.array_equal(vectors, vectors_of(checkpoint, normalize=True))
    assert "3 of 16 numbers" in found.out
    assert "mean, each of length 1" in found.out


def test_the_screen_shows_how_near_texts_are(model, checkpoint, capsys):
    found = call(capsys, "embed", model, *TEXTS)
    rows = [line.split() for line in found.out.splitlines()[-3:]]
    first, *others = (vector.astype(np.float64) for vector in vectors_of(checkpoint))
    assert rows[0][0] == "1.0000"
    for row, vector in zip(rows[1:], others, strict=True):
        cosine = first @ vector / np.sqrt((first @ first) * (vector @ vector))
        assert row[0] == f"{cosine:.4f}"
    shown = call(capsys, "embed", model, "the cat", "--pooling", "none")
    assert shown.out.splitlines()[-1].split()[0] == "4"


def test_exact_vectors_do_not_depend_on_how_weights_are_held(model, capsys):
    ways = [
        call(capsys, "embed", model, "The cats sat.", "--json", "--normalize", *more).json
        for more in ((), ("--arith", "exact"), ("--arith", "exact", "--weights", "packed"))
    ]
    fast, exact, packed = (np.float32(way["texts"][0]["vector"]) for way in ways)
    assert exact.tobytes() == packed.tobytes()
    # How far they may be apart is the matter of test_runtime_families.py.
    assert fast.tobytes() != exact.tobytes()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "neither was given"),
        (("a", "-f", "texts.txt"), 2, "both were given"),
        (("a", "-o", "vectors.txt"), 2, "ends in .npy"),
        (("a", "-o", "vectors.npy", "--pooling", "none"), 2, "use --json"),
        (("a", "--pooling", "max"), 2, "Choose from"),
        (("the " * 40,), 6, "at most 32"),
        (("-f", "nothing.txt"), 2, "holds no texts"),
        (("-f", "latin.txt"), 2, "byte 3 is not UTF-8"),
    ],
)
def test_mistakes_are_named(arguments, status, words, model, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing.txt").write_text("\n \n", "utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    found = call(capsys, "embed", model, *arguments)
    assert (found.status, found.out) == (status, "")
    assert words in found.err


def test_what_is_no_encoder_or_cannot_read(checkpoint, capsys, tmp_path):
    writer = small_model(tmp_path / "llama.rq")
    found = call(capsys, "embed", writer, "a")
    assert (found.status, found.out) == (4, "")
    assert "only encoders (bert) make embeddings" in found.err
    assert call(capsys, "embed", "demo", "a").status == 4
    silent = tmp_path / "silent.rq"
    write_checkpoint(silent, replace(checkpoint, tokenizer=None))
    found = call(capsys, "embed", silent, "a")
    assert found.status == 4
    assert "no usable tokenizer" in found.err


def test_states_beyond_bounds_are_told(checkpoint, capsys, tmp_path):
    tensors = dict(checkpoint.tensors)
    large = tensors["blk.0.ffn_down.weight"].dequantize() * np.float32(1e38)
    tensors["blk.0.ffn_down.weight"] = quantize(large, "float/f32")
    path = tmp_path / "large.rq"
    write_checkpoint(path, replace(checkpoint, tensors=tensors))
    found = call(capsys, "embed", path, "The cats sat.")
    assert (found.status, found.out) == (3, "")
    assert "beyond what float32 can hold" in found.err


def test_help_shows_how(capsys):
    assert main(["embed", "--help"]) == 0
    out = capsys.readouterr().out
    assert "For example:" in out
    assert "--pooling" in out
