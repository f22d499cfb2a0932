"""GPTQ checkpoints: words of integer codes, packed zero points and float16 scales.

Source: the tensors `qweight`, `qzeros` and `scales` that AutoGPTQ and GPTQModel 7.7 write.
"""

from refquant.driver import Scheme
from refquant.schemes.gptq import words
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = words.FAMILIES
