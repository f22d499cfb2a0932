"""tract's own Q4_0 bytes, and the values that it reads from blocks of Q4_0 and Q8_1."""

import pytest

import refquant
from tests.tensor_parts import any_tensor, every_distribution
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "tract 0.23.9"


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("tract"), "tract_worker.py", tmp_path_factory.mktemp("tract")) as process:
        yield process


def test_q40_bytes(ask, compared):
    x = every_distribution(256)
    blocks = refquant.quantize(x, "tract/q40").planes["blocks"]
    theirs = ask(x=x)["q40"]
    compared.encoded("tract/q40", PACKAGE, x.size, {"blocks": (blocks, theirs)})


@pytest.mark.parametrize("name", ["q40", "q8_1"])
def test_values_of_blocks(name, ask, compared):
    encoded = refquant.quantize(every_distribution(256, 64), f"tract/{name}")
    for tensor in (any_tensor(f"tract/{name}"), encoded):
        theirs = ask(**{name: tensor.planes["blocks"], "shape": tensor.shape})["values"]
        compared.decoded(f"tract/{name}", PACKAGE, tensor.dequantize(), theirs)
