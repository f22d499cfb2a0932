"""Quantizing and dequantizing against gguf's NumPy code, one thread, results compared first.

Times are this thread's own, the system's work for it included. gguf profits as we do from an
allocator that keeps memory (refquant/driver.py asks glibc for that), since both run in one process.
"""

import time
from collections.abc import Iterator

import gguf
import numpy as np

import refquant
from bench.timing import Comparison, compare

__all__ = ["decode_rows", "encode_rows"]

SHAPE = (2048, 8192)
DECODED = ("Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K", "MXFP4")
ENCODED = ("Q8_0", "Q4_0", "Q4_1", "MXFP4")


def _scheme(kind: str) -> refquant.Scheme | None:
    try:
        return refquant.scheme(f"ggml/{kind.lower()}")
    except refquant.RefquantError:
        return None


def decode_rows(shape: tuple[int, int] = SHAPE) -> Iterator[Comparison]:
    """Dequantizing random blocks with ordinary scales, read in two fair ways.

    `reused`: both fill an array whose pages are there already; gguf, which has no such argument,
    decodes 16 rows at a time, as it does inside, and they are copied. `new`: both allocate their
    result, so that the time to get its pages is counted for both.
    """
    generator = np.random.default_rng(1)
    for kind in DECODED:
        scheme = _scheme(kind)
        if scheme is None:
            continue
        quant = gguf.GGMLQuantizationType[kind]
        raw = _finite_blocks(scheme, shape, generator).reshape(shape[0], -1)
        tensor = refquant.QuantizedTensor.from_planes(scheme, shape, {"blocks": raw})
        out, filled = np.empty(shape, np.float32), np.empty(shape, np.float32)
        _fill(raw, quant, filled)
        if tensor.dequantize(out).tobytes() != filled.tobytes():
            raise SystemExit(f"{kind}: decoded bits differ from gguf")
        readings = {
            "reused": (
                lambda t=tensor, o=out: t.dequantize(o, threads=1),
                lambda r=raw, q=quant, f=filled: _fill(r, q, f),
            ),
            "new": (
                lambda t=tensor: t.dequantize(threads=1),
                lambda r=raw, q=quant: gguf.quants.dequantize(r, q),
            ),
        }
        for reading, (ours, theirs) in readings.items():
            task = f"dequantize {scheme.name}, {reading}"
            yield compare(task, ours, "gguf 0.19", theirs, per=out.size, clock=time.thread_time)


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
    for kind in ENCODED:
        scheme = _scheme(kind)
        if scheme is None:
            continue
        quant = gguf.GGMLQuantizationType[kind]
        ours = refquant.quantize(x, scheme, threads=1).planes["blocks"]
        if ours.tobytes() != gguf.quants.quantize(x, quant).tobytes():
            raise SystemExit(f"{kind}: encoded bits differ from gguf")
        yield compare(
            f"quantize {scheme.name}",
            lambda s=scheme: refquant.quantize(x, s, threads=1),
            "gguf 0.19",
            lambda q=quant: gguf.quants.quantize(x, q),
            per=x.size,
            clock=time.thread_time,
        )
