"""MLX's formats against the scalar oracle, and scales that MLX itself gave."""

import numpy as np
import pytest

import refquant
from conformance.oracle import mlx as oracle
from refquant.testing import adversarial_inputs
from tests.tensor_parts import codes_of


def same(values, expected):
    return np.array_equal(values, np.float32(expected), equal_nan=True)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_affine_groups_are_the_oracle_s(bits, dtype):
    scheme = refquant.scheme(f"mlx/affine[bits={bits},group=32,dtype={dtype}]")
    for kind, x in adversarial_inputs(scheme, (6, 32)).items():
        tensor = refquant.quantize(x, scheme)
        values, nan = tensor.dequantize(), np.isnan(tensor.dequantize()).all(axis=1)
        for row in range(len(x)):
            scale, bias, codes = oracle.affine(x[row].tolist(), bits, dtype)
            expected = [oracle.affine_value(scale, bias, code, dtype) for code in codes]
            assert same(values[row], expected), kind
            if not nan[row]:
                assert codes_of(tensor, "s")[row, 0] == scale, kind
                assert codes_of(tensor, "b")[row, 0] == bias, kind
                assert codes_of(tensor, "q")[row].tolist() == codes, kind


@pytest.mark.parametrize(
    ("mode", "rule"),
    [*((m, r) for m in ("mxfp4", "mxfp8") for r in ("ceil", "round")), ("nvfp4", "")],
)
def test_block_floats_are_the_oracle_s(mode, rule):
    scheme = refquant.scheme(f"mlx/{mode}[scale={rule}]" if rule else "mlx/nvfp4")
    for kind, x in adversarial_inputs(scheme, (6, 32)).items():
        size = scheme.group[0]
        tensor = refquant.quantize(x, scheme)
        scales, codes = codes_of(tensor, "s"), codes_of(tensor, "q").reshape(-1, size)
        values = tensor.dequantize().reshape(-1, size)
        for row, block in enumerate(x.reshape(-1, size).tolist()):
            scale, expected = oracle.block(block, mode, rule)
            assert scales.reshape(-1)[row] == scale, kind
            assert codes[row].tolist() == expected, kind
            assert same(values[row], [oracle.block_value(scale, c, mode) for c in expected])


def scale_of(name, largest):
    x = np.zeros((1, 32), np.float32)
    x[0, 0] = largest
    return int(codes_of(refquant.quantize(x, name), "s")[0, 0])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("ceil", [127, 127, 127, 128, 128, 128, 127]), ("round", [126, 126, 127, 127, 127, 127, 127])],
)
def test_scales_of_mxfp4_by_version(rule, expected):
    largest = [3.9999998, 4, 6, 6.1, 7.0, 7.9, 0]
    assert [scale_of(f"mlx/mxfp4[scale={rule}]", value) for value in largest] == expected


@pytest.mark.parametrize("name", ["mlx/mxfp4[scale=round]", "mlx/mxfp8[scale=round]"])
def test_logarithms_are_rounded_twice(name):
    """Quotients around the root of 2 whose logarithm in binary32 is a tie between two integers."""
    mode, divisor = ("mxfp4", 6) if "fp4" in name else ("mxfp8", 448)
    mantissas = np.float32(1) + np.arange(0x3504B0, 0x350536, 3).astype(np.float32) * 2.0**-23
    powers = np.concatenate([np.arange(-148, -110), np.arange(-10, 10), np.arange(55, 70), [118]])
    with np.errstate(under="ignore"):
        largest = np.ldexp(mantissas.astype(np.float32), powers[:, None]) * np.float32(divisor)
    x = np.zeros((largest.size, 32), np.float32)
    x[:, 0] = largest.reshape(-1)
    found = codes_of(refquant.quantize(x, name), "s")[:, 0]
    assert found.tolist() == [oracle.block([v], mode, "round")[0] for v in x[:, 0].tolist()]


def test_ties_go_to_the_first_code():
    x = np.zeros((1, 32), np.float32)
    x[0, :16] = [
        6,
        0.25,
        0.75,
        1.25,
        1.75,
        2.5,
        3.5,
        5,
        -0.25,
        -0.75,
        -1.25,
        -1.75,
        -2.5,
        -3.5,
        -5,
        -0.1,
    ]
    tensor = refquant.quantize(x, "mlx/mxfp4")
    # The words that MLX 0.32.4 gave, most significant digit first.
    assert tensor.planes["codes"].tobytes()[:8] == (0x0EDCBA9065432107).to_bytes(8, "little")


def test_affine_anchors_the_larger_edge():
    x = np.linspace(-1, 0.5, 32, dtype=np.float32).reshape(1, 32)
    tensor = refquant.quantize(x, "mlx/affine[bits=4,group=32]")
    assert tensor.planes["biases"].view("<f4").item() == -1
    assert tensor.planes["scales"].view("<f4").item() == np.float32(-1) / np.float32(-10)
    mirrored = refquant.quantize(-x, "mlx/affine[bits=4,group=32]")
    assert mirrored.planes["biases"].view("<f4").item() == 1
    assert mirrored.planes["scales"].view("<f4").item() == -np.float32(0.1)
    assert (mirrored.dequantize() == -tensor.dequantize()).all()
