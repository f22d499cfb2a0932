"""Run by the interpreter of the torch oracle: the torch converter against the NumPy path.

Every check compares bits. Prints one line for each, and fails on the first that differs.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

import refquant
from refquant.convert_torch import (
    from_module,
    from_state_dict,
    read_state_dict,
    to_module,
    to_tensor,
)
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats import open_checkpoint
from refquant.recipe import Recipe, Rule
from refquant.upstream.diffulex import (
    FP16Quantizer,
    INT4Quantizer,
    INT8Quantizer,
    QuantizationConfig,
    QuantizationDtype,
    get_model_compression_ratio,
    is_fp16_available,
    is_int4_available,
    is_int8_available,
    quantize_model,
)

OWN = {
    torch.float32: "float/f32",
    torch.float16: "float/f16",
    torch.bfloat16: "float/bf16",
}


def hostile(dtype: torch.dtype) -> torch.Tensor:
    """Values that a careless conversion changes: signed zeros, subnormals, ties, extremes."""
    limits = torch.finfo(dtype)
    edges = [
        0.0,
        -0.0,
        limits.tiny,
        -limits.tiny,
        limits.smallest_normal / 2,
        limits.max,
        -1.5,
        2.5,
    ]
    noise = torch.randn(64 * 64 - len(edges), generator=torch.Generator().manual_seed(1))
    return torch.cat([torch.tensor(edges).to(dtype), noise.to(dtype)]).reshape(64, 64)


def same_planes(one: refquant.QuantizedTensor, other: refquant.QuantizedTensor) -> bool:
    """Whether two quantized tensors are the same bytes under the same scheme."""
    return one.scheme.name == other.scheme.name and all(
        np.array_equal(plane, other.planes[name]) for name, plane in one.planes.items()
    )


def check_types() -> None:
    """Each type keeps its bits, and a scheme sees the same values as through NumPy."""
    for dtype, own in OWN.items():
        tensor = hostile(dtype)
        kept = from_state_dict({"w": tensor}, {})["w"]
        bits = tensor.contiguous().view(torch.uint8).numpy()
        assert kept.scheme.name == own
        assert kept.planes["values"].tobytes() == bits.tobytes()
        back = to_tensor(kept)
        assert torch.equal(back.view(torch.int32), tensor.float().view(torch.int32))
        scheme = "ggml/q8_0" if dtype == torch.float16 else "ggml/q4_0"
        small = torch.where(tensor.abs() > 1e4, torch.zeros_like(tensor), tensor)
        direct = refquant.quantize(small.float().numpy(), scheme)
        assert same_planes(from_state_dict({"w": small}, scheme)["w"], direct)
        print(f"{dtype}: {tensor.numel()} values, same bits")


def check_views() -> None:
    """Transposed, strided and gradient-carrying tensors are read in their logical order."""
    base = torch.randn(128, 64, generator=torch.Generator().manual_seed(2))
    for tensor in (base.T, base[::2], base.clone().requires_grad_()):
        direct = refquant.quantize(tensor.detach().numpy(), "ggml/q4_0")
        assert same_planes(from_state_dict({"w": tensor}, "ggml/q4_0")["w"], direct)
    print("views: same bits")


def check_module() -> None:
    """A module's matrices take the scheme, its vectors stay as they are, names are kept."""
    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.LayerNorm(32))
    found = from_module(module, "ggml/q4_0")
    assert list(found) == list(module.state_dict())
    assert found["0.weight"].scheme.name == "ggml/q4_0"
    assert found["0.bias"].scheme.name == found["1.weight"].scheme.name == "float/f32"
    mapped = from_module(module, {"0.weight": "ggml/q8_0"})
    assert mapped["0.weight"].scheme.name == "ggml/q8_0"
    print("module: names, matrices and vectors")


def check_refusals() -> None:
    """What cannot be meant is refused by name."""
    tensor = torch.zeros(32, 32)
    for state, scheme, kind in (
        ({"w": tensor}, {"v": "ggml/q4_0"}, UsageError),
        ({"w": tensor}, "ggml/q4_9", UsageError),
        ({"w": tensor.int()}, "ggml/q4_0", UnsupportedError),
        ({"w": tensor.double()}, "ggml/q4_0", UnsupportedError),
        ({"w": tensor[0, 0]}, {}, UnsupportedError),
        ({"w": tensor[:0]}, "ggml/q4_0", UnsupportedError),
    ):
        try:
            from_state_dict(state, scheme)
        except kind as error:
            print(f"refused: {error}")
        else:
            raise AssertionError(f"{scheme!r} was accepted")


def check_recipe() -> None:
    """A recipe takes the tensors that its rules say."""
    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 64))
    rules = (Rule(scheme="ggml/q8_0", match="0[.]weight"), Rule(scheme="keep"))
    found = from_module(module, Recipe(rules=rules))
    direct = refquant.quantize(module[0].weight.detach().numpy(), "ggml/q8_0")
    assert same_planes(found["0.weight"], direct)
    assert found["1.weight"].scheme.name == "float/f32"
    print("recipe: same bits")


def check_modules_back() -> None:
    """Integer layers compute what decoded ones do, and hold the planes."""
    module = torch.nn.Sequential(
        torch.nn.Embedding(40, 64), torch.nn.Linear(64, 96), torch.nn.Linear(96, 32, bias=False)
    )
    x = torch.arange(40)
    for scheme in ("diffulex/int8", "ggml/q4_0", "torchao/int4_tinygemm[group=32]"):
        tensors = from_module(module, scheme)
        plain, stored = to_module(module, tensors), to_module(module, tensors, integers=True)
        assert torch.equal(plain(x), stored(x))
        assert not torch.equal(plain(x), module(x))
        for index in range(3):
            tensor = tensors[f"{index}.weight"]
            assert torch.equal(plain[index].weight, to_tensor(tensor))
            assert same_planes(stored[index].decoded(), tensor)
    assert stored[1].plane_codes.dtype == torch.uint8
    stored = to_module(module, from_module(module, "diffulex/int8"), integers=True)
    assert stored[1].weight.dtype == torch.int8
    assert stored[1].weight_scale.shape == (96,)
    print("modules back: same bits")


