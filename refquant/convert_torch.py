"""Quantized tensors from torch modules, and torch modules from quantized tensors.

The only file that may import torch, and it does so inside its functions: nothing else in refquant
needs torch. A torch tensor is read through its bytes, so bfloat16, float16 and float32 weights
reach the scheme exactly, and the planes are the same bits as those of `refquant.quantize` on the
same values. Weights that torchao has quantized already keep their codes, scales and zero points.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.layout import pack_codes
from refquant.recipe import Recipe, assign
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor, dequantize, quantize

if TYPE_CHECKING:
    import torch

__all__ = ["from_module", "from_state_dict", "read_state_dict", "to_module", "to_tensor"]

Wanted = str | Mapping[str, str] | Recipe

# torch's name of a type -> the scheme that stores the same bits.
_OWN_SCHEME = {
    "torch.float32": "float/f32",
    "torch.float16": "float/f16",
    "torch.bfloat16": "float/bf16",
}


def from_module(module: "torch.nn.Module", recipe: Wanted) -> dict[str, QuantizedTensor]:
    """Every parameter and persistent buffer of a module, quantized: see `from_state_dict`."""
    return from_state_dict(module.state_dict(), recipe)


def from_state_dict(
    state_dict: Mapping[str, "torch.Tensor"], recipe: Wanted
) -> dict[str, QuantizedTensor]:
    """The tensors of a state dict, each under its own name.

    `recipe` is one scheme's name, which takes every tensor of two or more axes; a mapping from
    tensor names to scheme names; or a Recipe. A tensor that none reaches keeps its own type:
    float32, float16, bfloat16, or what torchao made of it. Raises `UsageError` where a mapping
    names a tensor that is not there, and `UnsupportedError` for a tensor of another type, for a
    scalar and for an empty tensor.
    """
    if isinstance(recipe, Mapping) and (missing := sorted(recipe.keys() - state_dict.keys())):
        message = f"quantizing a state dict: it has no tensor named {', '.join(missing)}"
        raise UsageError(message)
    if isinstance(recipe, Recipe):
        return _by_recipe(state_dict, recipe)
    quantized = {}
    for name, tensor in state_dict.items():
        own = _exact(name, tensor)
        chosen = _scheme_for(name, own, recipe)
        quantized[name] = own if chosen is None else quantize(own.dequantize(), chosen)
    return quantized


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, "torch.Tensor"]:
    """The tensors of a `.pt` or `.pth` file, without running code that a pickle may hold.

    A file that holds a dictionary with the entry `model` or `state_dict` gives that one.
    FormatError E_TORCH where nothing but tensors and plain data would not do.
    """
    torch = _torch()
    try:
        found = torch.load(Path(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise FormatError(
            "E_TORCH", f"torch cannot read it safely: {reason}", path=str(path)
        ) from (error)
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise FormatError("E_TORCH", "it holds no dictionary of tensors", path=str(path))
    return {str(name): one for name, one in found.items() if isinstance(one, torch.Tensor)}


def to_tensor(quantized: QuantizedTensor) -> "torch.Tensor":
    """The values of a quantized tensor as a torch tensor of float32, with memory of its own."""
    return _torch().from_numpy(dequantize(quantized))


def to_module(
    module: "torch.nn.Module", tensors: Mapping[str, QuantizedTensor], *, integers: bool = False
) -> "torch.nn.Module":
    """A copy of a module with these weights, by the names of its state dict.

    The parameters become what the tensors decode to, in their own dtype; with `integers` linear
    and embedding layers keep the tensors' planes instead, and decode them in every call: planes
    `codes` of one byte a weight and `scales` are `weight` (int8) and `weight_scale`, others are
    kept as bytes. Raises UsageError for a name or a shape that the module does not have.
    """
    import copy

    torch = _torch()
    copied = copy.deepcopy(module)
    for name, tensor in tensors.items():
        owner, _, attribute = name.rpartition(".")
        try:
            layer = copied.get_submodule(owner)
            shape = tuple(getattr(layer, attribute).shape)
        except AttributeError as error:
            raise UsageError(f"the module has no weight {name!r}") from error
        if shape != tensor.shape:
            raise UsageError(f"{name} is {list(shape)} in the module, not {list(tensor.shape)}")
        packable = attribute == "weight" and type(layer) in (torch.nn.Linear, torch.nn.Embedding)
        if integers and packable and not tensor.scheme.name.startswith("float/"):
            _replace(copied, owner, _layers()(layer, tensor))
            continue
        stored = getattr(layer, attribute)
        with torch.no_grad():
            stored.copy_(to_tensor(tensor))
    return copied


def _replace(module: Any, owner: str, layer: Any) -> None:
    if not owner:
        raise UsageError("the module is a single layer; put it in a Sequential to exchange it")
    parent, _, attribute = owner.rpartition(".")
    setattr(module.get_submodule(parent), attribute, layer)


@cache
def _layers() -> Any:
    """The class of a layer that holds planes, which cannot be defined before torch is there."""
    torch = _torch()

    class QuantizedLayer(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is Any here
        """A linear or embedding layer whose weight is stored quantized."""

        def __init__(self, layer: Any, tensor: QuantizedTensor) -> None:
            super().__init__()
            self.tensor_scheme, self.tensor_shape = tensor.scheme, tensor.shape
            self.embeds = isinstance(layer, torch.nn.Embedding)
            self.bias = getattr(layer, "bias", None)
            self.plain = _is_plain(tensor)
            for name, plane in tensor.planes.items():
                raw = torch.from_numpy(plane.reshape(-1).copy())
                self.register_buffer(*self._buffer(name, raw))

        def _buffer(self, name: str, raw: Any) -> tuple[str, Any]:
            if not self.plain:
                return f"plane_{name}", raw
            if name == "codes":
                return "weight", raw.view(torch.int8).reshape(self.tensor_shape)
            return "weight_scale", raw.view(torch.float32)

        def decoded(self) -> QuantizedTensor:
            """The weight as it is stored."""
            names = {"weight": "codes", "weight_scale": "scales"}
            planes = {
                names.get(name, name.removeprefix("plane_")): one.reshape(-1)
                .view(torch.uint8)
                .numpy()
                for name, one in self.named_buffers()
            }
            return QuantizedTensor.from_planes(self.tensor_scheme, self.tensor_shape, planes)

        def forward(self, x: Any) -> Any:
            weight = to_tensor(self.decoded())
            if self.embeds:
                return torch.nn.functional.embedding(x, weight)
            bias = None if self.bias is None else self.bias.float()
            return torch.nn.functional.linear(x.float(), weight, bias).to(x.dtype)

    return QuantizedLayer


def _is_plain(tensor: QuantizedTensor) -> bool:
    """True for signed codes of one byte a weight and float32 scales, and nothing else."""
    codes, scales = tensor.scheme.planes.get("codes"), tensor.scheme.planes.get("scales")
    if codes is None or scales is None or len(tensor.scheme.planes) != 2:
        return False
    signed = type(tensor.scheme.layout.fields["q"].element).__name__ == "Signed"
    return signed and codes.bytes == 1 and set(codes.block) == {1} and scales.bytes == 4


def _by_recipe(
    state_dict: Mapping[str, "torch.Tensor"], recipe: Recipe
) -> dict[str, QuantizedTensor]:
    own = {name: _exact(name, tensor) for name, tensor in state_dict.items()}
    taken = assign(Checkpoint(None, own, {}, None, {}, {}), recipe)
    return {
        one.tensor: own[one.tensor]
        if one.is_untouched
        else quantize(own[one.tensor].dequantize(), one.target_scheme)
        for one in taken
    }


def _scheme_for(name: str, own: QuantizedTensor, scheme: str | Mapping[str, str]) -> str | None:
    """The scheme asked for a tensor, or None where it keeps its own type."""
    if isinstance(scheme, str):
        return scheme if len(own.shape) > 1 and own.scheme.name.startswith("float/") else None
    return scheme.get(name)


def _exact(name: str, tensor: "torch.Tensor") -> QuantizedTensor:
    """The tensor in the scheme of its own type: the same bytes."""
    torch = _torch()
    if all(hasattr(tensor, part) for part in ("qdata", "scale", "block_size")):
        return _from_torchao(name, tensor)
    own = _OWN_SCHEME.get(str(tensor.dtype))
    if own is None or type(tensor.data) not in (torch.Tensor, torch.nn.Parameter):
        kind = "" if own is None else f" in a {type(tensor.data).__name__}"
        message = (
            f"quantizing {name!r}: its type is {tensor.dtype}{kind}, and float32, float16 or "
            "bfloat16 is needed; leave it out of the state dict or convert it first"
        )
        raise UnsupportedError(message)
    if tensor.numel() == 0 or tensor.ndim == 0:
        shape = list(tensor.shape)
        message = (
            f"quantizing {name!r}: its shape is {shape}, and no scheme stores scalars or nothing"
        )
        raise UnsupportedError(message)
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return QuantizedTensor.from_planes(own, tuple(tensor.shape), {"values": values.tobytes()})


def _from_torchao(name: str, tensor: Any) -> QuantizedTensor:
    """A weight of torchao 0.18 (Int8Tensor, IntxUnpackedToInt8Tensor): codes, scales, zero points.

    Scales of less than float32 are widened, which changes none.
    """
    bits = str(getattr(tensor, "target_dtype", tensor.qdata.dtype)).removeprefix("torch.int")
    rows, columns = int(tensor.shape[0]), int(tensor.shape[-1])
    block = tuple(tensor.block_size)
    if str(tensor.qdata.dtype) != "torch.int8" or not bits.isdigit() or tensor.ndim != 2:
        raise UnsupportedError(f"{name!r} is a {type(tensor).__name__} whose codes are packed")
    group = "channel" if block[-1] == columns else f"group={block[-1]}"
    if block[:-1] != (1,) or tensor.scale.numel() != rows * (columns // block[-1]):
        raise UnsupportedError(f"{name!r} has blocks of {list(block)} weights, expected rows")
    zero = getattr(tensor, "zero_point", None)
    asymmetric = zero is not None and bool((zero != 0).any())
    dynamic = getattr(tensor, "activation_quantization", None) is not None
    kind = "8da4w" if dynamic and bits == "4" and group != "channel" else f"int{bits}"
    found = find_scheme(f"torchao/{kind}[{'asym' if asymmetric else 'sym'},{group}]")
    return _packed(found.name, (rows, columns), tensor.qdata, tensor.scale, zero)


def _packed(
    name: str, shape: tuple[int, int], codes: Any, scales: Any, zero: Any
) -> QuantizedTensor:
    found = find_scheme(name)
    layout = found.layout
    parts = {
        "q": codes.cpu().numpy(),
        "s": scales.detach().cpu().float().numpy().reshape(shape[0], -1).view(np.uint32),
    }
    if "z" in layout.fields:
        parts["z"] = zero.cpu().numpy().reshape(shape[0], -1).astype(np.int8)
    planes = {
        plane: np.zeros((*layout.grid(plane, shape), one.bytes), np.uint8)
        for plane, one in layout.planes.items()
    }
    for field, values in parts.items():
        pack_codes(layout, field, values, planes[layout.fields[field].plane], shape)
    flat = {plane: one.reshape(-1) for plane, one in planes.items()}
    return QuantizedTensor.from_planes(found, shape, flat)


def _torch() -> Any:
    """The torch package, or a refusal that says how to get it."""
    try:
        import torch
    except ImportError as error:
        message = "torch is not installed; refquant[torch] brings it, or install torch itself"
        raise UnsupportedError(message) from error
    return torch
