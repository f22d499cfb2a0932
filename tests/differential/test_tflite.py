"""TFLite's integers against the operators QUANTIZE and DEQUANTIZE of LiteRT."""

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes
from tests.decisions import aimed, decisions
from tests.tensor_parts import any_tensor, every_distribution, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "ai-edge-litert 2.3.0"
BITS = {"int8": 8, "uint8": 8, "int16": 16, "int4": 4, "uint4": 4, "int2": 2}
QUANTIZED = [
    *(("int8", f"{symmetry},channel", "reference") for symmetry in ("sym", "asym")),
    ("uint8", "channel", "reference"),
    *(
        (kind, knobs, kernel)
        for kind, knobs in (
            ("int8", "sym,tensor"),
            ("int8", "asym,tensor"),
            ("uint8", "tensor"),
            ("int16", ""),
        )
        for kernel in ("reference", "optimized")
    ),
    ("int4", "tensor", "reference"),
    ("uint4", "tensor", "reference"),
]
ENGINES = {"reference": "reference", "optimized": "builtin"}
DECODED = [
    *((name, engine) for engine in ("builtin", "reference") for name in (
        *("int8[sym,channel]", "int8[asym,channel]", "int8[sym,tensor]", "uint8[channel]"),
        *("int16", "int4[channel]", "int4[tensor]", "uint4[channel]", "int2[channel]"),
        "int2[tensor]",
    )),
    *(
        (f"{name}{kernel}]", ENGINES[kernel.removeprefix(",kernel=") or "reference"])
        for name in ("int8[asym,tensor", "uint8[tensor", "uint4[tensor")
        for kernel in ("", ",kernel=optimized")
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    with answering(oracle("aeq"), "litert_casts_worker.py", folder) as process:
        yield process


def codes_of(tensor, name):
    plane = tensor.layout.fields[name].plane
    return field_codes(tensor.layout, name, tensor.planes[plane], tensor.shape)


def parameters(tensor):
    scale = field_numbers(tensor, "s").reshape(-1)
    zero = np.zeros(scale.size, np.int64)
    if "z" in tensor.layout.fields:
        zero = codes_of(tensor, "z").reshape(-1).astype(np.int64)
    return {"scale": scale, "zero": zero}


def tiny(tensor):
    with np.errstate(over="ignore"):
        return np.isinf(np.float32(1) / field_numbers(tensor, "s")).any()


@pytest.mark.parametrize(("kind", "knobs", "kernel"), QUANTIZED)
def test_quantize(kind, knobs, kernel, ask, compared):
    shown = [knobs] * bool(knobs) + ["kernel=optimized"] * (kernel == "optimized")
    name = f"tflite/{kind}" + (f"[{','.join(shown)}]" if shown else "")
    if "channel" in knobs:
        parts = [aimed(name)]
    else:  # tensors with scales of their own
        x = every_distribution()
        parts = [*x.reshape(-1, 100, 1024), *decisions(name, (48, 4, 256))]
    for part in parts:
        tensor = refquant.quantize(part, name)
        theirs = ask(kind=kind, x=part, engine=ENGINES[kernel], **parameters(tensor))
        wanted = theirs["found"].astype(np.int64)
        found = codes_of(tensor, "q").astype(np.int64)
        # The reciprocal of a scale below 2**-128 is infinite, and so are products.
        unknown = np.full(part.shape, kernel == "optimized" and tiny(tensor))
        compared.encoded(name, PACKAGE, part.size, {"codes": (found, wanted, unknown)})


@pytest.mark.parametrize(("name", "engine"), DECODED)
def test_dequantize_any_bytes(name, engine, ask, compared):
    tensor = any_tensor(f"tflite/{name}", (64, 1024))
    kind = name.partition("[")[0]
    request = parameters(tensor) | {"codes": tensor.planes["codes"], "shape": tensor.shape}
    theirs = ask(kind=kind, engine=engine, **request)["found"]
    compared.decoded(f"tflite/{name}", PACKAGE, tensor.dequantize(), theirs)
