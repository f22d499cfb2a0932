"""Each class of comparison passes what it should and nothing else."""

import msgspec
import numpy as np
import pytest

from refquant.conformance.compare import compare
from refquant.conformance.counted import Lane
from refquant.conformance.digests import digest_of
from refquant.conformance.packs import Array, Case, Comparison, Pack

F32_ONE = np.float32(1)


def judged(found, expected, rule, behaviours=None, **aside):
    """The verdict on one output; `aside` are further arrays."""
    expected = np.asarray(expected)
    arrays, binary = [], b""
    named = {"y": expected, **aside}
    for name, values in zip(named, map(np.ascontiguousarray, named.values()), strict=True):
        binary += bytes(-len(binary) % 64)
        dtype = {"<f4": "f32", "<f8": "f64", "|u1": "u8", "<i4": "i32"}[values.dtype.str]
        arrays.append(Array(name, dtype, values.shape, len(binary)))
        binary += values.tobytes()
    output = msgspec.structs.replace(arrays[0], cmp=rule)
    case = Case("x", "", "decode", {}, outputs=(output,), aside=tuple(arrays[1:]))
    pack = Pack("x", 1, "", (case,), binary=binary)
    return compare(pack, case, output, np.asarray(found), behaviours or {})


def f32(*values):
    return np.array(values, np.float32)


def test_bits():
    rule = Comparison("bits")
    assert judged(f32(1, -0.0), f32(1, -0.0), rule).passed
    wrong = judged(f32(1, 0.0), f32(1, -0.0), rule)
    assert (wrong.passed, wrong.first, wrong.different) == (False, (1,), 1)
    assert wrong.expected == "-0.0 (0x80000000)"
    nan = np.array([0x7FC00001], np.uint32).view(np.float32)
    assert not judged(nan, f32(np.nan), rule).passed
    assert judged(nan, f32(np.nan), Comparison("bits", nan="any")).passed
    assert not judged(f32(1), f32(np.nan), Comparison("bits", nan="any")).passed
    assert not judged(np.zeros(2, np.int32), f32(0, 0), rule).passed
    assert not judged(f32(0), f32(0, 0), rule).passed


def test_interval():
    rule = Comparison("interval", low="low", high="high")
    sides = {"low": np.int32([1, 1]), "high": np.int32([2, 1])}
    assert judged(np.int32([2, 1]), np.int32([1, 1]), rule, **sides).passed
    assert not judged(np.int32([2, 2]), np.int32([1, 1]), rule, **sides).passed
    sides = {"low": f32(0), "high": f32(1)}
    assert not judged(f32(np.nan), f32(1), rule, **sides).passed


def test_ulp():
    rule = Comparison("ulp", n=1)
    above = np.nextafter(F32_ONE, np.float32(2))
    assert judged(f32(above, -0.0, np.nan), f32(1, 0.0, np.nan), rule).passed
    assert not judged(f32(np.nextafter(above, np.float32(2))), f32(1), rule).passed
    assert not judged(f32(np.nan), f32(1), rule).passed
    assert not judged(f32(1), f32(np.nan), rule).passed
    assert not judged(f32(-1), f32(1), rule).passed
    assert not judged(f32(np.inf), f32(1), rule).passed


def test_dot():
    rule = Comparison("dot", exact="exact", bound="bound")
    sides = {"exact": np.array([1.0]), "bound": np.array([0.25])}
    assert judged(f32(1.25), f32(1), rule, **sides).passed
    for wrong in (1.2500001, np.nan, np.inf):
        assert not judged(f32(wrong), f32(1), rule, **sides).passed


def test_decision():
    rule = Comparison("decision", margin="margin")
    margin = {"margin": np.array([1, 0], np.uint8)}
    expected = f32(1, 2, 3, 3).reshape(2, 2)
    assert judged(f32(0, 5, 9, 1).reshape(2, 2), expected, rule, **margin).passed
    assert not judged(f32(5, 0, 9, 1).reshape(2, 2), expected, rule, **margin).passed
    assert not judged(f32(np.nan, 5, 9, 1).reshape(2, 2), expected, rule, **margin).passed


def table(*lanes, shape, **rule):
    """A case of one counted input, whose output is compared by a digest."""
    x = Array("blocks", "u8", shape, counted=lanes)
    values = Array("values", "f32", (1, 32 * shape[1]), cmp=Comparison("digest", "any", **rule))
    params = {"scheme": "ggml/q4_0", "shape": [1, 32 * shape[1]], "axis": -1}
    case = Case("x", "", "decode", params, inputs=(x,), outputs=(values,))
    return Pack("x", 1, "", (case,)), case


def test_a_digest_names_the_first_wrong_place():
    lanes = (Lane(2, start=0x3C00, step=1), Lane(1, start=240, count=16, next=-15))
    pack, case = table(*lanes, shape=(1, 3, 18))
    raw = pack.raw(case.inputs[0])
    assert raw[:4] == b"\x00\x3c\xf0\xe1"
    assert raw[18:20] == b"\x01\x3c"
    right = recomputed_by_hand(raw)
    pack, case = table(*lanes, shape=(1, 3, 18), sha256=digest_of(right, "any"))
    (array,) = case.outputs
    assert compare(pack, case, array, right, {}).passed
    wrong = right.copy()
    wrong[0, 40] += 1
    verdict = compare(pack, case, array, wrong, {})
    assert (verdict.passed, verdict.first, verdict.different) == (False, (0, 40), 1)
    pack, case = table(*lanes, shape=(1, 3, 18), sha256="0" * 64)
    (array,) = case.outputs
    verdict = compare(pack, case, array, right, {})
    assert (verdict.passed, verdict.first) == (False, ())
    assert verdict.note.startswith("SHA-256 ")


def recomputed_by_hand(raw):
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, 18)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    codes = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32)
    return (scales * (codes - 8)).reshape(1, -1)


@pytest.mark.parametrize(("value", "passed"), [("saturate", False), ("nan", True), ("", True)])
def test_either_needs_the_declared_behaviour(value, passed):
    rule = Comparison("either", alternatives={"overflow=saturate": "low", "overflow=nan": "high"})
    sides = {"low": f32(448), "high": f32(7)}
    found = judged(f32(7), f32(7), rule, {"overflow": value}, **sides)
    assert found.passed == passed
