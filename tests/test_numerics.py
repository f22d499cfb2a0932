"""Small floats and roundings, exhaustively where the space is small."""

import ml_dtypes
import numpy as np
import pytest

from conformance.oracle import binary
from refquant import numerics

HALVES = np.arange(1 << 16, dtype=np.uint16)
TYPES = {
    ml_dtypes.float4_e2m1fn: (1, 2, 1, 1, "none"),
    ml_dtypes.float6_e2m3fn: (1, 2, 3, 1, "none"),
    ml_dtypes.float6_e3m2fn: (1, 3, 2, 3, "none"),
    ml_dtypes.float8_e3m4: (1, 3, 4, 3, "ieee"),
    ml_dtypes.float8_e4m3: (1, 4, 3, 7, "ieee"),
    ml_dtypes.float8_e4m3fn: (1, 4, 3, 7, "fn"),
    ml_dtypes.float8_e4m3fnuz: (1, 4, 3, 8, "fnuz"),
    ml_dtypes.float8_e4m3b11fnuz: (1, 4, 3, 11, "fnuz"),
    ml_dtypes.float8_e5m2: (1, 5, 2, 15, "ieee"),
    ml_dtypes.float8_e5m2fnuz: (1, 5, 2, 16, "fnuz"),
    ml_dtypes.float8_e8m0fnu: (0, 8, 0, 127, "e8m0"),
    np.float16: (1, 5, 10, 15, "ieee"),
    ml_dtypes.bfloat16: (1, 8, 7, 127, "ieee"),
}


def bits(values):
    return np.asarray(values, np.float32).view(np.uint32)


def same_or_nan(left, right):
    return ((bits(left) == bits(right)) | (np.isnan(left) & np.isnan(right))).all()


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_every_code_of_every_small_float(dtype):
    form = TYPES[dtype]
    values = numerics.minifloat_values(*form)
    width = np.dtype(f"u{np.dtype(dtype).itemsize}")
    with np.errstate(invalid="ignore"):
        theirs = np.arange(len(values)).astype(width).view(dtype).astype(np.float32)
    assert len(values) == 1 << sum(form[:3])
    assert same_or_nan(values, theirs)
    assert not values.flags.writeable
    scalar = [binary.decode(code, binary.Format(*form)) for code in range(0, len(values), 1)]
    assert same_or_nan(values, np.array(scalar, np.float32))


def test_every_half_widens_exactly_with_its_payload():
    ours, theirs = numerics.float32_from_float16(HALVES), HALVES.view(np.float16).astype(np.float32)
    quiet = (HALVES & 0x7C00 != 0x7C00) | (HALVES & 0x0200 != 0) | (HALVES & 0x03FF == 0)
    assert (bits(ours) == bits(theirs))[quiet].all()
    assert (
        bits(ours)
        == (HALVES.astype(np.uint32) & 0x8000) << 16
        | 0x7F800000
        | (HALVES.astype(np.uint32) & 0x3FF) << 13
    )[~quiet].all()
    finite = HALVES[HALVES & 0x7C00 != 0x7C00]
    values = finite.view(np.float16).astype(np.float32)
    assert (bits(numerics.float32_from_float16(finite)) == bits(values)).all()


@pytest.mark.parametrize("shape", [(1,), (4, 4), (2, 1, 8)])
def test_widening_keeps_shape_and_input(shape):
    halves = np.resize(HALVES[12345:], shape)
    before = halves.copy()
    assert numerics.float32_from_float16(halves).shape == shape
    assert numerics.float32_from_bfloat16(halves[..., ::2]).shape == halves[..., ::2].shape
    assert (halves == before).all()


def test_every_bfloat16_widens_to_its_upper_half():
    values = numerics.float32_from_bfloat16(HALVES)
    assert (bits(values) == HALVES.astype(np.uint32) << 16).all()
    assert (
        numerics.bfloat16_bits(values) == np.where(np.isnan(values), HALVES | 0x40, HALVES)
    ).all()


