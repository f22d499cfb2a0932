"""Floats of 4, 6 and 8 bits against the scalar oracle and ml_dtypes, and where they overflow."""

import ml_dtypes
import numpy as np
import pytest

import refquant
from conformance.oracle import small_floats as oracle
from refquant.layout import field_codes
from refquant.schemes import small_floats
from refquant.testing import adversarial_inputs
from tests.tensor_parts import any_tensor, every_distribution

DTYPES = {
    "f8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "f8_e5m2": ml_dtypes.float8_e5m2,
    "f8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f6_e2m3fn": ml_dtypes.float6_e2m3fn,
    "f6_e3m2fn": ml_dtypes.float6_e3m2fn,
    "f4_e2m1fn": ml_dtypes.float4_e2m1fn,
}
NAMES = [
    *(found.name for found in small_floats.SCHEMES),
    *(
        f"{family.name}[overflow={overflow}]"
        for family in small_floats.FAMILIES
        for overflow in family.knobs[0].values
    ),
]


def parts(name):
    base, _, knob = name.removeprefix("float/").rstrip("]").partition("[overflow=")
    return base, knob or "saturate"


def codes(tensor):
    return field_codes(tensor.layout, "w", tensor.planes["values"], tensor.shape)


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_values_are_the_oracle_s(name):
    base, overflow = parts(name)
    for kind, x in adversarial_inputs(name, (6, 48)).items():
        tensor = refquant.quantize(x, name)
        found = codes(tensor).ravel().tolist()
        for weight, code, value in zip(
            x.ravel().tolist(), found, tensor.dequantize().ravel(), strict=True
        ):
            if np.isnan(weight):
                assert np.isnan(value), kind
                continue
            assert code == oracle.encode(weight, base, overflow), (kind, weight)
            expected = np.float32(oracle.decode(code, base))
            assert value.tobytes() == expected.tobytes() or np.isnan([value, expected]).all()


UNSATURATED = [name for name in NAMES if "saturate" not in name]
PACKAGE = "ml_dtypes 0.6.0"


def check_with_ml_dtypes(name, x, compared):
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = x.astype(DTYPES[parts(name)[0]])
    tensor = refquant.quantize(x, name)
    compared.encoded(name, PACKAGE, x.size, {"codes": (codes(tensor), theirs.view(np.uint8))})
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs.astype(np.float32))


@pytest.mark.parametrize("name", UNSATURATED)
def test_codes_and_values_are_those_of_ml_dtypes(name, compared):
    for x in adversarial_inputs(name, (6, 48)).values():
        check_with_ml_dtypes(name, x, compared)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNSATURATED)
def test_codes_of_all_distributions_are_those_of_ml_dtypes(name, compared):
    check_with_ml_dtypes(name, every_distribution(), compared)


@pytest.mark.parametrize("name", UNSATURATED)
def test_values_of_any_codes_are_those_of_ml_dtypes(name, compared):
    tensor, dtype = any_tensor(name), DTYPES[parts(name)[0]]
    theirs = codes(tensor).astype(np.uint8).view(dtype).astype(np.float32)
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("f8_e4m3fn[overflow=nan]", [464, 464.00003, -np.inf], "7e7fff"),
        ("f8_e4m3fn[overflow=saturate]", [464, 464.00003, -np.inf], "7e7efe"),
        ("f8_e5m2[overflow=inf]", [61439.996, 61440, -np.inf], "7b7cfc"),
        ("f8_e5m2[overflow=saturate]", [61439.996, 61440, -np.inf], "7b7bfb"),
        ("f8_e4m3fnuz[overflow=nan]", [247.99998, 248, -0.0], "7f8000"),
        ("f6_e3m2fn", [1.0, -28.0, 0.0625, 30], "cc1f7c"),
        ("f4_e2m1fn", [0.5, -6.0, 5.0, 0.25], "f106"),
    ],
)
def test_overflow_and_packing(name, weights, expected):
    tensor = refquant.quantize(np.float32([weights]), f"float/{name}")
    assert tensor.planes["values"].tobytes() == bytes.fromhex(expected)


@pytest.mark.parametrize("name", NAMES)
def test_all_codes_and_all_halves_are_those_of_ml_dtypes(name):
    base, overflow = parts(name)
    count = 1 << refquant.scheme(name).layout.fields["w"].element.bits
    every = np.arange(count, dtype=np.uint8).view(DTYPES[base]).astype(np.float32)
    known = every[np.isfinite(every)]
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    x = x if refquant.scheme(name).non_finite else x[np.isfinite(x)]
    # Who saturates stores what the weight would be at the end of the range.
    held = np.clip(x, known.min(), known.max()) if overflow == "saturate" else x
    x, held = (np.resize(each, (1, len(x) // 8 * 8)) for each in (x, held))
    tensor = refquant.quantize(x, name)
    with np.errstate(invalid="ignore", over="ignore"):
        theirs = held.astype(DTYPES[base])
    assert (codes(tensor) == theirs.view(np.uint8)).all()
    assert np.array_equal(tensor.dequantize(), theirs.astype(np.float32), equal_nan=True)
    assert set(np.unique(codes(tensor))) >= set(np.flatnonzero(np.isfinite(every)).tolist())


def test_formats_without_nan_refuse_it():
    with pytest.raises(refquant.RefquantError, match="no rule"):
        refquant.quantize(np.float32([[np.nan, 1]]), "float/f4_e2m1fn")
