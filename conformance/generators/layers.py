"""Packs about whole integer layers: numbers to codes, codes to codes, codes to numbers."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from conformance.generators.agreement import agree
from conformance.generators.writer import PackWriter, Values
from conformance.oracle import static as oracle
from refquant.arithmetic.static import STATIC
from refquant.conformance.operations import Task, perform
from refquant.testing import SplitMix64

__all__ = ["static_layers"]

F32 = NDArray[np.float32]
LONG = 600
"""Products of two large codes of 16 and 8 bits whose sum leaves 32 bits."""


@dataclass(frozen=True)
class Drawn:
    """A layer and what it reads; scales are those of 8 bits, and zero points theirs."""

    x: F32
    weights: NDArray[np.int8]
    scale: F32
    bias: F32 | None
    input_scale: float = 2.0**-5
    input_zero: int = -11
    output_scale: float = 2.0**-3
    output_zero: int = 23
    small: bool = False
    """Whether the codes are those of 8 bits even where 16 are."""

    why: str = "a scale for each channel, zero points and a bias"


def _usual(random: SplitMix64) -> Drawn:
    weights = (random.below(255, 5, 35) - 127).astype(np.int8)
    scale = (np.abs(random.bell(5)) + np.float32(0.25)) * np.float32(2.0**-7)
    bias = random.bell(5) * np.float32(3)
    return Drawn(
        random.bell(3, 35), weights, scale.astype(np.float32), bias, 0.0237, -11, 0.0791, 23
    )


def _ties(random: SplitMix64) -> Drawn:
    """Scales that are powers of two, so that inputs and outputs lie between two codes."""
    x = ((random.below(61, 5, 12) - 30).astype(np.float32) + np.float32(0.5)) / np.float32(32)
    weights = (random.below(3, 6, 12) - 1).astype(np.int8)
    scale = np.exp2(np.array([1, 0, -1, 0, 1, -1], np.float32)).astype(np.float32)
    bias = (random.below(33, 6) - 16).astype(np.float32) * np.float32(2.0**-6)
    return Drawn(x, weights, scale, bias, small=True, why="exact ties everywhere")


def _apart(random: SplitMix64) -> Drawn:
    """Channels whose scales differ by powers of 16."""
    usual = _usual(random)
    spread = np.exp2(np.array([-6, -2, 0, 2, 5], np.float32)).astype(np.float32)
    return replace(usual, scale=usual.scale * spread, why="channels of very different scales")


def _ends(random: SplitMix64) -> Drawn:
    """Numbers beyond the range of the input, and sums beyond that of the output."""
    usual = _usual(random)
    x = usual.x * np.float32(9)
    return replace(usual, x=x, output_scale=0.0023, output_zero=-101, why="both ends are passed")


def _corner(random: SplitMix64) -> Drawn:
    """Zero points at the ends of the type, with inputs of one sign."""
    usual = _usual(random)
    x = np.abs(usual.x) / np.float32(2)
    return replace(
        usual, x=x, input_zero=-128, output_zero=-128, why="zero points at the least code"
    )


def _plain(random: SplitMix64) -> Drawn:
    return replace(_usual(random), bias=None, why="no bias")


def _plain_ties(random: SplitMix64) -> Drawn:
    return replace(_ties(random), bias=None, why="exact ties, no bias")


def _large(random: SplitMix64) -> Drawn:
    """Multipliers above 1, where a shift goes to the left."""
    usual = _usual(random)
    x = usual.x / np.float32(8)
    weights = (random.below(5, 5, 35) - 2).astype(np.int8)
    scale = usual.scale * np.float32(64)
    return replace(
        usual, x=x, weights=weights, scale=scale, output_scale=0.0101, why="multipliers above 1"
    )


def _zeros(random: SplitMix64) -> Drawn:
    """Inputs of both zeros, so that the bias alone is left, and a row of weights that is zero."""
    usual = _usual(random)
    x, weights = usual.x * np.float32(0), usual.weights.copy()
    weights[2] = 0
    return replace(usual, x=x, weights=weights, why="zeros of both signs: the bias is left")


KINDS = {
    "usual": _usual,
    "ties": _ties,
    "apart": _apart,
    "ends": _ends,
    "corner": _corner,
    "plain": _plain,
    "plain-ties": _plain_ties,
    "large": _large,
    "zeros": _zeros,
}


def _long(random: SplitMix64) -> Drawn:
    """A sum beyond 32 bits, which codes of 16 bits reach."""
    x = (np.float32(30000) + np.abs(random.bell(1, LONG)) * np.float32(500)) * np.float32(2.0**-13)
    weights = np.full((2, LONG), 127, np.int8)
    weights[1] = -126
    scale = np.array([0.011, 0.012], np.float32)
    return Drawn(x, weights, scale, random.bell(2), why="sums beyond 32 bits")


def _sixteen(drawn: Drawn) -> Drawn:
    """The same layer in codes of 16 bits: finer scales, no zero points."""
    finer = np.float32(2.0**-8)
    scales = drawn.input_scale * 2.0**-8, drawn.output_scale * 2.0**-8
    x, bias = drawn.x, drawn.bias
    if drawn.small:
        x, bias = x * finer, None if bias is None else bias * finer
    return Drawn(x, drawn.weights, drawn.scale, bias, scales[0], 0, scales[1], 0, why=drawn.why)


def static_layers(writer: PackWriter, seed: int) -> None:
    """Every kind of layer under every static contract."""
    for contract, kernel in STATIC.items():
        for number, (kind, draw) in enumerate(KINDS.items()):
            drawn = draw(SplitMix64(1000 * seed + number))
            _add(writer, contract, f"{kind}.{seed}", drawn if kernel.bits == 8 else _sixteen(drawn))
        if kernel.bits == 16:
            drawn = _long(SplitMix64(1000 * seed + 99))
            outputs = replace(_sixteen(drawn), output_scale=0.25)
            _add(writer, contract, f"long.{seed}", outputs)


def _add(writer: PackWriter, contract: str, label: str, drawn: Drawn) -> None:
    single = (float(np.float32(drawn.input_scale)), float(np.float32(drawn.output_scale)))
    params = {
        "contract": contract,
        "input_scale": _bits(single[0]),
        "input_zero_point": drawn.input_zero,
        "output_scale": _bits(single[1]),
        "output_zero_point": drawn.output_zero,
    }
    inputs: dict[str, Values] = {"x": drawn.x, "weights": drawn.weights, "scale": drawn.scale}
    if drawn.bias is not None:
        inputs["bias"] = drawn.bias
    found = perform(Task("layer", params, inputs, {}))
    name = f"layer.{contract}.{label}"
    known = oracle.Layer(
        single[0],
        drawn.input_zero,
        single[1],
        drawn.output_zero,
        drawn.weights.tolist(),
        drawn.scale.tolist(),
        None if drawn.bias is None else drawn.bias.tolist(),
    )
    _check(found, oracle.layer(contract, known, drawn.x.tolist()), name)
    writer.add(
        name,
        "layer",
        params,
        inputs,
        {key: np.asarray(found[key]) for key in ("inputs", "codes", "y")},
        features=[f"layer.{contract}"],
        flags=("TieRounding",) if "ties" in label else (),
        why=drawn.why,
    )


def _check(found: Mapping[str, Values], expected: oracle.Answer, name: str) -> None:
    agree(found["inputs"].ravel().tolist(), expected.inputs, f"{name}, codes of the input")
    agree(found["codes"].ravel().tolist(), expected.codes, f"{name}, codes of the output")
    agree(found["y"].ravel().tolist(), expected.values, f"{name}, numbers")


def _bits(value: float) -> str:
    return struct.pack(">f", value).hex()
