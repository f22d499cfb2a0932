"""compressed-tensors' formats: loops over words, recorded bytes, the scalar oracle."""

from functools import partial

import numpy as np
import pytest

import refquant
from conformance.oracle import ct as oracle
from tests.group_oracle import check_cases

MEMBERS = [
    *(
        (f"ct/pack{bits}[{symmetry},{share}]", bits, 1 << (bits - 1))
        for bits in range(2, 9)
        for symmetry in ("sym", "asym")
        for share in ("group=32", "channel,dtype=bf16")
    ),
    ("ct/pack5[sym,group=32,packing=padded]", 5, 16),
    *((f"ct/int8[{symmetry},tensor]", 8, 0) for symmetry in ("sym", "asym")),
    ("ct/int8[asym,group=32,dtype=bf16]", 8, 0),
]


@pytest.mark.parametrize(("name", "bits", "offset"), MEMBERS)
def test_every_input_as_the_scalar_oracle(name, bits, offset):
    scheme = refquant.scheme(name)
    check = partial(oracle.integers, bits=bits, knobs=scheme.parameters, offset=offset)
    assert check_cases(scheme, check) >= 14


@pytest.mark.parametrize("share", ["channel", "tensor", "group=32,dtype=bf16"])
def test_every_input_as_the_scalar_oracle_of_floats(share):
    scheme = refquant.scheme(f"ct/fp8[{share}]")
    assert check_cases(scheme, partial(oracle.floats, dtype=scheme.parameters["dtype"])) >= 14


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize(("name", "encode"), [("nvfp4", oracle.nvfp4), ("mxfp4", oracle.mxfp4)])
def test_every_input_as_the_scalar_oracle_of_fp4(name, encode, dtype):
    assert check_cases(refquant.scheme(f"ct/{name}[dtype={dtype}]"), partial(encode, dtype=dtype))


def stream(words, bits, k):
    """Code `k` of a row of words that leaves no gaps."""
    whole = sum(word << 32 * i for i, word in enumerate(words))
    return whole >> bits * k & (1 << bits) - 1


def padded(words, bits, k):
    """Code `k` where a word holds as many whole codes as fit."""
    return words[k // (32 // bits)] >> bits * (k % (32 // bits)) & (1 << bits) - 1


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("packing", "unpack"), [("dense", stream), ("padded", padded)])
def test_words_unpack_by_loops(bits, packing, unpack):
    count = 32 if packing == "dense" else 3 * (32 // bits)
    words = count * bits // 32 if packing == "dense" else 3
    rng = np.random.default_rng(bits)
    packed = rng.integers(0, 2**32, (2, words), dtype=np.uint32)
    scales = np.float32([0.5, 3.0])
    tensor = refquant.QuantizedTensor.from_planes(
        f"ct/pack{bits}[channel,packing={packing}]",
        (2, count),
        {"packed": packed.tobytes(), "scales": scales.tobytes()},
    )
    expected = [
        [np.float32(scales[row]) * (unpack(packed[row].tolist(), bits, k) - 2 ** (bits - 1))
         for k in range(count)]
        for row in range(2)
    ]  # fmt: skip
    assert np.array_equal(tensor.dequantize(), np.float32(expected))


def test_zero_points_are_packed_down_the_rows():
    x = np.zeros((8, 64), np.float32)
    x[:, ::32] = -np.arange(16, dtype=np.float32).reshape(8, 2)
    x[:, 1::32] = 15 - np.arange(16, dtype=np.float32).reshape(8, 2)
    planes = refquant.quantize(x, "ct/pack4[asym,group=32]").planes
    assert planes["scales"].view("<f4").tolist() == [[[1.0], [1.0]]] * 8
    words = planes["zero_points"].view("<u4").ravel().tolist()
    assert words == [0xECA86420, 0xFDB97531]


def test_a_zero_scale_becomes_epsilon_and_small_ones_stay():
    zero = refquant.quantize(np.zeros((1, 32), np.float32), "ct/int8")
    assert zero.planes["scales"].view("<f4").item() == 2.0**-23
    small = refquant.quantize(np.full((1, 32), 2.0**-40, np.float32), "ct/int8")
    assert small.planes["scales"].view("<f4").item() == np.float32(2.0**-40) / np.float32(127.5)
    half = refquant.quantize(np.zeros((1, 32), np.float32), "ct/fp8[dtype=bf16]")
    assert half.planes["scales"].tobytes() == bytes.fromhex("003c")


def test_the_two_packings_agree_where_32_divides():
    for bits, same in ((2, True), (3, False), (4, True), (5, False), (7, False), (8, True)):
        dense, padded_one = (
            refquant.scheme(f"ct/pack{bits}[channel,packing={packing}]").digest
            for packing in ("dense", "padded")
        )
        assert (dense == padded_one) == same


def test_the_number_of_the_tensor_divides():
    x = np.zeros((1, 32), np.float32)
    x[0, :17] = 3.0
    x[0, 16] = 6 * 2.0**-9 * 0.49
    tensor = refquant.quantize(x, "ct/nvfp4")
    assert tensor.planes["global_scale"].view("<f4").item() == np.float32(2688) * np.float32(1 / 3)
    # 448, the largest scale; then one that would be zero, and is 0.125.
    assert tensor.planes["scales"].ravel().tolist() == [0x7E, 0x36]
    packed = np.full((2, 8), 0x77, np.uint8)
    scales, divisor = bytes([0x7E, 0x01]), np.float32(3e38)
    tensor = refquant.QuantizedTensor.from_planes(
        "ct/nvfp4",
        (1, 32),
        {"packed": packed.tobytes(), "scales": scales, "global_scale": divisor.tobytes()},
    )
    expected = [np.float32(s) / divisor * np.float32(6) for s in (448, 2.0**-9)]
    assert tensor.dequantize().reshape(2, 16)[:, 0].tolist() == expected


def test_scales_are_powers_above_seven_quarters():
    x = np.zeros((4, 32), np.float32)
    below = np.nextafter(np.float32(1.75), np.float32(0))
    x[:, 5] = [1.75, below, -1.0, 2.0**-140]
    tensor = refquant.quantize(x, "ct/mxfp4")
    assert tensor.planes["scales"].ravel().tolist() == [126, 125, 125, 0]
