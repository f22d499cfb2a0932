"""SmolLM2 under every name that people type elsewhere: the file runs, and holds the package's bits.

Each name is given to `refquant quantize`, which writes the whole model. Tensors of that file are
compared with what the package makes of the same weights, and the file is run. What no package
makes any more (torchchat's GPTQ) is only run.
"""

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.schemes.torchao.hqq import solver_of, start_of
from tests import aeq_oracle, torchao_oracle
from tests.command_line import call
from tests.tensor_parts import field_numbers
from tests.upstream_recipes import OPTIONS
from tests.worker_process import answering

pytestmark = [pytest.mark.differential, pytest.mark.slow]

NAMES = (
    *("token_embd.weight", "blk.0.attn_q.weight", "blk.7.attn_output.weight"),
    *("blk.15.ffn_up.weight", "blk.29.ffn_down.weight"),
)
ROWS = 512
"""Rows of each tensor that are compared; SmolLM2's embedding has 49,152."""

EIGHT_BITS = ("none", "dynamic_int8", "weight_only_int8", "fp16", "linear:int8", "executor")


@pytest.fixture(scope="module")
def source(smollm2_gguf):
    return open_checkpoint(smollm2_gguf).tensors


@pytest.fixture(scope="module")
def torchao(oracle):
    with torchao_oracle.worker(oracle("torchao")) as process:
        yield process


