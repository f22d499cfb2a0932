"""Cases with their rows in another order, which no pack holds: whoever computes them can answer.

An engine that looks expected values up, in the published packs or in what it was asked before,
gives the right answers to all cases and to none of these.
"""

import msgspec

from refquant.conformance.packs import Array, Case, Comparison, Pack

__all__ = ["rotated"]

BY_ROWS = ("decode", "encode", "unpack", "pack", "quantize_rows")


def rotated(pack: Pack, case: Case) -> tuple[Pack, Case] | None:
    """The case with the first row of every array behind its last; None where that says nothing.

    Rows must be independent: groups along the last axis, and no array without a row for each. What
    is compared otherwise than by its bits has further arrays, and is left alone.
    """
    arrays = (*case.inputs, *case.outputs)
    if case.op not in BY_ROWS or case.params.get("axis", -1) != -1 or not _has_rows(case):
        return None
    turned, binary = [], bytearray(pack.binary)
    for array in arrays:
        raw = pack.raw(array)
        row = len(raw) // array.shape[0]
        turned.append(_placed(array, len(binary)))
        binary += raw[row:] + raw[:row]
    inputs, outputs = turned[: len(case.inputs)], turned[len(case.inputs) :]
    whole = msgspec.structs.replace(pack, binary=bytes(binary))
    if all(pack.raw(a) == whole.raw(b) for a, b in zip(case.inputs, inputs, strict=True)):
        return None
    return whole, msgspec.structs.replace(case, inputs=tuple(inputs), outputs=tuple(outputs))


def _has_rows(case: Case) -> bool:
    arrays = (*case.inputs, *case.outputs)
    rows = {array.shape[0] if len(array.shape) > 1 else 0 for array in arrays}
    by_bits = all((array.cmp or Comparison()).name == "bits" for array in case.outputs)
    return len(rows) == 1 and rows.pop() > 1 and by_bits and case.outcome == "ok"


def _placed(array: Array, off: int) -> Array:
    return msgspec.structs.replace(array, off=off, shared=False, hex="", counted=())
