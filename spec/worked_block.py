"""The worked block of a scheme's page: bytes, codes, numbers, and the formula with them."""

import refquant
from refquant.layout import Layout, Minifloat
from refquant.layout.explain import BlockReading, explain_block, formula_with
from refquant.testing import Case, cases_of

__all__ = ["worked_block"]

SHOWN = 12
"""Weights of the worked block that are computed in full."""


def worked_block(scheme: refquant.Scheme) -> str:
    """Block 0 of the case that holds every code: bytes, fields, and the first weights."""
    case = _decode_case(scheme)
    layout, tensor = case.scheme.layout, case.tensor
    block = explain_block(layout, tensor.planes, tensor.shape, 0)
    lines = []
    for name, records in block.records.items():
        raw = " ".join(data[:48].hex(" ") for _, data in records[:16])
        more = " ..." if len(records) > 16 or len(records[0][1]) > 48 else ""
        lines.append(f"{name:<12}{raw}{more}")
    lines.append("")
    for name, field in block.fields.items():
        codes = " ".join(str(int(code)) for code in field.codes.ravel()[:SHOWN])
        more = " ..." if field.codes.size > SHOWN else ""
        lines.append(f"{name:<12}{codes}{more}")
        if isinstance(field.element, Minifloat):
            reals = " ".join(f"{real:.9g}" for real in field.numbers.ravel()[:SHOWN].tolist())
            lines.append(f"{'':<10}= {reals}{more}")
    lines += ["", *_worked_weights(layout, block)]
    return "```text\n" + "\n".join(lines) + "\n```"


def _decode_case(scheme: refquant.Scheme) -> Case:
    return next(case for case in cases_of(scheme, edge=False) if "decode" in case.flags)


def _worked_weights(layout: Layout, block: BlockReading) -> list[str]:
    """The formula with its numbers, for the first weights of a block."""
    lines = []
    shape = block.values.shape
    for k in range(min(SHOWN // 3, shape[-1])):
        place = (*(0 for _ in shape[:-1]), k)
        spelled = {}
        for name, field in block.fields.items():
            spelled[name] = f"{field.at(place)[1]:.9g}"
        formula = formula_with(layout.value, spelled)
        lines.append(f"w{list(place)} = {formula} = {float(block.values[place]):.9g}")
    return lines
