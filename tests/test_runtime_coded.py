"""Matrices under contracts: equal to the layers of `refquant.arithmetic`, obeyed, overridden."""

from dataclasses import replace

import numpy as np
import pytest

from refquant import arithmetic
from refquant.architectures import FAMILIES, Architecture
from refquant.arithmetic import StaticParameters, static_layer, static_parameters
from refquant.arithmetic.contracts import ACTIVATIONS
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.compute import (
    COMPUTE_EXTENSION,
    MatrixContract,
    compute_contracts,
    compute_extension,
)
from refquant.runtime import load_model
from refquant.runtime.arithmetic_mode import arithmetic as arithmetic_mode
from refquant.runtime.coded import coded_matrix
from refquant.runtime.factors import factors_of
from refquant.runtime.linear import linear
from refquant.tensor import QuantizedTensor, quantize
from tests.runtime_models import random_checkpoint

DYNAMIC = [name for name, contract in ACTIVATIONS.items() if "dynamic" in contract.compute]
FACTORED = [
    "aeq/int8",
    "aeq/int4[block=32]",
    "torchao/8da4w",
    "diffulex/int8",
    "int/affine[bits=4,asym,group=32]",
    "int/affine[bits=8,tensor]",
    "torchchat/int8",
    "tract/q40",
    "mlx/affine[bits=4,group=64]",
    "awq/int4",
    *(f"ggml/{kind}" for kind in ("q4_0", "q4_1", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q6_k")),
]


def values(rows, columns, seed=0):
    generator = np.random.default_rng(seed)
    spread = np.exp(generator.normal(size=(rows, 1)))
    found = (generator.normal(size=(rows, columns)) * spread).astype(np.float32)
    # Rows of one sign and nearly one size have sums so large that the order of scales shows.
    found[::4] = spread[::4] * generator.uniform(0.75, 1, found[::4].shape)
    return found


def under(contract, scheme, x, bias=None):
    tensor = quantize(values(40, x.shape[1], 1), scheme)
    matrix = coded_matrix(tensor, "w", MatrixContract(contract), tensor.dequantize)
    assert matrix.shape == tensor.shape
    return tensor, linear(x, matrix, bias)


@pytest.mark.parametrize("scheme", FACTORED)
def test_factors_give_the_values_back(scheme):
    tensor = quantize(values(6, 512), scheme)
    found = factors_of(tensor)
    result = found.codes.astype(np.float32)
    if found.zero is not None:
        result = result - np.repeat(found.zero, found.group, axis=1)
    result = np.repeat(found.scale, found.group, axis=1) * result
    if found.minimum is not None:
        result = result + np.repeat(found.minimum, found.group, axis=1)
    assert np.array_equal(result.view(np.uint32), tensor.dequantize().view(np.uint32))


@pytest.mark.parametrize("scheme", ["ggml/mxfp4", "bnb/nf4", "float/f16", "ggml/q8_1"])
def test_tables_and_floats_have_no_factors(scheme):
    assert factors_of(quantize(values(4, 64), scheme)) is None


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize(
    ("contract", "scheme"),
    [
        ("litert_symmetric", "aeq/int8"),
        ("litert_symmetric", "aeq/int4"),
        ("litert_asymmetric", "aeq/int8"),
        ("xnnpack_asymmetric", "aeq/int8"),
        ("litert_asymmetric", "aeq/int4[block=32]"),
        ("xnnpack_asymmetric", "aeq/int4[block=32]"),
    ],
)
def test_integer_layers(contract, scheme, tokens, biased):
    x, bias = values(tokens, 96, 2), values(1, 40, 3)[0] if biased else None
    tensor, y = under(contract, scheme, x, bias)
    found, added = factors_of(tensor), np.zeros(40, np.float32) if bias is None else bias
    rows = getattr(arithmetic, contract)(x)
    engine = "xnnpack" if contract.startswith("xnnpack") else "litert"
    kind, scale = ("", found.scale[:, 0]) if found.scale.shape[1] == 1 else ("_block", found.scale)
    layer = getattr(arithmetic, f"{engine}{kind}_layer")
    assert np.array_equal(y, layer(rows, found.codes, scale, added))
    assert np.abs(y).max() > 1


def test_blocks_are_cut_into_rows(monkeypatch):
    x = values(3, 64, 2)
    whole = under("xnnpack_asymmetric", "aeq/int4[block=32]", x, values(1, 40)[0])[1]
    monkeypatch.setattr("refquant.runtime.coded.ROWS", 7)
    cut = under("xnnpack_asymmetric", "aeq/int4[block=32]", x, values(1, 40)[0])[1]
    assert np.array_equal(whole, cut)


def test_torchao_tokens():
    x = values(5, 64, 2)
    tensor, y = under("torchao_per_token", "torchao/8da4w", x)
    held = arithmetic.torchao_per_token(x).dequantize()
    assert np.array_equal(y, held @ tensor.dequantize().T)
    with arithmetic_mode("exact"):
        exact = under("torchao_per_token", "torchao/8da4w", x)[1]
    wide = held.astype(np.float64) @ tensor.dequantize().astype(np.float64).T
    assert np.array_equal(exact, wide.astype(np.float32))


@pytest.mark.parametrize("contract", DYNAMIC)
def test_not_finite_activations_show(contract):
    scheme = "ggml/q8_0" if contract.startswith("ggml") else "aeq/int8"
    x = values(2, 64)
    x[1, 3] = np.nan
    with np.errstate(invalid="ignore"):
        y = under(contract, scheme, x)[1]
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[0]).all()


UNFIT = [
    ("litert_symmetric", "ggml/q4_1", "not integers times a scale"),
    ("litert_symmetric", "aeq/int4[block=32]", "litert_asymmetric"),
    ("xnnpack_asymmetric", "int/affine[bits=8,sym,group=32]", "4-bit weights only"),
    ("xnnpack_asymmetric", "int/affine[bits=4,asym,group=32]", "zero points"),
    ("torchao_per_token", "ggml/mxfp4", "not integers times a scale"),
    ("ggml_block", "aeq/int8", "those of ggml/q4_0"),
    ("ggml_x86", "aeq/int8", "those of ggml/q4_0"),
]


@pytest.mark.parametrize(("contract", "scheme", "reason"), UNFIT)
def test_what_does_not_fit_is_named(contract, scheme, reason):
    with pytest.raises(UnsupportedError, match=reason) as caught:
        under(contract, scheme, values(1, 64))
    assert scheme.partition("[")[0] in str(caught.value)
    assert contract in str(caught.value)


def test_codes_that_kernels_misread_are_refused():
    codes = np.arange(-128, 128, dtype=np.int8).view(np.uint8)
    scales = np.ones(4, np.float32).view(np.uint8)
    tensor = QuantizedTensor.from_planes(
        "torchchat/int8", (4, 64), {"codes": codes, "scales": scales}
    )
    with pytest.raises(UnsupportedError, match="code of -128"):
        coded_matrix(tensor, "w", MatrixContract("litert_symmetric"), tensor.dequantize)


STATIC = StaticParameters(0.5, -3, 0.25, 7)
CONTRACTS = {
    "b": MatrixContract("ggml_block"),
    "a": MatrixContract("ggml_block"),
    "c": MatrixContract("litert_symmetric"),
    "d": MatrixContract("int8_static", STATIC),
}
STORED = {
    "tensor": "d",
    "input_scale": 0.5,
    "input_zero_point": -3,
    "output_scale": 0.25,
    "output_zero_point": 7,
}


def test_the_entry_of_a_file_is_read_back():
    entry = compute_extension(CONTRACTS)
    assert entry == {
        COMPUTE_EXTENSION: {
            "critical": False,
            "data": {
                "ggml_block": ["a", "b"],
                "int8_static": [STORED],
                "litert_symmetric": ["c"],
            },
        }
    }
    assert compute_contracts(entry, {"a", "b", "c", "d"}) == CONTRACTS
    assert compute_extension({}) == {}
    assert compute_contracts({}, {"a"}) == {}


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        ([], FormatError, "map of contracts"),
        ({"ggml_block": "a"}, FormatError, "array of names"),
        ({"ggml_block": [1]}, FormatError, "no string"),
        ({"ggml_block": ["a", "a"]}, FormatError, "two contracts"),
        ({"ggml_block": ["a"], "litert_symmetric": ["a"]}, FormatError, "two contracts"),
        ({"ggml_block": ["x"]}, FormatError, "not in the file"),
        ({"ggml_blocks": ["a"]}, UnsupportedError, "ggml_blocks"),
        ({"int8_static": ["d"]}, FormatError, "map with the name"),
        ({"int8_static": [STORED | {"tensor": 1}]}, FormatError, "map with the name"),
        ({"int8_static": [STORED, STORED]}, FormatError, "two contracts"),
        ({"int8_static": [STORED | {"bits": 8}]}, FormatError, "unknown key 'bits'"),
        ({"int8_static": [{"tensor": "d"}]}, FormatError, "'input_scale' is missing"),
        ({"int8_static": [STORED | {"input_scale": 1}]}, FormatError, "expected a float"),
        ({"int8_static": [STORED | {"input_zero_point": True}]}, FormatError, "an integer"),
        ({"int8_static": [STORED | {"input_zero_point": 1.0}]}, FormatError, "an integer"),
        ({"int8_static": [STORED | {"output_scale": 0.1}]}, FormatError, "binary32"),
        ({"int8_static": [STORED | {"output_scale": 0.0}]}, FormatError, "positive"),
        ({"int8_static": [STORED | {"output_zero_point": 128}]}, FormatError, "-128 to 127"),
        ({"int16_static": [STORED]}, FormatError, "0 to 0"),
    ],
)
def test_entries_that_cannot_be_meant(data, error, reason):
    entry = {COMPUTE_EXTENSION: {"critical": False, "data": data}}
    with pytest.raises(error, match=reason):
        compute_contracts(entry, {"a", "d"})


