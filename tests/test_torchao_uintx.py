"""torchao's unsigned groups: the scalar oracle, and cases by hand."""

import numpy as np
import pytest

import refquant
from conformance.oracle import torchao as oracle
from refquant.testing import adversarial_inputs
from tests.scalar_groups import compare
from tests.tensor_parts import all_codes


@pytest.mark.parametrize(
    ("bits", "scale"),
    [
        (1, "f32"),
        (3, "f32"),
        (4, "f32"),
        (8, "f32"),
        (2, "f16"),
        (6, "f16"),
        (5, "bf16"),
        (8, "bf16"),
    ],
)
def test_codes_parameters_and_values_are_the_oracle_s(bits, scale):
    mode = "fixed" if bits % 2 else "strict"
    name = f"torchao/afpwx[bits={bits},group=32,scale={scale},mode={mode}]"
    compare(name, oracle.afpwx, oracle.tinygemm_packed, oracle.afpwx_value, (2, 64))


@pytest.mark.parametrize(("bits", "storage"), [(4, "f32"), (2, "bf16"), (7, "f16")])
def test_the_solver_s_codes_are_the_oracle_s(bits, storage):
    scheme = refquant.scheme(f"torchao/afpwx[bits={bits},group=16,scale={storage},algorithm=hqq]")
    inputs = adversarial_inputs(scheme, (1, 32))
    for kind in ("bell", "ties", "zeros", "equal", "outlier"):
        tensor = refquant.quantize(inputs[kind], scheme)
        found = all_codes(tensor)
        groups = inputs[kind].reshape(-1, 16).tolist()
        for g, (scale, offset, codes) in enumerate(oracle.afpwx_hqq(groups, bits, storage)):
            assert found["s"].reshape(-1)[g] == scale, kind
            assert found["z"].reshape(-1)[g] == offset, kind
            assert found["q"].reshape(-1, 16)[g].tolist() == codes, kind


def test_equal_weights():
    x = np.full((1, 32), 0.75)
    strict = refquant.quantize(x, "torchao/afpwx[group=32]")
    assert not strict.planes["scales"].any()
    assert strict.planes["offsets"].tobytes().hex() == "0000c07f"
    assert np.isnan(strict.dequantize()).all()
    fixed = refquant.quantize(x, "torchao/afpwx[group=32,mode=fixed]")
    assert not fixed.planes["codes"].any()
    assert (fixed.dequantize() == 0.75).all()


def test_zero_points_follow_the_range_of_the_weights_alone():
    # The range 2..5 has scale 0.2; the zero point is -10 and the offset 2.
    tensor = refquant.quantize([[2, 5, 2.2, 4.9]], "torchao/afpwx[bits=4,group=4]")
    assert tensor.planes["offsets"].view("<f4").item() == 2
    assert tensor.planes["codes"].tobytes().hex() == "f0e1"