def check_pickles(folder: Path) -> None:
    """A .pt file is a source of `refquant quantize`; one that runs code is refused."""
    module = torch.nn.Sequential(torch.nn.Linear(64, 32))
    torch.save({"state_dict": module.state_dict()}, folder / "model.pt")
    assert torch.equal(read_state_dict(folder / "model.pt")["0.weight"], module[0].weight)
    command = ["quantize", folder / "model.pt", "-o", folder / "out.rq", "--scheme", "q4_0"]
    run = [sys.executable, "-m", "refquant", *map(str, command), "--embedding-scheme", "q4_0"]
    subprocess.run([*run, "--quiet"], check=True)
    found = open_checkpoint(folder / "out.rq").tensors["0.weight"]
    assert same_planes(found, from_module(module, "ggml/q4_0")["0.weight"])
    torch.save({"state_dict": module}, folder / "code.pt")
    try:
        read_state_dict(folder / "code.pt")
    except FormatError as error:
        print(f"refused: {error.code}")
    else:
        raise AssertionError("a pickled class was loaded")


def refuse_diffulex(module: torch.nn.Module) -> None:
    """What its quantizers do not know is named."""
    wrong = [{"dtype": "int5"}, {"mode": "sometimes"}, {"group_size": 48}]
    for call in (
        *(partial(QuantizationConfig, **one) for one in wrong),
        partial(quantize_model, module, "fp32"),
    ):
        try:
            call()
        except UsageError as error:
            print(f"refused: {error}")
        else:
            raise AssertionError(f"{call} was accepted")


def check_diffulex() -> None:
    """The examples of DiffuLex Edge's page, their import lines changed; sizes by hand."""
    module = torch.nn.Sequential()
    module.add_module("tokens", torch.nn.Embedding(10, 64))
    module.add_module("up", torch.nn.Linear(64, 128))
    module.add_module("norm", torch.nn.LayerNorm(128))
    module.add_module("lm_head", torch.nn.Linear(128, 10))
    total = 4 * (640 + 64 * 128 + 128 + 256 + 1290)
    check_diffulex_float16(module, total)
    check_diffulex_int8(module, total)
    check_diffulex_int4(module, total)
    check_diffulex_quick_start(module)
    refuse_diffulex(module)
    print("DiffuLex: the page's examples")


def check_diffulex_float16(module: torch.nn.Module, total: int) -> None:
    """Half of what is converted is saved."""
    assert is_fp16_available()
    config = QuantizationConfig(dtype=QuantizationDtype.FP16, exclude_layers=["lm_head", "norm"])
    result = FP16Quantizer().quantize(module, config)
    print(f"Memory reduction: {result.memory_reduction_pct:.1f}%")
    print(f"Compression ratio: {result.compression_ratio:.2f}x")
    assert result.compression_ratio == total / (total - 2 * (640 + 64 * 128 + 128))
    assert result.model.up.weight.dtype == torch.float16


def check_diffulex_int8(module: torch.nn.Module, total: int) -> None:
    """A byte a weight and a scale a row."""
    assert is_int8_available()
    config = QuantizationConfig(
        dtype=QuantizationDtype.INT8, mode="weight_only", exclude_layers=["lm_head"]
    )
    result = INT8Quantizer().quantize(module, config)
    after = total - 3 * (640 + 64 * 128) + 4 * (10 + 128)
    assert result.metrics["compression_ratio"] == total / after
    assert result.metrics["memory_reduction_pct"] == (total - after) / total * 100
    assert get_model_compression_ratio(module, result.model) == total / after
    scale = module.up.weight.detach().abs().amax(1) / 127
    assert torch.equal(result.model.up.weight_scale, scale)
    codes = torch.round(module.up.weight / scale[:, None]).clamp(-128, 127)
    assert torch.equal(result.model.up.weight.float(), codes)
    assert result.model(torch.arange(10)).shape == (10, 10)
    assert module.up.weight.dtype == torch.float32


def check_diffulex_int4(module: torch.nn.Module, total: int) -> None:
    """Half a byte a weight and a scale a group, where groups divide the rows."""
    assert is_int4_available()
    config = QuantizationConfig(dtype=QuantizationDtype.INT4, mode="weight_only", group_size=128)
    result = INT4Quantizer().quantize(module, config)
    assert [one.partition(" stays")[0] for one in result.warnings] == ["up"]
    config = QuantizationConfig(dtype="int4", group_size=32)
    result = INT4Quantizer().quantize(module, config)
    assert not result.warnings
    assert result.compression_ratio == total / (total - 4 * 8192 + 8192 // 2 + 256 * 4)


def check_diffulex_quick_start(module: torch.nn.Module) -> None:
    """The package's quick start: a model and no result, whatever the case of its dtype."""
    for dtype in ("fp16", "FP16", QuantizationDtype.FP16):
        assert quantize_model(module, dtype).up.weight.dtype == torch.float16
    assert quantize_model(module, "INT8").up.weight.dtype == torch.int8
    assert get_model_compression_ratio(module, quantize_model(module, "int4")) > 1


if __name__ == "__main__":
    check_types()
    check_views()
    check_module()
    check_refusals()
    check_recipe()
    check_modules_back()
    with tempfile.TemporaryDirectory() as temporary:
        check_pickles(Path(temporary))
    check_diffulex()
