"""bitsandbytes' formats against the package on the CPU: bytes, absmax and values."""

import pytest

import refquant
from tests.decisions import aimed
from tests.tensor_parts import any_tensor, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "bitsandbytes 0.50.2"
FORMATS = [
    *((kind, block) for kind in ("nf4", "fp4") for block in (32, 64, 128, 4096)),
    *(("dynamic8", block) for block in (64, 256, 4096)),
]


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("bnb"), "bnb_worker.py", tmp_path_factory.mktemp("bnb")) as process:
        yield process


@pytest.mark.parametrize(("kind", "block"), FORMATS)
def test_bytes_absmax_and_values(kind, block, ask, compared):
    name = f"bnb/{kind}[block={block}]"
    x = aimed(name, 4096)
    theirs = ask(x=x, kind=kind, block=block)
    tensor = refquant.quantize(x, name)
    parts = {
        "bytes": (tensor.planes["codes"], theirs["codes"]),
        "absmax": (field_numbers(tensor, "s"), theirs["absmax"]),
    }
    compared.encoded(name, PACKAGE, x.size, parts)
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])


@pytest.mark.parametrize(("kind", "block"), FORMATS)
def test_any_bytes(kind, block, ask, compared):
    name = f"bnb/{kind}[block={block}]"
    tensor = any_tensor(name, (128, 4096))
    codes, absmax = tensor.planes["codes"].reshape(-1), field_numbers(tensor, "s").reshape(-1)
    theirs = ask(kind=kind, block=block, codes=codes, absmax=absmax, shape=tensor.shape)
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])


def test_rows_of_eight_bits(ask, compared):
    x = aimed("bnb/int8")
    theirs = ask(x=x, kind="int8", block=0)
    tensor = refquant.quantize(x, "bnb/int8")
    parts = {
        "codes": (field_numbers(tensor, "q"), theirs["codes"]),
        "absmax": (field_numbers(tensor, "s"), theirs["absmax"]),
    }
    compared.encoded("bnb/int8", PACKAGE, x.size, parts)
    compared.decoded("bnb/int8", PACKAGE, tensor.dequantize(), theirs["values"])


def test_any_rows_of_eight_bits(ask, compared):
    tensor = any_tensor("bnb/int8")
    absmax = field_numbers(tensor, "s").reshape(-1)
    given = {"codes": field_numbers(tensor, "q"), "absmax": absmax, "shape": tensor.shape}
    theirs = ask(kind="int8", block=0, **given)
    compared.decoded("bnb/int8", PACKAGE, tensor.dequantize(), theirs["values"])
