"""Microscaling formats: blocks of small floats or integers under one small scale.

Source: OCP Microscaling Formats (MX) Specification 1.0; encoders as in pytorch/ao 0.18.0,
torchao/prototype/mx_formats.
"""

from refquant.driver import Scheme
from refquant.schemes.mx import blocks, nvfp4
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = (*blocks.FAMILIES, *nvfp4.FAMILIES)
