"""Run by the interpreter of the torch oracle: the torch converter against the NumPy path.

Every check compares bits. Prints one line for each, and fails on the first that differs.
"""

import numpy as np
import torch

import refquant
from refquant.convert_torch import from_module, from_state_dict, to_tensor
from refquant.errors import UnsupportedError, UsageError

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


if __name__ == "__main__":
    check_types()
    check_views()
    check_module()
    check_refusals()