@pytest.fixture(scope="module")
def uintx(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uintx")
    with answering(oracle("torchao"), "uintx_worker.py", folder) as ask:
        yield ask


@pytest.fixture(scope="module")
def solver(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hqq")
    with answering(oracle("torchao"), "hqq_package_worker.py", folder, "torchao") as ask:
        yield ask


@pytest.fixture(scope="module")
def t2n(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t2n")
    with answering(oracle("t2n"), "t2n_worker.py", folder) as ask:
        yield ask


@pytest.mark.parametrize("name", OPTIONS)
def test_the_file_runs_and_its_bits_are_the_packages(
    capsys, tmp_path, request, smollm2_gguf, source, repository, compared, name
):
    path, more = tmp_path / "x.rq", ()
    if "gptq" in name:
        more = ("--calibration", repository / "README.md", "--calibration-windows", 2)
    options = (*OPTIONS[name], *more, "--quiet")
    found = call(capsys, "quantize", smollm2_gguf, "-o", path, *options)
    assert found.status == 0, found.err
    if "gptq" not in name:
        made = open_checkpoint(path).tensors
        count = sum(
            _equal(request, compared, made[one], source[one], rounded=name == "precision")
            for one in NAMES
        )
        assert count >= (0 if name == "none" else 1)
    prompt = "The capital of France is"
    found = call(capsys, "run", path, "-p", prompt, "-n", 2)
    assert found.status == 0, found.err
    assert found.out.strip()
    assert found.out.startswith(" Paris") or name not in EIGHT_BITS


def _equal(request, compared, made, source, *, rounded):
    """Compare the first rows of a tensor with its package; 1 if there was one to ask."""
    scheme = made.scheme
    if scheme.name == source.scheme.name:
        kept = {plane: (made.planes[plane], source.planes[plane]) for plane in made.planes}
        assert all(np.array_equal(ours, theirs) for ours, theirs in kept.values())
        return 0
    tensor = made.rows(0, min(ROWS, made.shape[0]))
    x = source.rows(0, tensor.shape[0]).dequantize()
    if rounded:
        bits = x.view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        x = ((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)).view(np.float32)
    family = scheme.name.partition("[")[0]
    if family == "aeq/fp16":
        # Its float casting is NumPy's, which is nobody else to compare with.
        assert made.rows(0, len(x)).planes["values"].tobytes() == x.astype("<f2").tobytes()
        return 1
    ask = {
        "torchao/hqq": _solved,
        "torchao/afpwx": _unsigned,
        "t2n/q40": _q40,
    }.get(family)
    if ask is None and family.startswith("aeq/"):
        ask = _ai_edge
    elif ask is None and family.startswith(("torchao/", "torchchat/")):
        ask = _torchao
    if ask is None:
        # Of another project: what takes tensors whose rows the group does not divide.
        assert family in ("ggml/q8_0", "int/affine"), family
        return 0
    package, parts = ask(request, tensor, x)
    compared.encoded(scheme.name, package, x.size, parts)
    return 1


def _ai_edge(request, tensor, x):
    python = request.getfixturevalue("oracle")("aeq")
    folder = request.getfixturevalue("tmp_path")
    setting = aeq_oracle.setting_of(tensor.scheme.name)
    (theirs,) = aeq_oracle.ask(python, folder, [setting], x[np.newaxis])
    ours = aeq_oracle.codes_and_parameters(tensor)
    return "ai-edge-quantizer 0.10.0", {
        "codes": (ours["codes"], theirs["codes"][0]),
        "scale": (
            ours["scale"].reshape(-1).astype(np.float32),
            theirs["scale"][0].reshape(-1).astype(np.float32),
        ),
    }


def _torchao(request, tensor, x):
    process = request.getfixturevalue("torchao")
    theirs = torchao_oracle.ask(process, request.getfixturevalue("tmp_path"), tensor.scheme, x)
    ours = torchao_oracle.codes_and_parameters(tensor)
    is_torch = tensor.scheme.name.startswith("torchchat/")
    return "torch 2.13.0" if is_torch else "torchao 0.18.0", {
        part: (np.asarray(found, theirs[part].dtype), theirs[part]) for part, found in ours.items()
    }


def _unsigned(request, tensor, x):
    knobs = tensor.scheme.parameters
    asked = {"bits": knobs["bits"], "group": knobs["group"], "dtype": knobs["scale"]}
    theirs = request.getfixturevalue("uintx")(kind="min_max", x=x, **asked)
    places = {"codes": "q", "scale": "s", "offset": "z"}
    return "torchao 0.18.0", {
        part: (np.asarray(field_numbers(tensor, place), theirs[part].dtype), theirs[part])
        for part, place in places.items()
    }


def _solved(request, tensor, x):
    """Under the zero points that torch's powers and sums led to, every code and the scales."""
    knobs = tensor.scheme.parameters
    bits, group = int(knobs["bits"]), int(knobs["group"])
    case = f"{bits} {group} {knobs['iters']}"
    theirs = request.getfixturevalue("solver")(x=x, names=[case])
    groups = np.ascontiguousarray(x.reshape(-1, group))
    inverse, _ = start_of(groups, bits)
    zeros = theirs[f"{case}|zeros"].reshape(-1)
    codes = solver_of(bits, int(knobs["iters"])).codes(groups, inverse, zeros)
    asked = theirs[f"{case}|codes"].reshape(-1, group)
    # Of our own zero points, which differ in last bits: nearly all codes are the same.
    assert (field_numbers(tensor, "q").reshape(-1, group) != asked).mean() < 1e-3
    scale = np.float32(1) / inverse
    return "torchao 0.18.0", {
        "codes": (codes.astype(asked.dtype), asked),
        "scale": (scale.astype(np.float16), theirs[f"{case}|scales"].reshape(-1)),
    }


def _q40(request, tensor, x):
    theirs = request.getfixturevalue("t2n")(kind="q40", x=x)
    return "torch_to_nnef 0.24.12", {
        "blocks": (tensor.planes["blocks"].reshape(-1), theirs["q40"].reshape(-1))
    }


@pytest.mark.parametrize("bits", [4, 3, 8])
def test_the_hqq_package_on_smollm2(bits, oracle, tmp_path, source, compared):
    """Without its solver every byte; with it every code under the package's zero points."""
    import refquant

    plain, solved = f"{bits} 64 1 0 20", f"{bits} 64 1 1 20"
    with answering(oracle("hqq"), "hqq_package_worker.py", tmp_path, "hqq") as ask:
        for name in NAMES:
            x = source[name].rows(0, min(ROWS, source[name].shape[0])).dequantize()
            theirs = ask(x=x, names=[plain, solved])
            knobs = f"bits={bits},group=64,packing=package"
            tensor = refquant.quantize(x, f"hqq/affine[{knobs}]")
            parts = {
                plane: (
                    tensor.planes[plane].reshape(-1),
                    np.ascontiguousarray(theirs[f"{plain}|{plane}"]).view(np.uint8).reshape(-1),
                )
                for plane in ("codes", "scales", "zeros")
            }
            compared.encoded("hqq/affine", "hqq 0.2.8", x.size, parts)
            again = refquant.quantize(x, f"hqq/affine[{knobs},solver=proximal]")
            scales = np.ascontiguousarray(theirs[f"{solved}|scales"]).view(np.uint8)
            assert again.planes["scales"].tobytes() == scales.tobytes()
            values = theirs[f"{solved}|values"]
            step = np.abs(values - x).max()
            assert np.abs(again.dequantize() - values).mean() < 1e-3 * step
