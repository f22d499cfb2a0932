"""8-bit floats against torch: every half, every tie and its neighbours, and what is beyond."""

import numpy as np
import pytest

import refquant
from refquant.schemes.small_floats import form_of
from tests.ggml_inputs import weights
from tests.tensor_parts import BLOCKS, any_tensor
from tests.test_numerics import around_codes
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "torch 2.13.0"
OVERFLOW = {
    "f8_e4m3fn": "saturate",
    "f8_e5m2": "inf",
    "f8_e4m3fnuz": "nan",
    "f8_e5m2fnuz": "nan",
}


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("float8")
    with answering(oracle("torchao"), "float8_worker.py", folder) as process:
        yield process


def inputs(form):
    """Halves and ties of a form, and all distributions, NaN and infinities among them."""
    return np.concatenate([around_codes(form), *(x.reshape(-1) for _, x in weights(BLOCKS))])


@pytest.mark.parametrize("name", OVERFLOW)
def test_codes(name, ask, compared):
    scheme = refquant.scheme(f"float/{name}[overflow={OVERFLOW[name]}]")
    x = inputs(form_of(scheme.layout.fields["w"].element))
    codes = refquant.quantize(x, scheme).planes["values"][..., 0]
    # torch's NaN in E5M2 has all bits set, ours and ml_dtypes' only the quiet one.
    known = np.isnan(x) & (name == "f8_e5m2")
    theirs = ask(x=x, dtype=name)["codes"]
    compared.encoded(scheme.name, PACKAGE, x.size, {"codes": (codes, theirs, known)})


@pytest.mark.parametrize("name", OVERFLOW)
def test_values(name, ask, compared):
    tensor = any_tensor(f"float/{name}[overflow={OVERFLOW[name]}]")
    codes = tensor.planes["values"][..., 0]
    theirs = ask(codes=codes, dtype=name)["values"]
    compared.decoded(tensor.scheme.name, PACKAGE, tensor.dequantize(), theirs)
