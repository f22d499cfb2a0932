"""Runs tract on weights and on its block formats: `tract_worker.py REQUEST.npz ANSWER.npz`.

The request holds weights `x` and blocks `q40` and `q8_1` of `shape`. The answer holds the bytes
that tract's transform `block_quant` makes of `x`, and the products of an identity matrix with the
matrices that were read from blocks, which are their values.
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


def main():
    asked = np.load(sys.argv[1])
    x, shape = asked["x"], tuple(map(int, asked["x"].shape))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = archive(folder / "plain", GRAPH, PLAIN, x.tobytes(), shape)
        model.transform("block_quant")
        tract.nnef().write_model_to_dir(model, str(folder / "written"))
        written = next((folder / "written").glob("*.dat")).read_bytes()
        answer = {"header": np.frombuffer(written[:128], np.uint8)}
        answer["q40"] = np.frombuffer(written[128:], np.uint8)
        indices = np.arange(shape[0], dtype=np.int64)
        for name, kind in (("q40", Q40), ("q8_1", Q8_1)):
            model = archive(folder / name, ROWS, kind, asked[name].tobytes(), shape)
            answer[f"{name}_values"] = model.into_runnable().run([indices])[0].to_numpy()
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
