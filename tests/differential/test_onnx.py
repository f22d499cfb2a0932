"""ONNX's tensors against the reference evaluator and ONNX Runtime: codes, bytes and values."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes, numbers
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "onnx_worker.py"

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


def codes(tensor, name):
    field = tensor.layout.fields[name]
    found = field_codes(tensor.layout, name, tensor.planes[field.plane], tensor.shape)
    return numbers(found, field.element)


def asked_of(x):
    """What the worker needs for every name: parameters as we chose them, planes of MatMulNBits."""
    request, settings = {}, []
    for name in LINEAR:
        tensor, knobs = refquant.quantize(x, name), refquant.scheme(name).parameters
        share = str(knobs["granularity"])
        shape = {"channel": (-1,), "tensor": (), "block": (len(x), -1)}[share]
        request[f"{name}.scale"] = codes(tensor, "s").reshape(shape)
        if "z" in tensor.layout.fields:
            request[f"{name}.zero"] = codes(tensor, "z").reshape(shape).astype(np.int32)
        settings.append([name.partition("[")[0].removeprefix("onnx/"), *AXES[share]])
    for name in MATMUL:
        tensor = refquant.quantize(x[:128], name)
        scales = tensor.planes["scales"].view("<f4")[..., 0]
        zeros = tensor.planes.get("zero_points", np.zeros((0, 0, 1), np.uint8))[..., 0]
        request |= {f"{name}.b": tensor.planes["b"], f"{name}.scales": scales}
        request[f"{name}.zero_points"] = zeros
        settings.append(["matmul", name[len("onnx/matmul")], tensor.scheme.parameters["block"]])
    return request, np.array([[str(v) for v in row] for row in settings])


@pytest.fixture(scope="module")
def compared(oracle, tmp_path_factory):
    """Weights and what ONNX makes of them: one request."""
    folder = tmp_path_factory.mktemp("onnx")
    # Blocks that ONNX Runtime decodes to infinities would spoil whole rows of a product.
    x = np.concatenate([part for _, part in weights(128, finite=True)])
    x = np.clip(x, np.float32(-1e30), np.float32(1e30))
    request, settings = asked_of(x)
    np.savez(folder / "request.npz", x=x, names=[*LINEAR, *MATMUL], settings=settings, **request)
    command = [oracle("onnx"), WORKER, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as answer:
        return x, dict(answer)


@pytest.mark.parametrize("name", LINEAR)
def test_codes_bytes_and_values(name, compared):
    x, theirs = compared
    tensor = refquant.quantize(x, name)
    assert np.array_equal(codes(tensor, "q"), theirs[f"{name}.codes"])
    assert tensor.planes["codes"].tobytes() == theirs[f"{name}.bytes"].tobytes()
    for who in ("values", "runtime"):
        assert np.array_equal(tensor.dequantize(), theirs[f"{name}.{who}"])


@pytest.mark.parametrize("name", MATMUL)
def test_weights_of_matmul(name, compared):
    x, theirs = compared
    assert np.array_equal(refquant.quantize(x[:128], name).dequantize(), theirs[f"{name}.values"])


def test_dynamic_quantization(compared):
    x, theirs = compared
    for k, part in enumerate(np.split(x, len(x) // 4)):
        tensor = refquant.quantize(part, "onnx/dynamic_uint8")
        assert np.array_equal(codes(tensor, "s").item(), theirs["dynamic.s"][k])
        assert codes(tensor, "z").item() == theirs["dynamic.z"][k]
        assert np.array_equal(codes(tensor, "q"), theirs["dynamic.y"][k])
        if part.any():
            assert np.array_equal(codes(tensor, "q"), theirs["dynamic.reference_y"][k])
