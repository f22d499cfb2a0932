"""GPTQ's version 2, in which zero points are stored as they are, against AutoRound's layers.

Its decoder gathers parameters by `g_idx`; its packing knows runs of inputs only.
"""

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes
from tests.differential.test_gptq import INPUTS, OUTPUTS, checkpoint
from tests.ggml_inputs import weights
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "auto-round 0.16.1"
DECODED = [
    f"{bits} {group} {order}" for bits in (2, 3, 4, 8) for group in (32, 128) for order in "ra"
]
PACKED = [f"{bits} {group} r" for bits in (2, 3, 4, 8) for group in (32, 64, 128, 256)]


def scheme_of(name):
    bits, group, order = name.split()
    knobs = [f"v=2,asym,group={group}"]
    knobs += ["order=act"] if order == "a" else []
    knobs += ["words=rows"] if bits == "3" else []
    return refquant.scheme(f"gptq/int{bits}[{','.join(knobs)}]")


def settings(name):
    bits, group, _ = name.split()
    return {"bits": int(bits), "group": int(group)}


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoround")
    with answering(oracle("autoround"), "autoround_worker.py", folder) as process:
        yield process


@pytest.fixture(scope="module")
def x():
    drawn = np.concatenate([x.reshape(-1) for n, x in weights(640, finite=True) if n != "tiny"])
    usable = drawn[(np.abs(drawn) < 1000) & ((np.abs(drawn) > 1e-3) | (drawn == 0))]
    return np.random.default_rng(8).choice(usable, OUTPUTS * INPUTS).reshape(OUTPUTS, INPUTS)


@pytest.mark.parametrize("name", DECODED)
def test_any_checkpoint_decodes_alike(name, ask, compared):
    found = checkpoint(name, np.random.default_rng(7))
    if name.endswith("r"):
        found.pop("g_idx")
    theirs = ask(**found, **settings(name))["values"]
    planes = {plane: part.tobytes() for plane, part in found.items()}
    tensor = refquant.QuantizedTensor.from_planes(scheme_of(name), (OUTPUTS, INPUTS), planes)
    # A sum of one product and many zeros has no sign of zero of its own.
    different = int((tensor.dequantize() != theirs).sum())
    compared(f"gptq/int{name[0]}", PACKAGE, "decode", theirs.size, different)
    assert not different


@pytest.mark.parametrize("name", PACKED)
def test_codes_are_packed_alike(name, ask, compared, x):
    tensor = refquant.quantize(x, scheme_of(name))
    groups = len(tensor.planes["scales"])
    zeros = field_codes(tensor.scheme.layout, "z", tensor.planes["qzeros"], tensor.shape)
    theirs = ask(
        weights=tensor.dequantize(),
        zeros=zeros.T.astype(np.int32),
        steps=tensor.planes["scales"].reshape(groups, -1).view("<f2"),
        **settings(name),
    )
    different = 0
    for plane in ("qweight", "qzeros"):
        found = theirs[plane].view(np.uint8).reshape(-1)
        different += int((tensor.planes[plane].reshape(-1) != found).sum())
    compared(f"gptq/int{name[0]}", PACKAGE, "encode", x.size, different)
    assert not different
