"""The contracts by which activations become integers, by the names that recipes and files use.

This is data: what each contract is, whether it works on every token anew (`dynamic`) or with scales
that were found beforehand (`static`), and where its arithmetic is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["ACTIVATIONS", "ActivationContract"]


@dataclass(frozen=True, slots=True)
class ActivationContract:
    """One way to turn rows of activations into integers."""

    title: str
    compute: tuple[str, ...]
    """Where it may stand: `dynamic`, `static`."""


ACTIVATIONS: Final[Mapping[str, ActivationContract]] = {
    "litert_symmetric": ActivationContract(
        "int8 a row, symmetric: LiteRT's kernels without a delegate", ("dynamic",)
    ),
    "litert_asymmetric": ActivationContract(
        "int8 a row with a zero point: LiteRT's kernels where the model asks for it", ("dynamic",)
    ),
    "xnnpack_asymmetric": ActivationContract(
        "int8 a row with a zero point: XNNPACK, LiteRT's default delegate", ("dynamic",)
    ),
    "torchao_per_token": ActivationContract(
        "int8 a token with a zero point: torchao's 8da4w and its kin", ("dynamic",)
    ),
    "ggml_block": ActivationContract(
        "int8 a block, in the type that ggml's product with the weights takes",
        ("dynamic",),
    ),
    "ggml_x86": ActivationContract(
        "the same as ggml's kernels for x86-64 round: where llama.cpp runs on such a processor",
        ("dynamic",),
    ),
    "int8_static": ActivationContract(
        "int8 with one calibrated scale and zero point a tensor: LiteRT's A8W8, reference kernels",
        ("static",),
    ),
    "int8_static_optimized": ActivationContract(
        "the same by LiteRT's optimized kernels, with AVX-512", ("static",)
    ),
    "int8_static_xnnpack": ActivationContract(
        "the same by XNNPACK, LiteRT's default delegate", ("static",)
    ),
    "int8_static_double": ActivationContract(
        "the same with a multiplier of 31 bits, rounded twice: TensorFlow Lite's before",
        ("static",),
    ),
    "int8_static_single": ActivationContract(
        "the same with a multiplier of 31 bits, rounded once: TensorFlow Lite built so",
        ("static",),
    ),
    "int16_static": ActivationContract(
        "int16 with one calibrated scale a tensor: LiteRT's A16W8, reference kernels", ("static",)
    ),
    "int16_static_optimized": ActivationContract(
        "the same by LiteRT's optimized kernels, with AVX-512", ("static",)
    ),
}
"""By name, in the order of `spec/activations.md`."""
