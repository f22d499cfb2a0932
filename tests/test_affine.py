"""int/affine against its scalar oracle, for every knob and at ties, zeros and extremes."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refquant
from conformance.oracle import affine as oracle
from refquant.errors import UnknownSchemeError, UsageError
from refquant.layout import pack_codes
from refquant.schemes.affine import AFFINE, KNOBS
from tests.tensor_parts import all_codes

TESTED = (
    "divisor",
    "range",
    "using",
    "by",
    "round",
    "zero",
    "extent",
    "floor",
    "overflow",
    "zero_point",
    "zero_using",
)
CHOICES = {knob.name: knob.values for knob in KNOBS}


@st.composite
def members(draw):
    """The name of a member, its knobs drawn."""
    knobs = [f"{name}={draw(st.sampled_from(CHOICES[name]))}" for name in TESTED]
    symmetry = draw(st.sampled_from(["sym", "asym"]))
    scale = draw(st.sampled_from(CHOICES["scale"]))
    granularity = draw(st.sampled_from(["tensor", "channel", "group=4", "group=6"]))
    bits = draw(st.integers(2, 8))
    return f"int/affine[bits={bits},{symmetry},{granularity},scale={scale},{','.join(knobs)}]"


usual = st.floats(-100, 100, width=32)
wild = st.floats(allow_nan=False, allow_infinity=False, width=32)
halves = st.integers(-300, 300).map(lambda n: n / 2)


def groups_of(scheme, x):
    """Indices of the weights that share a scale, for a matrix."""
    places = [[(r, c) for c in range(x.shape[1])] for r in range(x.shape[0])]
    match scheme.group:
        case (0,):
            return places
        case (size,):
            return [row[i : i + size] for row in places for i in range(0, len(row), size)]
    return [[place for row in places for place in row]]


def check(name, x):
    scheme = refquant.scheme(name)
    tensor = refquant.quantize(x, scheme)
    values = tensor.dequantize()
    codes = all_codes(tensor)
    spread = {n: np.broadcast_to(_repeated(c, x.shape), x.shape) for n, c in codes.items()}
    for places in groups_of(scheme, x):
        weights = [float(x[p]) for p in places]
        padding = [0.0] * ((scheme.group[0] or len(weights)) - len(weights))
        bits, zero, expected = oracle.encode(weights + padding, scheme.parameters)
        for place, code in zip(places, expected, strict=False):
            found = tuple(int(spread[n][place]) for n in spread)
            wanted = {"s": bits, "z": zero, "q": code}
            assert found == tuple(wanted[n] for n in spread), (name, place)
            exact = np.float32(oracle.decode(bits, zero, code, scheme.parameters))
            same = values[place].view(np.uint32) == exact.view(np.uint32)
            assert same or (np.isnan(values[place]) and np.isnan(exact))


def _repeated(codes, shape):
    repeats = [-(-n // count) for n, count in zip(shape, codes.shape, strict=True)]
    for axis, (n, count) in enumerate(zip(shape, codes.shape, strict=True)):
        if 1 < count < n:
            share = {3: 4, 2: 6}[count] if n == 11 else repeats[axis]
            codes = np.repeat(codes, share, axis)[:, :n] if axis else np.repeat(codes, share, axis)
    return codes


@settings(max_examples=200)
@given(
    members(),
    st.one_of(*[st.lists(v, min_size=22, max_size=22) for v in (usual, wild, halves)]),
)
@example("int/affine[bits=8,sym,group=4,floor=tiny,scale=f16]", [0.0] * 22)
@example("int/affine[bits=8,asym,channel]", [float.fromhex("-0x1.fffffep127")] * 11 + [0.0] * 11)
@example("int/affine[bits=8,asym,tensor]", [-3e38, 3e38] * 11)
@example("int/affine[bits=2,sym,tensor,divisor=sides,floor=none]", [0.0] * 22)
@example("int/affine[bits=2,sym,tensor,divisor=sides,floor=none]", [-0.0] * 22)
@example("int/affine[bits=4,sym,tensor,floor=none]", [0.0, -0.0] * 11)
@example("int/affine[bits=8,asym,group=4,floor=tiny,scale=f16]", [0.0, 1e-30, 2e-30] * 7 + [0.0])
@example("int/affine[bits=8,asym,group=4,floor=none,by=reciprocal]", [0.0, 1e-45] * 11)
@example("int/affine[bits=2,asym,group=4,by=reciprocal]", [1e-45, -1e-45] * 11)
@example("int/affine[bits=8,asym,channel,extent=data]", [5.0] * 22)
def test_codes_scales_and_zero_points_are_the_oracle_s(name, weights):
    check(name, np.array(weights, np.float32).reshape(2, 11))


@pytest.mark.parametrize("bits", range(2, 9))
def test_ties_between_codes(bits):
    # The largest weight fixes the scale at 1, so halves are ties of the quotient.
    qmax = 2 ** (bits - 1) - 1
    ties = np.arange(-qmax - 0.5, qmax + 1, 0.5, dtype=np.float32).clip(-qmax, qmax)
    for rounding in ("half_even", "half_away"):
        check(f"int/affine[bits={bits},sym,channel,round={rounding}]", ties[None])
        check(f"int/affine[bits={bits},asym,channel,round={rounding},zero=before]", ties[None])


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_of_every_width_fill_whole_bytes(bits):
    scheme = refquant.scheme(f"int/affine[bits={bits},sym,channel]")
    row = scheme.layout.plane_nbytes("codes", (1, 8))
    assert row == bits
    assert scheme.bits_per_weight((1, 1 << 16)) == bits + 32 / (1 << 16)


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_code_decodes_with_every_zero_point(bits):
    scheme = refquant.scheme(f"int/affine[bits={bits},asym,channel]")
    every = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    shape = (len(every), max(len(every), 8))
    codes = np.resize(every, shape)
    planes = {
        n: np.zeros((*scheme.layout.grid(n, shape), p.bytes), np.uint8)
        for n, p in scheme.planes.items()
    }
    scales = np.ldexp(np.float32(1.1), np.arange(len(every)) % 90 - 45).view(np.uint32)
    for name, values in (("q", codes), ("z", every[:, None]), ("s", scales[:, None])):
        plane = scheme.layout.fields[name].plane
        pack_codes(scheme.layout, name, values, planes[plane], shape)
    decoded = refquant.QuantizedTensor(scheme, shape, planes).dequantize()
    exact = scales.view(np.float32)[:, None] * (codes - every[:, None]).astype(np.float32)
    assert (decoded.view(np.uint32) == exact.view(np.uint32)).all()


def test_names_are_canonical_and_knobs_are_kept():
    short = refquant.scheme("int/affine[group=64,bits=4]")
    assert short.name == "int/affine[bits=4,sym,group=64]"
    assert refquant.scheme(short.name).parameters == short.parameters
    assert set(short.parameters) == {knob.name for knob in KNOBS}
    every = "int/affine[bits=3,asym,tensor,scale=bf16,round=half_away,floor=eps]"
    assert refquant.scheme(refquant.scheme(every).name).parameters == (
        refquant.scheme(every).parameters
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("int/affine[bits=9]", "bits=9 is not one of 2 to 8"),
        ("int/affine[bits=1]", "not one of"),
        ("int/affine[bits=8,bits=4]", "given twice"),
        ("int/affine[sym,asym]", "given twice"),
        ("int/affine[color=red]", "unknown knob"),
        ("int/affine[group=0]", "not one of"),
        ("int/affine[round=up]", "not one of"),
        ("int/affine[", "no scheme name"),
        ("ggml/q4_0[bits=4]", "has no knobs"),
    ],
)
def test_knobs_that_cannot_be_meant(name, reason):
    with pytest.raises(UsageError, match=reason):
        refquant.scheme(name)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownSchemeError, match="ggml/q4_0"):
        refquant.scheme("ggml/q40")


def test_the_family_lists_every_knob():
    assert [knob.name for knob in AFFINE.knobs] == [knob.name for knob in KNOBS]
    for knob in KNOBS:
        assert knob.meaning
        assert knob.default in knob.values
