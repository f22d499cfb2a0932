"""bitsandbytes' formats: codes of a fixed table or integers, times a largest magnitude.

Source: bitsandbytes 0.50.2, functional.py and backends/default/ops.py.
"""

from refquant.driver import Scheme
from refquant.schemes.bnb import int8, tables
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = (int8.INT8,)
FAMILIES: tuple[Family, ...] = tables.FAMILIES
