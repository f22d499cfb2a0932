"""Packed matrices compute what their decoded rows compute."""

import numpy as np
import pytest

from refquant.runtime import packed as of_tiles
from refquant.runtime import scratch as of_buffers
from refquant.runtime.linear import linear
from refquant.runtime.packed import pack_rows
from refquant.runtime.scratch import Scratch
from refquant.tensor import quantize
from tests.roundings import gamma


def matrix(rows, columns, scheme="ggml/q4_0", seed=0):
    values = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    return quantize(values, scheme)


def make_tiles_small(monkeypatch, elements):
    for module in (of_tiles, of_buffers):
        monkeypatch.setattr(module, "TILE_ELEMENTS", elements)


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("tile_rows", [1, 3, 64])
def test_tiles_cover_every_row_once(monkeypatch, tokens, tile_rows):
    make_tiles_small(monkeypatch, tile_rows * 64)
    parts = [matrix(7, 64, "ggml/q4_0"), matrix(5, 64, "ggml/q8_0", seed=1)]
    packed = pack_rows(parts, Scratch())
    dense = np.concatenate([part.dequantize() for part in parts])
    x = np.random.default_rng(2).standard_normal((tokens, 64)).astype(np.float32)
    exact = x.astype(np.float64) @ dense.T.astype(np.float64)
    limit = gamma(64) * (np.abs(x).astype(np.float64) @ np.abs(dense.T))
    assert packed.shape == dense.shape
    for result in (linear(x, packed), linear(x, dense)):
        assert result.shape == (tokens, 12)
        assert np.all(np.abs(result - exact) <= limit)


def test_one_buffer_serves_every_matrix(monkeypatch):
    make_tiles_small(monkeypatch, 128)
    scratch = Scratch()
    narrow, wide = pack_rows([matrix(9, 64)], scratch), pack_rows([matrix(3, 256)], scratch)
    assert [(tile.start, tile.stop) for tile in narrow.tiles] == [
        (0, 2),
        (2, 4),
        (4, 6),
        (6, 8),
        (8, 9),
    ]
    assert len(wide.tiles) == 3
    assert scratch.size == 256
    assert np.shares_memory(scratch.rows(2, 64), scratch.rows(1, 256))


def test_records_of_several_rows_stay_whole(monkeypatch):
    # Groups along the outputs: 32 rows share a record, so no tile can be lower.
    make_tiles_small(monkeypatch, 1)
    values = np.random.default_rng(3).standard_normal((64, 6)).astype(np.float32)
    tensor = quantize(values, "ggml/q4_0", axis=0)
    packed = pack_rows([tensor], Scratch())
    assert [(tile.start, tile.stop) for tile in packed.tiles] == [(0, 32), (32, 64)]
    x = np.eye(6, dtype=np.float32)
    assert np.array_equal(linear(x, packed), tensor.dequantize().T)


def test_packing_copies_no_weights():
    tensor = matrix(8, 64)
    packed = pack_rows([tensor], Scratch())
    assert np.shares_memory(packed.tiles[0].rows.planes["blocks"], tensor.planes["blocks"])
