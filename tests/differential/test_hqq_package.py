"""HQQ's packed tensors and its solver, and torchao's HQQ, against both packages.

Without the solver every byte is equal. The solver takes powers and means from torch, in orders and
with last bits of the processor's: after one round the zero points lie within the bound of any
order, and under their zero points every code is equal, after any number of rounds.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes, pack_codes
from refquant.numerics import float16_bits
from refquant.schemes.hqq.solver import Solver
from refquant.schemes.torchao.hqq import solver_of, start_of
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "hqq_package_worker.py"
PLAIN = [f"{b} {g} {a} 0 20" for b in (1, 2, 3, 4, 8) for g in (16, 64) for a in (0, 1)]
SOLVED = [f"{b} {g} 1 1 {r}" for b in (2, 3, 4, 8) for g in (16, 64) for r in (1, 20)]
TORCHAO = [f"{b} {g} {r}" for b in (2, 3, 4, 8) for g in (32, 64) for r in (1, 20)]
UNIT = 2.0**-24


def tensors():
    """Rows of all distributions whose squares are finite; 4192 groups of 64, no multiple of 10."""
    drawn = [x.reshape(-1, 1024) for _, x in weights(320, finite=True)]
    usable = [x for x in drawn if 1e-6 < np.abs(x).max() < 1e6]
    return np.concatenate(usable)[::2][:262]


def ask(python, who, names, folder):
    x = tensors()
    np.savez(folder / "request.npz", x=x, names=names)
    command = [python, WORKER, who, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as found:
        return x, dict(found)


@pytest.fixture(scope="module")
def hqq(oracle, tmp_path_factory):
    return ask(oracle("hqq"), "hqq", PLAIN + SOLVED, tmp_path_factory.mktemp("hqq"))


@pytest.fixture(scope="module")
def torchao(oracle, tmp_path_factory):
    return ask(oracle("torchao"), "torchao", TORCHAO, tmp_path_factory.mktemp("torchao_hqq"))


def differing(left, right):
    left, right = (np.ascontiguousarray(a).reshape(-1).view(np.uint32) for a in (left, right))
    nan = np.isnan(left.view(np.float32)) & np.isnan(right.view(np.float32))
    zero = (left << 1 == 0) & (right << 1 == 0)
    return int(((left != right) & ~nan & ~zero).sum())


@pytest.mark.parametrize("name", PLAIN)
def test_packed_tensors_are_equal_to_the_byte(name, hqq, compared):
    x, theirs = hqq
    bits, group, axis, _, _ = name.split()
    knobs = f"bits={bits},group={group},axis={axis},packing=package"
    tensor = refquant.quantize(x, f"hqq/affine[{knobs}]")
    different = int((tensor.planes["codes"].reshape(-1) != theirs[f"{name}|codes"].ravel()).sum())
    for plane in ("scales", "zeros"):
        different += differing(tensor.planes[plane].view("<f4"), theirs[f"{name}|{plane}"])
    compared("hqq/affine", "hqq 0.2.8", "encode", x.size, different)
    assert not different
    planes = {"codes": theirs[f"{name}|codes"].tobytes()}
    planes |= {p: theirs[f"{name}|{p}"].tobytes() for p in ("scales", "zeros")}
    values = refquant.QuantizedTensor.from_planes(tensor.scheme, x.shape, planes).dequantize()
    different = differing(values, theirs[f"{name}|values"])
    compared("hqq/affine", "hqq 0.2.8", "decode", values.size, different)
    assert not different


def bound_of_a_round(x, inverse, zero, solver):
    """How far two means of a round may lie apart, each sum in its own order, powers off by an ulp.

    A term is `code - (x - shrunk) * inverse`. The power, times 1 / beta, is off by less than two
    units, which `shrunk` takes over; four roundings follow, and a sum of n terms and a division.
    """
    codes = solver.codes(x, inverse, zero).astype(np.float64)
    rest = x - (codes - zero[:, None]) / inverse[:, None]
    magnitude = np.abs(rest) + np.abs(x)
    terms = codes + magnitude * inverse[:, None]
    n = x.shape[1]
    return ((n + 8) * UNIT * terms + 8 * UNIT * magnitude * inverse[:, None]).sum(axis=1) / n


@pytest.mark.parametrize("name", SOLVED)
def test_the_solver(name, hqq, compared):
    x, theirs = hqq
    bits, group, _, _, rounds = map(int, name.split())
    largest = np.float32((1 << bits) - 1)
    solver = Solver(largest, rounds, 10.0, 0.7, 1.0, np.inf)
    groups = np.ascontiguousarray(x.reshape(-1, group))
    knobs = f"bits={bits},group={group},packing=package"
    plain = refquant.quantize(x, f"hqq/affine[{knobs}]")
    tensor = refquant.quantize(x, f"hqq/affine[{knobs},solver=proximal,iters={rounds}]")
    assert tensor.planes["scales"].tobytes() == theirs[f"{name}|scales"].tobytes()
    zeros = theirs[f"{name}|zeros"].reshape(-1)
    if rounds == 1:
        start = plain.planes["zeros"].reshape(-1).view("<f4")
        inverse = inverse_of(groups, largest)
        apart = np.abs(tensor.planes["zeros"].reshape(-1).view("<f4") - zeros)
        assert (apart <= bound_of_a_round(groups, inverse, start, solver)).all()
    planes = {"codes": theirs[f"{name}|codes"].tobytes(), "scales": tensor.planes["scales"]}
    planes["zeros"] = zeros.tobytes()
    origin = refquant.QuantizedTensor.from_planes(tensor.scheme, x.shape, planes)
    inner = origin.expanded
    found = field_codes(inner.layout, "q", inner.planes["codes"], inner.shape)
    found = found.transpose(2, 0, 1).reshape(-1, group)[: len(groups)]
    with np.errstate(all="ignore"):
        expected = solver.codes(groups, inverse_of(groups, largest), zeros)
    different = int((found != expected).sum())
    compared("hqq/affine", "hqq 0.2.8", "encode", x.size, different)
    assert not different
    assert not differing(origin.dequantize(), theirs[f"{name}|values"])


def inverse_of(groups, largest):
    """The inverse scale by the clauses."""
    extent = groups.max(axis=1) - groups.min(axis=1)
    with np.errstate(divide="ignore"):
        product = (np.float32(1) / extent) * largest
    return np.minimum(np.where(extent <= np.float32(1e-4), np.float32(1), product), np.float32(2e4))


@pytest.mark.parametrize("name", TORCHAO)
def test_torchao(name, torchao, compared):
    x, theirs = torchao
    bits, group, rounds = map(int, name.split())
    groups, solver = np.ascontiguousarray(x.reshape(-1, group)), solver_of(bits, rounds)
    with np.errstate(all="ignore"):
        inverse, start = start_of(groups, bits)
    tensor = refquant.quantize(x, f"torchao/hqq[bits={bits},group={group},iters={rounds}]")
    assert tensor.planes["scales"].tobytes() == theirs[f"{name}|scales"].tobytes()
    zeros = theirs[f"{name}|zeros"].reshape(-1)
    if rounds == 1:
        apart = np.abs(solver.zero_points(groups, inverse, start) - zeros)
        assert (apart <= bound_of_a_round(groups, inverse, start, solver)).all()
    codes = theirs[f"{name}|codes"].reshape(-1, group)
    different = int((solver.codes(groups, inverse, zeros) != codes).sum())
    with np.errstate(over="ignore"):
        offsets = float16_bits((np.float32(1 << (bits - 1)) - zeros) * (np.float32(1) / inverse))
    different += int((offsets != theirs[f"{name}|offsets"].view(np.uint16).reshape(-1)).sum())
    compared("torchao/hqq", "torchao 0.18.0", "encode", x.size, different)
    assert not different
    planes = {
        plane: theirs[f"{name}|{plane}"].view(np.uint8).tobytes() for plane in ("scales", "offsets")
    }
    records = np.zeros_like(tensor.planes["codes"])
    pack_codes(tensor.layout, "q", codes.reshape(x.shape), records, x.shape)
    origin = refquant.QuantizedTensor.from_planes(
        tensor.scheme, x.shape, planes | {"codes": records}
    )
    different = differing(origin.dequantize(), theirs[f"{name}|values"])
    compared("torchao/hqq", "torchao 0.18.0", "decode", x.size, different)
    assert not different
