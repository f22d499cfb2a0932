"""GPTQ's words against AutoGPTQ: any checkpoint decoded, and codes packed, with act-order."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes
from tests.decisions import under_short_scales
from tests.ggml_inputs import weights
from tests.tensor_parts import field_numbers

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "gptq_worker.py"
PACKAGE = "auto-gptq 0.7.1"
CASES = [
    f"{bits} {group} {order}" for bits in (2, 3, 4, 8) for group in (32, 128) for order in "ra"
]
OUTPUTS, INPUTS = 1024, 1024


def scheme_of(name, symmetry="asym"):
    bits, group, order = name.split()
    knobs = [f"v=1,{symmetry},group={group}"]
    knobs += ["order=act"] if order == "a" else []
    knobs += ["words=rows"] if bits == "3" else []
    return refquant.scheme(f"gptq/int{bits}[{','.join(knobs)}]")


def checkpoint(name, rng):
    """Random words, scales and groups of inputs."""
    bits, group, order = name.split()
    groups = INPUTS // int(group)
    index = np.arange(INPUTS) // int(group)
    return {
        "qweight": rng.integers(0, 2**32, (INPUTS * int(bits) // 32, OUTPUTS), dtype=np.uint32),
        "qzeros": rng.integers(0, 2**32, (groups, OUTPUTS * int(bits) // 32), dtype=np.uint32),
        "scales": rng.uniform(2.0**-14, 1, (groups, OUTPUTS)).astype(np.float16),
        "g_idx": (rng.integers(0, groups, INPUTS) if order == "a" else index).astype("<i4"),
    }


def encoded(name, rng, x):
    """Our planes of usual weights, with the inputs in any order."""
    importance = rng.random(INPUTS) if name.endswith("a") else None
    return refquant.quantize(x, scheme_of(name), importance=importance)


def parameters(tensor):
    """Scales and true zero points as the package takes them, `[groups, outputs]`."""
    inner = tensor.scheme.layout
    groups = len(tensor.planes["scales"])
    zeros = field_codes(inner, "z", tensor.planes["qzeros"], tensor.shape)
    scales = tensor.planes["scales"].reshape(groups, -1).view("<f2")
    return scales, zeros.T.astype(np.int32) + 1


@pytest.fixture(scope="module")
def autogptq(oracle, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("gptq"), np.random.default_rng(6)
    drawn = np.concatenate([x.reshape(-1) for n, x in weights(640, finite=True) if n != "tiny"])
    usable = drawn[(np.abs(drawn) < 1000) & ((np.abs(drawn) > 1e-3) | (drawn == 0))]
    x = rng.choice(usable, OUTPUTS * INPUTS).reshape(OUTPUTS, INPUTS)
    request, mine = {}, {}
    for name in CASES:
        found, tensor = checkpoint(name, rng), encoded(name, rng, x)
        scales, zeros = parameters(tensor)
        mine[name] = (found, tensor)
        index = found["g_idx"]
        if name.endswith("a"):
            index = np.ascontiguousarray(tensor.planes["g_idx"]).view("<i4").reshape(-1)
        # Two requests a case: words to decode, and weights with their parameters to pack.
        for kind, parts in (
            ("decode", {**found, "weights": x, "zeros": np.ones_like(zeros)}),
            ("pack", {"weights": tensor.dequantize(), "zeros": zeros, "g_idx": index}),
        ):
            whole = {**found, **parts, **({"scales": scales} if kind == "pack" else {})}
            request |= {f"{name} {kind}|{key}": part for key, part in whole.items()}
    np.savez(folder / "request.npz", **request)
    command = [oracle("gptq"), WORKER, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as answer:
        return mine, dict(answer)


@pytest.mark.parametrize("name", CASES)
def test_any_checkpoint_decodes_alike(name, autogptq, compared):
    mine, theirs = autogptq
    planes = {plane: part.tobytes() for plane, part in mine[name][0].items()}
    if not name.endswith("a"):
        planes.pop("g_idx")
    tensor = refquant.QuantizedTensor.from_planes(scheme_of(name), (OUTPUTS, INPUTS), planes)
    values = tensor.dequantize()
    # A sum of one product and many zeros has no sign of zero of its own.
    expected = theirs[f"{name} decode|values"]
    different = int((values != expected).sum())
    compared(f"gptq/int{name[0]}", PACKAGE, "decode", values.size, different)
    assert not different


@pytest.mark.parametrize("name", CASES)
def test_codes_are_packed_alike(name, autogptq, compared):
    mine, theirs = autogptq
    tensor = mine[name][1]
    different = 0
    for plane in ("qweight", "qzeros"):
        found = theirs[f"{name} pack|{plane}"].view(np.uint8).reshape(-1)
        different += int((tensor.planes[plane].reshape(-1) != found).sum())
    compared(f"gptq/int{name[0]}", PACKAGE, "encode", int(np.prod(tensor.shape)), different)
    assert not different


@pytest.mark.parametrize("symmetry", ["sym", "asym"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_rule_is_the_package_s(bits, symmetry, oracle, tmp_path, compared):
    """Under scales that float16 holds, its quantizer chooses all three as we do, at every tie."""
    symmetric = symmetry == "sym"
    x = under_short_scales(bits, (1024, 1024), 32, symmetric=symmetric)
    case = {f"{bits} 32 rule|x": x.reshape(-1, 32), f"{bits} 32 rule|symmetric": symmetric}
    np.savez(tmp_path / "request.npz", **case)
    command = [oracle("gptq"), WORKER, tmp_path / "request.npz", tmp_path / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    tensor = refquant.quantize(x, f"gptq/int{bits}[v=2,{symmetry},group=32]")
    with np.load(tmp_path / "answer.npz") as theirs:
        parts = {
            "scale": (field_numbers(tensor, "s"), theirs[f"{bits} 32 rule|scale"]),
            "zero": (field_numbers(tensor, "z"), theirs[f"{bits} 32 rule|zero"].astype(np.uint8)),
            "values": (tensor.dequantize(), theirs[f"{bits} 32 rule|values"]),
        }
    compared.encoded(tensor.scheme.name, PACKAGE, x.size, parts)
