"""compressed-tensors' planes and values bit for bit, and its reading of AutoAWQ files."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.numerics import bfloat16_bits, float32_from_bfloat16
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "ct_worker.py"

PACKED = [
    f"ct/pack{bits}[{symmetry},{share}{more}]"
    for bits in range(2, 9)
    for symmetry in ("sym", "asym")
    for share in ("group=128", "channel")
    for more in ("", ",dtype=bf16")
]
PLAIN = [
    f"ct/int8[{symmetry},{share}{more}]"
    for symmetry in ("sym", "asym")
    for share in ("channel", "tensor", "group=64")
    for more in ("", ",dtype=bf16")
]
FLOATS = [
    f"ct/fp8[{share}{more}]"
    for share in ("channel", "tensor", "group=64")
    for more in ("", ",dtype=bf16")
]


def settings(name):
    """Bits, kind, symmetry, strategy, group and dtype, in the worker's words."""
    scheme = refquant.scheme(name)
    knobs = scheme.parameters
    kind = {"p": "pack", "i": "int", "f": "float"}[name.removeprefix("ct/")[0]]
    bits = scheme.layout.fields["q"].element.bits
    symmetry = knobs.get("symmetry", "sym")
    return [bits, kind, symmetry, knobs["granularity"], knobs["group"], knobs["dtype"]]


@pytest.fixture(scope="module")
def compared(oracle, tmp_path_factory):
    """Weights, planes of an AWQ file, and what the package makes of them: one request."""
    folder = tmp_path_factory.mktemp("ct")
    x = np.concatenate([part for _, part in weights(128, finite=True)])
    names = [*PACKED, *PLAIN, *FLOATS]
    awq = refquant.quantize(x[:128], "awq/int4[group=32]")
    np.savez(
        folder / "request.npz",
        x=x,
        names=names,
        settings=np.array([[str(v) for v in settings(name)] for name in names]),
        awq_qweight=awq.planes["qweight"].view("<i4")[..., 0],
        awq_qzeros=awq.planes["qzeros"].view("<i4")[..., 0],
        awq_scales=awq.planes["scales"].view("<f2")[..., 0],
    )
    command = [oracle("ct"), WORKER, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as answer:
        return x, awq, dict(answer)


def in_words(records, count):
    """Zero points of a checkpoint: words of many rows that stand below each other."""
    rows, groups, _ = records.shape
    words = records.view("<i4").reshape(rows, groups, count)
    return words.transpose(0, 2, 1).reshape(-1, groups)


@pytest.mark.parametrize("name", [*PACKED, *PLAIN, *FLOATS])
def test_planes_and_values(name, compared):
    x, _, answer = compared
    tensor = refquant.quantize(x, name)
    planes = tensor.planes
    codes = answer[f"{name}.weight_packed" if "pack" in name else f"{name}.weight"]
    mine = planes["packed" if "pack" in name else "codes"]
    assert mine.tobytes() == codes.tobytes()
    assert planes["scales"].tobytes() == answer[f"{name}.weight_scale"].tobytes()
    if "zero_points" in planes:
        zeros = planes["zero_points"]
        if "pack" in name:
            zeros = in_words(zeros, zeros.shape[-1] // 4)
        assert zeros.tobytes() == answer[f"{name}.weight_zero_point"].tobytes()
    values = tensor.dequantize()
    if tensor.scheme.parameters["dtype"] == "bf16":  # the package rounds products once more
        values = float32_from_bfloat16(bfloat16_bits(values))
    theirs = answer[f"{name}.values"]
    same = (values == theirs) | (np.isnan(values) & np.isnan(theirs))
    assert same.all()


def test_awq_files(compared):
    _, awq, answer = compared
    assert np.array_equal(awq.dequantize(), answer["awq"])
