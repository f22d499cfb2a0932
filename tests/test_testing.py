"""What `refquant.testing` finds, and how it says so."""

import dataclasses
from importlib.metadata import entry_points

import numpy as np
import pytest

import refquant
from refquant.driver import Scheme
from refquant.errors import ConformanceError, UnknownSchemeError
from refquant.layout import Field, Layout, Minifloat, Plane, Signed, Slice, Unsigned, field
from refquant.testing import (
    assert_bits_equal,
    cases,
    cases_of,
)
from tests.test_layout_values import DESIGN

F32 = Minifloat(1, 8, 23, 127, "ieee")
E4M3 = Minifloat(1, 4, 3, 7, "fn")
E2M1 = Minifloat(1, 2, 1, 1, "none")

GPTQ = Scheme("test/gptq", "GPTQ version 1", DESIGN["GPTQ"], None)
U8 = Scheme(
    "test/u8",
    "unsigned codes with a zero point",
    Layout(
        {"codes": Plane((1,), 1), "scales": Plane((32,), 4), "zero_points": Plane((32,), 1)},
        {
            "q": field("codes", Unsigned(8), "0"),
            "s": field("scales", F32, "0", over=32),
            "z": field("zero_points", Unsigned(8), "0", over=32),
        },
        ("mul", "s", ("sub", "q", "z")),
    ),
    None,
)
NVFP4 = Scheme(
    "test/nvfp4",
    "four-bit floats with a scale for 16 and one for all",
    Layout(
        {"codes": Plane((2,), 1), "scales": Plane((16,), 1), "global": Plane((0,) * 8, 4)},
        {
            "q": field("codes", E2M1, "2:4"),
            "s": field("scales", E4M3, "0", over=16),
            "g": field("global", F32, "0", over=(0,) * 8),
        },
        ("mul", ("mul", "g", "s"), "q"),
    ),
    None,
)


def misread(scheme, **changes):
    """A kernel that decodes by a changed layout."""
    wrong = dataclasses.replace(scheme.layout, **changes)

    def kernel(case):
        return refquant.QuantizedTensor(
            Scheme("wrong", "", wrong, None), case.shape, case.planes
        ).dequantize()

    return kernel


def moved(scheme, name, **changes):
    """The scheme's fields with one field's slices changed."""
    declared = scheme.layout.fields[name]
    pieces = tuple(
        tuple(dataclasses.replace(run, **changes) for run in piece) for piece in declared.pieces
    )
    return dict(scheme.layout.fields) | {name: dataclasses.replace(declared, pieces=pieces)}


Q4_0, Q4_1 = refquant.scheme("q4_0"), refquant.scheme("q4_1")
CT_NVFP4 = refquant.scheme("ct/nvfp4")


def codes_two_bytes_early(case):
    """Codes of Q4_1 from byte 2 on, as if its header were that of Q4_0."""
    raw = case.planes["blocks"]
    shifted = np.concatenate([raw[..., :4], raw[..., 2:18]], axis=-1)
    return refquant.QuantizedTensor(Q4_1, case.shape, {"blocks": shifted}).dequantize()


def swapped_nibbles(case):
    raw = case.planes["blocks"].copy()
    raw[..., 2:] = raw[..., 2:] >> 4 | raw[..., 2:] << 4
    return refquant.QuantizedTensor(Q4_0, case.shape, {"blocks": raw}).dequantize()


def inverted(case, plane):
    """The values where a plane of binary32 scales is taken for their inverses."""
    planes = dict(case.planes)
    planes[plane] = (1 / planes[plane].view(np.float32)).view(np.uint8)
    return refquant.QuantizedTensor(case.scheme, case.shape, planes).dequantize()


