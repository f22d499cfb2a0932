"""torch-to-nnef's Q40 bytes and torch's 8-bit affine tensors, bit for bit."""

import numpy as np
import pytest

import refquant
from tests.decisions import aimed, decisions
from tests.tensor_parts import any_tensor, every_distribution, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE, TORCH = "torch_to_nnef 0.24.12", "torch 2.13.0"
ROWS = 4


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("t2n"), "t2n_worker.py", tmp_path_factory.mktemp("t2n")) as process:
        yield process


@pytest.mark.parametrize("name", ["q40", "q40_legacy"])
def test_q40_bytes_and_values(name, ask, compared):
    x = aimed(f"t2n/{name}", 256)
    theirs = ask(kind="q40", x=x)
    tensor = refquant.quantize(x, f"t2n/{name}")
    blocks = tensor.planes["blocks"]
    compared.encoded(f"t2n/{name}", PACKAGE, x.size, {"blocks": (blocks, theirs[name])})
    compared.decoded(f"t2n/{name}", PACKAGE, tensor.dequantize(), theirs["q40_values"])


@pytest.mark.parametrize("name", ["q40", "q40_legacy"])
def test_any_bytes_of_q40(name, ask, compared):
    """The package unpacks codes and scales itself only when it is asked for bytes."""
    tensor = any_tensor(f"t2n/{name}")
    codes = field_numbers(tensor, "q").astype(np.uint8)
    scale = field_numbers(tensor, "d").astype(np.float16).reshape(-1, 1)
    theirs = ask(kind="q40", codes=codes, scale=scale)
    compared.decoded(f"t2n/{name}", PACKAGE, tensor.dequantize(), theirs["values"])


@pytest.mark.parametrize("name", ["quint8", "qint8"])
def test_affine_codes_parameters_and_values(name, ask, compared):
    scheme = refquant.scheme(f"t2n/{name}")
    near = decisions(scheme.name, (96, ROWS, 256)).reshape(-1, 256)
    x = np.concatenate([every_distribution(256), near])
    theirs = ask(kind=name, x=x)
    for k, part in enumerate(x.reshape(-1, ROWS, x.shape[1])):
        tensor = refquant.quantize(part, scheme)
        # A range beyond the largest number has an infinite scale there, and here the largest.
        beyond = bool(np.isinf(theirs["scales"][k]).any())
        parts = {
            plane: (ours, theirs[plane][k].reshape(-1), np.full(ours.size, beyond))
            for plane, field in (("codes", "q"), ("scales", "s"), ("zeros", "z"))
            if field in tensor.layout.fields
            for ours in [field_numbers(tensor, field).reshape(-1)]
        }
        compared.encoded(scheme.name, TORCH, part.size, parts)
        if not beyond:
            compared.decoded(scheme.name, TORCH, tensor.dequantize(), theirs["values"][k])


@pytest.mark.parametrize("name", ["quint8", "qint8"])
def test_all_codes_under_any_scale(name, ask, compared):
    scheme, rng = refquant.scheme(f"t2n/{name}"), np.random.default_rng(4)
    codes = np.arange(256, dtype=np.uint8).view(np.uint8 if name == "quint8" else np.int8)
    scales = rng.integers(0, 1 << 32, 1024, np.uint32).view(np.float32)
    scales[:6] = [0.0, -0.0, 1e-45, 3e38, np.inf, np.nan]
    zeros = rng.integers(0, 256, 1024) if name == "quint8" else np.zeros(1024, np.int64)
    theirs = ask(kind=name, codes=codes, scale=scales, zero=zeros)["values"]
    for scale, zero, values in zip(scales, zeros, theirs, strict=True):
        planes = {"codes": codes.tobytes(), "scales": scale.tobytes()}
        if "zero_points" in scheme.planes:
            planes["zero_points"] = bytes([zero])
        tensor = refquant.QuantizedTensor.from_planes(scheme, (256,), planes)
        compared.decoded(scheme.name, TORCH, tensor.dequantize(), values)
