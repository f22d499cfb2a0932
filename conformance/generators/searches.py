"""The scalar encoders that search, or whose groups stop together: all groups of a tensor at once.

Searches of a single group, as ggml's are, become this too, so that one signature covers all. They
take up to a second a group, and so their schemes have fewer and shorter cases.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from conformance.generators.names import namespace
from conformance.generators.scalar import Codes, scalar_encoder
from conformance.oracle import aeq, binary, ggml, hqq, torchao
from refquant.driver import Scheme

__all__ = ["Encoder", "encoder_of", "is_search"]

Groups = Sequence[Sequence[float]]
Encoder = Callable[[Groups], Sequence[Codes]]
Knobs = Mapping[str, Any]


def encoder_of(scheme: Scheme) -> Encoder | None:
    """The scalar encoder of a scheme for all groups of a tensor, or None."""
    if is_search(scheme):
        return SEARCHES[namespace(scheme)](scheme)
    single = scalar_encoder(scheme)
    return None if single is None else partial(_one_by_one, single)


def is_search(scheme: Scheme) -> bool:
    """Whether a scheme's encoder tries candidates, or repeats a step until it settles."""
    base, knobs = _base(scheme), scheme.parameters
    return scheme.can_encode and {
        "aeq": knobs.get("algorithm") in ("octav", "mse"),
        "ggml": base in ggml.ggml_search.ENCODERS,
        "hqq": knobs.get("solver") == "proximal",
        "torchao": base in ("hqq", "hqq_scale_only"),
    }.get(namespace(scheme), False)


def _base(scheme: Scheme) -> str:
    return scheme.name.partition("/")[2].partition("[")[0]


def _one_by_one(single: Callable[[Sequence[float]], Codes], groups: Groups) -> list[Codes]:
    return [single(group) for group in groups]


def _aeq(scheme: Scheme) -> Encoder:
    bits = int(_base(scheme).removeprefix("int"))
    knobs = scheme.parameters

    def encode(groups: Groups) -> list[Codes]:
        if knobs["algorithm"] == "mse":
            scales = [aeq.mse(group, bits) for group in groups]
        else:
            scales = aeq.octav(groups, bits, knobs)
        found = []
        for group, scale in zip(groups, scales, strict=True):
            stored, zero, codes = aeq.chosen(group, bits, scale, knobs)
            found.append({"s": [stored], "z": [zero], "q": codes})
        return found

    return encode


def _ggml(scheme: Scheme) -> Encoder:
    return partial(_one_by_one, partial(ggml.encode, _base(scheme)))


def _hqq(scheme: Scheme) -> Encoder:
    knobs = scheme.parameters
    bits, largest = int(knobs["bits"]), 2.0 ** int(knobs["bits"]) - 1
    form = hqq.FORMS[str(knobs["parameters"])]

    def encode(groups: Groups) -> list[Codes]:
        starts = [_start(group, bits, str(knobs["zero"])) for group in groups]
        zeros = hqq.solve(
            groups,
            starts,
            largest=largest,
            iters=int(knobs["iters"]),
            beta=float(knobs["beta"]),
            lp=float(knobs["lp"]),
            kappa=1.0,
            first=float("inf"),
        )
        found = []
        for group, (inverse, _), zero in zip(groups, starts, zeros, strict=True):
            codes = [int(hqq.code_of(v, inverse, zero, largest)) for v in group]
            stored = binary.encode(binary.divide(1.0, inverse), form), binary.encode(zero, form)
            found.append({"s": [stored[0]], "z": [stored[1]], "q": codes})
        return found

    return encode


def _start(group: Sequence[float], bits: int, rounding: str) -> tuple[float, float]:
    """The inverse scale and the zero point that the solver begins with."""
    _, zero, _ = hqq.encode(group, bits, rounding, "f32")
    return hqq.inverse_scale(group, bits), binary.decode(zero, binary.FLOAT32)


def _torchao(scheme: Scheme) -> Encoder:
    knobs = scheme.parameters

    solve = torchao.hqq if _base(scheme) == "hqq" else torchao.scale_only

    def encode(groups: Groups) -> list[Codes]:
        found = solve(groups, int(knobs["bits"]), int(knobs["iters"]), str(knobs["scale"]))
        return [{"s": [scale], "z": [offset], "q": codes} for scale, offset, codes in found]

    return encode


SEARCHES: Mapping[str, Callable[[Scheme], Encoder]] = {
    "aeq": _aeq,
    "ggml": _ggml,
    "hqq": _hqq,
    "torchao": _torchao,
}
