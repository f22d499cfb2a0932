"""Shape comments can be read, and say what the functions are given and return."""

import types

import numpy as np
import pytest

from tests.house import shapes, sources

ROOMS = ("refquant/schemes/", "refquant/runtime/", "refquant/numerics.py")
COMMENTED = [
    pytest.param(comment, id=f"{sources.relative(path)}:{line}")
    for path in sources.modules()
    if sources.relative(path).startswith(ROOMS)
    for _, line, comment in shapes.comments(path)
]


@pytest.mark.parametrize("comment", COMMENTED)
def test_shape_comments_can_be_read(comment):
    shapes.parse(comment)


@pytest.mark.parametrize("comment", ["f33[n] -> f32[n]", "f32[n -> f32[n]", "f32[n] ->", "[n]"])
def test_nonsense_is_refused(comment):
    with pytest.raises(shapes.ShapesError):
        shapes.parse(comment)


def good(x, weight):  # f32[..., d], f32[d] -> f32[..., d]
    return x * weight


def wrong_type(x, weight):  # f32[..., d], f32[d] -> f32[..., d]
    return x * weight.astype(np.float64)


def wrong_axes(x, weight):  # f32[t, d], f32[d] -> f32[d, t]
    return x * weight


def wrong_arithmetic(x, weight):  # f32[t, d], f32[d] -> f32[t, 2 * d]
    return x * weight


def watched(function):
    report = []
    module = types.ModuleType("made_up")
    module.__file__ = __file__
    vars(module)[function.__name__] = function
    ((_, _, wrapper),) = shapes.watch(module, [module], report)
    wrapper(np.ones((2, 3), np.float32), weight=np.ones(3, np.float32))
    return report


def test_the_watch_notices():
    assert watched(good) == []
    for function in (wrong_type, wrong_axes, wrong_arithmetic):
        assert len(watched(function)) == 1, function.__name__
