"""Outputs that are compared by a digest, and what they are compared with where it differs.

The suite does not store such an output. Where an engine's has another digest, the reference
computes it, so that a report names the first wrong place all the same.
"""

from hashlib import sha256
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refquant.conformance.dtypes import DTYPES
from refquant.conformance.packs import Array, Case, Comparison, Pack

__all__ = ["digest_of", "recomputed"]

Elements = NDArray[Any]


def digest_of(values: Elements, nan: Literal["payload", "any"] = "payload") -> str:
    """The SHA-256 of an output; with `any`, every NaN counts as the positive quiet one."""
    if nan == "any" and values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def recomputed(pack: Pack, case: Case, array: Array) -> Elements | None:
    """What the reference puts out; None where that has not the expected digest either."""
    # The operations bring all schemes with them, and runs without a difference need none.
    operations = import_module("refquant.conformance.operations")
    inputs = {one.name: pack.array(one) for one in case.inputs}
    outputs = {one.name: (DTYPES[one.dtype], one.shape) for one in case.outputs}
    task = operations.Task(case.op, case.params, inputs, outputs)
    with np.errstate(all="ignore"):
        found: Elements = operations.fitted(operations.perform(task), outputs)[array.name]
    rule = array.cmp or Comparison()
    return found if digest_of(found, rule.nan) == rule.sha256 else None
