"""compressed-tensors' planes and values bit for bit, and its reading of AutoAWQ files."""

import numpy as np
import pytest

import refquant
from refquant.numerics import bfloat16_bits, float32_from_bfloat16
from tests.decisions import aimed
from tests.tensor_parts import any_tensor
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "compressed-tensors 0.20.0"
WIDTH = 256
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


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("ct"), "ct_worker.py", tmp_path_factory.mktemp("ct")) as process:
        yield process


def settings(name):
    """Bits, kind, symmetry, strategy, group and dtype, in the worker's words."""
    scheme = refquant.scheme(name)
    knobs = scheme.parameters
    kind = {"p": "pack", "i": "int", "f": "float"}[name.removeprefix("ct/")[0]]
    bits = scheme.layout.fields["q"].element.bits
    symmetry = knobs.get("symmetry", "sym")
    return [str(v) for v in (bits, kind, symmetry, knobs["granularity"], knobs["group"])] + [
        str(knobs["dtype"])
    ]


def stored(tensor):
    """Planes under the names and in the types of a checkpoint."""
    planes, (rows, _) = tensor.planes, tensor.shape
    pack = "packed" in planes
    wide = "<f4" if tensor.scheme.parameters["dtype"] == "f32" else "<i2"
    scales = planes["scales"].view(wide)[..., 0]
    kind = np.uint8 if tensor.scheme.name.startswith("ct/fp8") else np.int8
    found = {"weight_scale": scales.reshape(()) if scales.size == 1 else scales}
    if pack:
        found["weight_packed"] = planes["packed"].view("<i4").reshape(rows, -1)
        found["weight_shape"] = np.array(tensor.shape)
    else:
        found["weight"] = planes["codes"].reshape(tensor.shape).view(kind)
    if "zero_points" in planes:
        zeros = planes["zero_points"]
        if pack:
            # Words of many rows stand below each other.
            words = zeros.view("<i4").reshape(*zeros.shape[:2], -1)
            found["weight_zero_point"] = words.transpose(0, 2, 1).reshape(-1, words.shape[1])
        else:
            points = zeros.view(np.int8)[..., 0]
            found["weight_zero_point"] = points.reshape(np.shape(found["weight_scale"]))
    return found


def values_of(tensor):
    """Our values, rounded once more for bfloat16, as the package's product is."""
    values = tensor.dequantize()
    if tensor.scheme.parameters["dtype"] == "bf16":
        values = float32_from_bfloat16(bfloat16_bits(values))
    return values


@pytest.mark.parametrize("name", [*PACKED, *PLAIN, *FLOATS])
def test_planes_and_values(name, ask, compared):
    x = aimed(name, WIDTH, refquant.scheme(name).parameters["dtype"])
    theirs = ask(x=x, settings=settings(name))
    tensor = refquant.quantize(x, name)
    parts = {}
    for plane, mine in stored(tensor).items():
        if plane != "weight_shape":
            both = (np.ascontiguousarray(part).view(np.uint8) for part in (mine, theirs[plane]))
            parts[plane] = tuple(both) if mine.ndim else (mine.reshape(1), theirs[plane].reshape(1))
    compared.encoded(name, PACKAGE, x.size, parts)
    compared.decoded(name, PACKAGE, values_of(tensor), theirs["values"])


@pytest.mark.parametrize("name", [*PACKED, *PLAIN, *FLOATS])
def test_any_bytes(name, ask, compared):
    tensor = any_tensor(name, (1024, WIDTH))
    theirs = ask(settings=settings(name), **stored(tensor))
    compared.decoded(name, PACKAGE, values_of(tensor), theirs["values"])


@pytest.mark.parametrize("group", [32, 64, 128])
def test_awq_files(group, ask, compared):
    name = f"awq/int4[group={group}]"
    tensor = any_tensor(name, (1024, 256))
    planes = {"awq_qweight": "<i4", "awq_qzeros": "<i4", "awq_scales": "<f2"}
    request = {n: tensor.planes[n.removeprefix("awq_")].view(t)[..., 0] for n, t in planes.items()}
    theirs = ask(**request)
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])
