"""The MX formats and NVFP4 against torchao and ModelOpt: scales, elements and values."""

from contextlib import ExitStack

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes
from tests.decisions import aimed, decisions
from tests.ggml_inputs import weights
from tests.tensor_parts import BLOCKS, any_tensor
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGES = {"torchao": "torchao 0.18.0", "modelopt": "nvidia-modelopt 0.47.0"}
FORMATS = {
    "mxfp8_e4m3": 448.0,
    "mxfp8_e5m2": 57344.0,
    "mxfp6_e2m3": 7.5,
    "mxfp6_e3m2": 28.0,
    "mxfp4": 6.0,
}


@pytest.fixture(scope="module")
def torchao(oracle, tmp_path_factory):
    with answering(oracle("torchao"), "mx_worker.py", tmp_path_factory.mktemp("mx")) as process:
        yield process


@pytest.fixture(scope="module")
def nvfp4(oracle, tmp_path_factory):
    """`nvfp4("modelopt", ...)`: each package has a process of its own."""
    with ExitStack() as stack:
        known = {}

        def ask(name, **request):
            if name not in known:
                folder = tmp_path_factory.mktemp(name)
                process = answering(oracle(name), "nvfp4_worker.py", folder, name)
                known[name] = stack.enter_context(process)
            return known[name](**request)

        yield ask


def field(tensor, name):
    declared = tensor.layout.fields[name]
    return field_codes(tensor.layout, name, tensor.planes[declared.plane], tensor.shape)


@pytest.mark.parametrize("rule", ["floor", "ceil", "even", "rceil"])
@pytest.mark.parametrize("name", FORMATS)
def test_torchao(name, rule, torchao, compared):
    scheme = f"mx/{name}[scale={rule},least=torchao]"
    x = aimed(scheme)
    theirs = torchao(x=x, format=name, rule=rule)
    tensor = refquant.quantize(x, scheme)
    same = field(tensor, "s") == theirs["scale"]
    if rule == "rceil":
        # Its logarithm rounds to an integer just above a power of two: the scale stays at half.
        largest = np.abs(x.reshape(*same.shape, 32)).max(axis=2)
        quotient = (largest / np.float32(FORMATS[name]))[~same]
        fraction, _ = np.frexp(quotient)
        assert (fraction < 0.5 * (1 + 2.0**-16)).all()
        assert same.mean() > 0.99
        known = ~same
    else:
        known = np.zeros_like(same)
    spread = np.repeat(known, 32, axis=1)
    parts = {
        "scales": (field(tensor, "s"), theirs["scale"], known),
        "codes": (field(tensor, "q"), theirs["codes"], spread),
    }
    compared.encoded(tensor.scheme.name, PACKAGES["torchao"], x.size, parts)
    values = np.where(spread, tensor.dequantize(), theirs["values"])
    compared.decoded(tensor.scheme.name, PACKAGES["torchao"], tensor.dequantize(), values)


@pytest.mark.parametrize("name", FORMATS)
def test_any_bytes(name, torchao, compared):
    tensor = any_tensor(f"mx/{name}[scale=floor,least=torchao]")
    codes, scale = (field(tensor, part).astype(np.uint8) for part in "qs")
    theirs = torchao(format=name, codes=codes, scale=scale)["values"]
    compared.decoded(tensor.scheme.name, PACKAGES["torchao"], tensor.dequantize(), theirs)


def unsigned(convention, ours, theirs):
    """Zeros of code 8, which ModelOpt reads without their sign."""
    return (convention == "modelopt") & (ours == 0) & (theirs == 0)


@pytest.mark.parametrize("convention", PACKAGES)
def test_nvfp4(convention, nvfp4, compared):
    scheme, package = f"mx/nvfp4[convention={convention}]", PACKAGES[convention]
    drawn = [(title, x.reshape(-1, 1024)) for title, x in weights(BLOCKS, finite=True)]
    near = [("decisions", x) for x in decisions(scheme, (48, 8, 256))]
    for title, x in [*drawn, *near]:
        theirs = {key: array[0] for key, array in nvfp4(convention, x=x[None]).items()}
        tensor = refquant.quantize(x, scheme)
        codes = np.stack([theirs["codes"] & 15, theirs["codes"] >> 4], axis=-1).reshape(x.shape)
        # In torchao zeros of tensors too small for a finite reciprocal are NaN, of any code.
        unknown = (x == 0) & (np.abs(x).max() <= 1e-30)
        parts = {
            "tensor's scale": (
                tensor.planes["tensor_scale"].view("<f4"),
                theirs["tensor_scale"].reshape(1),
            ),
            "scales": (tensor.planes["scales"], theirs["scales"]),
            "codes": (field(tensor, "q"), codes, unknown),
        }
        compared.encoded(scheme, package, x.size, parts, title=title)
        ours, values = tensor.dequantize(), theirs["values"]
        known = unknown | unsigned(convention, ours, values)
        compared.decoded(scheme, package, ours, values, known=known, title=title)


@pytest.mark.parametrize("convention", PACKAGES)
def test_any_bytes_of_nvfp4(convention, nvfp4, compared):
    scheme = f"mx/nvfp4[convention={convention}]"
    tensors = [any_tensor(scheme, (64, 256), seed) for seed in range(24)]
    theirs = nvfp4(
        convention,
        codes=np.stack([t.planes["codes"].reshape(64, -1) for t in tensors]),
        scales=np.stack([t.planes["scales"].reshape(64, -1) for t in tensors]),
        tensor_scale=np.stack([t.planes["tensor_scale"].view("<f4").reshape(()) for t in tensors]),
    )["values"]
    for tensor, values in zip(tensors, theirs, strict=True):
        ours = tensor.dequantize()
        known = unsigned(convention, ours, values)
        compared.decoded(scheme, PACKAGES[convention], ours, values, known=known)
