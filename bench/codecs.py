"""Quantizing and dequantizing against gguf's NumPy code, one thread, results compared first."""

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
    """Dequantizing random blocks with ordinary scales into an array that is reused."""
    generator = np.random.default_rng(1)
    for kind in DECODED:
        scheme = _scheme(kind)
        if scheme is None:
            continue
        quant = gguf.GGMLQuantizationType[kind]
        raw = _finite_blocks(scheme, shape, generator)
        tensor = refquant.QuantizedTensor.from_planes(scheme, shape, {"blocks": raw})
        out = np.empty(shape, np.float32)
        theirs = gguf.quants.dequantize(raw, quant).reshape(shape)
        if tensor.dequantize(out).tobytes() != theirs.tobytes():
            raise SystemExit(f"{kind}: decoded bits differ from gguf")
        yield compare(
            f"dequantize {scheme.name}",
            lambda t=tensor, o=out: t.dequantize(o, threads=1),
            "gguf 0.19",
            lambda r=raw, q=quant: gguf.quants.dequantize(r, q),
            per=out.size,
        )


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
        yield compare(
            f"quantize {scheme.name}",
            lambda s=scheme: refquant.quantize(x, s, threads=1),
            "gguf 0.19",
            lambda q=quant: gguf.quants.quantize(x, q),
            per=x.size,
        )
