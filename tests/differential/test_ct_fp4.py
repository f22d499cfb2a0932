"""compressed-tensors' NVFP4 and MXFP4: planes and values of its own compressors, bit for bit."""

import numpy as np
import pytest

import refquant
from refquant.numerics import bfloat16_bits, float32_from_bfloat16
from tests.decisions import aimed, decisions
from tests.tensor_parts import every_distribution, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "compressed-tensors 0.20.0"
ROWS = 200
"""Rows of a tensor: seven to a distribution, so that each has numbers of its own."""


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("ct"), "ct_fp4_worker.py", tmp_path_factory.mktemp("ct")) as process:
        yield process


def compare_values(name, compared, values, theirs, known=None):
    """In binary32, and rounded to bfloat16 where the package rounds."""
    compared.decoded(name, PACKAGE, values, theirs["values"], known=known)
    short = float32_from_bfloat16(bfloat16_bits(values))
    compared.decoded(name, PACKAGE, short, theirs["short"], known=known)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_nvfp4(dtype, ask, compared):
    name = f"ct/nvfp4[dtype={dtype}]"
    near = decisions(name, (4, ROWS, 1024), dtype=dtype).reshape(-1, 1024)
    x = np.concatenate([every_distribution(), near])
    theirs = ask(name="nvfp4", dtype=dtype, tensors=ROWS, x=x)
    tensors = [refquant.quantize(x[at : at + ROWS], name) for at in range(0, len(x), ROWS)]
    planes = {
        plane: np.concatenate([t.planes[plane].reshape(-1) for t in tensors])
        for plane in ("packed", "scales", "global_scale")
    }
    parts = {
        plane: (mine, theirs[f"weight_{key}"].reshape(-1).view(np.uint8))
        for (plane, mine), key in zip(
            planes.items(), ("packed", "scale", "global_scale"), strict=True
        )
    }
    compared.encoded(name, PACKAGE, x.size, parts)
    compare_values(name, compared, np.concatenate([t.dequantize() for t in tensors]), theirs)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_mxfp4(dtype, ask, compared):
    name = f"ct/mxfp4[dtype={dtype}]"
    x = aimed(name, dtype=dtype)
    theirs = ask(name="mxfp4", dtype=dtype, tensors=len(x), x=x)
    tensor = refquant.quantize(x, name)
    # From 1.75 * 2**127 on the package's scale is infinite.
    known = np.abs(x).reshape(len(x), -1, 32).max(axis=2) >= np.float32(1.75 * 2.0**127)
    assert known.mean() < 0.01
    wide = np.repeat(known, 32, axis=1)
    parts = {
        "packed": (tensor.planes["packed"], theirs["weight_packed"], wide[:, ::2] | wide[:, 1::2]),
        "scales": (tensor.planes["scales"], theirs["weight_scale"], known),
    }
    compared.encoded(name, PACKAGE, x.size, parts)
    compare_values(name, compared, tensor.dequantize(), theirs, wide)


def test_every_code_under_every_scale(ask, compared):
    packed = np.tile(np.arange(256, dtype=np.uint8).reshape(16, 16), (1, 8))
    scales = np.arange(256, dtype=np.uint8)
    rows = np.repeat(packed.reshape(1, 16, 128)[:, :, :16], 256, axis=0)
    theirs = ask(
        name="mxfp4",
        weight_packed=rows.reshape(256, 256),
        weight_scale=np.repeat(scales[:, None], 16, axis=1),
    )
    given = {"packed": rows.tobytes(), "scales": np.repeat(scales[:, None], 16, axis=1).tobytes()}
    tensor = refquant.QuantizedTensor.from_planes("ct/mxfp4", (256, 512), given)
    known = np.repeat(scales[:, None] == 255, 512, axis=1)  # NaN here, infinite there
    compare_values("ct/mxfp4", compared, tensor.dequantize(), theirs, known)
    for divisor in (1.0, 2688.0, 3e-38, 3e38, 1e-45, np.inf, 0.3):
        number = np.float32([divisor])
        planes = {"weight_packed": rows.reshape(512, 128), "weight_global_scale": number}
        planes["weight_scale"] = np.repeat(scales.reshape(256, 1), 32, axis=1).reshape(512, 16)
        theirs = ask(name="nvfp4", **planes)
        tensor = refquant.QuantizedTensor.from_planes(
            "ct/nvfp4",
            (512, 256),
            {key.removeprefix("weight_").replace("scale", "scales").replace("l_scales", "l_scale"):
             plane.tobytes() for key, plane in planes.items()},
        )  # fmt: skip
        assert len(np.unique(field_numbers(tensor, "q"))) == 15
        compare_values("ct/nvfp4", compared, tensor.dequantize(), theirs)
