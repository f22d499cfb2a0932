"""NVFP4 with a scale of the tensor against the scalar oracle, and its edges."""

import numpy as np
import pytest

import refquant
from conformance.oracle import nvfp4 as oracle
from refquant.testing import adversarial_inputs
from tests.tensor_parts import codes_of


@pytest.mark.parametrize("convention", ["modelopt", "torchao"])
def test_scales_codes_and_values_are_the_oracle_s(convention):
    name = f"mx/nvfp4[convention={convention}]"
    for kind, x in adversarial_inputs(name, (5, 64)).items():
        tensor = refquant.quantize(x, name)
        whole, scales, codes = oracle.encode(x.ravel().tolist(), convention)
        assert tensor.planes["tensor_scale"].tobytes() == np.float32(whole).tobytes(), kind
        assert codes_of(tensor, "s").ravel().tolist() == scales, kind
        assert codes_of(tensor, "q").ravel().tolist() == codes, kind
        expected = [oracle.decode(whole, scales[i // 16], code) for i, code in enumerate(codes)]
        assert np.float32(expected).tobytes() == tensor.dequantize().tobytes(), kind


def test_the_largest_weight_has_the_largest_scale_and_element():
    x = np.zeros((2, 32), np.float32)
    x[0, 3], x[1, 20] = -2688, 6
    tensor = refquant.quantize(x, "mx/nvfp4")
    assert tensor.planes["tensor_scale"].view("<f4").item() == 1
    # 448 and 1; zeros have scale 1 too.
    assert codes_of(tensor, "s").tolist() == [[0x7E, 0x38], [0x38, 0x38]]
    assert codes_of(tensor, "q")[0, 3] == 15
    assert (tensor.dequantize() == x).all()
    assert codes_of(refquant.quantize(x, "mx/nvfp4[convention=torchao]"), "s")[0, 1] == 0x08


@pytest.mark.parametrize("convention", ["modelopt", "torchao"])
def test_a_tensor_of_zeros(convention):
    x = np.array([[0.0, -0.0] * 8], np.float32)
    tensor = refquant.quantize(x, f"mx/nvfp4[convention={convention}]")
    assert tensor.planes["tensor_scale"].tobytes() == bytes(4)
    assert tensor.planes["codes"].tobytes() == bytes(8)
    assert codes_of(tensor, "s").tolist() == [[0x38]]


def test_rows_of_whole_blocks():
    with pytest.raises(refquant.RefquantError, match="multiple of 16"):
        refquant.quantize(np.zeros((2, 24), np.float32), "mx/nvfp4")
