"""What quanto's members are told alike: the dtype of the weights, to which they round."""

from refquant.schemes.dtypes import DTYPES
from refquant.schemes.names import Knob

__all__ = ["DTYPE"]

DTYPE = Knob("dtype", "of weights, scales and shifts, and of the arithmetic", tuple(DTYPES), "f32")
