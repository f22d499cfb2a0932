"""DiffuLex's schemes against their scalar oracle, and cases by hand."""

import numpy as np

import refquant
from conformance.oracle import diffulex as oracle
from refquant.testing.inputs import adversarial_inputs
from tests.scalar_groups import compare


def test_rows_equal_the_scalar_oracle():
    compare("diffulex/int8", oracle.int8, oracle.packed, oracle.value, (4, 64))


def test_the_float16_cast_equals_the_scalar_oracle():
    for kind, x in adversarial_inputs("diffulex/fp16", (2, 64)).items():
        tensor = refquant.quantize(x, "diffulex/fp16")
        codes = tensor.planes["values"].view("<u2").reshape(-1)
        finite = np.isfinite(x.reshape(-1))
        theirs = [oracle.fp16(float(v)) for v in x.reshape(-1)[finite]]
        assert codes[finite].tolist() == theirs, kind


def test_a_row_of_zeros_has_scale_one():
    tensor = refquant.quantize(np.array([[0, -0.0], [-2, 1]], np.float32), "diffulex/int8")
    assert tensor.planes["scales"].view("<f4").reshape(-1).tolist() == [1.0, np.float32(2 / 127)]
    assert tensor.planes["codes"].view(np.int8).tolist() == [[[0], [0]], [[-127], [64]]]
