"""Products of ggml's blocks: every row of activations with every row of weights.

`arithmetic.block_dot` says what one dot product is; this is the same for whole matrices, equal to
it in every bit. The integer sums of all blocks are products of small matrices, and exact: no sum of
magnitudes exceeds 2**24. So weights are held by block, a block's codes one below the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic import BlockRows, ggml_x86_blocks
from refquant.layout import Minifloat, field_codes, numbers
from refquant.runtime.ops import Floats
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["GGML_CONTRACTS", "GGML_SCHEMES", "GgmlMatrix", "ggml_matrix"]

GGML_SCHEMES: Final[Mapping[str, str]] = {
    "ggml/q4_0": "ggml/q8_0",
    "ggml/q4_1": "ggml/q8_1",
    "ggml/q5_0": "ggml/q8_0",
    "ggml/q5_1": "ggml/q8_1",
    "ggml/q8_0": "ggml/q8_0",
    "ggml/q4_k": "ggml/q8_k",
    "ggml/q5_k": "ggml/q8_k",
    "ggml/q6_k": "ggml/q8_k",
}
"""The scheme of the activations, by that of the weights."""

_ZERO: Final = {"ggml/q4_0": 8, "ggml/q5_0": 16, "ggml/q6_k": 32}

_SUPER: Final = 256
_LANES: Final = 8

# Numbers of a tile of weights as binary32: 1 MB, which a cache holds.
_TILE: Final = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class GgmlMatrix:
    """Weights [n, k] under one of ggml's schemes, its fields as numbers.

    `codes` are int[pieces, terms, n]: a piece is a block of 32, or one of the eight lanes of a
    super-block, whose codes are multiplied with their integer scales already. `d`, `m` and `dmin`
    are f32[blocks, n] and `mins` f32[blocks, 8, n], None where the scheme has none.
    """

    shape: tuple[int, int]
    contract: str
    scheme: str
    codes: NDArray[np.integer]
    d: Floats
    m: Floats | None
    dmin: Floats | None
    mins: Floats | None

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """Dot products of all rows in the order of ggml's scalar C."""
        y = np.empty((len(x), self.shape[0]), np.float32)
        step = max(_TILE // self.shape[1], 16)
        parts = [slice(start, start + step) for start in range(0, self.shape[0], step)]
        if GGML_SCHEMES[self.scheme] == "ggml/q8_k":
            super_blocks = _fields(quantize(x, "ggml/q8_k", threads=1))
            for part in parts:
                _super_blocks(self, super_blocks, part, y[:, part])
        else:
            blocks = GGML_CONTRACTS[self.contract](x)
            for part in parts:
                _blocks(self, blocks, part, y[:, part])
        # Codes of a NaN look like others; a model whose states grew beyond bounds must not go on.
        y[~np.isfinite(x).all(axis=1)] = np.nan
        return y if bias is None else np.add(y, bias, out=y)


def ggml_matrix(tensor: QuantizedTensor, contract: str) -> GgmlMatrix:
    """The fields of a tensor whose scheme is in `GGML_SCHEMES`, arranged for products."""
    fields, name = _fields(tensor), tensor.scheme.name
    rows, columns = tensor.shape
    codes = fields["q"].astype(np.int16) - np.int16(_ZERO.get(name, 0))
    if GGML_SCHEMES[name] == "ggml/q8_k":
        scales = np.repeat(fields["sc"].astype(np.int16), columns // fields["sc"].shape[1], axis=1)
        pieces = (codes * scales).reshape(rows, columns // _SUPER, -1, _LANES)
        arranged = pieces.transpose(1, 3, 2, 0).reshape(-1, _SUPER // _LANES, rows)
    else:
        arranged = codes.astype(np.int8).reshape(rows, columns // 32, 32).transpose(1, 2, 0)
    mins = None
    if "mn" in fields:
        by_block = fields["mn"].reshape(rows, columns // _SUPER, -1)
        mins = by_block.transpose(1, 2, 0).astype(np.float32)
    return GgmlMatrix(
        shape=(rows, columns),
        contract=contract,
        scheme=name,
        codes=np.ascontiguousarray(arranged),
        d=np.ascontiguousarray(fields["d"].T),
        m=np.ascontiguousarray(fields["m"].T) if "m" in fields else None,
        dmin=np.ascontiguousarray(fields["dmin"].T) if "dmin" in fields else None,
        mins=mins,
    )


def _fields(tensor: QuantizedTensor) -> dict[str, NDArray[np.generic]]:
    """Every field [rows, shares]: integers as they are, floats as their values."""
    found: dict[str, NDArray[np.generic]] = {}
    for name, field in tensor.layout.fields.items():
        codes = field_codes(tensor.layout, name, tensor.planes[field.plane], tensor.shape)
        is_real = isinstance(field.element, Minifloat)
        found[name] = numbers(codes, field.element) if is_real else codes
    return found


def _sums(codes: NDArray[np.integer], pieces: Floats) -> Floats:
    """Integer sums: int[p, terms, n], f32[p, t, terms] -> f32[p, t, n], exact."""
    sums: Floats = np.matmul(pieces, codes.astype(np.float32))
    return sums


def _reference_blocks(x: Floats) -> BlockRows:  # f32[t, k] -> rows
    """Blocks of 32 by ggml's C; those of Q8_0 are those of Q8_1 without the sums."""
    found = _fields(quantize(x, "ggml/q8_1", threads=1))
    total = np.asarray(found["s"], np.uint16).view(np.float16)
    return BlockRows(
        found["q"].astype(np.int8), np.asarray(found["d"], np.float32), total.astype(np.float32)
    )


GGML_CONTRACTS: Final[Mapping[str, Callable[[Floats], BlockRows]]] = {
    "ggml_block": _reference_blocks,
    "ggml_x86": ggml_x86_blocks,
}
"""How activations get into blocks of 32, by contract; super-blocks have one way in all."""


def _blocks(w: GgmlMatrix, a: BlockRows, part: slice, y: Floats) -> None:
    """Schemes with blocks of 32; `y` f32[t, n] is overwritten."""
    tokens, count = len(y), len(w.codes)
    pieces = a.codes.astype(np.float32).reshape(tokens, count, -1).swapaxes(0, 1)
    sums = _sums(w.codes[:, :, part], pieces)
    y[:] = 0
    for block in range(count):
        d, dy = w.d[block, part], a.scale[:, block, None]
        if w.scheme == "ggml/q4_0":
            y += (sums[block] * d) * dy
        elif w.m is None:
            y += (d * dy) * sums[block]
        else:
            y += (d * dy) * sums[block] + w.m[block, part] * a.total[:, block, None]


def _super_blocks(
    w: GgmlMatrix, a: Mapping[str, NDArray[np.generic]], part: slice, y: Floats
) -> None:
    """Schemes with super-blocks of 256; `y` f32[t, n] is overwritten."""
    tokens, count = len(y), len(w.d)
    lanes = a["q"].astype(np.float32).reshape(tokens, count, -1, _LANES)
    sums = _sums(
        w.codes[:, :, part], lanes.transpose(1, 3, 0, 2).reshape(count * _LANES, tokens, -1)
    )
    dy = np.asarray(a["d"], np.float32).T[:, :, None]
    y[:] = 0
    if w.dmin is not None and w.mins is not None:
        halves = a["s"].astype(np.float32).reshape(tokens, count, -1, 2).sum(axis=3)
        least = np.matmul(halves.swapaxes(0, 1), w.mins[:, :, part])
        for block in range(count):
            y -= (w.dmin[block, part] * dy[block]) * least[block]
    for lane in range(_LANES):
        total = np.zeros_like(y)
        for block in range(count):
            total += (w.d[block, part] * dy[block]) * sums[block * _LANES + lane]
        y += total