@pytest.mark.parametrize(
    ("name", "parameters"), [("int8_static", None), ("int16_static", None), ("ggml_block", STATIC)]
)
def test_only_static_contracts_have_parameters(name, parameters):
    with pytest.raises(UsageError, match=name):
        MatrixContract(name, parameters)


def logits(checkpoint, *arguments):
    model = load_model(checkpoint, *arguments)
    return model.forward([1, 5, 7], model.new_cache(3))


def asking(checkpoint, contracts):
    named = {
        name: MatrixContract(one) if isinstance(one, str) else one
        for name, one in contracts.items()
    }
    return replace(checkpoint, extensions=compute_extension(named))


def test_a_model_obeys_its_file_and_its_user():
    checkpoint = random_checkpoint("aeq/int8", width=32)
    matrices = [name for name, one in checkpoint.tensors.items() if len(one.shape) > 1]
    plain = logits(checkpoint)
    asked = asking(checkpoint, dict.fromkeys(matrices, "litert_symmetric"))
    obeyed = logits(asked)
    assert not np.array_equal(plain, obeyed)
    assert np.abs(plain - obeyed).max() < 0.2 * np.abs(plain).max()
    assert np.array_equal(logits(asked, "packed"), obeyed)
    assert np.array_equal(logits(checkpoint, "float32", "fast", "litert_symmetric"), obeyed)
    assert np.array_equal(logits(asked, "float32", "fast", "weight-only"), plain)
    other = logits(asked, "float32", "fast", "xnnpack_asymmetric")
    assert not np.array_equal(other, obeyed)


