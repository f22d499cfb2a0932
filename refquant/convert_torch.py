"""Quantized tensors from torch modules, and torch tensors from quantized ones.

The only file that may import torch, and it does so inside its functions: nothing else in refquant
needs torch, and nothing imports this file. A torch tensor is read through its bytes, so bfloat16,
float16 and float32 weights reach the scheme exactly, and the planes are the same bits as those of
`refquant.quantize` on the same values.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from refquant.errors import UnsupportedError, UsageError
from refquant.tensor import QuantizedTensor, dequantize, quantize

if TYPE_CHECKING:
    import torch

__all__ = ["from_module", "from_state_dict", "to_tensor"]

# torch's name of a type -> the scheme that stores the same bits.
_OWN_SCHEME = {
    "torch.float32": "float/f32",
    "torch.float16": "float/f16",
    "torch.bfloat16": "float/bf16",
}


def from_module(
    module: "torch.nn.Module", scheme: str | Mapping[str, str]
) -> dict[str, QuantizedTensor]:
    """Every parameter and persistent buffer of a module, quantized: see `from_state_dict`."""
    return from_state_dict(module.state_dict(), scheme)


def from_state_dict(
    state_dict: Mapping[str, "torch.Tensor"], scheme: str | Mapping[str, str]
) -> dict[str, QuantizedTensor]:
    """The tensors of a state dict, each under its own name.

    `scheme` is one scheme's name, which takes every tensor of two or more axes, or a mapping from
    tensor names to scheme names. A tensor that neither reaches keeps its own type: float32,
    float16 or bfloat16. Raises `UsageError` where the mapping names a tensor that is not there,
    and `UnsupportedError` for a tensor of another type, for a scalar and for an empty tensor.
    """
    if not isinstance(scheme, str):
        missing = sorted(scheme.keys() - state_dict.keys())
        if missing:
            message = f"quantizing a state dict: it has no tensor named {', '.join(missing)}"
            raise UsageError(message)
    quantized = {}
    for name, tensor in state_dict.items():
        own = _exact(name, tensor)
        chosen = _scheme_for(name, own, scheme)
        quantized[name] = own if chosen is None else quantize(own.dequantize(), chosen)
    return quantized


def to_tensor(quantized: QuantizedTensor) -> "torch.Tensor":
    """The values of a quantized tensor as a torch tensor of float32, with memory of its own."""
    return _torch().from_numpy(dequantize(quantized))


def _scheme_for(name: str, own: QuantizedTensor, scheme: str | Mapping[str, str]) -> str | None:
    """The scheme asked for a tensor, or None where it keeps its own type."""
    if isinstance(scheme, str):
        return scheme if len(own.shape) > 1 else None
    return scheme.get(name)


def _exact(name: str, tensor: "torch.Tensor") -> QuantizedTensor:
    """The tensor in the scheme of its own type: the same bytes."""
    torch = _torch()
    own = _OWN_SCHEME.get(str(tensor.dtype))
    if own is None:
        message = (
            f"quantizing {name!r}: its type is {tensor.dtype}, and float32, float16 or bfloat16 "
            "is needed; leave it out of the state dict or convert it first"
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


def _torch() -> Any:
    """The torch package, or a refusal that says how to get it."""
    try:
        import torch
    except ImportError as error:
        message = "torch is not installed; refquant[torch] brings it, or install torch itself"
        raise UnsupportedError(message) from error
    return torch
