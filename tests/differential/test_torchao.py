"""torchao, torchchat and DiffuLex schemes against torchao and torch: codes, parameters, values."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes, numbers
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "torchao_worker.py"

AFFINE = [
    *(
        f"torchao/int{bits}[{mapping},group=32]"
        for bits in range(1, 9)
        for mapping in ("sym", "no_clip", "asym")
    ),
    "torchao/int8[sym,channel]",
    "torchao/int8[asym,channel]",
    "torchao/int4[sym,group=128,eps=eps]",
    "torchao/int4[asym,group=64,eps=eps]",
    "torchao/int4[sym,group=32,scale=bf16]",
    "torchao/int8[asym,group=32,scale=bf16]",
    "torchao/8da4w[sym,group=256]",
]
TINYGEMM = [
    f"torchao/int4_tinygemm[group={group}{more}]"
    for group, more in ((32, ""), (128, ""), (64, ",scale=f32"), (32, ",weights=bf16"))
]
TORCHCHAT = [
    f"torchchat/{base}{share}{more}]"
    for base in ("embedding[bits=8,", "embedding[bits=4,", "int8[")
    for share in ("channel", "group=32", "group=100")
    for more in ("", ",scale=bf16", ",scale=f16")
]


def ask(python, folder, kind, scheme, x):
    request, answer = folder / "request.npz", folder / "answer.npz"
    element = scheme.layout.fields["q"].element
    settings = {"bits": element.bits, **scheme.parameters}
    if settings.get("granularity") == "channel":
        settings["group"] = x.shape[1]
    np.savez(request, x=x, kind=kind, **settings)
    subprocess.run([python, WORKER, request, answer], check=True, capture_output=True)
    with np.load(answer) as found:
        return dict(found)


def field(tensor, name):
    declared = tensor.layout.fields[name]
    return field_codes(tensor.layout, name, tensor.planes[declared.plane], tensor.shape)


def every_distribution(width=1024):
    """All distributions below each other: one request, since torch takes seconds to import."""
    return np.concatenate([x.reshape(-1, 1024) for _, x in weights(1280, finite=True)])[:, :width]


def compare(python, folder, kind, name, x, offset=0):
    scheme = refquant.scheme(name)
    theirs = ask(python, folder, kind, scheme, x)
    tensor = refquant.quantize(x, scheme)
    codes = field(tensor, "q").astype(np.int32) - offset
    assert np.array_equal(codes, theirs["codes"])
    for mine, their in (("s", "scale"), ("z", "zero_point")):
        if mine in tensor.layout.fields:
            shift = 1 if mine == "z" and tensor.layout.fields["z"].element.bits == 1 else 0
            values = numbers(field(tensor, mine), tensor.layout.fields[mine].element) - shift
            assert np.array_equal(values.reshape(-1), theirs[their].reshape(-1), equal_nan=True)
    assert np.array_equal(tensor.dequantize(), theirs["values"], equal_nan=True)


@pytest.mark.parametrize("name", AFFINE)
def test_affine_mappings(name, oracle, tmp_path):
    offset = 1 if "int1" in name else 0
    compare(oracle("torchao"), tmp_path, "affine", name, every_distribution(), offset)


@pytest.mark.parametrize("name", TINYGEMM)
def test_tinygemm_groups(name, oracle, tmp_path):
    compare(oracle("torchao"), tmp_path, "tinygemm", name, every_distribution())


@pytest.mark.parametrize("name", TORCHCHAT)
def test_torchchat_embeddings_and_linear_layers(name, oracle, tmp_path):
    offset = 8 if "bits=4" in name else 0
    compare(oracle("torchao"), tmp_path, "torchchat", name, every_distribution(1000), offset)
