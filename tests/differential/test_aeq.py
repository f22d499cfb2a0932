"""AI Edge schemes against ai-edge-quantizer itself: codes, scales, zero points, packing, values."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes, numbers
from tests.ggml_inputs import NOT_FINITE, weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "aeq_worker.py"

NAMES = [
    *(f"aeq/int{bits}[{share}]" for bits in (8, 4, 2) for share in ("channel", "tensor")),
    *(f"aeq/int{bits}[block={n}]" for bits, n in ((8, 32), (4, 32), (4, 64), (4, 128), (4, 256))),
    "aeq/int2[block=32]",
    "aeq/int8[asym,channel]",
    "aeq/int8[asym,tensor]",
    "aeq/int4[asym,channel]",
]


def ask(python, folder, scheme, x):
    knobs = scheme.parameters
    share = knobs["granularity"]
    granularity = f"BLOCKWISE_{knobs['block']}" if share == "block" else f"{share.upper()}WISE"
    request, answer = folder / "request.npz", folder / "answer.npz"
    bits = scheme.layout.fields["q"].element.bits
    symmetric = knobs["symmetry"] == "sym"
    np.savez(request, x=x, bits=bits, symmetric=symmetric, granularity=granularity)
    subprocess.run([python, WORKER, request, answer], check=True, capture_output=True)
    with np.load(answer) as found:
        return dict(found)


def fields(tensor):
    return {
        name: field_codes(tensor.layout, name, tensor.planes[field.plane], tensor.shape)
        for name, field in tensor.layout.fields.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_everything_equals_the_package(name, oracle, tmp_path):
    scheme = refquant.scheme(name)
    for title, flat in weights(1280):
        if title == NOT_FINITE:
            continue
        x = flat.reshape(-1, 1024)
        theirs = ask(oracle("aeq"), tmp_path, scheme, x)
        tensor = refquant.quantize(x, scheme)
        ours = fields(tensor)
        scale = numbers(ours["s"], tensor.layout.fields["s"].element)
        assert np.array_equal(scale.reshape(-1), theirs["scale"].reshape(-1)), title
        assert np.array_equal(ours["q"], theirs["codes"]), title
        if "z" in ours:
            assert np.array_equal(ours["z"].reshape(-1), theirs["zero_point"].reshape(-1)), title
        assert tensor.planes["codes"].tobytes() == theirs["packed"].tobytes(), title
        assert np.array_equal(
            tensor.dequantize(), theirs["values"].astype(np.float32), equal_nan=True
        ), title
