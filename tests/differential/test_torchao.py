"""torchao, torchchat and DiffuLex schemes against torchao and torch: codes, parameters, values."""

import numpy as np
import pytest

import refquant
from tests.ggml_inputs import weights
from tests.torchao_oracle import ask, codes_and_parameters, worker

pytestmark = pytest.mark.differential

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


def every_distribution(width=1024):
    """All distributions below each other."""
    return np.concatenate([x.reshape(-1, 1024) for _, x in weights(1280, finite=True)])[:, :width]


@pytest.fixture(scope="module")
def torchao(oracle):
    with worker(oracle("torchao")) as process:
        yield process


@pytest.mark.parametrize("name", [*AFFINE, *TINYGEMM, *TORCHCHAT])
def test_everything_equals_the_origin(name, torchao, tmp_path, compared):
    x = every_distribution(1000 if name in TORCHCHAT else 1024)
    theirs = ask(torchao, tmp_path, refquant.scheme(name), x)
    package = "torch 2.13.0" if name in TORCHCHAT else "torchao 0.18.0"
    tensor = refquant.quantize(x, name)
    for key, ours in codes_and_parameters(tensor).items():
        note(compared, name, package, "encode", ours, theirs[key])
    note(compared, name, package, "decode", tensor.dequantize(), theirs["values"])


def note(compared, name, package, what, ours, theirs):
    """Every value the same, NaN for NaN."""
    ours, theirs = ours.reshape(-1), theirs.reshape(-1)
    wrong = (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    compared(name, package, what, wrong.size, wrong.sum())
    assert not wrong.any()
