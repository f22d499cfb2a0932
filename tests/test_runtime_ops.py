"""The arithmetic at its edges, and the one constant that the derived bounds assume."""

import warnings

import numpy as np
import pytest

from refquant.runtime import ops
from refquant.runtime.arithmetic_mode import ARITHMETICS, arithmetic, primitives
from refquant.runtime.attention import Sight, attend
from refquant.runtime.rope import frequencies
from tests.runtime_oracle import EXP_ULPS, U


def f32(*values):
    return np.array(values, np.float32)


def test_exp_is_as_accurate_as_the_bounds_assume():
    x = np.linspace(-87, 88, 1_000_003).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    ulp = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert np.max(np.abs(np.exp(x) - exact) / ulp) <= EXP_ULPS


@pytest.mark.parametrize("mode", ARITHMETICS)
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "erf"])
def test_a_function_overwrites_every_place_of_its_argument(name, mode):
    whole = np.linspace(0.25, 2, 24, dtype=np.float32).reshape(4, 6)
    part = whole[1:, ::2].T
    expected = part.copy()
    with arithmetic(mode):
        function = getattr(primitives(), name)
        function(expected)
        assert function(part) is part
    assert np.array_equal(whole[1:, ::2].T, expected)
    assert not np.array_equal(whole[1:, ::2], np.linspace(0.25, 2, 24).reshape(4, 6)[1:, ::2])


def test_silu_at_the_ends_of_the_range():
    x = f32(-np.inf, -3e38, -104, -88, -0.0, 0.0, 88, 3e38)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = ops.silu(x[1:])
    assert np.signbit(y[0])
    assert y[0] == 0.0
    assert y[-1] == x[-1]
    assert np.all(np.isfinite(y))
    assert y[3] == 0.0


def test_softmax_survives_large_scores_and_ignores_hidden_ones():
    y = ops.softmax(f32(3e38, 3e38, -np.inf, 0.0))
    assert y.tolist() == [0.5, 0.5, 0.0, 0.0]
    assert ops.softmax(f32(-700, -700)).tolist() == [0.5, 0.5]


def test_rms_norm_of_nothing_is_nothing():
    x = np.zeros((2, 8), np.float32)
    assert np.array_equal(ops.rms_norm(x, np.ones(8, np.float32), 1e-5), x)


def test_late_positions_turn_by_their_exact_angles():
    # At position 10**6 a float32 angle would be off by up to 0.03 radians.
    table = ops.rope_table(10**6, 2, frequencies(10000.0, 64))
    angle = np.longdouble(10**6) * np.longdouble(10000.0) ** (-np.longdouble(2) * 7 / 64)
    assert abs(table[0, 7].real - np.cos(angle)) <= U
    assert abs(table[0, 7].imag - np.sin(angle)) <= U
    assert table.dtype == np.complex64


@pytest.mark.parametrize("style", ["interleaved", "halves"])
def test_rotation_by_a_quarter_turn(style):
    turn = np.full((1, 2), 1j, np.complex64)
    x = f32(1, 2, 3, 4).reshape(1, 1, 4)
    expected = {"interleaved": [-2, 1, -4, 3], "halves": [-3, -4, 1, 2]}
    assert ops.rotate(x, turn, style).ravel().tolist() == expected[style]
    assert x.ravel().tolist() == [1, 2, 3, 4]


def test_attention_reads_the_group_of_its_head():
    # Keys are alike, so every head returns the mean of its group's values.
    keys = np.zeros((2, 3, 2), np.float32)
    values = np.stack([np.full((3, 2), 1.0), np.full((3, 2), 2.0)]).astype(np.float32)
    for tokens in (1, 3):
        queries = np.ones((tokens, 4, 2), np.float32)
        assert attend(queries, keys, values, Sight(divisor=2.0))[0].tolist() == [
            1,
            1,
            1,
            1,
            2,
            2,
            2,
            2,
        ]


def test_results_stay_float32():
    x = np.ones((3, 4), np.float32)
    assert ops.rms_norm(x, x[0], 1e-5).dtype == np.float32
    assert ops.swiglu(x, x).dtype == np.float32
    assert ops.softmax(x).dtype == np.float32
    assert (
        ops.rotate(x[:, None], ops.rope_table(0, 3, frequencies(1e4, 4)), "halves").dtype
        == np.float32
    )
