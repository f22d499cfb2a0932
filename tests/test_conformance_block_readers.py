"""Slips of decoders that are no mutant of a scheme are told in two groups and named."""

import numpy as np
import pytest

import refquant
from conformance.mutants.block_readers import FORMATS, MUTANTS
from refquant.conformance.operations import Task, perform

BITS = np.array([[0x3C00, 0x03FF, 0x7E00, 0x8400]], np.uint16)


def slip(name):
    return next(one for one in MUTANTS if one.id == f"reader-q8_0-{name}")


def task():
    """Four blocks of ones under a plain scale, a subnormal one, a NaN, and a negative one."""
    blocks = np.zeros((1, 4, 34), np.uint8)
    blocks[..., :2] = BITS.astype("<u2").view(np.uint8).reshape(1, 4, 2)
    blocks[..., 2:] = 1
    params = {"scheme": "ggml/q8_0", "shape": [1, 128]}
    return Task("decode", params, {"blocks": blocks}, {"values": ("<f4", (1, 128))})


def scales(name):
    return slip(name).compute(task())["values"].reshape(4, 32)[:, 0].tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flushed", [1, 0, np.nan, -(2.0**-14)]),
        ("nan-infinite", [1, 1023 * 2.0**-24, np.inf, -(2.0**-14)]),
        ("first-scale", [1, 1, 1, 1]),
        ("doubled", [2, 1023 * 2.0**-23, np.nan, -(2.0**-13)]),
    ],
)
def test_a_slip_does_what_it_says(name, expected):
    assert np.array_equal(scales(name), expected, equal_nan=True)


def test_the_true_decoder_does_none_of_them():
    right = perform(task())["values"].reshape(4, 32)[:, 0].tolist()
    assert np.array_equal(right, [1, 1023 * 2.0**-24, np.nan, -(2.0**-14)], equal_nan=True)


def test_every_format_has_every_slip():
    assert len({one.id for one in MUTANTS}) == 7 * len(FORMATS)
    assert all(refquant.scheme(f"ggml/{form}") for form in FORMATS)
