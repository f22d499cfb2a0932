"""tract: the Q4_0 that its transform writes, and the values that it gathers from blocks."""

import struct
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tract
from protocol import Table, both, serve

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


def encode(x, _):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = archive(folder / "plain", PRODUCT, PLAIN, x.tobytes(), x.shape)
        model.transform("block_quant")
        tract.nnef().write_model_to_dir(model, str(folder / "written"))
        written = next((folder / "written").glob("*.dat")).read_bytes()
    return {"blocks": np.frombuffer(written[128:], np.uint8)}


def decoder(kind):
    def decode(planes, shape):
        with tempfile.TemporaryDirectory() as temporary:
            content = planes["blocks"].tobytes()
            model = archive(Path(temporary) / "blocks", ROWS, kind, content, shape)
            indices = np.arange(shape[0], dtype=np.int64)
            return model.into_runnable().run([indices])[0].to_numpy()

    return decode


def main() -> None:
    table: Table = {}
    both(table, "tract/q40", decoder(Q40), encode)
    both(table, "tract/q8_1", decoder(Q8_1))
    serve("tract", version("tract"), "Rust", table)


if __name__ == "__main__":
    main()
