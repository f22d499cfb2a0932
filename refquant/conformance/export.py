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

from refquant.conformance.dtypes import DTYPES
from refquant.conformance.packs import Array, Case, Pack
from refquant.conformance.selection import Selection

__all__ = ["ENDINGS", "FORMS", "exported"]

Named = Iterator[tuple[str, Array, bytes]]
EPOCH = (1980, 1, 1, 0, 0, 0)
HEAD = "Cases of the refquant conformance suite, CC0 1.0. Little-endian bytes."


def exported(selection: Selection, form: str) -> bytes:
    """The selected cases in one of `FORMS`; the same bytes on every machine."""
    return FORMS[form](selection)


def _cases(selection: Selection) -> Iterator[tuple[Pack, Case]]:
    for pack in selection.packs:
        for case in pack.cases:
            yield pack, case


def _arrays_of(pack: Pack, case: Case) -> Named:
    """The arrays of a case as `id/in/name` or `id/out/name`."""
    for kind, arrays in (("in", case.inputs), ("out", case.outputs), ("aside", case.aside)):
        for array in arrays:
            if array.cmp is not None and array.cmp.name == "digest":
                continue  # its digest stands in the comparison, and it is not stored
            yield f"{case.id}/{kind}/{array.name}", array, pack.raw(array)


def _arrays(selection: Selection) -> Named:
    for pack, case in _cases(selection):
        yield from _arrays_of(pack, case)


def _described(case: Case) -> dict[str, Any]:
    """A case without the places of its arrays, and with the class of every comparison."""
    whole: dict[str, Any] = msgspec.to_builtins(case)
    for kind in ("in", "out", "aside"):
        for array in whole.get(kind, ()):
            for key in ("off", "shared", "hex", "counted"):
                array.pop(key, None)
            if kind == "out":
                array["cmp"] = {"class": "bits", **array.get("cmp", {})}
    return whole


