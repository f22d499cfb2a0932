"""Packs about tensors whose planes no layout alone describes: an index, parts of rows, flat blocks.

The second oracle is `conformance/oracle/stored.py`, which knows no layout at all.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.generators.agreement import agree
from conformance.generators.names import feature, slug
from conformance.generators.writer import NAN_FREE, PackWriter, Values
from conformance.oracle.stored import BlocksAcrossRows, PartsOfRows, WordsOfInputs
from refquant.driver import Scheme
from refquant.errors import ConformanceError
from refquant.tensor import QuantizedTensor
from refquant.testing import SplitMix64
from refquant.testing.inputs import KINDS

__all__ = ["SCHEMES", "decoded", "decoded_bytes", "encoded", "mixed", "scalar_tensor"]

F32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
ScalarTensor = WordsOfInputs | PartsOfRows | BlocksAcrossRows
Shape = tuple[int, int]

SCHEMES: Sequence[str] = (
    *(
        f"gptq/int{bits}[v={v},{symmetry},group=32,order=act{rows}]"
        for bits, v, symmetry, rows in (
            (2, 2, "asym", ""),
            (3, 1, "asym", ",words=rows"),
            (4, 1, "asym", ""),
            (4, 2, "sym", ""),
            (8, 2, "sym", ""),
        )
    ),
    "gptq/int3[v=1,asym,group=32,words=rows]",
    *(f"hqq/affine[bits={bits},group=64,packing=package]" for bits in (1, 2, 3, 4, 8)),
    "hqq/affine[bits=4,group=64,packing=package,axis=0]",
    "bnb/nf4[block=64,absmax=nested]",
    "bnb/fp4[block=32,absmax=nested]",
    "bnb/fp4[block=64,blocks=flat]",
)
"""Settings that are stored in checkpoints; those with known mistakes are among them."""


def scalar_tensor(scheme: Scheme) -> ScalarTensor:
    """What reads and writes a scheme's planes in plain Python."""
    space, _, rest = scheme.name.partition("/")
    base, knobs = rest.partition("[")[0], scheme.parameters
    if space == "gptq":
        bits, group = int(base.removeprefix("int")), int(knobs["group"])
        index = "g_idx" in _stored(scheme)
        return WordsOfInputs(bits, str(knobs["v"]), str(knobs["symmetry"]), group, index=index)
    if space == "hqq":
        return PartsOfRows(int(knobs["bits"]), int(knobs["group"]), int(knobs["axis"]))
    if space == "bnb":
        nested = knobs.get("absmax") == "nested"
        return BlocksAcrossRows(base, int(knobs["block"]), nested=nested)
    raise ConformanceError(f"no scalar oracle reads planes of {scheme.name}")


def _stored(scheme: Scheme) -> Mapping[str, Bytes]:
    return refquant.quantize(np.zeros(_shape(scheme), np.float32), scheme).planes


def _shape(scheme: Scheme, times: int = 1) -> Shape:
    """Two groups of inputs, rows for two steps of parts, or blocks that cross rows."""
    if scheme.name.startswith("gptq/"):
        return (32, 64 * times)
    if scheme.name.startswith("bnb/"):
        return (4 * times, 112)
    parts = {1: 8, 2: 4, 3: 10, 4: 2, 8: 1}[int(scheme.parameters["bits"])]
    if int(scheme.parameters["axis"]) == 0:
        return (64, 5 * times)
    return (parts + 3 if parts == 10 else 2 * parts * times, 64)


