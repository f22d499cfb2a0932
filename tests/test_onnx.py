"""ONNX's tensors: packing by hand, the scalar oracle, and the rules at zeros and ties."""

from functools import partial

import numpy as np
import pytest

import refquant
from conformance.oracle import onnx as oracle
from tests.group_oracle import check_cases

LINEAR = [
    (f"onnx/{kind}{bits}[{symmetry},{share}]", kind, bits, symmetry)
    for kind, bits in (("int", 4), ("uint", 4), ("int", 8), ("uint", 8), ("int", 16))
    for symmetry in ("sym", "asym")
    for share in ("channel", "block=16", "tensor")
]
MATMUL = [
    (f"onnx/matmul{bits}bits[{symmetry},block=32,quantizer={quantizer}]", bits, symmetry, quantizer)
    for bits in (2, 4, 8)
    for symmetry in ("sym", "asym")
    for quantizer in ("linear", "runtime")
]


@pytest.mark.parametrize(("name", "kind", "bits", "symmetry"), LINEAR)
def test_every_input_as_the_scalar_oracle(name, kind, bits, symmetry):
    check = partial(oracle.linear, bits=bits, kind=kind, symmetry=symmetry)
    assert check_cases(refquant.scheme(name), check) >= 14


@pytest.mark.parametrize(("name", "bits", "symmetry", "quantizer"), MATMUL)
def test_every_block_of_matmul_as_the_scalar_oracle(name, bits, symmetry, quantizer):
    check = partial(oracle.matmul, bits=bits, symmetry=symmetry, quantizer=quantizer)
    assert check_cases(refquant.scheme(name), check) >= 14


def test_dynamic_quantization_as_the_scalar_oracle():
    check = partial(oracle.linear, bits=8, kind="uint", symmetry="asym")
    assert check_cases(refquant.scheme("onnx/dynamic_uint8"), check) >= 14


def test_the_example_of_dynamic_quantize_linear():
    x = np.float32([0, 2, -3, -2.5, 1.34, 0.5])
    planes = refquant.quantize(x, "onnx/dynamic_uint8").planes
    assert planes["codes"].ravel().tolist() == [153, 255, 0, 26, 221, 179]
    assert planes["zero_points"].item() == 153
    assert planes["scales"].view("<f4").item() == np.float32(5) / np.float32(255)


def test_nibbles_are_packed_low_first_and_zero_points_by_rows():
    x = np.float32([[-15, 0], [0, 15], [-7, 8], [-1, 14]])
    planes = refquant.quantize(x, "onnx/uint4[asym,channel]").planes
    assert planes["codes"].ravel().tolist() == [0xF0, 0xF0, 0xF0, 0xF0]
    assert planes["zero_points"].ravel().tolist() == [0x0F, 0x17]
    signed = refquant.quantize(np.float32([[1, -7, 3, 0]]), "onnx/int4").planes["codes"]
    assert signed.ravel().tolist() == [0x91, 0x03]


def test_onnx_runtime_gives_the_largest_weight_code_0_and_rounds_ties_away_from_zero():
    x = np.zeros((1, 16), np.float32)
    x[0, :5] = 4, -4, 1.25, -1.25, 3.9
    for extreme, codes in ((-4, [16, 0, 11, 6, 16]), (5, [2, 14, 6, 10, 2])):
        x[0, 5] = extreme
        tensor = refquant.quantize(x, "onnx/matmul4bits[sym,block=16,quantizer=runtime]")
        assert tensor.planes["scales"].view("<f4").item() == extreme / -8
        found = tensor.planes["b"].reshape(-1)[:3]
        nibbles = [int(byte) >> shift & 15 for byte in found for shift in (0, 4)]
        assert nibbles[:5] == [min(code, 15) for code in codes]
    zeros = refquant.quantize(-x * 0, "onnx/matmul4bits[sym,block=16,quantizer=runtime]")
    assert zeros.planes["scales"].view("<f4").tobytes().hex() == "00000000"
    assert (zeros.planes["b"] == 0x88).all()


def test_matmul_blocks_unpack_by_loops():
    rng = np.random.default_rng(2)
    for bits in (2, 4, 8):
        b = rng.integers(0, 256, (3, 4, 16 * bits // 8), np.uint8)
        scales = rng.uniform(0.5, 2, (3, 4)).astype(np.float32)
        zeros = rng.integers(0, 256, (3, 4 * bits // 8), np.uint8)
        expected = np.empty((3, 64), np.float32)
        for n in range(3):
            for k in range(64):
                block, i = divmod(k, 16)
                code = int(b[n, block, i * bits // 8]) >> i * bits % 8 & (1 << bits) - 1
                zero = int(zeros[n, block * bits // 8]) >> block * bits % 8 & (1 << bits) - 1
                expected[n, k] = np.float32(code - zero) * scales[n, block]
        tensor = refquant.QuantizedTensor.from_planes(
            f"onnx/matmul{bits}bits[asym,block=16]",
            (3, 64),
            {"b": b.tobytes(), "scales": scales.tobytes(), "zero_points": zeros.tobytes()},
        )
        assert np.array_equal(tensor.dequantize(), expected)


def test_ties_go_to_even_before_the_zero_point():
    x = np.float32([[-128, 127, 0.5, 1.5, 2.5, -0.5]])
    codes = refquant.quantize(x, "onnx/int8[asym,channel]").planes["codes"].view(np.int8)
    assert codes.ravel().tolist() == [-128, 127, 0, 2, 2, 0]
