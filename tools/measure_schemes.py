"""Bits per weight, weight error and perplexity of many schemes on one model, as a Markdown table.

    python tools/measure_schemes.py demo
    python tools/measure_schemes.py smollm2-135m --windows 4

Each scheme is applied by `refquant quantize` and judged by `refquant eval`, the way a user would.
The weight error is the root mean square of (quantized - original) over that of the original, over
all weights of the matrices that took the scheme.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refquant.formats import open_checkpoint
from refquant.library import resolve

SCHEMES = (
    "float/f16",
    "float/bf16",
    "diffulex/int8",
    "aeq/int8",
    "torchao/int8",
    "torchchat/int8[group=32]",
    "ggml/q8_0",
    "torchao/int6[group=32]",
    "ggml/q6_k",
    "ggml/q5_1",
    "ggml/q5_0",
    "ggml/q5_k",
    "torchao/int4[asym,group=32]",
    "torchao/int4_tinygemm[group=32]",
    "ggml/q4_1",
    "ggml/q4_k",
    "torchao/8da4w[group=32]",
    "torchchat/embedding[bits=4,group=32]",
    "aeq/int4[block=32]",
    "aeq/int4[block=128]",
    "aeq/int4",
    "ggml/q4_0",
    "ggml/iq4_nl",
    "ggml/iq4_xs",
    "ggml/mxfp4",
    "ggml/nvfp4",
    "torchao/int3[asym,group=32]",
    "ggml/q3_k",
    "ggml/q2_k",
    "torchao/int2[asym,group=32]",
    "aeq/int2",
)


def refquant(*arguments: str) -> dict[str, object]:
    """The JSON result of a command."""
    command = [sys.executable, "-m", "refquant", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def weight_error(original: Path, quantized: Path, scheme: str) -> tuple[float, float, int]:
    """Relative error and bits per weight of the matrices under `scheme`, and their number."""
    before, after = open_checkpoint(original), open_checkpoint(quantized)
    difference = total = bits = weights = 0.0
    count = 0
    for name, tensor in after.tensors.items():
        if tensor.scheme.name != scheme:
            continue
        wide = before.tensors[name].dequantize().astype(np.float64)
        difference += float(np.square(tensor.dequantize() - wide).sum())
        total += float(np.square(wide).sum())
        bits += 8 * tensor.nbytes
        weights += wide.size
        count += 1
    if not count:
        return math.nan, math.nan, 0
    return math.sqrt(difference / total), bits / weights, count


def row(model: str, scheme: str, evaluation: Sequence[str], folder: Path) -> str:
    """One line of the table."""
    from refquant.schemes import scheme as find

    output = folder / "model.rq"
    refquant("quantize", model, "-o", str(output), "--scheme", scheme, "--quiet")
    name = find(scheme).name
    error, bits, count = weight_error(resolve(model), output, name)
    found = refquant("eval", str(output), *evaluation)
    return (
        f"| `{name}` | {bits:.3f} | {100 * error:.2f} % | {found['perplexity']:.2f} "
        f"± {found['perplexity_error']:.2f} | {count} |"
    )


def main() -> None:
    """Print the table, the unquantized model first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--windows", type=int, default=None)
    parser.add_argument("--schemes", nargs="*", default=SCHEMES)
    options = parser.parse_args()
    evaluation = [] if options.windows is None else ["--windows", str(options.windows)]
    whole = refquant("eval", options.model, *evaluation)
    print("| scheme | bits per weight | weight error | perplexity | matrices |")
    print("| --- | --- | --- | --- | --- |")
    print(
        f"| as it is | | | {whole['perplexity']:.2f} ± {whole['perplexity_error']:.2f} | |",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for scheme in options.schemes:
            print(row(options.model, scheme, evaluation, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
