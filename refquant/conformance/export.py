"""Cases in forms that test frameworks embed: NumPy, C, Rust, JavaScript, Verilog, or files."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from refquant.conformance.packs import Case, Pack
from refquant.conformance.selection import Selection

__all__ = ["FORMS", "exported"]

Named = Iterator[tuple[str, NDArray[Any]]]
EPOCH = (1980, 1, 1, 0, 0, 0)


def exported(selection: Selection, form: str) -> bytes:
    """The selected cases in one of `FORMS`; the same bytes on every machine."""
    return FORMS[form](selection)


def _cases(selection: Selection) -> Iterator[tuple[Pack, Case]]:
    for pack in selection.packs:
        for case in pack.cases:
            yield pack, case


def _arrays(selection: Selection) -> Named:
    """Every array as `id/in/name` or `id/out/name`."""
    for pack, case in _cases(selection):
        for kind, arrays in (("in", case.inputs), ("out", case.outputs), ("aside", case.aside)):
            for array in arrays:
                yield f"{case.id}/{kind}/{array.name}", pack.array(array)


def _described(case: Case) -> dict[str, Any]:
    """A case without the places of its arrays."""
    whole: dict[str, Any] = msgspec.to_builtins(case)
    for kind in ("in", "out", "aside"):
        for array in whole.get(kind, ()):
            for key in ("off", "len", "hex"):
                array.pop(key, None)
    return whole


def _zipped(files: Iterator[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files:
            archive.writestr(zipfile.ZipInfo(name, EPOCH), raw, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _npz(selection: Selection) -> bytes:
    def files() -> Iterator[tuple[str, bytes]]:
        for name, values in _arrays(selection):
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=False)
            yield f"{name}.npy", buffer.getvalue()

    return _zipped(files())


def _zip(selection: Selection) -> bytes:
    """`cases.json` and one raw little-endian file an array."""

    def files() -> Iterator[tuple[str, bytes]]:
        cases = [_described(case) for _, case in _cases(selection)]
        yield "cases.json", (json.dumps(cases, indent=1) + "\n").encode()
        for name, values in _arrays(selection):
            yield f"{name}.bin", values.tobytes()

    return _zipped(files())


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _rows(raw: bytes, spelled: Callable[[int], str]) -> str:
    cells = [spelled(byte) for byte in raw]
    lines = [", ".join(cells[k : k + 16]) for k in range(0, len(cells), 16)]
    return ",\n  ".join(lines)


def _c_header(selection: Selection) -> bytes:
    """One byte array each, with its type and shape in a comment."""
    parts = ["/* Cases of the refquant conformance suite, CC0 1.0. Little-endian bytes. */"]
    parts.append("#include <stdint.h>")
    for name, values in _arrays(selection):
        raw = values.tobytes() or b"\0"
        parts.append(
            f"/* {name}: {values.dtype.str} {list(values.shape)} */\n"
            f"static const uint8_t {_identifier(name)}[{len(raw)}] = {{\n"
            f"  {_rows(raw, str)}\n}};"
        )
    return ("\n".join(parts) + "\n").encode()


def _rust(selection: Selection) -> bytes:
    parts = ["// Cases of the refquant conformance suite, CC0 1.0. Little-endian bytes."]
    for name, values in _arrays(selection):
        raw = values.tobytes()
        parts.append(
            f"/// {name}: {values.dtype.str} {list(values.shape)}\n"
            f"pub const {_identifier(name).upper()}: [u8; {len(raw)}] = [\n  {_rows(raw, str)}\n];"
        )
    return ("\n".join(parts) + "\n").encode()


def _js(selection: Selection) -> bytes:
    """A module of one object: `cases["id"].in.name` is a Uint8Array."""
    cases: dict[str, Any] = {}
    for _, case in _cases(selection):
        cases[case.id] = _described(case)
    arrays = {
        name: {
            "dtype": values.dtype.str,
            "shape": list(values.shape),
            "hex": values.tobytes().hex(),
        }
        for name, values in _arrays(selection)
    }
    text = (
        "// Cases of the refquant conformance suite, CC0 1.0.\n"
        f"export const cases = {json.dumps(cases)};\n"
        f"const stored = {json.dumps(arrays)};\n"
        "export const bytes = (name) =>\n"
        "  Uint8Array.from(stored[name].hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));\n"
        "export const arrays = Object.keys(stored);\n"
    )
    return text.encode()


def _memh(selection: Selection) -> bytes:
    """A text for `$readmemh`: bytes one a line, each array behind a comment with its first line."""
    parts, address = [], 0
    for name, values in _arrays(selection):
        raw = values.tobytes()
        parts.append(f"// {name} {values.dtype.str} {list(values.shape)}\n@{address:x}")
        parts += [f"{byte:02x}" for byte in raw]
        address += len(raw)
    return ("\n".join(parts) + "\n").encode()


FORMS: Final[Mapping[str, Callable[[Selection], bytes]]] = {
    "npz": _npz,
    "c-header": _c_header,
    "memh": _memh,
    "rust": _rust,
    "js": _js,
    "zip": _zip,
}
"""What an export can be, by name."""
