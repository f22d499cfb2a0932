"""Quantized tensors: planes of bytes with the scheme that gives them meaning."""

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.driver import Scheme, decode_planes, encode_planes
from refquant.errors import SchemeError, UnsupportedError
from refquant.layout import Layout
from refquant.layout.layout import aligned
from refquant.layout.operators import stored_shapes
from refquant.layout.tiles import tile_planes
from refquant.schemes import scheme as find_scheme
from refquant.schemes.storage import AnyLayout, stored_layout

__all__ = ["QuantizedTensor", "dequantize", "quantize"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]
Buffer = bytes | bytearray | memoryview | Bytes


class QuantizedTensor:
    """An immutable tensor of `shape` whose weights are stored under `scheme`.

    `planes` maps each plane's name to bytes of shape grid + (record bytes,); groups run along
    `axis`. Float tensors are quantized tensors too, under the schemes `float/*`. A tensor whose
    scheme has operators has planes of other shapes; `expanded` is what its layout speaks of.
    """

    __slots__ = ("_layout", "axis", "planes", "scheme", "shape")

    scheme: Scheme
    shape: tuple[int, ...]
    axis: int
    _layout: Layout
    planes: Mapping[str, Bytes]

    def __init__(
        self, scheme: Scheme, shape: tuple[int, ...], planes: Mapping[str, Bytes], axis: int = -1
    ) -> None:
        size = tuple(int(n) for n in shape)
        if not size or min(size) < 1 or not -len(size) <= axis < len(size):
            raise SchemeError(f"no tensor has shape {list(size)}, axis {axis}", scheme=scheme.name)
        if scheme.operators and axis % len(size) != len(size) - 1:
            raise SchemeError("groups run along the last axis only", scheme=scheme.name)
        layout = scheme.layout.along(axis, len(size))
        wanted = stored_shapes(layout, scheme.operators, size)
        checked = {n: _plane(n, wanted[n], planes, scheme.name) for n in wanted}
        if unknown := set(planes) - set(checked):
            raise SchemeError(f"no plane is called {min(unknown)!r}", scheme=scheme.name)
        set_once = super().__setattr__
        set_once("scheme", scheme)
        set_once("shape", size)
        set_once("axis", axis % len(size))
        set_once("_layout", layout)
        set_once("planes", MappingProxyType(checked))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"quantized tensors are immutable; {name!r} cannot be set")

    @classmethod
    def from_planes(
        cls,
        scheme: Scheme | str,
        shape: tuple[int, ...],
        planes: Mapping[str, Buffer],
        axis: int = -1,
    ) -> "QuantizedTensor":
        """The tensor whose planes are the given bytes, which are not copied.

        Raises `SchemeError` where a plane is missing, unknown, or of another size than `shape`
        asks for.
        """
        found = find_scheme(scheme) if isinstance(scheme, str) else scheme
        return cls(found, shape, {name: _as_bytes(raw) for name, raw in planes.items()}, axis)

    @property
    def layout(self) -> Layout:
        """The scheme's layout turned to `axis`: what decodes `planes`.

        Raises `UnsupportedError` where operators stand between the planes and the layout, so that
        nothing reads or writes such planes by the layout alone.
        """
        if self.scheme.operators:
            steps = ", then ".join(operator.title for operator in self.scheme.operators)
            raise UnsupportedError(
                f"no layout alone describes the planes of {self.scheme.name} ({steps}); "
                "take `expanded`, or quantize what it decodes to"
            )
        return self._layout

    @property
    def stored_layout(self) -> AnyLayout:
        """All that a file has to say to decode `planes`: the layout, and operators if any."""
        return stored_layout(self._layout, self.scheme.operators)

    @property
    def expanded(self) -> "QuantizedTensor":
        """The tensor that the layout speaks of: this one where no operators are in between.

        Its weights are those of this tensor in the operators' arrangement, its planes a copy.
        """
        if not self.scheme.operators:
            return self
        layout, planes, inner = self._layout, dict(self.planes), self.shape
        for operator in self.scheme.operators:
            layout, planes = operator.expand(layout, planes, inner)
            inner = operator.inner_shape(inner)
        plain = Scheme(f"{self.scheme.name} expanded", self.scheme.title, layout, None)
        return QuantizedTensor(plain, inner, planes)

    def arranged(self, values: F32) -> F32:  # f32[*shape] -> f32[*expanded.shape]
        """Values of this tensor's shape where `expanded` has them, 0 where it has no weight."""
        shape = self.shape
        for operator in self.scheme.operators:
            values, shape = operator.inner_values(values, shape), operator.inner_shape(shape)
        return values

    @property
    def nbytes(self) -> int:
        """Bytes of all planes."""
        return sum(plane.nbytes for plane in self.planes.values())

    @property
    def bits_per_weight(self) -> Fraction:
        """All stored bits over all weights."""
        return Fraction(8 * self.nbytes, prod(self.shape))

    def dequantize(self, out: F32 | None = None, threads: int | None = None) -> F32:
        """The weights in binary32: `f32[*shape]`, written to `out` where one is given."""
        if out is not None and (out.shape != self.shape or out.dtype != np.float32):
            raise SchemeError(
                f"`out` is {out.dtype}{list(out.shape)}, expected float32{list(self.shape)}",
                scheme=self.scheme.name,
            )
        if self.scheme.operators:
            return self._values(out, threads)
        return decode_planes(self._layout, self.planes, self.shape, out, threads)

    def _values(self, out: F32 | None, threads: int | None) -> F32:
        """The weights where operators stand between the planes and the layout."""
        shapes = [self.shape]
        for operator in self.scheme.operators:
            shapes.append(operator.inner_shape(shapes[-1]))
        values = self.expanded.dequantize(threads=threads)
        for operator, shape in zip(reversed(self.scheme.operators), shapes[-2::-1], strict=True):
            values = operator.values(values, shape)
        if out is None:
            return values
        out[...] = values
        return out

    def rows(self, start: int, stop: int) -> "QuantizedTensor":
        """Rows `start` to `stop` of the first axis as a tensor that shares these bytes."""
        if not 0 <= start < stop <= self.shape[0]:
            raise SchemeError(
                f"no rows {start}..{stop} in {self.shape[0]}", scheme=self.scheme.name
            )
        tile = tile_planes(self.layout, self.planes, self.shape, start, stop)
        return QuantizedTensor(self.scheme, (stop - start, *self.shape[1:]), tile, self.axis)

    def take(self, indices: NDArray[np.integer]) -> F32:  # int[n] -> f32[n, *shape[1:]]
        """The weights of some rows of the first axis, decoding no others."""
        if len(indices) == 0:
            return np.empty((0, *self.shape[1:]), np.float32)
        if self.scheme.operators:
            return np.asarray(self.dequantize()[indices])
        picked = {}
        for name, plane in self.layout.planes.items():
            block = aligned(plane.block, self.shape)[0]
            if plane.order is not None or (block > 1 and plane.block[:1] != (0,)):
                return np.asarray(self.dequantize()[indices])
            whole = block == self.shape[0] and block > 1
            picked[name] = self.planes[name] if whole else self.planes[name][indices]
        return decode_planes(self.layout, picked, (len(indices), *self.shape[1:]), threads=1)

    def __repr__(self) -> str:
        return (
            f"QuantizedTensor({self.scheme.name!r}, shape={self.shape}, {self.nbytes:,} bytes, "
            f"{float(self.bits_per_weight):.4g} bits per weight)"
        )

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415 - for notebooks alone

        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{' × '.join(map(str, plane.shape[:-1]))}</td>"
            f"<td>{plane.shape[-1]}</td><td>{plane.nbytes:,}</td></tr>"
            for name, plane in self.planes.items()
        )
        return (
            f"<b>{escape(self.scheme.name)}</b> {' × '.join(map(str, self.shape))}: "
            f"{self.nbytes:,} bytes, {float(self.bits_per_weight):.4g} bits per weight"
            "<table><tr><th>plane</th><th>records</th><th>bytes each</th><th>bytes</th></tr>"
            f"{rows}</table>"
        )