PLANTED = {
    "swapped nibbles": (Q4_0, swapped_nibbles, "nibbles swapped"),
    "interleaved": (
        Q4_0,
        misread(Q4_0, fields=moved(Q4_0, "q", shape=(32,), strides=(4,))),
        "q is read as neighbours in one byte, low part first",
    ),
    "GPTQ zero point off by one": (
        GPTQ,
        misread(GPTQ, value=("mul", "s", ("sub", "q", "z"))),
        "zero point off by one",
    ),
    "GPTQ version 2 read as version 1": (
        refquant.scheme("gptq/int4[v=2]"),
        lambda case: refquant.QuantizedTensor(
            refquant.scheme("gptq/int4[v=1]"), case.shape, case.planes
        ).dequantize(),
        "zero point off by one: z is taken 1 too large (GPTQ v1 against v2)",
    ),
    "GPTQ version 1 read as version 2": (
        refquant.scheme("gptq/int4[v=1]"),
        lambda case: refquant.QuantizedTensor(
            refquant.scheme("gptq/int4[v=2]"), case.shape, case.planes
        ).dequantize(),
        "zero point off by one: z is taken 1 too small (GPTQ v1 against v2)",
    ),
    "reciprocal scale of a registered NVFP4": (
        refquant.scheme("mx/nvfp4"),
        lambda case: inverted(case, "tensor_scale"),
        "reciprocal scale: 1/g",
    ),
    "reciprocal NVFP4 scale": (
        NVFP4,
        lambda case: inverted(case, "global"),
        "reciprocal scale: 1/g",
    ),
    "divisor of compressed-tensors' NVFP4 multiplied by": (
        CT_NVFP4,
        misread(CT_NVFP4, value=("mul", ("mul", "s", "g"), "q")),
        "multiplied by g, which divides",
    ),
    "unsigned read as signed": (
        U8,
        misread(U8, fields={**U8.layout.fields, "q": field("codes", Signed(8), "0")}),
        "q is unsigned but read as signed",
    ),
    "header skipped by 2 bytes": (
        Q4_1,
        codes_two_bytes_early,
        "header skipped wrongly: q is read 2 bytes too early",
    ),
    "scale and minimum exchanged": (
        Q4_1,
        misread(Q4_1, value=("add", ("mul", "m", "q"), "d")),
        "d and m exchanged",
    ),
    "no offset": (
        Q4_0,
        misread(Q4_0, value=("mul", "d", "q")),
        "constant 8 of the formula is left",
    ),
    "scale as bfloat16": (
        Q4_0,
        misread(
            Q4_0,
            fields={
                **Q4_0.layout.fields,
                "d": field("blocks", Minifloat(1, 8, 7, 127, "ieee"), "0", over=32),
            },
        ),
        "d is read as bfloat16",
    ),
    "high bits left out": (
        Scheme("test/q5_0", "", DESIGN["q5_0"], None),
        misread(
            Scheme("", "", DESIGN["q5_0"], None),
            fields={
                "d": DESIGN["q5_0"].fields["d"],
                "q": Field("b", Unsigned(5), (1,), ((Slice(4, 48, (2, 16), (4, 8)),),)),
            },
        ),
        "high bits of q are left out",
    ),
    "float16": (
        Q4_1,
        lambda case: case.values.astype(np.float16).astype(np.float32),
        "values are rounded to float16",
    ),
    "transposed": (
        U8,
        lambda case: case.values.T.copy().reshape(case.shape),
        "transposed",
    ),
    "previous scale": (
        U8,
        lambda case: refquant.QuantizedTensor(
            U8, case.shape, {**case.planes, "scales": np.roll(case.planes["scales"], 1, axis=-2)}
        ).dequantize(),
        "s of the previous group is used",
    ),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistakes_are_found_and_named(mistake):
    scheme, kernel, words = PLANTED[mistake]
    (case,) = [c for c in cases_of(scheme, edge=False) if "decode" in c.flags]
    with pytest.raises(ConformanceError) as raised:
        assert_bits_equal(kernel(case), case)
    assert words in str(raised.value)
    assert "probable mistake" in str(raised.value)


@cases("ggml/q4_0", "int8", "int/affine[bits=3,asym,group=16]", "f16", GPTQ, NVFP4, U8)
def test_the_definition_passes_its_own_cases(case):
    assert_bits_equal(case.values.copy(), case)
    assert_bits_equal(refquant.dequantize(case.tensor).ravel(), case)
    if case.x is not None:
        assert_bits_equal(refquant.quantize(case.x, case.scheme), case)
        assert_bits_equal({n: raw.tobytes() for n, raw in case.planes.items()}, case)
    if "non-finite" not in case.flags:
        assert np.isfinite(case.values).all()


@pytest.mark.parametrize("scheme", refquant.schemes(), ids=lambda scheme: scheme.name)
def test_every_scheme_has_cases_whose_flags_tell_the_truth(scheme):
    for case in cases_of(scheme):
        assert case.values.shape == case.shape
        assert (case.x is None) == ("decode" in case.flags)
        assert "non-finite" in case.flags or np.isfinite(case.values).all(), case.kind


def test_a_failure_shows_the_block_its_fields_and_the_worst_element():
    (case,) = [c for c in cases_of("q4_0", edge=False) if "decode" in c.flags]
    wrong = case.values.copy()
    wrong[1, 5] += 1
    wrong[2, 7] = np.nan
    with pytest.raises(ConformanceError) as raised:
        assert_bits_equal(wrong, case)
    message = str(raised.value)
    assert message.startswith("ggml/q4_0 (every code): 2 of ")
    assert "block 1, which begins at [1, 0]" in message
    assert f"plane blocks: {case.planes['blocks'][1, 0].tobytes().hex(' ')}" in message
    for part in ("field d: code 0x", "field q: code 0x", "value = d * (q - 8) = "):
        assert part in message
    assert "first   at [1, 5]: expected" in message
    assert "worst   at [2, 7]: expected" in message
    assert "found nan" in message
    assert "none that is known" in message


def test_zeros_have_signs_and_nan_is_nan():
    zero = np.float32([0.0, np.nan])
    assert_bits_equal(zero, np.float32([0.0, -np.nan]))
    with pytest.raises(ConformanceError, match="another sign of zero"):
        assert_bits_equal(-zero, zero)
    with pytest.raises(ConformanceError, match="1 ulp apart"):
        assert_bits_equal(np.nextafter(np.float32([1]), 2), np.float32([1]), scheme="q4_0")


def test_bare_weights_are_placed_in_blocks():
    right = np.zeros((2, 64), np.float32)
    wrong = right.copy()
    wrong[1, 40] = 1
    with pytest.raises(ConformanceError, match=r"block 3, which begins at \[1, 32\]"):
        assert_bits_equal(wrong, right, scheme="q4_0")


def test_types_and_shapes_are_part_of_the_output():
    (case,) = [c for c in cases_of("q4_0", edge=False) if "decode" in c.flags]
    with pytest.raises(ConformanceError, match="float64, expected float32"):
        assert_bits_equal(case.values.astype(np.float64), case)
    with pytest.raises(ConformanceError, match="have shape"):
        assert_bits_equal(case.values.T, case)
    with pytest.raises(ConformanceError, match="bytes, expected"):
        assert_bits_equal(b"12", case)
    with pytest.raises(ConformanceError, match="found planes"):
        assert_bits_equal({"weights": b""}, case)


def test_encoders_are_told_which_codes_differ():
    (case,) = [c for c in cases_of("q4_0", edge=False) if "encode" in c.flags]
    swapped = case.planes["blocks"].copy()
    swapped[..., 2:] = swapped[..., 2:] >> 4 | swapped[..., 2:] << 4
    with pytest.raises(ConformanceError) as raised:
        assert_bits_equal(swapped, case)
    assert "nibbles swapped" in str(raised.value)
    assert "field d: equal" in str(raised.value)
    off = case.planes["blocks"].copy()
    off[0, 0, 2] ^= 1
    with pytest.raises(ConformanceError, match=r"q differ by one step at most"):
        assert_bits_equal(off, case)
    scale = case.planes["blocks"].copy()
    scale[0, 0, 0] ^= 1
    with pytest.raises(ConformanceError, match=r"the scale is rounded in another way"):
        assert_bits_equal(scale, case)


EXPECTED_DIGEST = 1645823463869748096


def test_cases_are_the_same_everywhere():
    digest = 0
    for case in cases_of("q4_0", "int8"):
        for raw in case.planes.values():
            digest = (digest * 31 + int(raw.astype(np.uint64).sum())) % (1 << 61)
    assert digest == EXPECTED_DIGEST


def test_cases_hold_every_code_and_are_read_only():
    (case,) = [c for c in cases_of("q8_0", edge=False) if "decode" in c.flags]
    assert len(np.unique(case.planes["blocks"][..., 2:])) == 256
    with pytest.raises(ValueError, match="read-only"):
        case.values[0, 0] = 1
    assert len({c.id for c in cases_of("*")}) == len(list(cases_of("*")))
    with pytest.raises(UnknownSchemeError):
        list(cases_of("nothing/*"))


pytest_plugins = ["pytester"]


def test_the_plugin_chooses_schemes(pytester):
    pytester.makepyfile(
        """
        from refquant.testing import assert_bits_equal, cases

        @cases("ggml/q4_0", "ggml/q8_0", edge=False)
        def test_kernel(case):
            assert_bits_equal(case.values, case)

        def test_other():
            pass
        """
    )
    known = {point.value for point in entry_points(group="pytest11")}
    load = [] if "refquant.testing.plugin" in known else ["-p", "refquant.testing.plugin"]
    result = pytester.runpytest(*load, "--refquant-scheme", "ggml/q4*")
    result.assert_outcomes(passed=3, deselected=2)
