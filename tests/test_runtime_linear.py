"""Packed matrices compute what their decoded rows compute."""

import numpy as np
import pytest

from refquant.runtime.linear import TILE_ELEMENTS, linear, pack_rows, scratch_for
from refquant.tensor import quantize
from tests.runtime_oracle import gamma


def matrix(rows, columns, scheme="ggml/q4_0", seed=0):
    values = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    return quantize(values, scheme)


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("tile_rows", [1, 3, 64])
def test_tiles_cover_every_row_once(tokens, tile_rows):
    parts = [matrix(7, 64, "ggml/q4_0"), matrix(5, 64, "ggml/q8_0", seed=1)]
    packed = pack_rows(parts, np.empty(tile_rows * 64, np.float32))
    dense = np.concatenate([part.dequantize() for part in parts])
    x = np.random.default_rng(2).standard_normal((tokens, 64)).astype(np.float32)
    exact = x.astype(np.float64) @ dense.T.astype(np.float64)
    limit = gamma(64) * (np.abs(x).astype(np.float64) @ np.abs(dense.T))
    assert packed.shape == dense.shape
    for result in (linear(x, packed), linear(x, dense)):
        assert result.shape == (tokens, 12)
        assert np.all(np.abs(result - exact) <= limit)


def test_one_buffer_serves_every_matrix():
    scratch = scratch_for([64, 32])
    assert scratch.size == TILE_ELEMENTS
    assert scratch_for([64, 2 * TILE_ELEMENTS]).size == 2 * TILE_ELEMENTS
    packed = pack_rows([matrix(9, 64)], scratch)
    assert packed.scratch is scratch
    assert [(tile.start, tile.stop) for tile in packed.tiles] == [(0, 9)]


def test_packing_copies_no_weights():
    tensor = matrix(8, 64)
    packed = pack_rows([tensor], scratch_for([64]))
    assert np.shares_memory(packed.tiles[0].rows.planes["blocks"], tensor.planes["blocks"])
