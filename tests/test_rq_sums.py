"""Sums taken beside writing, and the disk that begins early."""

import os
import zlib
from hashlib import sha256
from threading import Event, Timer

import numpy as np
import pytest

from refquant.formats.rq.sums import Summer, Sums
from refquant.formats.rq.writeback import Writeback


def test_what_waits_for_its_sums_is_bounded():
    """However long the sums take, no more than was asked for is left when `wait` is back."""
    summer, begun = Summer(), Event()
    slow = Sums()
    slow.both = lambda piece: (begun.wait(10), Sums.both(slow, piece))
    piece = memoryview(bytes(1 << 16))
    for _ in range(3):
        summer.add(slow, piece)
    Timer(0.05, begun.set).start()
    summer.wait(1 << 17)
    assert begun.is_set()
    summer.finish()
    assert slow.crc32 == zlib.crc32(bytes(3 << 16))


@pytest.mark.parametrize("sizes", [(), (1,), (5, 1 << 16, 3, 1 << 20, 7, 1 << 16), (1 << 20,) * 3])
def test_sums_of_pieces_are_those_of_the_whole(sizes):
    random = np.random.default_rng(len(sizes))
    pieces = [random.bytes(size) for size in sizes]
    summer, several = Summer(), [Sums() for _ in range(3)]
    for piece in pieces:
        for sums in several:
            summer.add(sums, memoryview(piece))
    summer.finish()
    whole = b"".join(pieces)
    for sums in several:
        assert (sums.crc32, sums.sha256()) == (zlib.crc32(whole), sha256(whole).digest())


def test_writing_back_early_is_no_more_than_a_wish(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.write(bytes(20 << 20))
        early = Writeback(file)
        early.reached(9 << 20)
        early.reached(20 << 20)
        early.arrive(20 << 20)
    # Of a file that is none of this kind nothing comes either.
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "wb") as pipe:
        early = Writeback(pipe)
        early.reached(9 << 20)
        early.arrive(9 << 20)
    assert (tmp_path / "a").read_bytes() == bytes(20 << 20)