def near_ties(shift):
    """Binary32 around the middle between any two neighbours that keep `32 - shift` bits."""
    uppers = np.arange(0, 1 << 16, 3, dtype=np.uint32) << np.uint32(16)
    tie = 1 << (shift - 1)
    patterns = [uppers + np.uint32(d) for d in (0, 1, tie - 1, tie, tie + 1)]
    patterns.append(uppers - np.uint32(1))
    return np.concatenate(patterns).view(np.float32)


def test_rounding_to_bfloat16_at_ties_and_nan():
    x = near_ties(16)
    ours = numerics.bfloat16_bits(x)
    with np.errstate(invalid="ignore", over="ignore"):
        theirs = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert (ours == theirs)[~np.isnan(x)].all()
    kept = (x.view(np.uint32) >> 16).astype(np.uint16) | np.uint16(0x40)
    assert (ours == kept)[np.isnan(x)].all()


def test_rounding_to_half_at_ties_overflow_and_nan():
    x = np.concatenate([near_ties(13), np.float32([65504, 65519.996, 65520, 2**-25, 2**-24.5])])
    ours = numerics.float16_bits(x)
    step = slice(None, None, 37)
    scalar = [binary.encode(v, binary.FLOAT16) for v in x[step].tolist()]
    finite = ~np.isnan(x[step])
    assert (ours[step] == scalar)[finite].all()
    assert np.isnan(ours.view(np.float16)[np.isnan(x)]).all()
    edge = np.float32([65519.996, 65520, -65520, 2**-25, np.nextafter(np.float32(2**-25), 1)])
    assert numerics.float16_bits(edge).tolist() == [0x7BFF, 0x7C00, 0xFC00, 0, 1]


def test_ties_away_from_zero():
    x = np.float32([0.5, -0.5, 1.5, -2.5, 0.49999997, -0.0, 8388607.5, 8388609, 1e30, 3.4999998])
    rounded = numerics.round_half_away(x)
    expected = [1, -1, 2, -3, 0, -0.0, 8388608, 8388609, np.float32(1e30), 3]
    assert (bits(rounded) == bits(expected)).all()
    with np.errstate(invalid="ignore"):
        special = numerics.round_half_away(np.float32([np.inf, -np.inf, np.nan]))
    assert np.isinf(special[:2]).all()
    assert np.isnan(special[2])


def around_codes(form):
    """All halves, the middles between codes and their neighbours, and what lies beyond."""
    values = np.sort(numerics.minifloat_values(*form))
    values = values[np.isfinite(values)]
    middles = ((values[1:].astype(np.float64) + values[:-1]) / 2).astype(np.float32)
    step = values[-1] - values[-2]
    edge = np.float32([values[-1] + step / 2, values[-1] + step, 3e38, np.inf, np.nan, 1e-45])
    x = np.concatenate([middles, edge, -edge])
    up, down = (np.nextafter(x, np.float32(sign * np.inf)) for sign in (1, -1))
    return np.concatenate([HALVES.view(np.float16).astype(np.float32), x, up, down])


@pytest.mark.parametrize("dtype", [d for d in TYPES if np.dtype(d).itemsize == 1 and TYPES[d][0]])
def test_rounding_to_small_floats(dtype):
    form = TYPES[dtype]
    x = around_codes(form)
    with np.errstate(invalid="ignore", over="ignore"):
        theirs = x.astype(dtype).view(np.uint8)
    assert (numerics.minifloat_bits(x, form) == theirs).all()
    finite = x[~np.isnan(x)][::5]
    for overflow in ("special", "saturate"):
        ours = numerics.minifloat_bits(finite, form, overflow)
        scalar = [binary.encode(v, binary.Format(*form), overflow) for v in finite.tolist()]
        assert (ours == scalar).all()


def test_rounding_to_binary16_at_every_middle():
    # Its own integer path stands beside NumPy's cast, so both ends of its range matter too.
    x = around_codes((1, 5, 10, 15, "ieee"))
    assert len(x) > 4 * (1 << 15)
    with np.errstate(over="ignore"):
        assert (numerics.float16_bits(x) == x.astype(np.float16).view(np.uint16)).all()
    assert numerics.float16_bits(np.array(0.5, np.float32)).shape == ()
