"""Shape comments can be read, and say what the functions are given and return."""

import importlib
import types

import numpy as np
import pytest

import refquant
from refquant.runtime import load_model
from tests.house import shapes, sources
from tests.runtime_models import random_checkpoint

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
    ((_, _, wrapper),) = shapes.watch(module, [module], report, [])
    wrapper(np.ones((2, 3), np.float32), weight=np.ones(3, np.float32))
    return report


def test_the_watch_notices():
    assert watched(good) == []
    for function in (wrong_type, wrong_axes, wrong_arithmetic):
        assert len(watched(function)) == 1, function.__name__


def watched_modules():
    names = [
        sources.module_name(path)
        for path in sources.modules()
        if sources.relative(path).startswith(ROOMS)
    ]
    return [importlib.import_module(name) for name in names]


def exercise():
    """One short run through what carries shape comments: both weight modes, every encoder."""
    options = {"tied_embeddings": False, "head_width": 6}
    for changes in ({"rope_style": "halves"}, options):
        checkpoint = random_checkpoint("float/bf16", **changes)
        for weights in ("float32", "packed"):
            model = load_model(checkpoint, weights)
            cache = model.new_cache(8)
            model.forward([1, 2, 3, 4, 5], cache)
            model.next_logits([6], cache)
    weights = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    names = [scheme.name for scheme in refquant.schemes() if scheme.can_encode]
    for name in (*names, "int/affine[bits=4,asym,group=32,scale=bf16]"):
        refquant.quantize(weights, name).dequantize()


def test_shape_comments_say_what_happens(monkeypatch):
    modules = watched_modules()
    report, calls = [], []
    for module in modules:
        for owner, name, wrapper in shapes.watch(module, modules, report, calls):
            monkeypatch.setattr(owner, name, wrapper)
    exercise()
    assert not report, "\n".join(dict.fromkeys(report))
    seen = "\n".join(set(calls))
    for name in ("forward", "attend", "rms_norm", "linear", "encode"):
        assert f": {name}  #" in seen or f".{name}  #" in seen, f"{name} was not checked:\n{seen}"
    assert len(set(calls)) > 10, "the run passes through hardly any function with a comment"
