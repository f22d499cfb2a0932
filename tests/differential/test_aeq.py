"""AI Edge schemes against ai-edge-quantizer itself: codes, scales, zero points, packing, values."""

import numpy as np
import pytest

import refquant
from tests.aeq_oracle import ask, codes_and_parameters, setting_of
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

NAMES = [
    *(f"aeq/int{bits}[{share}]" for bits in (8, 4, 2) for share in ("channel", "tensor")),
    *(f"aeq/int{bits}[block={n}]" for bits, n in ((8, 32), (4, 32), (4, 64), (4, 128), (4, 256))),
    "aeq/int2[block=32]",
    "aeq/int8[asym,channel]",
    "aeq/int8[asym,tensor]",
    "aeq/int4[asym,channel]",
]
WEIGHTS = dict(weights(1280, finite=True))


@pytest.fixture(scope="module")
def answers(oracle, tmp_path_factory):
    """What the package gives for every scheme and every distribution, asked at once."""
    x = np.stack([flat.reshape(-1, 1024) for flat in WEIGHTS.values()])
    found = ask(
        oracle("aeq"), tmp_path_factory.mktemp("aeq"), [setting_of(name) for name in NAMES], x
    )
    return dict(zip(NAMES, found, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_everything_equals_the_package(name, answers, compared):
    theirs = answers[name]
    for number, (title, flat) in enumerate(WEIGHTS.items()):
        tensor = refquant.quantize(flat.reshape(-1, 1024), name)
        for key, ours in codes_and_parameters(tensor).items():
            wrong = ours.reshape(-1) != theirs[key][number].reshape(-1)
            compared(name, "ai-edge-quantizer 0.10.0", "encode", wrong.size, wrong.sum())
            assert not wrong.any(), (title, key)
        assert tensor.planes["codes"].tobytes() == theirs["packed"][number].tobytes(), title
        values = theirs["values"][number].astype(np.float32)
        assert np.array_equal(tensor.dequantize(), values, equal_nan=True), title
