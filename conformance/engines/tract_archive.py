"""NNEF archives of one matrix for tract: plain weights that it encodes, blocks that it decodes.

The adapter here uses it, and a worker of `tests/differential` in the same environment.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import tract
from numpy.typing import NDArray

__all__ = ["HEADER_BYTES", "Q8_1", "Q40", "decoded", "encoded"]

PRODUCT = """version 1.0;
extension tract_registry tract_core;
graph g(x) -> (y) {{
  x = external<scalar>(shape=[1,{columns}]);
  w = variable<scalar>(label="w", shape=[{rows},{columns}]);
  y = matmul(x, w, transposeA=false, transposeB=true);
}}
"""
ROWS = """version 1.0;
extension tract_registry tract_core;
graph g(i) -> (y) {{
  i = external<integer>(shape=[{rows}]);
  w = variable<scalar>(label="w", shape=[{rows},{columns}]);
  y = tract_core_gather(w, i, axis=0, datum_type="f32");
}}
"""
Kind = tuple[int, int, int]
PLAIN: Kind = (0, 0, 32)
Q40: Kind = (0x3040, 0x5452, 0xFFFFFFFF)
Q8_1: Kind = (0x3080, 0x5452, 0xFFFFFFFF)
"""Item type, vendor and bits of an item."""

HEADER_BYTES = 128


def _archive(folder: Path, graph: str, kind: Kind, content: bytes, shape: tuple[int, int]) -> Any:
    item, vendor, bits = kind
    header = bytearray(HEADER_BYTES)
    struct.pack_into("<4sII", header, 0, b"\x4e\xef\x01\x00", len(content), 2)
    struct.pack_into("<II", header, 12, *shape)
    struct.pack_into("<IHH", header, 44, bits, item, vendor)
    folder.mkdir()
    (folder / "w.dat").write_bytes(bytes(header) + content)
    (folder / "graph.nnef").write_text(graph.format(rows=shape[0], columns=shape[1]))
    return tract.nnef().load(str(folder))


def encoded(folder: Path, x: NDArray[np.float32]) -> bytes:
    """The file of a matrix after tract's transform `block_quant`, its header first."""
    rows, columns = x.shape
    model = _archive(folder / "plain", PRODUCT, PLAIN, x.tobytes(), (rows, columns))
    model.transform("block_quant")
    tract.nnef().write_model_to_dir(model, str(folder / "written"))
    return next((folder / "written").glob("*.dat")).read_bytes()


def decoded(folder: Path, kind: Kind, blocks: bytes, shape: tuple[int, int]) -> NDArray[Any]:
    """All rows of a matrix that tract reads from blocks, gathered one by one."""
    model = _archive(folder / "blocks", ROWS, kind, blocks, shape)
    indices = np.arange(shape[0], dtype=np.int64)
    found: NDArray[Any] = model.into_runnable().run([indices])[0].to_numpy()
    return found
