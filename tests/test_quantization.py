"""Algorithms that learn: what they see of a model, from which files, and what they lower."""

import struct
import threading

import numpy as np
import pytest

import refquant
from refquant.calibrate import awq_scales, layer_error
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats import open_checkpoint
from refquant.library import resolve
from refquant.quantization.importance_file import read_importance
from refquant.quantization.inputs import collect_inputs
from refquant.quantization.ranges import collect_ranges
from refquant.runtime import Tokenizer, load_model
from refquant.runtime.ops import rms_norm
from tests.command_line import call
from tests.gguf_bytes import build
from tests.roundings import assert_rounded
from tests.runtime_models import random_checkpoint

SUMS, COUNTS = "blk.0.attn_q.weight.in_sum2", "blk.0.attn_q.weight.counts"


@pytest.fixture(scope="module")
def demo():
    return load_model(open_checkpoint(resolve("demo")))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text to learn from and another to be judged on."""
    folder = tmp_path_factory.mktemp("texts")
    from importlib.resources import files

    text = (files("refquant") / "demo" / "heldout.txt").read_text("utf-8")
    half = len(text) // 2
    (folder / "learn.txt").write_text(text[:half])
    (folder / "judge.txt").write_text(text[half:])
    return folder


def test_the_first_layers_inputs_are_the_normed_embeddings(demo):
    ids = list(range(40, 104))
    found = collect_inputs(demo, ids, window=32)
    block = demo.network.blocks[0]
    x = demo.network.embedding[np.array(ids)]
    x = rms_norm(x, block.attention_norm.weight, block.attention_norm.epsilon).astype(np.float64)
    query = found["blk.0.attn_q.weight"]
    assert query is found["blk.0.attn_v.weight"]
    assert query.rows == 64
    # Sums of 64 products in two different orders.
    assert_rounded(query.products, x.T @ x, 2 * 64, size=np.abs(x).T @ np.abs(x))
    assert_rounded(np.diag(query.products), query.squares, 2 * 64)
    assert set(found) >= {f"blk.3.{part}.weight" for part in ("ffn_up", "ffn_down", "attn_output")}


@pytest.mark.parametrize(
    "collect",
    [
        lambda model, ids: collect_inputs(model, ids, window=8),
        lambda model, ids: collect_ranges(model, [ids]),
    ],
)
def test_who_collects_waits_for_its_turn_at_the_model(demo, collect):
    ids, found = range(40, 48), []
    collect(demo, ids)
    with demo.turn:
        learner = threading.Thread(target=lambda: found.append(collect(demo, ids)))
        learner.start()
        learner.join(0.3)
        assert not found
    learner.join()
    assert len(found) == 1
    with pytest.raises(UsageError, match="token ids reach from"):
        collect(demo, range(10**6, 10**6 + 8))


def test_what_inputs_cannot_be_collected_from(demo):
    with pytest.raises(UsageError, match="less than one window"):
        collect_inputs(demo, range(10))
    packed = load_model(open_checkpoint(resolve("demo")), "packed")
    with pytest.raises(UnsupportedError, match="weights in float32"):
        collect_inputs(packed, range(600))


def test_awq_lowers_the_error_where_inputs_are_uneven():
    chance = np.random.default_rng(0)
    size = np.exp(2 * chance.normal(size=128))
    inputs = chance.normal(size=(400, 128)) * size
    weights, hessian = chance.normal(size=(48, 128)).astype(np.float32), inputs.T @ inputs
    scheme = refquant.scheme("int/affine[bits=4,group=64]")
    scales = awq_scales([weights], np.abs(inputs).mean(axis=0), hessian, [scheme])
    plain = refquant.quantize(weights, scheme).dequantize()
    scaled = refquant.quantize(weights * scales, scheme).dequantize() / scales
    assert layer_error(weights, scaled, hessian) < 0.7 * layer_error(weights, plain, hessian)


def old_form(*entries):
    data = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        spelled = name.encode()
        data += struct.pack("<i", len(spelled)) + spelled + struct.pack("<ii", calls, len(values))
        data += np.asarray(values, "<f4").tobytes()
    return data


def test_both_forms_of_llama_cpps_file(tmp_path):
    (tmp_path / "old").write_bytes(
        old_form(("blk.0.attn_q.weight", 4, [4, 8])) + struct.pack("<i", 1)
    )
    found = read_importance(tmp_path / "old")
    assert found["blk.0.attn_q.weight"].tolist() == [1, 2]
    sums, counts = np.float32([[10, 20]]).tobytes(), np.float32([10]).tobytes()
    new = build([], [(SUMS, (1, 2), 0, sums), (COUNTS, (1, 1), 0, counts)])
    (tmp_path / "new").write_bytes(new)
    assert read_importance(tmp_path / "new")["blk.0.attn_q.weight"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text that is no matrix",
        old_form(("a", 1, [1.0]))[:-1],
        old_form(("a", 0, [1.0])),
        old_form(("a", 1, [])),
        old_form(("a", 1, [-1.0])),
        old_form(("a", 1, [np.nan])),
        struct.pack("<ii", 1, -1),
        struct.pack("<i", 1 << 30),
        build([], [("w", (1, 2), 0, bytes(8))]),
        build([], [(SUMS, (1, 2), 0, bytes(8))]),
    ],
)
def test_files_that_are_no_importance_matrix(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read_importance(tmp_path / "x")
    assert caught.value.exit_status == 3


def weighted_error(path, judged):
    """The error of the quantized matrices on the inputs that the model has on a text."""
    before = open_checkpoint(resolve("demo")).tensors
    after = open_checkpoint(path).tensors
    return sum(
        layer_error(before[name].dequantize(), after[name].dequantize(), one.products)
        for name, one in judged.items()
        if name in before
    )


@pytest.mark.parametrize("algorithm", ["imatrix", "gptq"])
def test_errors_fall_on_a_text_that_was_not_learned_from(capsys, tmp_path, texts, demo, algorithm):
    ids = Tokenizer(demo.checkpoint.tokenizer).encode((texts / "judge.txt").read_text())
    judged = collect_inputs(demo, ids, windows=2)
    errors = []
    for name, options in (
        ("rtn", ()),
        (algorithm, ("--calibration", texts / "learn.txt", "--calibration-windows", 2)),
    ):
        path = tmp_path / f"{name}.rq"
        command = ("quantize", "demo", "-o", path, "--scheme", "q3_k", "--algorithm", name)
        assert call(capsys, *command, *options).status == 0
        errors.append(weighted_error(path, judged))
    assert errors[1] < 0.99 * errors[0]


def test_awq_leaves_the_model_what_it_is(capsys, tmp_path, texts):
    """With 8 bits next to nothing is rounded: what is left is what folding changed."""
    path = tmp_path / "awq.rq"
    options = (
        "--algorithm",
        "awq",
        "--calibration",
        texts / "learn.txt",
        "--calibration-windows",
        1,
    )
    found = call(capsys, "quantize", "demo", "-o", path, "--scheme", "f32", *options)
    assert found.status == 0
    same = ("run", "demo", "-p", "It is a truth", "-n", 24)
    wanted = call(capsys, *same).out
    assert call(capsys, "run", path, *same[2:]).out == wanted
    record = open_checkpoint(path).info["provenance"]["calibration"]
    assert record["name"] == "learn.txt"
    assert record["windows"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--algorithm", "gptq"), "gptq learns from a text: --calibration FILE"),
        (("--algorithm", "imatrix"), "imatrix needs --imatrix FILE"),
        (("--calibration", "nowhere.txt", "--algorithm", "gptq"), "there is no such file"),
        (("--calibration", "pyproject.toml"), "no rule has an algorithm that learns from it"),
        (("--imatrix", "nowhere"), "--imatrix nowhere: there is no such file"),
        (
            ("--imatrix", "pyproject.toml", "--algorithm", "gptq", "--calibration", "README.md"),
            "no rule has the algorithm imatrix",
        ),
        (("--imatrix", "README.md", "--algorithm-option", "nothing=1"), "nothing"),
        (("--calibration-windows", "3"), "goes with --calibration"),
        (("--activation-range", "entropy"), "no rule has static activations"),
        (("--activation-percentile", "99"), "goes with --activation-range percentile"),
    ],
)
def test_contradictions(capsys, tmp_path, options, message):
    found = call(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", "--scheme", "q4_0", *options)
    assert found.status == 2
    assert message in found.err


def test_what_was_learned_cannot_be_made_again(capsys, tmp_path, texts):
    path = tmp_path / "x.rq"
    options = ("--algorithm", "imatrix", "--calibration", texts / "learn.txt")
    small = ("--calibration-windows", 1)
    call(capsys, "quantize", "demo", "-o", path, "--scheme", "q4_0", *options, *small)
    found = call(capsys, "verify", path, "--rederive", resolve("demo"))
    assert found.status == 4
    assert "which learned from a text" in found.err


def test_a_model_without_text_has_no_moments():
    with pytest.raises(UsageError, match="less than one window"):
        collect_inputs(load_model(random_checkpoint()), [1, 2, 3])


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["q3_k", "int/affine[bits=3,group=64]", "ggml/q4_0"])
def test_the_model_stays_nearer_to_its_original(capsys, tmp_path, texts, scheme):
    """By divergence: rounding to nearest may better the perplexity by chance."""
    found = {}
    for name in ("rtn", "gptq", "awq"):
        path, learned = tmp_path / f"{name}.rq", ("--calibration", texts / "learn.txt")
        command = ("quantize", "demo", "-o", path, "--scheme", scheme, "--algorithm", name)
        assert call(capsys, *command, *(() if name == "rtn" else learned)).status == 0
        asked = ("--text", texts / "judge.txt", "--windows", 4, "--reference", "demo", "--json")
        found[name] = call(capsys, "eval", path, *asked).json["reference"]["kl"]
    assert found["gptq"] < found["rtn"]
    assert found["awq"] < found["rtn"]
