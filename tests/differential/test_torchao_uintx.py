"""torchao's unsigned groups and fitted scales: codes, parameters and values of the package."""

import numpy as np
import pytest

import refquant
from refquant.schemes.torchao.hqq import solver_of, start_of
from refquant.schemes.torchao.scale_only import LEAST, fitted_scales, scaled_codes
from refquant.schemes.torchao.uintx import Rule
from tests.ggml_inputs import weights
from tests.tensor_parts import any_tensor, every_distribution, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "torchao 0.18.0"
RANGED = [
    *(f"torchao/afpwx[bits={bits},group={group}]" for bits in range(1, 9) for group in (32, 128)),
    *(
        f"torchao/afpwx[bits={bits},group=64,scale={dtype}]"
        for bits in (1, 3, 4, 7, 8)
        for dtype in ("f16", "bf16")
    ),
]
SOLVED = [
    f"torchao/afpwx[bits={bits},group=64{more},algorithm=hqq]"
    for bits in (2, 4, 7)
    for more in ("", ",scale=f16", ",scale=bf16")
]
FITTED = [
    f"torchao/hqq_scale_only[bits={bits},group={group},iters={rounds}]"
    for bits in (1, 2, 4, 8)
    for group in (32, 128)
    for rounds in (1, 20)
]
UNIT = 2.0**-24


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uintx")
    with answering(oracle("torchao"), "uintx_worker.py", folder) as process:
        yield process


def settings(name, **more):
    knobs = refquant.scheme(name).parameters
    return {"bits": knobs["bits"], "group": knobs["group"], "dtype": knobs["scale"], **more}


def usable(step):
    """Rows of all distributions of weights of usual sizes, one out of so many."""
    drawn = [x.reshape(-1, 1024) for _, x in weights(400, finite=True)]
    return np.concatenate([x for x in drawn if 1e-6 < np.abs(x).max() < 1e4])[::step]


def parts_of(tensor, theirs):
    """Codes and parameters, ours and theirs, by name."""
    places = {"codes": "q", "scale": "s", "offset": "z"}
    return {
        part: (np.asarray(field_numbers(tensor, place), theirs[part].dtype), theirs[part])
        for part, place in places.items()
        if part in theirs
    }


@pytest.mark.parametrize("name", RANGED)
def test_the_range_of_weights(name, ask, compared):
    x = every_distribution(1024)
    theirs = ask(kind="min_max", x=x, **settings(name))
    tensor = refquant.quantize(x, name)
    compared.encoded(name, PACKAGE, x.size, parts_of(tensor, theirs))
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])


@pytest.mark.parametrize("name", SOLVED)
def test_all_but_the_zero_points_of_the_solver(name, ask, compared):
    x, scheme = usable(8), refquant.scheme(name)
    theirs, rule = ask(kind="hqq", x=x, **settings(name)), Rule(scheme.parameters)
    bits, group = scheme.parameters["bits"], scheme.parameters["group"]
    groups = rule.rounded(np.ascontiguousarray(x.reshape(-1, group)))
    zero = theirs["zero"].reshape(-1)
    with np.errstate(all="ignore"):
        inverse, _ = start_of(groups, bits)
        scale = rule.rounded(np.float32(1) / inverse)
        ours = {
            "codes": solver_of(bits, 20).codes(groups, inverse, zero).reshape(x.shape),
            "scale": scale,
            "offset": rule.rounded(-rule.rounded(zero) * scale),
        }
    parts = {
        part: (np.asarray(mine, theirs[part].dtype), theirs[part]) for part, mine in ours.items()
    }
    compared.encoded(name, PACKAGE, x.size, parts)
    found = refquant.quantize(x, scheme)
    assert np.array_equal(field_numbers(found, "s").reshape(-1), scale)
    assert (field_numbers(found, "q") != theirs["codes"]).mean() < 1e-3


@pytest.mark.parametrize("name", FITTED)
def test_fitted_scales(name, ask, compared):
    x, knobs = usable(2), refquant.scheme(name).parameters
    theirs = ask(kind="scale_only", x=x, rounds=knobs["iters"], **settings(name))
    groups = np.ascontiguousarray(x.reshape(-1, knobs["group"]))
    scale = theirs["scale"].reshape(-1)
    if knobs["iters"] == 1:
        with np.errstate(all="ignore"):
            apart = np.abs(fitted_scales(groups, knobs["bits"], 1) - scale)
        assert (apart <= bound(knobs, scale)).all()
    codes = scaled_codes(groups, scale, knobs["bits"]).astype(theirs["codes"].dtype)
    parts = {"codes": (codes.reshape(x.shape), theirs["codes"])}
    compared.encoded(name, PACKAGE, x.size, parts)
    with np.errstate(over="ignore"):
        values = (codes * scale[:, None]).astype(np.float32).reshape(x.shape)
    compared.decoded(name, PACKAGE, values, theirs["values"])


def bound(knobs, scale):
    """How far two quotients of sums may lie apart, each sum of n terms of one sign in any order."""
    return 2 * (knobs["group"] + 4) * UNIT * np.maximum(scale, LEAST)


@pytest.mark.parametrize("name", [*RANGED, *(n for n in FITTED if n.endswith("iters=1]"))])
def test_any_bytes(name, ask, compared):
    tensor = any_tensor(name, (256, 1024))
    shift = 1 if name.startswith("torchao/hqq_scale_only[bits=1,") else 0
    given = {
        "codes": field_numbers(tensor, "q").astype(np.int32) - shift,
        "scale": field_numbers(tensor, "s"),
    }
    if "z" in tensor.layout.fields:
        given["offset"] = field_numbers(tensor, "z")
    theirs = ask(kind="any", **given, **settings(name))
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])
