"""llama.cpp's importance matrix in a file: the mean square of each input of each matrix.

Two forms are read. GGUF with `general.type` `imatrix` holds for each matrix the sums of squares
(`NAME.in_sum2`) and how many rows went into them (`NAME.counts`). The older binary form counts its
entries and then has, for each: the name's length and bytes, the number of calls, the number of
values and the values as binary32, already divided by rows and multiplied by calls.

Source: llama.cpp, tools/imatrix (both forms) and tools/quantize (what is divided by what).
"""

import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
from refquant.formats.gguf_file import read_gguf

__all__ = ["read_importance"]

F32 = NDArray[np.float32]

SUMS: Final = ".in_sum2"
COUNTS: Final = ".counts"
MOST_ENTRIES: Final = 1 << 20
MOST_NAME: Final = 255


def read_importance(path: Path) -> dict[str, F32]:
    """The mean squares by tensor name, f32[k], or f32[experts * k] for experts' matrices.

    Raises `FormatError` E_IMPORTANCE for a file of neither form, or one that contradicts itself.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    found = _of_gguf(path) if magic == b"GGUF" else _of_old_form(path.read_bytes(), str(path))
    for name, values in found.items():
        if not (np.isfinite(values) & (values >= 0)).all():
            raise _error(f"{name} holds a number that no mean of squares can be", str(path))
    return found


def _error(message: str, path: str) -> FormatError:
    return FormatError("E_IMPORTANCE", f"reading an importance matrix: {message}", path=path)


def _of_gguf(path: Path) -> dict[str, F32]:
    file = read_gguf(path)
    found: dict[str, F32] = {}
    for name, tensor in file.tensors.items():
        if not name.endswith(SUMS):
            continue
        base = name.removesuffix(SUMS)
        counts = file.tensors.get(base + COUNTS)
        if counts is None or counts.ggml_type.name != "F32" or tensor.ggml_type.name != "F32":
            raise _error(f"{base} has sums without counts, or in another type", str(path))
        sums = tensor.data.view("<f4").reshape(counts.data.size // 4, -1).astype(np.float64)
        rows = counts.data.view("<f4").astype(np.float64)[:, np.newaxis]
        # An expert that no token chose has no rows; llama.cpp gives its inputs the same weight.
        means = np.divide(sums, rows, out=np.ones_like(sums), where=rows > 0)
        found[base] = means.astype(np.float32).reshape(-1)
    if not found:
        raise _error("this GGUF file holds no sums of squares; is it a model?", str(path))
    return found


def _of_old_form(data: bytes, path: str) -> dict[str, F32]:
    found: dict[str, F32] = {}
    try:
        (entries,) = struct.unpack_from("<i", data)
        if not 0 < entries <= MOST_ENTRIES:
            raise _error(f"it states {entries} entries", path)
        offset = 4
        for _ in range(entries):
            (length,) = struct.unpack_from("<i", data, offset)
            if not 0 < length <= MOST_NAME:
                raise _error(f"a name of {length} bytes at byte {offset}", path)
            name = data[offset + 4 : offset + 4 + length].decode()
            calls, count = struct.unpack_from("<ii", data, offset + 4 + length)
            offset += 12 + length
            if calls < 1 or not 0 < count <= (len(data) - offset) // 4:
                raise _error(f"{name} states {calls} calls and {count} values", path)
            values = np.frombuffer(data, "<f4", count, offset)
            found[name] = (values.astype(np.float64) / calls).astype(np.float32)
            offset += 4 * count
    except (struct.error, UnicodeDecodeError) as error:
        raise _error(f"it ends too early or is no importance matrix ({error})", path) from error
    return found
