"""torchao, torchchat and DiffuLex schemes against torchao and torch: codes, parameters, values."""

import numpy as np
import pytest

import refquant
from tests.tensor_parts import any_tensor, every_distribution
from tests.torchao_oracle import ask, ask_values, codes_and_parameters, worker

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


@pytest.fixture(scope="module")
def torchao(oracle):
    with worker(oracle("torchao")) as process:
        yield process


def package_of(name):
    return "torch 2.13.0" if name in TORCHCHAT else "torchao 0.18.0"


@pytest.mark.parametrize("name", [*AFFINE, *TINYGEMM, *TORCHCHAT])
def test_everything_equals_the_origin(name, torchao, tmp_path, compared):
    x = every_distribution(1000 if name in TORCHCHAT else 1024)
    theirs = ask(torchao, tmp_path, refquant.scheme(name), x)
    tensor = refquant.quantize(x, name)
    parts = {
        key: (np.asarray(ours, theirs[key].dtype), theirs[key])
        for key, ours in codes_and_parameters(tensor).items()
    }
    compared.encoded(name, package_of(name), x.size, parts)
    compared.decoded(name, package_of(name), tensor.dequantize(), theirs["values"])


@pytest.mark.parametrize("name", [*AFFINE, *TINYGEMM, *TORCHCHAT])
def test_any_bytes(name, torchao, tmp_path, compared):
    tensor = any_tensor(name, (256, 1000 if name in TORCHCHAT else 1024))
    theirs = ask_values(torchao, tmp_path, tensor)
    compared.decoded(name, package_of(name), tensor.dequantize(), theirs)
