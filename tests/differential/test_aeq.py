"""AI Edge schemes against ai-edge-quantizer itself: codes, scales, zero points, packing, values."""

import numpy as np
import pytest

import refquant
from tests.aeq_oracle import ask, ask_values, codes_and_parameters, setting_of
from tests.decisions import decisions
from tests.ggml_inputs import weights
from tests.tensor_parts import BLOCKS, any_tensor

pytestmark = pytest.mark.differential

PACKAGE = "ai-edge-quantizer 0.10.0"
NAMES = [
    *(f"aeq/int{bits}[{share}]" for bits in (8, 4, 2) for share in ("channel", "tensor")),
    *(f"aeq/int{bits}[block={n}]" for bits, n in ((8, 32), (4, 32), (4, 64), (4, 128), (4, 256))),
    "aeq/int2[block=32]",
    "aeq/int8[asym,channel]",
    "aeq/int8[asym,tensor]",
    "aeq/int4[asym,channel]",
]
WEIGHTS = dict(weights(BLOCKS, finite=True))


@pytest.fixture(scope="module")
def answers(oracle, tmp_path_factory):
    """What the package gives for every scheme and every distribution, asked at once."""
    x = np.stack([flat.reshape(-1, 1024) for flat in WEIGHTS.values()])
    found = ask(
        oracle("aeq"), tmp_path_factory.mktemp("aeq"), [setting_of(name) for name in NAMES], x
    )
    return dict(zip(NAMES, found, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_decisions_fall_at_the_same_weights(name, oracle, tmp_path, compared):
    x = decisions(name, (48, 8, 512) if name.endswith("tensor]") else (1, 128, 1024))
    (theirs,) = ask(oracle("aeq"), tmp_path, [setting_of(name)], x)
    compare(name, x, theirs, compared)


def compare(name, tensors, theirs, compared):
    """Everything that the package answered, for each of some tensors."""
    for number, x in enumerate(tensors):
        tensor = refquant.quantize(x, name)
        parts = {
            key: (ours.reshape(-1), theirs[key][number].reshape(-1).astype(ours.dtype))
            for key, ours in codes_and_parameters(tensor).items()
        }
        packed = theirs["packed"][number].view(np.uint8)
        parts["packed"] = (tensor.planes["codes"], packed)
        compared.encoded(name, PACKAGE, x.size, parts)
        with np.errstate(over="ignore"):
            values = theirs["values"][number].astype(np.float32)
        compared.decoded(name, PACKAGE, tensor.dequantize(), values)


@pytest.mark.parametrize("name", NAMES)
def test_everything_equals_the_package(name, answers, compared):
    x = [flat.reshape(-1, 1024) for flat in WEIGHTS.values()]
    compare(name, x, answers[name], compared)


def test_any_bytes(oracle, tmp_path, compared):
    tensors = [any_tensor(name) for name in NAMES]
    theirs = ask_values(oracle("aeq"), tmp_path, tensors)
    for tensor, values in zip(tensors, theirs, strict=True):
        with np.errstate(all="ignore"):
            narrow = values.astype(np.float32)
        compared.decoded(tensor.scheme.name, PACKAGE, tensor.dequantize(), narrow)
