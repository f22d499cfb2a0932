"""refquant: neural-network quantization formats, defined once and exact to the bit.

>>> import refquant
>>> tensor = refquant.quantize([[0.5, -1.0] * 16], "q4_0")
>>> tensor
QuantizedTensor('ggml/q4_0', shape=(1, 32), 18 bytes, 4.5 bits per weight)
>>> tensor.dequantize()[0, :2].tolist()
[0.5, -1.0]

Names are imported when first used, so that the command line starts without NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refquant.driver import Scheme
    from refquant.errors import RefquantError
    from refquant.formats import open_checkpoint
    from refquant.schemes import scheme, schemes
    from refquant.tensor import QuantizedTensor, dequantize, quantize

__all__ = [
    "QuantizedTensor",
    "RefquantError",
    "Scheme",
    "__version__",
    "dequantize",
    "open_checkpoint",
    "quantize",
    "scheme",
    "schemes",
]

__version__ = "0.1.0"

_HOMES = {
    "QuantizedTensor": "refquant.tensor",
    "RefquantError": "refquant.errors",
    "Scheme": "refquant.driver",
    "dequantize": "refquant.tensor",
    "open_checkpoint": "refquant.formats",
    "quantize": "refquant.tensor",
    "scheme": "refquant.schemes",
    "schemes": "refquant.schemes",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'refquant' has no attribute {name!r}")
    module = import_module(_HOMES[name])
    # The package of schemes is the function, so that both names mean one thing in any order.
    value = module if name == "schemes" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
