"""Tensors in another form than ours: turned, parted, stacked, and experts in MXFP4."""

import numpy as np
import pytest

from refquant.architectures import ModelTensor
from refquant.errors import FormatError
from refquant.formats.hugging_face_forms import rearranged, source_of
from refquant.formats.safetensors import StoredTensor
from refquant.runtime.linear import linear
from refquant.runtime.weights import WeightReader
from refquant.tensor import quantize
from tests.runtime_models import checkpoint_of, llama_fields, random_tensors

# E2M1, by hand: sign, two bits of exponent with bias 1, one of mantissa.
VALUES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def stored(name, array, dtype):
    return StoredTensor(name, dtype, array.shape, 0, array.reshape(-1).view(np.uint8))


def model(names, form):
    return ModelTensor("blk.0.ours.weight", (), "", tuple(names), form)


FORMS = {
    "transposed": lambda x: x.swapaxes(-1, -2),
    "even": lambda x: x[..., 0::2],
    "odd": lambda x: x[..., 1::2],
    "even, transposed": lambda x: x[..., 0::2].swapaxes(-1, -2),
    "odd, transposed": lambda x: x[..., 1::2].swapaxes(-1, -2),
}


@pytest.mark.parametrize(("dtype", "word"), [("F32", np.uint32), ("BF16", np.uint16)])
@pytest.mark.parametrize(("form", "expected"), FORMS.items(), ids=FORMS)
def test_elements_move_and_stay_what_they_are(dtype, word, form, expected):
    array = np.arange(2 * 3 * 4, dtype=word).reshape(2, 3, 4) + word(500)
    source = source_of(model(["theirs"], form), {"theirs": stored("theirs", array, dtype)}, "")
    assert source.shape == expected(array).shape
    assert np.array_equal(rearranged(source).view(word).reshape(source.shape), expected(array))


def test_pieces_are_stacked_in_order():
    arrays = [np.full((2, 3), n, np.uint32) for n in range(3)]
    file = {f"e.{n}": stored(f"e.{n}", array, "F32") for n, array in enumerate(arrays)}
    source = source_of(model(file, "as it is"), file, "")
    assert source.shape == (3, 2, 3)
    assert np.array_equal(rearranged(source).view(np.uint32).reshape(3, 2, 3), np.stack(arrays))
    assert source_of(model([*file, "e.3"], "as it is"), file, "") is None


def test_a_prefix_may_stand_before_the_names():
    file = {"bert.x": stored("bert.x", np.zeros((2,), np.uint32), "F32")}
    assert source_of(model(["x"], "as it is"), file, "bert.").parts[0].name == "bert.x"
    assert source_of(model(["x"], "as it is"), file, "") is None


def test_pieces_of_two_kinds_are_refused():
    file = {
        "a": stored("a", np.zeros((2, 3), np.uint32), "F32"),
        "b": stored("b", np.zeros((3, 2), np.uint32), "F32"),
    }
    with pytest.raises(FormatError, match="E_HF_TENSOR"):
        source_of(model(file, "as it is"), file, "")
    file = {"a": stored("a", np.zeros((2,), np.uint32), "F32")}
    with pytest.raises(FormatError, match="E_HF_TENSOR"):
        source_of(model(file, "transposed"), file, "")


def packed_file(scales_shape=(2, 6, 2)):
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (2, 6, 2, 16), np.uint8)
    scales = random.integers(120, 134, scales_shape, np.uint8)
    return (
        codes,
        scales,
        {
            "x_blocks": stored("x_blocks", codes, "U8"),
            "x_scales": stored("x_scales", scales, "U8"),
        },
    )


@pytest.mark.parametrize(
    ("form", "rows"),
    [("even, transposed", [0, 2, 4]), ("odd, transposed", [1, 3, 5]), ("transposed", range(6))],
)
def test_experts_in_mxfp4_are_parted_by_rows(form, rows):
    codes, scales, file = packed_file()
    source = source_of(model(["x"], form), file, "")
    values = source.tensor().dequantize()
    assert source.shape == values.shape == (2, len(rows), 64)
    for expert in range(2):
        for place, row in enumerate(rows):
            for column in range(64):
                byte = int(codes[expert, row, column // 32, column % 32 // 2])
                value = VALUES[byte & 15 if column % 2 == 0 else byte >> 4]
                scale = 2.0 ** (int(scales[expert, row, column // 32]) - 127)
                assert values[expert, place, column] == value * scale


def test_scales_that_do_not_fit_their_codes_are_refused():
    *_, file = packed_file(scales_shape=(2, 6, 3))
    with pytest.raises(FormatError, match="E_HF_TENSOR"):
        source_of(model(["x"], "transposed"), file, "")


@pytest.mark.parametrize("scheme", ["ggml/mxfp4", "mx/mxfp4", "int/affine[bits=8,channel]"])
def test_experts_run_from_their_packed_bytes(scheme):
    random = np.random.default_rng(1)
    stacked = {
        f"{part}.weight": quantize(random.standard_normal((3, 4, 32)).astype(np.float32), scheme)
        for part in ("gate", "up")
    }
    fields = llama_fields()
    checkpoint = checkpoint_of(random_tensors(fields), fields)
    checkpoint.tensors.update(stacked)
    x = random.standard_normal((5, 32)).astype(np.float32)
    for mode in ("float32", "packed"):
        matrices = WeightReader(checkpoint, mode).expert_matrices(*stacked)
        for expert, matrix in enumerate(matrices):
            rows = np.concatenate([one.dequantize()[expert] for one in stacked.values()])
            # Each side's sum of 32 products errs by at most 32 roundings of their sizes.
            bound = 2 * 32 * 2.0**-24 * (np.abs(x) @ np.abs(rows).T)
            assert np.all(np.abs(linear(x, matrix) - x @ rows.T) <= bound)