def _zipped(files: Iterator[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files:
            archive.writestr(zipfile.ZipInfo(name, EPOCH), raw, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _npz(selection: Selection) -> bytes:
    """NumPy's archive, `cases.json` among the arrays as bytes."""

    def files() -> Iterator[tuple[str, bytes]]:
        yield "cases.json.npy", _saved(np.frombuffer(_index(selection), np.uint8))
        for name, array, raw in _arrays(selection):
            values = np.frombuffer(raw, DTYPES[array.dtype]).reshape(array.shape)
            yield f"{name}.npy", _saved(values)

    return _zipped(files())


def _saved(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _index(selection: Selection) -> bytes:
    cases = [_described(case) for _, case in _cases(selection)]
    return (json.dumps(cases, indent=1) + "\n").encode()


def _zip(selection: Selection) -> bytes:
    """`cases.json`, one raw little-endian file an array, and the files that cases are about."""

    def files() -> Iterator[tuple[str, bytes]]:
        yield "cases.json", _index(selection)
        for name, _, raw in _arrays(selection):
            yield f"{name}.bin", raw
        named = {str(case.params["file"]) for _, case in _cases(selection) if "file" in case.params}
        for path in sorted(named):
            yield path, (selection.root / path).read_bytes()

    return _zipped(files())


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _rows(raw: bytes) -> str:
    lines = [", ".join(map(str, raw[k : k + 16])) for k in range(0, len(raw), 16)]
    return ",\n  ".join(lines)


def _shape(array: Array) -> str:
    return "x".join(map(str, array.shape))


def _quoted(text: str) -> str:
    """A string literal of C, C++ and Rust alike; names and reasons are plain ASCII."""
    return json.dumps(text)


C_TYPES = """
struct conformance_array { /* kind is "in", "out" or "aside"; shape is "4x64" */
  const char *kind, *name, *dtype, *shape;
  const uint8_t *bytes;
  size_t size;
};
/* params and compare are JSON, compare by the names of outputs; features have commas between. The
   arrays of a case are conformance_arrays[first .. first + count - 1]. */
struct conformance_case {
  const char *id, *digest, *op, *params, *features, *outcome, *compare, *why;
  size_t first, count;
};"""


def _c_header(selection: Selection) -> bytes:
    """Byte arrays, and tables of arrays and cases to loop over."""
    parts = [f"/* {HEAD} */", "#include <stddef.h>", "#include <stdint.h>", C_TYPES]
    arrays: list[str] = []
    cases: list[str] = []
    for pack, case in _cases(selection):
        first = len(arrays)
        for name, array, raw in _arrays_of(pack, case):
            label = _identifier(name)
            body = _rows(raw or b"\0")
            parts.append(f"static const uint8_t {label}[{len(raw) or 1}] = {{\n  {body}\n}};")
            kind = name.split("/")[-2]
            spelled = ", ".join(map(_quoted, (kind, array.name, array.dtype, _shape(array))))
            arrays.append(f"  {{{spelled}, {label}, {len(raw)}}}")
        words = ", ".join(map(_quoted, _case_words(case).values()))
        cases.append(f"  {{{words}, {first}, {len(arrays) - first}}}")
    parts.append(_c_table("conformance_array", "conformance_arrays", arrays))
    parts.append(_c_table("conformance_case", "conformance_cases", cases))
    return ("\n".join(parts) + "\n").encode()


def _c_table(kind: str, name: str, rows: list[str]) -> str:
    body = ",\n".join(rows)
    return f"static const struct {kind} {name}[{len(rows)}] = {{\n{body}\n}};"


def _case_words(case: Case) -> dict[str, str]:
    """The words of a case in C and Rust, where what has a structure is JSON."""
    rules = {one["name"]: one["cmp"] for one in _described(case).get("out", ())}
    return {
        "id": case.id,
        "digest": case.digest,
        "op": case.op,
        "params": _json(case.params),
        "features": ",".join(case.features),
        "outcome": f"{case.outcome} {case.code}".strip(),
        "compare": _json(rules),
        "why": case.why,
    }


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))


RUST_TYPES = """
/// One array: kind is "in", "out" or "aside".
pub struct Array {
    pub kind: &'static str,
    pub name: &'static str,
    pub dtype: &'static str,
    pub shape: &'static [usize],
    pub bytes: &'static [u8],
}
/// One case; `params` and `compare` are JSON, `compare` by the names of outputs.
pub struct Case {
    pub id: &'static str,
    pub digest: &'static str,
    pub op: &'static str,
    pub params: &'static str,
    /// With commas between.
    pub features: &'static str,
    pub outcome: &'static str,
    pub compare: &'static str,
    pub why: &'static str,
    pub arrays: &'static [Array],
}"""


def _rust(selection: Selection) -> bytes:
    """A slice of cases with their arrays."""
    parts = [f"// {HEAD}", RUST_TYPES, "pub static CASES: &[Case] = &["]
    for pack, case in _cases(selection):
        fields = ", ".join(f"{key}: {_quoted(word)}" for key, word in _case_words(case).items())
        parts.append(f"    Case {{ {fields}, arrays: &[")
        for name, array, raw in _arrays_of(pack, case):
            kind = _quoted(name.split("/")[-2])
            parts.append(
                f"        Array {{ kind: {kind}, name: {_quoted(array.name)}, "
                f"dtype: {_quoted(array.dtype)}, shape: &{list(array.shape)}, bytes: &[\n"
                f"  {_rows(raw)}\n        ] }},"
            )
        parts.append("    ] },")
    return ("\n".join([*parts, "];"]) + "\n").encode()


def _js(selection: Selection) -> bytes:
    """A module: `cases` by id, and `bytes("id/in/name")`, a Uint8Array."""
    cases = {case.id: _described(case) for _, case in _cases(selection)}
    arrays = {
        name: {"dtype": array.dtype, "shape": list(array.shape), "hex": raw.hex()}
        for name, array, raw in _arrays(selection)
    }
    text = (
        f"// {HEAD}\n"
        f"export const cases = {json.dumps(cases)};\n"
        f"const stored = {json.dumps(arrays)};\n"
        "export const bytes = (name) =>\n"
        "  Uint8Array.from(stored[name].hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));\n"
        "export const arrays = Object.keys(stored);\n"
    )
    return text.encode()


def _memh(selection: Selection) -> bytes:
    """A text for `$readmemh`: bytes one a line, each array behind a comment with its first line."""
    parts, address = [f"// {HEAD}"], 0
    for name, array, raw in _arrays(selection):
        parts.append(f"// {name} {array.dtype} {_shape(array)}\n@{address:x}")
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

ENDINGS: Final[Mapping[str, str]] = {
    ".npz": "npz",
    ".h": "c-header",
    ".mem": "memh",
    ".memh": "memh",
    ".rs": "rust",
    ".js": "js",
    ".mjs": "js",
    ".zip": "zip",
}
"""The form that the ending of a file's name asks for."""
