"""torchao's HQQ against the scalar oracle."""

import numpy as np
import pytest

import refquant
from conformance.oracle import torchao as oracle
from refquant.testing import adversarial_inputs
from tests.tensor_parts import all_codes


@pytest.mark.parametrize(
    ("bits", "storage", "iters"), [(4, "f16", 20), (4, "f32", 1), (2, "bf16", 3), (8, "f16", 2)]
)
def test_codes_parameters_and_values_are_the_oracle_s(bits, storage, iters):
    scheme = refquant.scheme(f"torchao/hqq[bits={bits},group=16,scale={storage},iters={iters}]")
    inputs = adversarial_inputs(scheme, (2, 32))
    for kind in ("bell", "ties", "zeros", "mixed zeros", "equal", "outlier", "opposite extremes"):
        tensor = refquant.quantize(inputs[kind], scheme)
        found = all_codes(tensor)
        groups = inputs[kind].reshape(-1, 16).tolist()
        values = tensor.dequantize().reshape(-1, 16)
        for g, (scale, offset, codes) in enumerate(oracle.hqq(groups, bits, iters, storage)):
            assert found["s"].reshape(-1)[g] == scale, kind
            assert found["z"].reshape(-1)[g] == offset, kind
            assert found["q"].reshape(-1, 16)[g].tolist() == codes, kind
            reals = [oracle.hqq_value(scale, offset, code, bits, storage) for code in codes]
            assert np.array_equal(values[g], np.float32(reals)), kind


def test_equal_weights_have_the_largest_inverse_scale():
    tensor = refquant.quantize(np.full((1, 64), 0.75), "torchao/hqq[scale=f32]")
    assert tensor.planes["scales"].view("<f4").item() == np.float32(1) / np.float32(2e4)
    assert np.abs(tensor.dequantize() - 0.75).max() <= 5e-5 / 2


@pytest.mark.parametrize(
    ("bits", "storage", "iters"), [(4, "f32", 20), (1, "f32", 2), (2, "bf16", 3), (8, "f16", 1)]
)
def test_fitted_scales_are_the_oracle_s(bits, storage, iters):
    name = f"torchao/hqq_scale_only[bits={bits},group=16,scale={storage},iters={iters}]"
    scheme = refquant.scheme(name)
    for kind, x in adversarial_inputs(scheme, (2, 32)).items():
        tensor = refquant.quantize(x, scheme)
        found = all_codes(tensor)
        codes = found["q"].astype(int).reshape(-1, 16) - (bits == 1)
        groups = oracle.scale_only(x.reshape(-1, 16).tolist(), bits, iters, storage)
        for g, (scale, _, wanted) in enumerate(groups):
            assert found["s"].reshape(-1)[g] == scale, kind
            assert codes[g].tolist() == wanted, kind
            values = [oracle.value(scale, 0, code, scheme.parameters) for code in wanted]
            mine = tensor.dequantize().reshape(-1, 16)[g]
            assert np.array_equal(mine, np.float32(values), equal_nan=True), kind


def test_fitted_scales_leave_less_error_than_the_largest_magnitude_s():
    x = np.random.default_rng(0).standard_normal((8, 128))
    errors = [
        np.square(refquant.quantize(x, name).dequantize() - x).sum()
        for name in ("torchao/hqq_scale_only[bits=4]", "torchao/int4[sym,group=32]")
    ]
    assert errors[0] < errors[1]
