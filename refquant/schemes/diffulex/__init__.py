"""DiffuLex Edge: 8-bit rows and the float16 cast. Its 4-bit groups are torchao's tinygemm groups.

Source: luozixin2/Diffulex, branch edge at 5069309, diffulex_edge/quant.
"""

from dataclasses import replace

from refquant.driver import Scheme
from refquant.schemes.affine import affine_point
from refquant.schemes.floats import FLOAT16_SCHEME
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = (
    affine_point(
        "diffulex/int8", "DiffuLex Edge 8-bit rows; a row of zeros has scale 1", range="full"
    ),
    replace(FLOAT16_SCHEME, name="diffulex/fp16", title="DiffuLex Edge float16 weights"),
)
FAMILIES: tuple[Family, ...] = ()
