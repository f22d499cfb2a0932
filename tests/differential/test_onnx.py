"""ONNX's tensors against the reference evaluator and ONNX Runtime: codes, bytes and values."""

import numpy as np
import pytest

import refquant
from tests.decisions import aimed, decisions
from tests.tensor_parts import any_tensor, every_distribution, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

REFERENCE, RUNTIME = "onnx 1.23.2", "onnxruntime 1.31.1"
LINEAR = [
    f"onnx/{kind}[{symmetry},{share}]"
    for kind in ("int4", "uint4", "int8", "uint8", "int16")
    for symmetry in ("sym", "asym")
    for share in ("channel", "block=32", "tensor")
]
MATMUL = [
    f"onnx/matmul{bits}bits[{symmetry},block={block}]"
    for bits in (2, 4, 8)
    for symmetry in ("sym", "asym")
    for block in (32, 128)
]
AXES = {"channel": (0, 0), "tensor": (0, 0), "block": (1, 32)}


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("onnx"), "onnx_worker.py", tmp_path_factory.mktemp("onnx")) as process:
        yield process


def parameters(tensor):
    """Scale, zero point and where they stand, as the operators take them."""
    share = str(tensor.scheme.parameters["granularity"])
    shape = {"channel": (-1,), "tensor": (), "block": (len(tensor.planes["codes"]), -1)}[share]
    axis, block = AXES[share]
    found = {"scale": field_numbers(tensor, "s").reshape(shape), "axis": axis, "block": block}
    if "z" in tensor.layout.fields:
        found["zero"] = field_numbers(tensor, "z").reshape(shape).astype(np.int32)
    return found | {"kind": tensor.scheme.name.partition("[")[0].removeprefix("onnx/")}


@pytest.mark.parametrize("name", LINEAR)
def test_codes_bytes_and_values(name, ask, compared):
    parts = [aimed(name)]
    if name.endswith("tensor]"):
        # Numbers of all magnitudes under one scale would be zeros but for a few.
        parts = [*every_distribution().reshape(-1, 300, 1024), *decisions(name, (24, 4, 256))]
    for x in parts:
        tensor = refquant.quantize(x, name)
        theirs = ask(x=x, **parameters(tensor))
        both = {
            "codes": (field_numbers(tensor, "q").astype(np.int32), theirs["codes"]),
            "bytes": (tensor.planes["codes"], theirs["bytes"]),
        }
        compared.encoded(name, REFERENCE, x.size, both)
        for package, key in ((REFERENCE, "values"), (RUNTIME, "runtime")):
            compared.decoded(name, package, tensor.dequantize(), theirs[key])


@pytest.mark.parametrize("name", LINEAR)
def test_any_bytes(name, ask, compared):
    tensor = any_tensor(name)
    theirs = ask(q=field_numbers(tensor, "q").astype(np.int32), **parameters(tensor))
    for package, key in ((REFERENCE, "values"), (RUNTIME, "runtime")):
        compared.decoded(name, package, tensor.dequantize(), theirs[key])


@pytest.mark.parametrize("name", MATMUL)
def test_weights_of_matmul(name, ask, compared):
    """Scales are finite here: one weight that is not would spoil a whole row of the product."""
    tensor, rng = any_tensor(name, (512, 512)), np.random.default_rng(3)
    planes = dict(tensor.planes)
    places = planes["scales"].shape[:-1]
    scales = rng.standard_normal(places) * 2.0 ** rng.integers(-130, 100, places)
    planes["scales"] = scales.astype("<f4")[..., None].view(np.uint8)
    tensor = refquant.QuantizedTensor(tensor.scheme, tensor.shape, planes)
    zeros = planes.get("zero_points", np.zeros((0, 0, 1), np.uint8))[..., 0]
    theirs = ask(
        kind="matmul",
        bits=name[len("onnx/matmul")],
        block=tensor.scheme.parameters["block"],
        b=planes["b"],
        scales=planes["scales"].view("<f4")[..., 0],
        zero_points=zeros,
    )["values"]
    ours = tensor.dequantize()
    # Sums of zeros forget the sign of a zero.
    compared.decoded(name, RUNTIME, ours, theirs, known=(ours == 0) & (theirs == 0))


@pytest.mark.parametrize("name", MATMUL)
def test_onnx_runtime_quantizes_weights_itself(name, ask, compared):
    name = name.replace("]", ",quantizer=runtime]")
    x, scheme = aimed(name), refquant.scheme(name)
    symmetric = scheme.parameters["symmetry"] == "sym"
    block = scheme.parameters["block"]
    theirs = ask(kind="quantized", x=x, bits=name[11], block=block, symmetric=symmetric)
    planes = refquant.quantize(x, scheme).planes
    parts = {key: (planes[key].reshape(-1), theirs[key].reshape(-1)) for key in ("b", "scales")}
    parts["scales"] = tuple(part.view("<u4") for part in parts["scales"])
    if not symmetric:
        parts["zero_points"] = planes["zero_points"].reshape(-1), theirs["zero_points"].reshape(-1)
    compared.encoded(name, RUNTIME, x.size, parts)


def test_dynamic_quantization(ask, compared):
    name = "onnx/dynamic_uint8"
    near = decisions(name, (64, 4, 1024)).reshape(-1, 1024)
    x = np.concatenate([every_distribution(), near])
    theirs = ask(kind="dynamic", x=x)
    for k, part in enumerate(np.split(x, len(x) // 4)):
        tensor = refquant.quantize(part, name)
        mine = {key: field_numbers(tensor, key).reshape(-1) for key in "qsz"}
        # A range beyond the largest number has an infinite scale there, and here the largest.
        beyond = bool(np.isinf(theirs["s"][k]).any())
        for package, before, zeros in ((RUNTIME, "", False), (REFERENCE, "reference_", True)):
            # The reference gives a tensor of zeros another scale.
            known = beyond or (zeros and not part.any())
            both = {
                key: (ours, theirs[before + key.replace("q", "y")][k], np.full(ours.size, known))
                for key, ours in mine.items()
            }
            compared.encoded(name, package, part.size, both)
