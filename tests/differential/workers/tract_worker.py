"""Runs tract on weights and on its block formats: `tract_worker.py REQUEST.npz ANSWER.npz`.

The request holds weights `x`, and the answer the bytes that tract's transform `block_quant` makes
of them; or blocks `q40` or `q8_1` of a matrix of `shape`, and the answer its rows, gathered one by
one, which are their values.
"""

import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import tract

GRAPH = """version 1.0;
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
PLAIN, Q40, Q8_1 = (0, 0, 32), (0x3040, 0x5452, 0xFFFFFFFF), (0x3080, 0x5452, 0xFFFFFFFF)


def archive(folder, graph, kind, content, shape):
    """An NNEF archive with one matrix; `kind` is item type, vendor and bits of an item."""
    item, vendor, bits = kind
    header = bytearray(128)
    struct.pack_into("<4sII", header, 0, b"\x4e\xef\x01\x00", len(content), 2)
    struct.pack_into("<II", header, 12, *shape)
    struct.pack_into("<IHH", header, 44, bits, item, vendor)
    folder.mkdir()
    (folder / "w.dat").write_bytes(bytes(header) + content)
    (folder / "graph.nnef").write_text(graph.format(rows=shape[0], columns=shape[1]))
    return tract.nnef().load(str(folder))


def encoded(folder, x):
    """The bytes of a matrix in tract's file."""
    model = archive(folder / "plain", GRAPH, PLAIN, x.tobytes(), x.shape)
    model.transform("block_quant")
    tract.nnef().write_model_to_dir(model, str(folder / "written"))
    written = next((folder / "written").glob("*.dat")).read_bytes()
    return {
        "header": np.frombuffer(written[:128], np.uint8),
        "q40": np.frombuffer(written[128:], np.uint8),
    }


def decoded(folder, kind, blocks, shape):
    """All rows of a matrix that was read from blocks."""
    model = archive(folder / "blocks", ROWS, kind, blocks.tobytes(), shape)
    indices = np.arange(shape[0], dtype=np.int64)
    return {"values": model.into_runnable().run([indices])[0].to_numpy()}


def main():
    asked = dict(np.load(sys.argv[1]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "x" in asked:
            answer = encoded(folder, asked["x"])
        else:
            name, kind = ("q40", Q40) if "q40" in asked else ("q8_1", Q8_1)
            answer = decoded(folder, kind, asked[name], tuple(map(int, asked["shape"])))
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
