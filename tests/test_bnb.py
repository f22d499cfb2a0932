"""bitsandbytes' formats against the scalar oracle, and bytes that the package itself gave."""

import numpy as np
import pytest

import refquant
from conformance.oracle import bnb as oracle
from refquant.layout import field_codes
from refquant.schemes.bnb import tables
from refquant.testing import adversarial_inputs


def codes(tensor):
    return field_codes(tensor.layout, "q", tensor.planes["codes"], tensor.shape)


@pytest.mark.parametrize("kind", tables.TABLES)
def test_tables_are_the_oracle_s(kind):
    assert np.float32(oracle.TABLES[kind]).tobytes() == tables.TABLES[kind].tobytes()


@pytest.mark.parametrize("kind", tables.TABLES)
def test_codes_and_values_are_the_oracle_s(kind):
    scheme = refquant.scheme(f"bnb/{kind}[block=32]")
    for name, x in adversarial_inputs(scheme, (6, 32)).items():
        tensor = refquant.quantize(x, scheme)
        found, values = codes(tensor), tensor.dequantize()
        for row in range(len(x)):
            absmax, expected = oracle.encode(x[row].tolist(), kind)
            assert tensor.planes["absmax"][row].tobytes() == absmax.to_bytes(4, "little"), name
            assert expected == found[row].tolist(), name
            reals = np.float32([oracle.decode(absmax, code, kind) for code in expected])
            assert reals.tobytes() == values[row].tobytes(), name


@pytest.mark.parametrize(
    ("kind", "weights", "expected"),
    [
        # Bytes that bitsandbytes 0.50.2 gave: first weight in the high half of a byte.
        ("nf4", [1.0, 0.0, 1e-9, -1e-9, 0.001, -0.001], "f77777"),
        ("fp4", [1.0, 0.0, 1e-9, -1e-9, 0.001, -0.001], "308080"),
        ("nf4", [0.0] * 6, "777777"),
        ("fp4", [0.0] * 6, "000000"),
    ],
)
def test_packing(kind, weights, expected):
    x = np.zeros((1, 64), np.float32)
    x[0, : len(weights)] = weights
    tensor = refquant.quantize(x, f"bnb/{kind}")
    assert tensor.planes["codes"].tobytes().hex().startswith(expected)


def test_a_weight_on_a_middle_takes_the_lower_entry():
    low, high = tables.NF4[9:11]
    middle = (low + high) / np.float32(2)
    x = np.zeros((1, 64), np.float32)
    x[0, :3] = 1, middle, np.nextafter(middle, np.float32(1))
    assert codes(refquant.quantize(x, "bnb/nf4"))[0, 1:3].tolist() == [9, 10]


def test_blocks_are_whole_and_of_listed_sizes():
    with pytest.raises(refquant.RefquantError, match="multiple of 64"):
        refquant.quantize(np.zeros((1, 96), np.float32), "bnb/nf4")
    with pytest.raises(refquant.RefquantError, match="4096"):
        refquant.scheme("bnb/nf4[block=48]")


def test_rows_of_eight_bits_are_the_oracle_s():
    scheme = refquant.scheme("bnb/int8")
    for name, x in adversarial_inputs(scheme, (4, 40)).items():
        tensor = refquant.quantize(x, scheme)
        found, values = codes(tensor), tensor.dequantize()
        for row in range(len(x)):
            absmax, expected = oracle.row(x[row].tolist())
            assert tensor.planes["absmax"][row].tobytes() == absmax.to_bytes(4, "little"), name
            assert expected == found[row].tolist(), name
            reals = np.float32([oracle.row_value(absmax, code) for code in expected])
            assert np.array_equal(reals, values[row], equal_nan=True), name


def test_rows_of_eight_bits_are_of_float16_weights():
    # 2049 is 2048 as float16, and 1024.4 is 1024: 63.5 steps, a tie that goes to the even code.
    tensor = refquant.quantize([[2049, 1024.4, -2048, 0]], "bnb/int8")
    assert tensor.planes["absmax"].view("<f4").item() == 2048
    assert codes(tensor).tolist() == [[127, 64, -127, 0]]
    assert not refquant.quantize(np.zeros((2, 5)), "bnb/int8").dequantize().any()
