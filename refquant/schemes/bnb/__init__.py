"""bitsandbytes' blockwise formats: codes of a fixed table times the block's largest magnitude.

Source: bitsandbytes 0.50.2, functional.py and backends/default/ops.py.
"""

from refquant.driver import Scheme
from refquant.schemes.bnb import tables
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = tables.FAMILIES
