"""Schemes with operators in `.rq`: what is stored comes back, behind every form of the file."""

import subprocess

import numpy as np
import pytest

import refquant
from refquant import mp1
from refquant.errors import FormatError, SchemeError, UsageError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import (
    Plan,
    PlannedTensor,
    read,
    read_header,
    tensors_digest,
    write_checkpoint,
)
from refquant.formats.rq.preamble import FEATURE_OPERATORS, FEATURE_SHARDS
from refquant.formats.rq.write import write
from refquant.library import resolve
from refquant.quantization.plan import quantized_plan
from refquant.recipe import Recipe, Rule, assign
from refquant.runtime import GenerateOptions, generate, load_model
from refquant.schemes.level2 import Gathered
from refquant.schemes.storage import StoredLayout, parse_layout, stored_layout
from tests.conftest import REPOSITORY

NAMES = (
    "gptq/int4[order=act]",
    "gptq/int3[order=act,words=rows]",
    "gptq/int3[words=rows]",
    "gptq/int8[order=act,channel]",
    "bnb/nf4[blocks=flat]",
    "bnb/nf4[absmax=nested]",
    "hqq/affine[packing=package,bits=3]",
    "hqq/affine[packing=package,bits=4,axis=0]",
    "hqq/affine[packing=package,bits=3,axis=0]",
    "quanto/qint4[packing=package]",
)


def quantized(name, seed=0):
    """A small tensor under a scheme, groups of inputs in a random order."""
    scheme = refquant.scheme(name)
    shape = next(filter(None, (one.fitting_shape(8) for one in scheme.operators)), (64, 128))
    random = np.random.default_rng(seed)
    gathers = any(isinstance(one, Gathered) for one in scheme.operators)
    importance = random.random(shape[-1]) if gathers else None
    weights = random.standard_normal(shape, np.float32)
    return refquant.quantize(weights, scheme, importance=importance)


@pytest.fixture(scope="module")
def checkpoint():
    tensors = {f"t{n}": quantized(name, n) for n, name in enumerate(NAMES)}
    tensors["u"] = refquant.quantize(np.ones((4, 32), np.float32), "ggml/q4_0")
    return Checkpoint(None, tensors, {}, None, {}, {})


@pytest.mark.parametrize("form", [{}, {"compression": "zstd"}, {"shard_size": 20_000}])
def test_what_is_stored_comes_back(checkpoint, form, tmp_path):
    write_checkpoint(tmp_path / "a.rq", checkpoint, **form)
    found = read(tmp_path / "a.rq", verify="full")
    for name, tensor in checkpoint.tensors.items():
        stored = found.tensors[name]
        assert stored.scheme.name == tensor.scheme.name
        assert stored.dequantize().tobytes() == tensor.dequantize().tobytes()
        assert {p: b.tobytes() for p, b in stored.planes.items()} == {
            p: b.tobytes() for p, b in tensor.planes.items()
        }
    assert tensors_digest(found) == tensors_digest(checkpoint)
    features = read_header(tmp_path / "a.rq").preamble.features
    assert features & FEATURE_OPERATORS
    assert bool(features & FEATURE_SHARDS) == ("shard_size" in form)
    write_checkpoint(tmp_path / "b.rq", found)
    write_checkpoint(tmp_path / "c.rq", checkpoint)
    assert (tmp_path / "b.rq").read_bytes() == (tmp_path / "c.rq").read_bytes()


def test_a_layout_of_no_known_name_decodes(checkpoint, tmp_path):
    """Labels are for people: without them the same bits come out."""
    plan = Plan(
        tuple(
            PlannedTensor(name, one.stored_layout, one.shape, lambda one=one: one.planes)
            for name, one in checkpoint.tensors.items()
        )
    )
    write(tmp_path / "a.rq", plan)
    found = read(tmp_path / "a.rq", verify="full")
    for name, tensor in checkpoint.tensors.items():
        stored = found.tensors[name]
        if tensor.scheme.operators:
            assert stored.scheme.name.startswith("unnamed/")
            assert not stored.scheme.can_encode
        assert stored.dequantize().tobytes() == tensor.dequantize().tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_description_is_read_as_it_was_meant(name):
    scheme = refquant.scheme(name)
    layout = stored_layout(scheme.layout, scheme.operators)
    data = mp1.encode(layout.describe())
    again = parse_layout(mp1.decode(data))
    assert isinstance(again, StoredLayout)
    assert again == layout
    assert mp1.encode(again.describe()) == data
    tensor = quantized(name)
    for plane, stored in tensor.planes.items():
        assert again.plane_nbytes(plane, tensor.shape) == stored.nbytes
    assert again.bits_per_weight(tensor.shape) == tensor.bits_per_weight
    assert again.digest != scheme.layout.digest


