"""The scalar encoder of each scheme: weights of one group to the codes of every field.

The oracles under `conformance/oracle` have the signatures that suit their formats; here they all
become one. A scheme without a scalar encoder gets no cases about encoding.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from conformance.generators.names import namespace
from conformance.oracle import (
    aeq,
    affine,
    bitnet,
    bnb,
    ct,
    diffulex,
    floats,
    ggml,
    gptq,
    hqq,
    mlx,
    mx,
    nvfp4,
    onnx,
    powers,
    quanto,
    small_floats,
    t2n,
    tflite,
    torchao,
    torchchat,
    tract,
)
from refquant.driver import Scheme

__all__ = ["Codes", "ScalarEncoder", "scalar_encoder"]

Codes = Mapping[str, Sequence[int]]
ScalarEncoder = Callable[[Sequence[float]], Codes]
Three = Callable[[Sequence[float], int, Mapping[str, Any]], tuple[int, int, list[int]]]


def scalar_encoder(scheme: Scheme) -> ScalarEncoder | None:
    """The scalar encoder of a scheme, or None."""
    make = MAKERS.get(namespace(scheme))
    if make is None or scheme.operators or not scheme.can_encode:
        return None
    return make(scheme, scheme.name.partition("/")[2].partition("[")[0], scheme.parameters)


def _fields(scheme: Scheme, function: Three, shift: int = 0) -> ScalarEncoder:
    """An oracle that gives scale, zero point and codes; `shift` is added to stored codes."""
    bits = getattr(scheme.layout.fields["q"].element, "bits", 8)

    def encode(x: Sequence[float]) -> Codes:
        scale, zero, codes = function(x, bits, scheme.parameters)
        lifted = zero + (shift if bits == 1 else 0)
        return {"s": [scale], "z": [lifted], "q": [code + shift for code in codes]}

    return encode


def _each(function: Callable[[float], int]) -> ScalarEncoder:
    """An oracle of single weights."""
    return lambda x: {"w": [function(v) for v in x]}


def _pair(function: Callable[[Sequence[float]], tuple[int, list[int]]]) -> ScalarEncoder:
    """An oracle that gives a scale and codes."""

    def encode(x: Sequence[float]) -> Codes:
        scale, codes = function(x)
        return {"s": [scale], "q": codes}

    return encode


def _float(_: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    if base in floats.FORMS:
        return _each(partial(floats.encode, name=base))
    if base == "f8_e8m0":
        rules = knobs["rounding"], knobs["outside"], knobs["overflow"]
        return _each(lambda v: powers.encode(v, *rules))
    return _each(
        partial(small_floats.encode, name=base, overflow=knobs.get("overflow", "saturate"))
    )


def _aeq(scheme: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder | None:
    if base == "fp16":
        return _each(aeq.fp16)
    return _fields(scheme, aeq.integers) if knobs["algorithm"] == "minmax" else None


def _diffulex(scheme: Scheme, base: str, _: Mapping[str, Any]) -> ScalarEncoder:
    return _each(diffulex.fp16) if base == "fp16" else _fields(scheme, diffulex.int8)


def _ggml(_: Scheme, base: str, _knobs: Mapping[str, Any]) -> ScalarEncoder | None:
    return partial(ggml.encode, base) if base in ggml.ggml_closed.ENCODERS else None


def _t2n(_: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    if base == "qint8":
        return t2n.qint8
    if base == "quint8":
        return partial(t2n.quint8, zero=knobs["zero"])
    return partial(t2n.q40, mode=knobs["mode"], percentile=knobs["percentile"])


def _onnx(scheme: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    bits = scheme.layout.fields["q"].element.bits  # type: ignore[union-attr]
    if base.startswith("matmul"):
        rule = {key: knobs[key] for key in ("symmetry", "quantizer")}
        return partial(onnx.matmul, bits=bits, **rule)
    kind = "uint" if "uint" in base else "int"
    return partial(onnx.linear, bits=bits, kind=kind, symmetry=knobs.get("symmetry", "asym"))


def _mlx(_: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    if base != "affine":
        return _pair(lambda x: mlx.block(x, base, knobs.get("scale", "")))

    def encode(x: Sequence[float]) -> Codes:
        scale, bias, codes = mlx.affine(x, int(knobs["bits"]), knobs["dtype"])
        return {"s": [scale], "b": [bias], "q": codes}

    return encode


def _int(scheme: Scheme, _: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    def encode(x: Sequence[float]) -> Codes:
        padding = [0.0] * (max(scheme.group[0], len(x)) - len(x))
        scale, zero, codes = affine.encode([*x, *padding], knobs)
        return {"s": [scale], "z": [zero], "q": codes[: len(x)]}

    return encode


def _torchao(scheme: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder | None:
    if base == "int4_tinygemm":
        return _fields(scheme, torchao.tinygemm)
    if base == "afpwx":
        return _fields(scheme, torchao.afpwx) if knobs["algorithm"] == "min_max" else None
    if base in ("hqq", "hqq_scale_only"):
        return None
    return _fields(scheme, torchao.integers, 1 if base == "int1" else 0)


def _torchchat(scheme: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    shift = 8 if base == "embedding" and knobs["bits"] == "4" else 0
    return _fields(scheme, torchchat.weight_only, shift)


def _mx(_: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder | None:
    if base == "nvfp4":
        return partial(_nvfp4, convention=knobs["convention"])
    return _pair(lambda x: mx.encode(x, base, knobs["scale"], knobs["least"]))


def _nvfp4(x: Sequence[float], convention: str) -> Codes:
    whole, scales, codes = nvfp4.encode(x, convention)
    from conformance.oracle.binary import bits32

    return {"g": [bits32(whole)], "s": scales, "q": codes}


def _gptq(scheme: Scheme, _: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    bits = scheme.layout.fields["q"].element.bits  # type: ignore[union-attr]
    return partial(gptq.gptq, bits=bits, v=knobs["v"], symmetry=knobs["symmetry"])


def _ct(scheme: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    dtype = knobs["dtype"]
    if base in ("fp8", "nvfp4", "mxfp4"):
        return partial({"fp8": ct.floats, "nvfp4": ct.nvfp4, "mxfp4": ct.mxfp4}[base], dtype=dtype)
    bits = scheme.layout.fields["q"].element.bits  # type: ignore[union-attr]
    offset = 1 << (bits - 1) if base.startswith("pack") else 0
    return partial(ct.integers, bits=bits, knobs=knobs, offset=offset)


def _hqq(_: Scheme, _base: str, knobs: Mapping[str, Any]) -> ScalarEncoder | None:
    if knobs["solver"] != "none":
        return None

    def encode(x: Sequence[float]) -> Codes:
        scale, zero, codes = hqq.encode(x, int(knobs["bits"]), knobs["zero"], knobs["parameters"])
        return {"s": [scale], "z": [zero], "q": codes}

    return encode


def _tflite(scheme: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    return partial(
        tflite.integers,
        kind=base,
        asym="zero_points" in scheme.planes,
        half=knobs.get("granularity") == "block",
        kernel=str(knobs.get("kernel", "reference")),
    )


def _quanto(scheme: Scheme, base: str, knobs: Mapping[str, Any]) -> ScalarEncoder:
    if "shift" in knobs:
        bits = scheme.layout.fields["q"].element.bits  # type: ignore[union-attr]
        return partial(quanto.shifted, bits=bits, shift=knobs["shift"], dtype=knobs["dtype"])
    return partial(quanto.symmetric, kind=base, dtype=knobs["dtype"])


MAKERS: Mapping[str, Callable[[Scheme, str, Mapping[str, Any]], ScalarEncoder | None]] = {
    "float": _float,
    "aeq": _aeq,
    "diffulex": _diffulex,
    "ggml": _ggml,
    "t2n": _t2n,
    "tract": lambda _s, base, _k: {"q40": tract.q40, "q8_1": tract.q8_1, "q2_0t": tract.q2_0t}[
        base
    ],
    "onnx": _onnx,
    "mlx": _mlx,
    "int": _int,
    "torchao": _torchao,
    "torchchat": _torchchat,
    "mx": _mx,
    "gptq": _gptq,
    "awq": lambda _s, _b, _k: gptq.awq,
    "ct": _ct,
    "bitnet": lambda _s, _b, _k: bitnet.i2_s,
    "bnb": lambda _s, base, _k: _pair(bnb.row if base == "int8" else lambda x: bnb.encode(x, base)),
    "hqq": _hqq,
    "tflite": _tflite,
    "quanto": _quanto,
}