def _as_bytes(raw: Buffer) -> Bytes:
    if isinstance(raw, np.ndarray):
        if raw.dtype != np.uint8:
            raise SchemeError(f"plane bytes are {raw.dtype}, expected uint8")
        return raw
    return np.frombuffer(raw, np.uint8)


def _plane(name: str, stored: tuple[int, ...], planes: Mapping[str, Bytes], scheme: str) -> Bytes:
    if name not in planes:
        raise SchemeError(f"plane {name!r} is missing", scheme=scheme)
    raw, size = planes[name], stored[-1]
    if raw.size != prod(stored):
        raise SchemeError(
            f"plane {name!r} has {raw.size} bytes, expected {prod(stored) // size} records of "
            f"{size}",
            scheme=scheme,
        )
    view = raw.reshape(stored).view()
    view.flags.writeable = False
    return view


def quantize(
    x: ArrayLike,
    name: str | Scheme,
    axis: int = -1,
    threads: int | None = None,
    importance: ArrayLike | None = None,
) -> QuantizedTensor:  # f32[*shape] -> tensor
    """`x` quantized under the scheme called `name`, groups running along `axis`.

    `x` is read as binary32; binary16 and binary64 arrays are converted (binary64 by rounding).
    `importance` says how much an error counts in each column, one number for each weight along
    `axis` (llama.cpp's importance matrix); schemes without an encoder for it refuse it.
    Raises `UnknownSchemeError` for a name in no table and `SchemeError` where `x` does not fit.
    """
    found = find_scheme(name) if isinstance(name, str) else name
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise SchemeError(f"weights are {array.dtype}, expected real numbers", scheme=found.name)
    with np.errstate(over="ignore"):
        weights = array.astype(np.float32, copy=False)
        columns = None if importance is None else np.asarray(importance, np.float32)
    planes = encode_planes(found, weights, axis, threads, columns)
    return QuantizedTensor(found, weights.shape, planes, axis)


def dequantize(tensor: QuantizedTensor, threads: int | None = None) -> F32:
    """The weights of `tensor` in binary32."""
    return tensor.dequantize(threads=threads)