@pytest.mark.parametrize("wrong", [-1, 4])
def test_an_index_of_no_group_is_neither_written_nor_decoded(wrong, tmp_path):
    tensor = quantized("gptq/int4[order=act,group=32]")
    planes = {name: plane.copy() for name, plane in tensor.planes.items()}
    planes["g_idx"].reshape(-1).view("<i4")[5] = wrong
    changed = refquant.QuantizedTensor.from_planes(tensor.scheme, tensor.shape, planes)
    with pytest.raises(SchemeError, match="input 5 names group"):
        changed.dequantize()
    with pytest.raises(UsageError, match="E_CODE_INDEX"):
        write_checkpoint(tmp_path / "a.rq", Checkpoint(None, {"w": changed}, {}, None, {}, {}))


def test_rows_that_fill_up_are_zero(tmp_path):
    """13 rows in ten parts of two: part 6 has one row, parts 7 to 9 none."""
    tensor = quantized("hqq/affine[packing=package,bits=3]")
    assert tensor.shape[0] == 13
    planes = {name: plane.copy() for name, plane in tensor.planes.items()}
    words = planes["codes"].reshape(-1).view("<u4")
    # The code of part k begins at bit 27 - 3 k.
    for place, bit in ((0, 6), (len(words) - 1, 9), (len(words) - 1, 2)):
        changed = {name: plane.copy() for name, plane in planes.items()}
        changed["codes"].reshape(-1).view("<u4")[place] ^= 1 << bit
        wrong = refquant.QuantizedTensor.from_planes(tensor.scheme, tensor.shape, changed)
        assert wrong.dequantize().tobytes() == tensor.dequantize().tobytes()
        with pytest.raises(UsageError, match=r"E_CODE_EDGE\]; its weights are right"):
            write_checkpoint(tmp_path / "a.rq", Checkpoint(None, {"w": wrong}, {}, None, {}, {}))
        again = refquant.quantize(wrong.dequantize(), wrong.scheme)
        write_checkpoint(tmp_path / "b.rq", Checkpoint(None, {"w": again}, {}, None, {}, {}))
    # The first row of part 6 is a weight.
    words[0] ^= 1 << 9
    good = refquant.QuantizedTensor.from_planes(tensor.scheme, tensor.shape, planes)
    assert good.dequantize().tobytes() != tensor.dequantize().tobytes()
    write_checkpoint(tmp_path / "a.rq", Checkpoint(None, {"w": good}, {}, None, {}, {}))


def test_groups_that_are_not_whole_do_not_fit():
    layout = parse_layout(stored_layout(*_parts("hqq/affine[packing=package,bits=4]")).describe())
    with pytest.raises(SchemeError, match="no groups of 64"):
        layout.nbytes((3, 63))


def _parts(name):
    found = refquant.scheme(name)
    return found.layout, found.operators


def test_more_than_one_plane_may_have_words():
    description = {
        "rqd": 1,
        "planes": {"a": {"block": [2], "bytes": 2}, "b": {"block": [4], "bytes": 4}},
        "fields": {
            "q": {
                "plane": "a",
                "elem": {"k": "u", "b": 8},
                "over": [1],
                "at": [[[8, 0, [2], [8]]]],
            },
            "s": {
                "plane": "b",
                "elem": {"k": "u", "b": 8},
                "over": [1],
                "at": [[[8, 0, [4], [8]]]],
            },
        },
        "value": ["add", "q", "s"],
        "ops": {"words": {"a": 2, "b": 4}},
    }
    layout = parse_layout(description)
    assert mp1.decode(mp1.encode(layout.describe())) == description
    with pytest.raises(FormatError) as error:
        parse_layout({**description, "ops": {"words": {"a": 2, "b": 3}}})
    assert error.value.code == "E_DESC_OPS"


def test_the_commands_know_such_files(checkpoint, tmp_path):
    write_checkpoint(tmp_path / "a.rq", checkpoint)
    for command in ("inspect", "verify"):
        done = subprocess.run(
            [REPOSITORY / ".venv/bin/refquant", command, tmp_path / "a.rq"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if command == "inspect":
            assert "gptq/int4[v=1,sym,group=128,order=act]" in done.stdout


def test_a_model_behind_operators_runs_however_its_weights_are_held(tmp_path):
    """Every linear map of the demo under act-order; the same tokens from each way to hold them."""
    target = tmp_path / "act.rq"
    source = open_checkpoint(resolve("demo"))
    rules = (Rule(scheme="gptq/int4[order=act,group=32]", role=("attention", "feedforward")),)
    write(target, quantized_plan(source, assign(source, Recipe(rules=rules)), info={}))
    checkpoint = read(target)
    assert sum(bool(checkpoint.tensors.scheme(n)[0].operators) for n in checkpoint.tensors) > 30
    found = set()
    for weights in ("float32", "packed", "u8", "auto"):
        model = load_model(checkpoint, weights=weights)
        steps = generate(model, [1, 50, 100], GenerateOptions(max_tokens=6))
        found.add(tuple(step.token for step in steps))
    assert len(found) == 1
