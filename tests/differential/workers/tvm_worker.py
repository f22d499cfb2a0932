"""Multiplies by fixed-point numbers in TVM: `tvm_worker.py REQUEST.npz ANSWER.npz`.

The request holds int32 numbers `x`, a row for each `multiplier` and `shift`, int32 too; the answer
holds TVM's products, `q_multiply_shift_per_axis`, which its compiler turns into machine code.
"""

import sys

import numpy as np
import tvm
from tvm import te
from tvm import tirx as tir


def program(rows, width):
    x = te.placeholder((rows, width), dtype="int32", name="x")
    multiplier = te.placeholder((rows,), dtype="int32", name="multiplier")
    left = te.placeholder((rows,), dtype="int32", name="left")
    right = te.placeholder((rows,), dtype="int32", name="right")
    fraction, both = tir.const(31, "int32"), tir.const(1, "bool")
    y = te.compute(
        (rows, width),
        lambda i, j: tir.q_multiply_shift_per_axis(
            x[i, j], multiplier[i], left[i], right[i], fraction, both, both
        ),
        name="y",
    )
    return tvm.compile(te.create_prim_func([x, multiplier, left, right, y]), target="llvm")


def main():
    asked = np.load(sys.argv[1])
    left, right = np.maximum(asked["shift"], 0), np.maximum(-asked["shift"], 0)
    parts = [p.astype(np.int32) for p in (asked["x"], asked["multiplier"], left, right)]
    answer = tvm.runtime.tensor(np.zeros_like(parts[0]))
    program(*parts[0].shape)(*map(tvm.runtime.tensor, parts), answer)
    np.savez(sys.argv[2], y=answer.numpy())


if __name__ == "__main__":
    main()