def _importance(scheme: Scheme, shape: Shape, seed: int) -> F32 | None:
    """A weight for each input, some of them equal, where the scheme makes use of it."""
    if not any(operator.weighted for operator in scheme.operators):
        return None
    return (SplitMix64(seed).below(shape[1] // 2, shape[1]) / np.float32(4)).astype(np.float32)


def decoded(writer: PackWriter, scheme: Scheme) -> None:
    """Planes as an encoder leaves them, inputs out of order where they may be."""
    shape = _shape(scheme)
    x = SplitMix64(111).bell(*shape)
    tensor = refquant.quantize(x, scheme, importance=_importance(scheme, shape, 112))
    _add_decoded(writer, tensor, "every-code", "planes as an encoder leaves them")


def decoded_bytes(writer: PackWriter, scheme: Scheme) -> None:
    """Planes of any bytes; an index names any groups, in no order."""
    shape, random = _shape(scheme), SplitMix64(113)
    planes = {}
    for name, plane in _stored(scheme).items():
        raw = np.frombuffer(random.data(plane.size), np.uint8).reshape(plane.shape)
        planes[name] = raw.copy()
    if "g_idx" in planes:
        index = random.below(shape[1] // 32, shape[1]).astype("<i4")
        planes["g_idx"] = index.view(np.uint8).reshape(-1, 4)
    tensor = QuantizedTensor(scheme, shape, planes)
    _add_decoded(writer, tensor, "any-bytes", "random bytes, scales of every kind among them")
    if scheme.name == "bnb/fp4[block=32,absmax=nested]":
        x = SplitMix64(114).bell(258, 32)
        words = "absmax in two runs, a whole one and a short one"
        _add_decoded(writer, refquant.quantize(x, scheme), "runs", words)


def _add_decoded(writer: PackWriter, tensor: QuantizedTensor, kind: str, why: str) -> None:
    scheme, values = tensor.scheme, tensor.dequantize()
    name = f"{slug(scheme)}.decode.{kind}"
    raw = {key: plane.tobytes() for key, plane in tensor.planes.items()}
    expected = scalar_tensor(scheme).values(raw, (tensor.shape[0], tensor.shape[1]))
    agree(values.ravel().tolist(), expected, name)
    writer.add(
        name,
        "decode",
        {"scheme": scheme.name, "shape": list(tensor.shape), "axis": -1},
        {key: np.asarray(plane) for key, plane in tensor.planes.items()},
        {"values": values},
        features=[feature("decode", scheme)],
        cmp={"values": NAN_FREE},
        flags=("EveryCode",) if kind == "every-code" else ("AnyBytes",),
        why=why,
    )


def encoded(writer: PackWriter, scheme: Scheme) -> None:
    """Usual weights, and an outlier."""
    for k, kind in enumerate(_some(scheme, "bell", "outlier")):
        _add_encoded(writer, scheme, kind, 120 + k, _shape(scheme), kind)
    if "nested_absmax" in _stored(scheme):
        _add_encoded(writer, scheme, "zeros", 125, _shape(scheme), "zeros")
        _add_encoded(writer, scheme, "heavy tails", 126, (24, 112), "heavy-tails")


def mixed(writer: PackWriter, scheme: Scheme) -> None:
    """Other kinds and seeds, and blocks enough for runs of absmax."""
    for k, kind in enumerate(_some(scheme, "heavy tails", "opposite extremes")):
        label = f"mixed-{k}" if k else "mixed"
        _add_encoded(writer, scheme, kind, 130 + k, _shape(scheme), label)
    if "nested_absmax" in _stored(scheme):
        _add_encoded(writer, scheme, "subnormal", 135, _shape(scheme), "subnormal")
    if scheme.name.startswith("bnb/nf4"):
        _add_encoded(writer, scheme, "heavy tails", 140, (258, 64), "runs")


def _some(scheme: Scheme, *kinds: str) -> tuple[str, ...]:
    """All kinds, or the first alone where tensors are large."""
    return kinds[:1] if scheme.name.startswith("gptq/") else kinds


def _add_encoded(
    writer: PackWriter, scheme: Scheme, kind: str, seed: int, shape: Shape, label: str
) -> None:
    x = np.ascontiguousarray(KINDS[kind](SplitMix64(seed), scheme, shape), np.float32)
    importance = _importance(scheme, shape, seed + 50)
    planes = refquant.quantize(x, scheme, importance=importance).planes
    name = f"{slug(scheme)}.encode.{label}"
    weights = [] if importance is None else importance.tolist()
    expected = scalar_tensor(scheme).planes(x.ravel().tolist(), shape, weights)
    for key, plane in planes.items():
        agree(plane.tobytes(), expected[key], f"{name}, plane {key}")
    inputs: dict[str, Values] = {"x": x}
    if importance is not None:
        inputs["importance"] = importance
    writer.add(
        name,
        "encode",
        {"scheme": scheme.name, "axis": -1},
        inputs,
        {key: np.asarray(plane) for key, plane in planes.items()},
        features=[feature("encode", scheme)],
        why=f"{kind}, inputs grouped by importance" if weights else kind,
    )
