"""Quantizing and dequantizing against the code that people use for it now, one thread.

Results are compared first, to the last bit. Each row says how both were called:

- no remark: as their users call them, `gguf.quants.dequantize(data, type)` beside
  `tensor.dequantize()`, each in a process of its own, each allocating its result. This is the ratio
  that the project's targets are about.
- `out=`: ours writes to an array whose pages are there already, as users with many tensors would.
  gguf has no such argument and is called as before.
- `shared`: both in one process and both into pages that are there already; gguf, 16 rows at a time
  as it works inside, is given what neither its interface nor its allocator gives its users. What
  is left is the arithmetic alone.

Times are the calling thread's own, the system's work for it included.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np

import refquant
from bench.alone import ROOT, Alone
from bench.timing import Comparison, compare, compare_taken

__all__ = ["decode_rows", "encode_rows", "fit_rows", "missing_peers"]

SHAPE = (2048, 8192)
DECODED = ("Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K", "MXFP4")
ENCODED = ("Q8_0", "Q4_0", "Q4_1", "MXFP4")
FLOAT8 = (("float/f8_e4m3fn", "float8_e4m3fn", 0x7F), ("float/f8_e5m2", "float8_e5m2", 0x7C))
"""Our name, that of ml_dtypes, and the first code that is not finite."""

FITTED = ("q2_K", "q3_K", "q4_K", "q5_K", "q6_K")
GGML = Path(os.environ.get("REFQUANT_ORACLES", ROOT / ".oracles")) / "ggml" / "bin" / "python"


def decode_rows(shape: tuple[int, int] = SHAPE) -> Iterator[Comparison]:
    """Dequantizing random blocks with ordinary scales."""
    generator = np.random.default_rng(1)
    with TemporaryDirectory() as folder:
        for kind in DECODED:
            scheme = refquant.scheme(f"ggml/{kind.lower()}")
            raw = _finite_blocks(scheme, shape, generator)
            peer = "gguf 0.19", "gguf dequantize", kind
            yield from _apart(scheme.name, raw, shape, peer, Path(folder) / kind)
            yield _shared(kind, scheme, raw, shape)
        for name, dtype, top in FLOAT8:
            codes = generator.integers(0, 256, shape, dtype=np.uint8)
            codes[(codes & 0x7F) >= top] = 0
            peer = "ml_dtypes", "ml_dtypes astype", dtype
            yield from _apart(name, codes, shape, peer, Path(folder) / dtype)


def _apart(
    name: str, raw: np.ndarray, shape: tuple[int, int], peer: tuple[str, str, str], path: Path
) -> Iterator[Comparison]:
    """Two readings with each library in a process of its own."""
    raw.tofile(path)
    label, task, kind = peer
    with Alone(task, path, kind, shape[0]) as theirs:
        for reading, ours_task in (
            ("", "refquant dequantize"),
            (", out=", "refquant dequantize out"),
        ):
            with Alone(ours_task, path, name, *shape) as ours:
                if ours.digest != theirs.digest:
                    raise SystemExit(f"{name}: decoded bits differ from {label}")
                task = f"dequantize {name}{reading}"
                yield compare_taken(task, ours, label, theirs, per=shape[0] * shape[1])


def _shared(
    kind: str, scheme: refquant.Scheme, raw: np.ndarray, shape: tuple[int, int]
) -> Comparison:
    """The reading of one process that fills arrays whose pages are there."""
    quant = gguf.GGMLQuantizationType[kind]
    tensor = refquant.QuantizedTensor.from_planes(scheme, shape, {"blocks": raw})
    rows, out, filled = (
        raw.reshape(shape[0], -1),
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
    )
    return compare(
        f"dequantize {scheme.name}, shared",
        lambda: tensor.dequantize(out, threads=1),
        "gguf 0.19",
        lambda: _fill(rows, quant, filled),
        per=out.size,
        clock=time.thread_time,
    )


def _fill(raw: np.ndarray, quant: gguf.GGMLQuantizationType, out: np.ndarray) -> None:
    for start in range(0, len(raw), 16):
        out[start : start + 16] = gguf.quants.dequantize(raw[start : start + 16], quant)


def _finite_blocks(
    scheme: refquant.Scheme, shape: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """Random bytes whose float16 fields are ordinary numbers, as in a real file."""
    grid, size = scheme.layout.grid("blocks", shape), scheme.planes["blocks"].bytes
    raw = generator.integers(0, 256, (*grid, size), dtype=np.uint8)
    for field in scheme.layout.fields.values():
        if getattr(field.element, "exponent", 0) == 5:
            (run,) = field.pieces[0]
            raw[..., run.base // 8 + 1] = 0x2C
        elif getattr(field.element, "specials", "") == "e8m0":
            (run,) = field.pieces[0]
            raw[..., run.base // 8] = generator.integers(110, 130, grid, dtype=np.uint8)
    return raw


def encode_rows(shape: tuple[int, int] = (1536, 4096)) -> Iterator[Comparison]:
    """Quantizing normal weights."""
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        x.tofile(path)
        for kind in ENCODED:
            name, quant = f"ggml/{kind.lower()}", gguf.GGMLQuantizationType[kind]
            ours = Alone("refquant quantize", path, name, shape[0])
            theirs = Alone("gguf quantize", path, kind, shape[0])
            with ours, theirs:
                if ours.digest != theirs.digest:
                    raise SystemExit(f"{kind}: encoded bits differ from gguf")
                yield compare_taken(f"quantize {name}", ours, "gguf 0.19", theirs, per=x.size)
            yield compare(
                f"quantize {name}, shared",
                lambda s=name: refquant.quantize(x, s, threads=1),
                "gguf 0.19",
                lambda q=quant: gguf.quants.quantize(x, q),
                per=x.size,
                clock=time.thread_time,
            )


def fit_rows(shape: tuple[int, int] = (256, 4096)) -> Iterator[Comparison]:
    """Quantizing to K-quants, whose scales are searched for, beside the C code of ggml."""
    if not GGML.exists():
        return
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        x.tofile(path)
        for symbol in FITTED:
            name = f"ggml/{symbol.lower()}"
            ours = Alone("refquant quantize", path, name, shape[0])
            theirs = Alone("ggml quantize", path, symbol, shape[0], python=GGML)
            with ours, theirs:
                if ours.digest != theirs.digest:
                    raise SystemExit(f"{name}: encoded bits differ from ggml's C")
                yield compare_taken(
                    f"quantize {name}", ours, "ggml C", theirs, per=x.size, rounds=5
                )


def missing_peers() -> dict[str, str]:
    """What `fit_rows` could not measure, and what would help."""
    return {} if GGML.exists() else {"ggml C": "not built here; `make oracles` builds it"}
