"""Wrong GPTQ words: the zero point's version, its packing, and the order of codes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_fields, with_value
from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Signed, Unsigned, field
from refquant.layout.operators import Operator
from refquant.schemes.floats import FLOAT16
from refquant.schemes.level2 import Gathered, WordRows

__all__ = ["MUTANTS"]

NAMES = {bits: f"gptq/int{bits}[v=1,asym,group=32]" for bits in (2, 3, 4, 8)}


def scales_of_rows(name: str) -> Callable[[], Scheme]:
    """Scales read as `[out, groups]`."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        planes = {**true.planes, "scales": Plane((32,), 2)}
        fields = {**true.layout.fields, "s": field("scales", FLOAT16, "0", over=32)}
        return replace(true, layout=Layout(planes, fields, true.layout.value))

    return build


def reversed_places(bits: int) -> list[str]:
    """High bits first within a word."""
    return [str(32 - bits * (k + 1)) for k in range(32 // bits)]


TRUE_ZERO = ("mul", "s", ("sub", "q", "z"))
PADDED = [str(32 * (k // 10) + 3 * (k % 10)) for k in range(30)] + [((2, "30"),), ((2, "62"),)]

MUTANTS = (
    *(
        Mutant(
            f"gptq-int{bits}-version",
            name,
            "zero point of version 2: not one more",
            with_value(name, TRUE_ZERO),
        )
        for bits, name in NAMES.items()
    ),
    *(
        Mutant(
            f"gptq-int{bits}-zero-version",
            name,
            "the encoder stores the true zero point",
            lambda name=name: replace(
                refquant.scheme(name), encode=refquant.scheme(name.replace("v=1", "v=2")).encode
            ),
        )
        for bits, name in NAMES.items()
    ),
    *(
        Mutant(
            f"gptq-int{bits}-high-first",
            NAMES[bits],
            "the first code in the highest bits of a word",
            with_fields(
                NAMES[bits], q=field("qweight", Unsigned(bits), *reversed_places(bits), over=(1, 1))
            ),
        )
        for bits in (2, 4, 8)
    ),
    Mutant(
        "gptq-int3-padded",
        NAMES[3],
        "ten codes a word, the last two in spare bits",
        with_fields(NAMES[3], q=field("qweight", Unsigned(3), *PADDED, over=(1, 1))),
    ),
    Mutant(
        "gptq-int4-scales-turned",
        NAMES[4],
        "scales read as [out, groups]",
        scales_of_rows(NAMES[4]),
    ),
    Mutant(
        "gptq-int8-signed",
        NAMES[8],
        "codes read as two's complement",
        with_fields(NAMES[8], q=field("qweight", Signed(8), "4:8+0", over=(1, 1))),
    ),
)


ACT = "gptq/int4[v=1,asym,group=32,order=act]"
ROWS = "gptq/int3[v=1,asym,group=32,words=rows]"


class Runs(Gathered):
    """The index passed over: groups are runs of inputs."""

    def expand(self, layout, planes, shape):
        runs = (np.arange(shape[-1], dtype="<i4") // self.group).view(np.uint8).reshape(-1, 4)
        return super().expand(layout, {**planes, self.index: runs}, shape)


class Backwards(Gathered):
    """Groups numbered from the last."""

    def expand(self, layout, planes, shape):
        index = np.ascontiguousarray(planes[self.index]).view("<i4")
        flipped = (shape[-1] // self.group - 1 - index).astype("<i4").view(np.uint8)
        return super().expand(layout, {**planes, self.index: flipped}, shape)


class Unsorted(Gathered):
    """Codes left in the order of importance."""

    def expand(self, layout, planes, shape):
        index = np.ascontiguousarray(planes[self.index]).view("<i4").reshape(-1)
        ordered = np.sort(index).astype("<i4").view(np.uint8).reshape(-1, 4)
        return super().expand(layout, {**planes, self.index: ordered}, shape)


class Together(WordRows):
    """Rows of words read as if the three words lay together."""

    def expand(self, layout, planes, shape):
        del shape
        rows, columns, size = planes[self.plane].shape
        joined = planes[self.plane].reshape(rows // self.words, columns, size * self.words)
        return layout, {**planes, self.plane: joined}


def with_operator(name: str, operator: Operator) -> Callable[[], Scheme]:
    """Another operator in the place of the only one."""
    return lambda: replace(refquant.scheme(name), operators=(operator,))


PARAMETERS = ("g_idx", ("qzeros", "scales"), "q", 32)

MUTANTS = (
    *MUTANTS,
    Mutant("gptq4-index-ignored", ACT, "g_idx passed over", with_operator(ACT, Runs(*PARAMETERS))),
    Mutant(
        "gptq4-index-reversed",
        ACT,
        "groups numbered from the last",
        with_operator(ACT, Backwards(*PARAMETERS)),
    ),
    Mutant(
        "gptq4-index-sorted", ACT, "g_idx sorted first", with_operator(ACT, Unsorted(*PARAMETERS))
    ),
    Mutant(
        "gptq3-rows-together",
        ROWS,
        "rows of words read as if three words lay together",
        with_operator(ROWS, Together("qweight", 3)),
    ),
)
