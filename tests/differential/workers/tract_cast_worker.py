"""Runs tract's cast to an 8-bit type and back: `tract_cast_worker.py REQUEST.npz ANSWER.npz`.

The request holds rows `x`, and a scale and a zero point for each; the answer the rows as they come
back from codes of the type that `graph.quant` states.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import tract

GRAPH = """version 1.0;
extension tract_registry tract_core;
graph g(x) -> (y) {{
  x = external<scalar>(shape=[1,{columns}]);
  q = copy(x);
  y = tract_core_cast(q, to="f32");
}}
"""
TYPE = (
    '"q": zero_point_linear_quantize(scale = {scale:.30f}, zero_point = {zero}, bits = 8, '
    "signed = false, symmetric = false);\n"
)


def main():
    request, values = np.load(sys.argv[1]), []
    for row, scale, zero in zip(request["x"], request["scale"], request["zero"], strict=True):
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder)
            (graph / "graph.nnef").write_text(GRAPH.format(columns=row.size))
            text = TYPE.format(scale=float(scale), zero=int(zero))
            (graph / "graph.quant").write_text(text)
            model = tract.nnef().load(folder)
            values.append(model.into_runnable().run([row[None]])[0].to_numpy()[0])
    np.savez(sys.argv[2], values=np.stack(values))


if __name__ == "__main__":
    main()
