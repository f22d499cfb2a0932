"""Plain floats against the scalar oracle on the inputs that users get."""

import numpy as np
import pytest

import refquant
from conformance.oracle import floats as oracle
from refquant.testing import adversarial_inputs


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
def test_codes_are_the_oracle_s(name):
    for kind, x in adversarial_inputs(name, (4, 48)).items():
        tensor = refquant.quantize(x, name)
        codes = tensor.planes["values"].view(f"<u{tensor.planes['values'].shape[-1]}")[..., 0]
        for weight, code, value in zip(
            x.ravel().tolist(), codes.ravel().tolist(), tensor.dequantize().ravel(), strict=True
        ):
            if np.isnan(weight):
                assert np.isnan(value), kind
                continue
            assert code == oracle.encode(weight, name), (kind, weight)
            assert value == np.float32(oracle.decode(code, name)), (kind, weight)