@pytest.mark.parametrize("name", ["token_embd", "blk.0.attn_k", "blk.1.ffn_down", "blk.0.ffn_up"])
def test_one_matrix_may_have_a_contract_of_its_own(name):
    checkpoint = random_checkpoint("aeq/int8", width=32)
    changed = logits(asking(checkpoint, {f"{name}.weight": "litert_symmetric"}))
    assert not np.array_equal(changed, logits(checkpoint))
    assert np.abs(changed - logits(checkpoint)).max() < 0.2 * np.abs(changed).max()


def test_words_that_are_no_contract():
    listed = r"weight-only, litert_symmetric, .*, int16_static_optimized, not 'int8'"
    with pytest.raises(UsageError, match=listed):
        load_model(random_checkpoint("aeq/int8"), compute="int8")
    with pytest.raises(UnsupportedError, match="no calibrated scales of 8 bits, which int8_static"):
        load_model(random_checkpoint("aeq/int8"), compute="int8_static")
    with pytest.raises(UnsupportedError, match="no matrix of this model is quantized"):
        load_model(random_checkpoint(), compute="ggml_block")


def calibrated(contract, checkpoint):
    """Static contracts for all matrices of a layer, with ranges in which random states lie."""
    known = static_parameters(contract, (-4.0, 4.0), (-12.0, 12.0))
    names = (name for name, one in checkpoint.tensors.items() if len(one.shape) > 1)
    return asking(
        checkpoint,
        {name: MatrixContract(contract, known) for name in names if name.startswith("blk.")},
    )


