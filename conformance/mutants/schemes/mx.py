"""Wrong MX blocks: the mistakes of stacks that all call their format MXFP4."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Scheme
from refquant.layout import Field, Layout, Minifloat, field
from refquant.schemes.small_floats import FLOAT4_E2M1, FLOAT8_E8M0

__all__ = ["MUTANTS"]

NAMES = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint8")


def true(name: str) -> Scheme:
    return refquant.scheme(f"mx/{name}[scale=floor]")


def by_rule(name: str, rule: str) -> Callable[[], Scheme]:
    """The encoder of another rule for the scale."""
    other = refquant.scheme(f"mx/{name}[scale={rule}]")
    return lambda: replace(true(name), encode=other.encode)


def zero_scaled(name: str) -> Callable[[], Scheme]:
    """MLX's rule with the scale 0 of everybody else for a block of zeros."""
    scheme = refquant.scheme(f"mx/{name}[scale=mlx_new]")
    encode = scheme.encode
    if encode is None:
        raise TypeError(name)

    def wrong(x: NDArray[np.float32]) -> Mapping[str, NDArray[np.integer]]:
        codes = dict(encode(x))
        codes["s"] = np.where((x == 0).all(axis=1)[:, None], 0, codes["s"])
        return codes

    return lambda: replace(scheme, encode=wrong)


def with_scale(name: str, bias: int) -> Callable[[], Scheme]:
    """Scales read with another bias."""
    layout = true(name).layout
    fields = {**layout.fields, "s": field("scales", replace(FLOAT8_E8M0, bias=bias), "0", over=32)}
    return lambda: replace(true(name), layout=Layout(layout.planes, fields, layout.value))


def truncated(name: str) -> Callable[[], Scheme]:
    """Elements cut towards zero: weights lose the bits below an element of half the steps."""
    encode = true(name).encode
    if encode is None:
        raise TypeError(name)
    mask = np.uint32(0xFFFFFFFF << (23 - 6) & 0xFFFFFFFF)
    return lambda: replace(
        true(name),
        encode=lambda x: encode((x.view(np.uint32) & mask).view(np.float32)),
    )


def swapped(name: str) -> Callable[[], Scheme]:
    """Codes of a byte, or of three, in the other order."""
    layout = true(name).layout
    element, plane = layout.fields["q"].element, layout.planes["codes"]
    places = [str(element.bits * k) for k in reversed(range(plane.block[0]))]
    fields = {**layout.fields, "q": field("codes", element, *places)}
    return lambda: replace(true(name), layout=Layout(layout.planes, fields, layout.value))


def mutants() -> Iterator[Mutant]:
    for name in NAMES:
        scheme, short = f"mx/{name}[scale=floor]", name.replace("_", "-")
        for rule in ("ceil", "even", "rceil", "mlx_old"):
            yield Mutant(
                f"{short}-{rule.replace('_', '-')}",
                scheme,
                f"scales by {rule}",
                by_rule(name, rule),
            )
        yield Mutant(f"{short}-bias", scheme, "scales with a bias of 128", with_scale(name, 128))
        yield Mutant(
            f"{short}-mlx-zero",
            f"mx/{name}[scale=mlx_new]",
            "a block of zeros gets scale 0 under mlx_new",
            zero_scaled(name),
        )
        if true(name).planes["codes"].block[0] > 1:
            yield Mutant(f"{short}-swapped", scheme, "codes high bits first", swapped(name))
    yield Mutant("mxint8-truncated", "mx/mxint8[scale=floor]", "truncated", truncated("mxint8"))


NVFP4 = "mx/nvfp4[convention=modelopt]"


def nvfp4_fields(**fields: Field) -> Callable[[], Scheme]:
    """NVFP4 with other fields."""

    def build() -> Scheme:
        layout = refquant.scheme(NVFP4).layout
        changed = Layout(layout.planes, {**layout.fields, **fields}, layout.value)
        return replace(refquant.scheme(NVFP4), layout=changed)

    return build


def without_tensor_scale() -> Scheme:
    layout = refquant.scheme(NVFP4).layout
    value = ("mul", ("mul", "s", "q"), ("add", 1.0, ("mul", "g", 0.0)))
    return replace(refquant.scheme(NVFP4), layout=replace(layout, value=value))


def by_torchao() -> Scheme:
    other = refquant.scheme("mx/nvfp4[convention=torchao]")
    return replace(refquant.scheme(NVFP4), encode=other.encode)


FNUZ = Minifloat(1, 4, 3, 8, "fnuz")

MUTANTS = (
    *mutants(),
    Mutant(
        "nvfp4-swapped",
        NVFP4,
        "first weight in the high half of a byte",
        nvfp4_fields(q=field("codes", FLOAT4_E2M1, "4", "0")),
    ),
    Mutant(
        "nvfp4-scale-fnuz",
        NVFP4,
        "scales read as E4M3FNUZ, half as large",
        nvfp4_fields(s=field("scales", FNUZ, "0", over=16)),
    ),
    Mutant("nvfp4-no-tensor-scale", NVFP4, "scale of the tensor left out", without_tensor_scale),
    Mutant("nvfp4-torchao", NVFP4, "torchao's operations and least scale", by_torchao),
)
