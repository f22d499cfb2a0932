"""HQQ's own packing and its solver against the scalar oracle."""

import numpy as np
import pytest

import refquant
from conformance.oracle import hqq as oracle
from refquant.errors import SchemeError, UsageError
from refquant.layout import field_codes
from refquant.schemes.hqq.solver import Solver
from refquant.testing import adversarial_inputs, assert_bits_equal

GROUP = 8


def matrix(x, axis):
    return x.reshape(-1, GROUP) if axis == 1 else x.reshape(GROUP, -1)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_codes_stand_where_the_package_puts_them(bits, axis):
    x = np.random.default_rng(bits).normal(size=(16, 20)).astype(np.float32)
    tensor = refquant.quantize(
        x, f"hqq/affine[bits={bits},group={GROUP},axis={axis},packing=package]"
    )
    rows = matrix(x, axis)
    groups = rows if axis == 1 else rows.T
    packed = tensor.planes["codes"].reshape(-1, rows.shape[1] * (4 if bits == 3 else 1))
    packed = packed.view("<u4") if bits == 3 else packed
    scales, zeros = (tensor.planes[p].reshape(-1).view("<u4") for p in ("scales", "zeros"))
    values = matrix(tensor.dequantize(), axis)
    for g, group in enumerate(groups):
        scale, zero, codes = oracle.encode(group.tolist(), bits, "real", "f32")
        assert (scales[g], zeros[g]) == (scale, zero)
        for k, code in enumerate(codes):
            row, column = (g, k) if axis == 1 else (k, g)
            place, shift = oracle.package_place(row, len(rows), bits)
            assert packed[place, column] >> shift & (1 << bits) - 1 == code
            assert values[row, column] == np.float32(oracle.decode(scale, zero, code, "f32"))


def test_parts_of_whole_rows_decode_as_the_stream_does():
    x = np.random.default_rng(1).normal(size=(30, 64)).astype(np.float32)
    for bits in (1, 2, 3, 4, 8):
        stream = refquant.quantize(x, f"hqq/affine[bits={bits},group=16]")
        package = refquant.quantize(x, f"hqq/affine[bits={bits},group=16,packing=package]")
        assert_bits_equal(package.dequantize(), stream.dequantize())
    assert package.planes["codes"].tobytes() == stream.planes["codes"].tobytes()


def test_words_of_ten_are_filled_up_and_bytes_are_not():
    x = np.random.default_rng(2).normal(size=(7, 8)).astype(np.float32)
    tensor = refquant.quantize(x, "hqq/affine[bits=3,group=8,packing=package]")
    assert tensor.planes["codes"].shape == (1, 8, 1, 4)
    assert tensor.planes["scales"].shape == (7, 4)
    with pytest.raises(SchemeError, match="7 rows of groups, expected a multiple of 2"):
        refquant.quantize(x, "hqq/affine[bits=4,group=8,packing=package]")
    with pytest.raises(SchemeError, match="56 weights, expected a multiple of 16"):
        refquant.quantize(x, "hqq/affine[bits=8,group=16,packing=package]")


SOLVED = [
    (4, {"iters": 3}),
    (2, {"iters": 20, "beta": 100}),
    (3, {"iters": 2, "lp": "0.5"}),
    (8, {"iters": 2, "lp": "1"}),
]


@pytest.mark.parametrize(("bits", "knobs"), SOLVED)
def test_the_solver_is_the_oracle_s(bits, knobs):
    spelled = ",".join(f"{key}={value}" for key, value in knobs.items())
    scheme = refquant.scheme(f"hqq/affine[bits={bits},group=16,solver=proximal,{spelled}]")
    plain = refquant.scheme(f"hqq/affine[bits={bits},group=16]")
    inputs = adversarial_inputs(plain, (3, 32))
    for kind in ("bell", "ties", "zeros", "mixed zeros", "equal", "outlier", "opposite extremes"):
        groups = inputs[kind].reshape(-1, 16).tolist()
        starts = []
        for group in groups:
            _, zero, _ = oracle.encode(group, bits, "real", "f32")
            low, high = np.float32(min(group)), np.float32(max(group))
            inverse = (
                min(np.float32(1) / (high - low) * np.float32(2**bits - 1), np.float32(2e4))
                if high - low > np.float32(1e-4)
                else np.float32(1)
            )
            starts.append((float(inverse), float(np.uint32(zero).view(np.float32))))
        wanted = oracle.solve(
            groups,
            starts,
            largest=2.0**bits - 1,
            iters=knobs["iters"],
            beta=float(knobs.get("beta", 10)),
            lp=float(knobs.get("lp", 0.7)),
            kappa=1.0,
            first=float("inf"),
        )
        tensor = refquant.quantize(inputs[kind], scheme)
        zeros = tensor.planes["zeros"].reshape(-1).view("<f4").tolist()
        assert zeros == wanted, kind
        codes = field_codes(tensor.layout, "q", tensor.planes["codes"], tensor.shape)
        for group, (inverse, _), zero, found in zip(
            groups, starts, zeros, codes.reshape(-1, 16).tolist(), strict=True
        ):
            assert found == [oracle.code_of(v, inverse, zero, 2.0**bits - 1) for v in group], kind


def test_the_solver_lessens_the_error_and_stops():
    x = np.random.default_rng(3).normal(size=(64, 64)).astype(np.float32)
    errors = []
    for knobs in ("solver=none", "solver=proximal,iters=1", "solver=proximal"):
        values = refquant.quantize(x, f"hqq/affine[bits=4,{knobs}]").dequantize()
        errors.append(np.abs(values - x).mean())
    assert errors[2] < errors[1] < errors[0]
    twenty, many = (
        refquant.quantize(x, f"hqq/affine[solver=proximal,iters={n}]") for n in (500, 1000)
    )
    assert twenty.planes["zeros"].tobytes() == many.planes["zeros"].tobytes()
    never = Solver(np.float32(15), 20, 10.0, 0.7, 1.0, 0.0)
    inverse, zero = np.full(64, np.float32(3)), np.full(64, np.float32(7))
    once = Solver(np.float32(15), 1, 10.0, 0.7, 1.0, np.inf)
    assert_bits_equal(never.zero_points(x, inverse, zero), once.zero_points(x, inverse, zero))


def test_knobs():
    assert refquant.scheme("hqq/affine[axis=0]").parameters["packing"] == "package"
    with pytest.raises(UsageError, match="lp=2"):
        refquant.scheme("hqq/affine[solver=proximal,lp=2]")
