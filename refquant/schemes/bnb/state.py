"""The tensors under which a checkpoint stores one weight of bitsandbytes, and back.

For a weight `w`: `w` itself (bytes of two codes, `[n / 2, 1]`), `w.absmax`, `w.quant_map`, and the
JSON text of everything that is no tensor as bytes under `w.quant_state.bitsandbytes__nf4` (or
`__fp4`). Double quantization adds `w.nested_absmax` and `w.nested_quant_map`; its offset is a
number in the JSON text.
"""

import json
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import FormatError, SchemeError
from refquant.schemes.bnb.dynamic import DYNAMIC
from refquant.schemes.bnb.nested import RUN
from refquant.schemes.bnb.tables import TABLES, flat_scheme

__all__ = ["planes_of_checkpoint", "tensors_of_checkpoint"]

Bytes = NDArray[np.uint8]
Tensors = dict[str, NDArray[Any]]
PREFIX = "quant_state.bitsandbytes__"


def tensors_of_checkpoint(
    scheme: Scheme, shape: tuple[int, ...], planes: Mapping[str, Bytes], dtype: str = "float32"
) -> Tensors:
    """What a checkpoint stores: `""` is the weight, other keys follow its name and a dot.

    `dtype` names the type of the weights before they were quantized. Raises `SchemeError` for a
    scheme that bitsandbytes does not store, as rows of their own blocks.
    """
    kind = scheme.name.partition("[")[0].removeprefix("bnb/")
    if kind not in ("nf4", "fp4") or not scheme.operators:
        raise SchemeError("no 4-bit blocks of the flattened tensor", scheme=scheme.name)
    state: dict[str, object] = {"quant_type": kind, "blocksize": int(scheme.parameters["block"])}
    state |= {"dtype": dtype, "shape": list(shape)}
    found: Tensors = {"": planes["codes"].reshape(-1, 1), "quant_map": TABLES[kind]}
    if scheme.parameters["absmax"] == "nested":
        offset = planes["nested_offset"].reshape(-1).view("<f4")[0]
        state |= {
            "nested_blocksize": RUN,
            "nested_dtype": "float32",
            "nested_offset": float(offset),
        }
        found["absmax"] = planes["absmax"].reshape(-1)
        found["nested_absmax"] = planes["nested_absmax"].reshape(-1).view("<f4")
        found["nested_quant_map"] = DYNAMIC
    else:
        found["absmax"] = planes["absmax"].reshape(-1).view("<f4")
    found[PREFIX + kind] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    return found


def planes_of_checkpoint(
    tensors: Mapping[str, NDArray[Any]],
) -> tuple[Scheme, tuple[int, ...], dict[str, Bytes]]:
    """Scheme, shape and planes of a weight: keys as `tensors_of_checkpoint` gives them.

    Raises `FormatError` where the state is damaged, or a table is not the one of its name.
    """
    state = _state(tensors)
    kind, nested = str(state["quant_type"]), "nested_absmax" in tensors
    try:
        scheme = flat_scheme(kind, int(state["blocksize"]), nested=nested)
        shape = tuple(int(n) for n in state["shape"])
    except (TypeError, ValueError) as error:
        raise FormatError("E_SCHEMA_TYPE", str(error), where="quant_state") from error
    if not shape or min(shape) < 1 or 2 * _bytes(tensors[""]).size != prod(shape):
        message = f"shape {list(shape)} for {tensors[''].size} bytes of codes"
        raise FormatError("E_SCHEMA_TYPE", message, where="quant_state")
    _check_table(tensors, "quant_map", TABLES[kind])
    planes = {"codes": _bytes(tensors[""]), "absmax": _bytes(tensors["absmax"])}
    if nested:
        _check_table(tensors, "nested_quant_map", DYNAMIC)
        if state.get("nested_blocksize") != RUN:
            message = f"nested_blocksize is {state.get('nested_blocksize')}, expected {RUN}"
            raise FormatError("E_SCHEMA_TYPE", message, where="quant_state")
        planes["nested_absmax"] = _bytes(tensors["nested_absmax"])
        planes["nested_offset"] = np.array([state["nested_offset"]], "<f4").view(np.uint8)
    return scheme, shape, planes


def _state(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    names = [name for name in tensors if name.startswith(PREFIX)]
    if len(names) != 1:
        raise FormatError("E_SCHEMA_MISSING", f"{len(names)} tensors {PREFIX}*", where="$")
    try:
        state = json.loads(_bytes(tensors[names[0]]).tobytes())
    except ValueError as error:
        raise FormatError("E_SCHEMA_TYPE", f"no JSON text: {error}", where=names[0]) from error
    needed = {"quant_type", "blocksize", "shape", "dtype"}
    needed |= {"nested_blocksize", "nested_offset"} if "nested_absmax" in tensors else set()
    if not isinstance(state, dict) or not needed <= set(state):
        raise FormatError("E_SCHEMA_MISSING", f"expected keys {sorted(needed)}", where=names[0])
    if state["quant_type"] not in ("nf4", "fp4"):
        raise FormatError("E_SCHEMA_TYPE", f"type {state['quant_type']!r}", where=names[0])
    if not isinstance(state.get("nested_offset", 0.0), float | int):
        raise FormatError("E_SCHEMA_TYPE", "nested_offset is no number", where=names[0])
    return state


def _check_table(tensors: Mapping[str, NDArray[Any]], name: str, own: NDArray[np.float32]) -> None:
    if name in tensors and tensors[name].astype("<f4").tobytes() != own.astype("<f4").tobytes():
        raise FormatError("E_DESC_TABLE", "its numbers are not those of bitsandbytes", where=name)


def _bytes(tensor: NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
