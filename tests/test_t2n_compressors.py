"""Chains of lossless compressors over bytes of codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refquant.errors import FormatError, SchemeError
from refquant.schemes.t2n.compressors import BitPacking, Deflate, compress, decompress

CHAINS = [[], [BitPacking(4)], [Deflate()], [BitPacking(1), Deflate(1)], [Deflate(), Deflate()]]


@pytest.mark.parametrize("chain", CHAINS)
@given(codes=st.lists(st.integers(0, 1), max_size=70))
def test_what_goes_in_comes_out(chain, codes):
    data = np.array(codes, np.uint8)
    kept, sizes = compress(data, chain)
    assert kept.dtype == np.uint8
    assert decompress(kept, chain, sizes).tolist() == codes


@pytest.mark.parametrize(
    ("bits", "codes", "packed"),
    [(4, [1, 2, 3], [0x21, 0x03]), (2, [3, 0, 1, 2, 1], [0x93, 0x01]), (1, [1, 0, 1, 1], [0x0D])],
)
def test_bits_by_hand(bits, codes, packed):
    assert BitPacking(bits).compress(np.array(codes, np.uint8)).tolist() == packed


def test_what_is_damaged_is_refused():
    with pytest.raises(SchemeError, match="code 4 has more than 2 bits"):
        BitPacking(2).compress(np.array([4], np.uint8))
    with pytest.raises(SchemeError, match="expected 1, 2 or 4"):
        BitPacking(3)
    with pytest.raises(FormatError, match="2 bytes for 3 codes of 2 bits"):
        BitPacking(2).decompress(np.zeros(2, np.uint8), 3)
    with pytest.raises(FormatError, match="not zero"):
        BitPacking(4).decompress(np.array([0x21, 0x13], np.uint8), 3)
    stream = Deflate().compress(np.zeros(1000, np.uint8))
    for damaged, size in ((stream[:-1], 1000), (stream, 999), (stream, 1001), (stream[1:], 1000)):
        with pytest.raises(FormatError):
            Deflate().decompress(damaged, size)
    with pytest.raises(FormatError):
        Deflate().decompress(np.append(stream, np.uint8(0)), 1000)


def test_the_order_of_steps_matters():
    data = np.tile(np.arange(16, dtype=np.uint8), 64)
    kept, sizes = compress(data, [BitPacking(4), Deflate()])
    assert sizes == (1024, 512)
    with pytest.raises(FormatError):
        decompress(kept, [Deflate(), BitPacking(4)], sizes)