@pytest.mark.parametrize("contract", ["int8_static", "int16_static"])
def test_static_matrices_are_layers_of_arithmetic(contract):
    tensor = quantize(values(40, 96, 1), "aeq/int8")
    known = static_parameters(contract, (-3.0, 3.0), (-200.0, 200.0))
    matrix = coded_matrix(tensor, "w", MatrixContract(contract, known), tensor.dequantize)
    assert matrix.shape == tensor.shape
    found, x = factors_of(tensor), values(5, 96)
    layer = static_layer(contract, known, found.codes, found.scale[:, 0])
    bias = values(1, 40, 2)[0]
    for added in (None, bias):
        assert np.array_equal(linear(x, matrix, added), layer(x, added))
    assert not np.array_equal(layer(x, bias), layer(x))
    x[1, 3], x[3, 0] = np.nan, np.inf
    y = linear(x, matrix)
    assert np.isnan(y).all(axis=1).tolist() == [False, True, False, True, False]
    assert np.array_equal(y[[0, 2, 4]], layer(x[[0, 2, 4]]))


def test_a_model_of_static_layers_is_near_and_its_rounding_can_be_changed():
    checkpoint = random_checkpoint("aeq/int8", width=32)
    plain = logits(checkpoint)
    finer = logits(calibrated("int16_static", checkpoint))
    assert 0 < np.abs(finer - plain).max() < 0.01 * np.abs(plain).max()
    coarse = calibrated("int8_static", checkpoint)
    obeyed = logits(coarse)
    assert 0 < np.abs(obeyed - plain).max() < 0.3 * np.abs(plain).max()
    ways = [logits(coarse, held, "exact") for held in ("packed", "float32")]
    assert np.array_equal(*ways)
    assert np.array_equal(logits(coarse, "float32", "fast", "int8_static"), obeyed)
    assert np.array_equal(logits(coarse, "float32", "fast", "weight-only"), plain)
    direct = calibrated("int8_static_double", checkpoint)
    changed = logits(coarse, "float32", "fast", "int8_static_double")
    assert np.array_equal(logits(direct), changed)
    assert not np.array_equal(changed, obeyed)
    with pytest.raises(UnsupportedError, match="16 bits, which int16_static"):
        logits(coarse, "float32", "fast", "int16_static")


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [("aeq/int4[block=32]", "more than one scale a row"), ("ggml/q4_1", "not integers times")],
)
def test_weights_that_static_layers_do_not_take(scheme, reason):
    tensor = quantize(values(4, 64), scheme)
    with pytest.raises(UnsupportedError, match=reason):
        coded_matrix(tensor, "w", MatrixContract("int8_static", STATIC), tensor.dequantize)


@pytest.mark.parametrize("contract", ["int8_static", "xnnpack_asymmetric", "litert_symmetric"])
def test_workers_change_no_bit_where_layers_have_biases(contract):
    checkpoint = with_biases(random_checkpoint("aeq/int8", width=32))
    if contract == "int8_static":
        asked, compute = calibrated(contract, checkpoint), None
    else:
        asked, compute = checkpoint, contract
    alone = logits(asked, "float32", "exact", compute)
    model = load_model(asked, "float32", "exact", compute, workers=1)
    assert np.array_equal(model.forward([1, 5, 7], model.new_cache(3)), alone)
    bare = {name: one for name, one in asked.tensors.items() if not name.endswith(".bias")}
    zeros = {name: quantize(np.zeros(one.shape, np.float32), "float/f32")
             for name, one in asked.tensors.items() if name not in bare}  # fmt: skip
    assert not np.array_equal(
        logits(replace(asked, tensors=bare | zeros), "float32", "exact", compute), alone
    )


def with_biases(checkpoint):
    """The same as a Qwen2, which has biases on queries, keys and values."""
    fields = dict(checkpoint.architecture.fields)
    tensors, random = dict(checkpoint.tensors), np.random.default_rng(9)
    for name, shape in FAMILIES["qwen2"].tensors(fields).items():
        if name not in tensors:
            tensors[name] = quantize(random.standard_normal(shape).astype(np.float32), "float/f32")
    return replace(checkpoint, architecture=Architecture("qwen2", fields), tensors=tensors)
