"""Quantizes the arrays of an `.npz` file under many schemes, and writes them into one raw file.

    python tests/rq_quantizer.py WEIGHTS THREADS OUT.rq

It prints the digest of each tensor's planes and of the whole file as one object of JSON. What it
prints may depend on the arrays only.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np

import refquant
from refquant.calibrate import gptq
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import write_checkpoint

__all__ = ["LARGE", "LEARNED", "WEIGHTED", "names"]

LARGE = (
    *("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"),
    *("ggml/iq4_nl", "ggml/iq4_xs", "ggml/tq1_0", "ggml/mxfp4", "ggml/nvfp4"),
    *("bf16", "fp16", "float/f8_e4m3fn", "mx/mxfp4", "mx/mxfp6_e2m3", "mx/nvfp4"),
    *(
        "aeq/int4[sym,channel,algorithm=octav]",
        "aeq/int8[sym,channel]",
        "torchao/int4_tinygemm[group=128]",
    ),
    *(
        "hqq/affine[bits=4,group=64]",
        "hqq/affine[solver=proximal]",
        "torchao/hqq",
        "gptq/int4[v=1,sym,group=128]",
        "awq/int4[group=128]",
    ),
    *("int/affine[bits=4,asym,group=32]", "bnb/nf4[block=64]", "bnb/dynamic8[block=64]"),
    *(
        "mlx/affine[bits=4,group=64]",
        "t2n/quint8",
        "quanto/qint4",
        "tflite/int4",
        "onnx/matmul4bits",
        "bitnet/i2_s",
    ),
)
"""Tried on a tensor large enough for several chunks and threads."""

WEIGHTED = ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q4_0", "ggml/iq4_nl", "ggml/iq4_xs")
"""Tried with an importance of the columns as well."""

LEARNED = ("q4_0", "q8_0", "int/affine[bits=4,asym,group=32]", "gptq/int4[v=1,sym,group=128]")
"""Tried with codes that GPTQ chooses. Its linear algebra is that of NumPy's BLAS, whose last bits
depend on threads and processor; the codes have not been seen to."""


def names():
    """Every registered scheme that can encode."""
    return [info.name for info in refquant.schemes() if refquant.scheme(info.name).can_encode]


def tensors(arrays, threads):
    """(name, quantized) of everything that is tried."""
    for name in names():
        yield f"small/{name}", refquant.quantize(arrays["small"], name, threads=threads)
    for name in LARGE:
        yield f"large/{name}", refquant.quantize(arrays["large"], name, threads=threads)
    for name in WEIGHTED:
        found = refquant.quantize(
            arrays["large"][:512], name, threads=threads, importance=arrays["importance"]
        )
        yield f"weighted/{name}", found
    for name in LEARNED:
        found = gptq(arrays["large"][:, :512], arrays["hessian"], refquant.scheme(name))
        yield f"learned/{name}", found


def digest(tensor):
    """SHA-256 of the planes, and of the values that they stand for."""
    found = sha256()
    for name in sorted(tensor.planes):
        found.update(np.ascontiguousarray(tensor.planes[name]).tobytes())
    found.update(tensor.dequantize().tobytes())
    return found.hexdigest()


def main(weights, threads, out):
    """Quantize, write, and say what came of it."""
    with np.load(weights) as arrays:
        found = dict(tensors(dict(arrays), int(threads)))
    write_checkpoint(out, Checkpoint(None, found, {}, None, {}, {}))
    digests = {name: digest(tensor) for name, tensor in found.items()}
    digests["file"] = sha256(Path(out).read_bytes()).hexdigest()
    print(json.dumps({"numpy": np.__version__, "digests": digests}))


if __name__ == "__main__":
    main(*sys.argv[1:])
