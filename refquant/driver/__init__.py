"""What every scheme needs and no scheme says itself, done once.

It checks shapes and dtypes, brings a tensor into groups, cuts the work into chunks that fit the
cache, spreads them over threads, and packs. A scheme file only says what happens to
`[groups, group size]` weights.
"""

from refquant.driver.decoding import decode_planes
from refquant.driver.encoding import encode_planes
from refquant.driver.groups import grouped
from refquant.driver.scheme import Encoder, Parameters, Scheme, WeightedEncoder

__all__ = [
    "Encoder",
    "Parameters",
    "Scheme",
    "WeightedEncoder",
    "decode_planes",
    "encode_planes",
    "grouped",
]
