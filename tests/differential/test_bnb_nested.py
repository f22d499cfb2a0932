"""bitsandbytes' checkpoints with and without double quantization, tensor by tensor."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.schemes.bnb.nested import nested_codes
from refquant.schemes.bnb.state import planes_of_checkpoint, tensors_of_checkpoint
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "bnb_nested_worker.py"
PACKAGE = "bitsandbytes 0.50.2"


@pytest.fixture(scope="module")
def bitsandbytes(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bnb_nested")
    drawn = {name: x.reshape(-1) for name, x in weights(1280, finite=True)}
    # Rows that no block divides, and a number of blocks that no run of 256 divides.
    x = {name: flat[: flat.size // 960 * 960].reshape(-1, 480) for name, flat in drawn.items()}
    np.savez(folder / "request.npz", **x)
    command = [oracle("bnb"), WORKER, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as found:
        return x, dict(found)


def part(theirs, label):
    return {key.partition("|")[2]: v for key, v in theirs.items() if key.startswith(f"{label}|")}


def tensor_of(stored):
    kept = {name: array for name, array in stored.items() if name != "values"}
    return refquant.QuantizedTensor(*planes_of_checkpoint(kept))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_checkpoints_decode_to_their_values(kind, nested, bitsandbytes, compared):
    weights_, theirs = bitsandbytes
    for name, x in weights_.items():
        stored = part(theirs, f"{name} {kind} {nested}")
        tensor = tensor_of(stored)
        assert tensor.shape == x.shape
        values = tensor.dequantize()
        different = (values.view(np.uint32) != stored["values"].view(np.uint32)).sum()
        compared(f"bnb/{kind}", PACKAGE, "decode", values.size, different)
        assert not different, name


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_flat_blocks_give_every_byte_of_a_checkpoint(kind, bitsandbytes, compared):
    weights_, theirs = bitsandbytes
    for name, x in weights_.items():
        stored = part(theirs, f"{name} {kind} False")
        stored.pop("values")
        tensor = refquant.quantize(x, f"bnb/{kind}[block=64,blocks=flat]")
        ours = tensors_of_checkpoint(tensor.scheme, tensor.shape, tensor.planes)
        assert set(ours) == set(stored)
        different = sum((ours[k].reshape(-1) != stored[k].reshape(-1)).sum() for k in ours)
        compared(f"bnb/{kind}", PACKAGE, "encode", x.size, different)
        assert not different, name


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_double_quantization_gives_every_byte_under_their_mean(kind, bitsandbytes, compared):
    weights_, theirs = bitsandbytes
    equal = []
    for name, x in weights_.items():
        stored = part(theirs, f"{name} {kind} True")
        origin = tensor_of(stored)
        tensor = refquant.quantize(x, origin.scheme)
        assert tensor.planes["codes"].tobytes() == origin.planes["codes"].tobytes(), name
        absmax = np.abs(x.reshape(-1, 64)).max(axis=1)
        means = [t.planes["nested_offset"].reshape(-1).view("<f4")[0] for t in (tensor, origin)]
        if np.isinf(means[1]):
            assert absmax.sum(dtype=np.float64) > np.finfo(np.float32).max
            continue
        # Any order of n positive terms, and a division: n roundings, each by half an ulp at most.
        assert abs(means[0] - means[1]) <= (absmax.size + 2) * 2.0**-24 * means[1], name
        equal.append(means[0] == means[1])
        found = nested_codes(absmax, means[1])
        different = (found["a"] != stored["absmax"]).sum()
        different += (found["n"] != stored["nested_absmax"].view(np.uint32)).sum()
        compared(f"bnb/{kind}", PACKAGE, "encode", x.size, different)
        assert not different, name
        if equal[-1]:
            ours = tensors_of_checkpoint(tensor.scheme, tensor.shape, tensor.planes)
            for key, array in ours.items():
                assert array.tobytes() == stored[key].tobytes(), (name, key)
    assert any(equal)
