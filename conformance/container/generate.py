"""Write the corpus of `.rq` files, or check that the files kept are the ones it would write.

    python -m conformance.container.generate            write conformance/files/container
    python -m conformance.container.generate --check    status 1 where a file differs

The manifest says what a reader must answer: for a valid file the SHA-256 of each tensor's decoded
values (binary32, little-endian, every NaN as 7fc00000) and of each document; for any other the
code and the stage. Files in `run` are valid too; the code is that of a reader which is to run the
model. It stands beside a valid file as `run`, where that reader refuses it. A reader without zstd
answers `without_zstd` where that is given. Values are computed by the plain interpreter in
`conformance/oracle`, not by the package.
"""

import argparse
import json
import re
import struct
import sys
from hashlib import sha256
from pathlib import Path

from conformance.container import (
    edge_defects,
    header_defects,
    layout_defects,
    operator_defects,
    operator_files,
)
from conformance.container.byte_defects import DEFECTS, TOO_LARGE_TO_KEEP
from conformance.container.model_files import MODELS
from conformance.container.parts import HEADER, RAW
from conformance.container.scheme_files import VALID, record_schemes
from conformance.oracle import layout as oracle
from refquant import mp1

__all__ = ["CORPUS", "corpus", "stage_of"]

CORPUS = Path(__file__).resolve().parents[1] / "files" / "container"

TABLES = [m.DEFECTS for m in (edge_defects, header_defects, layout_defects, operator_defects)]
if any(table is not DEFECTS for table in TABLES) or operator_files.VALID is not VALID:
    raise ImportError("the files are registered in more than one table")

TABLE = Path(__file__).resolve().parents[2] / "spec" / "arch" / "families.txt"
FAMILIES = re.findall(r"^family (\S+)$", TABLE.read_text("utf-8"), re.MULTILINE)

STAGES = {
    "S0": ("E_SIZE", "E_MAGIC", "E_VERSION", "E_RESERVED", "E_COUNT"),
    "S1": ("E_TABLE_DIGEST",),
    "S2": (
        "E_SEG_FLAGS",
        "E_SEG_CODEC",
        "E_SEG_KIND",
        "E_SEG_OFFSET",
        "E_SEG_BOUNDS",
        "E_PAD",
        "E_SEG_EMPTY",
        "E_SEG_RAWLEN",
        "E_ZSTD_RAWMAX",
        "E_ZSTD_NOGAIN",
    ),
    "S3": ("E_BUDGET",),
}
"""Codes that belong to one stage; the prefix decides about the others."""

EXCEPTIONS = {
    "bytes_after_the_last_segment": "S3",
    "zstd_bit_without_frames": "S3",
    "frames_without_zstd_bit": "S3",
    "bit_flip_in_header": "S4",
    "header_sha_wrong": "S4",
    "header_too_long": "S2",
    "feature_level_2": "S6",
    "feature_shards": "S6",
    "operators_without_their_bit": "S6",
}


def stage_of(name, code):
    """The stage of chapter 2 in which a defect shows."""
    if name in EXCEPTIONS:
        return EXCEPTIONS[name]
    for stage, codes in STAGES.items():
        if code in codes:
            return stage
    if code in ("E_LENGTH", "E_FEATURE"):
        return "S0"
    if code.startswith("E_MP_"):
        return "S5"
    return "S8" if code.startswith(("E_SEG_", "E_ZSTD_", "E_CODE_")) else "S6"


def without_zstd(data, code):
    """What a reader without zstd says: E_FEATURE, unless something before it is wrong."""
    has_bit = len(data) >= 128 and data[12] & 1
    return "E_FEATURE" if has_bit and code not in ("E_MAGIC", "E_VERSION", "E_FEATURE") else None


def segments_of(data):
    """The segments' decoded bytes; a frame's come from the table of what was compressed."""
    import zstandard

    count = int.from_bytes(data[24:28], "little")
    for number in range(count):
        entry = struct.unpack_from("<QQQIBBH32s", data, 64 + 64 * number)
        stored = data[entry[0] : entry[0] + entry[1]]
        yield stored if entry[4] == RAW else zstandard.ZstdDecompressor().decompress(stored)


def decoded_digest(values):
    """SHA-256 of binary32 values, every NaN as 7fc00000."""
    canonical = (struct.pack("<f", v) if v == v else b"\0\0\xc0\x7f" for v in values)  # noqa: PLR0124 - NaN is what differs from itself
    return sha256(b"".join(canonical)).hexdigest()


def valid_entry(data):
    """What a reader must find in a valid file."""
    segments = list(segments_of(data))
    core = mp1.decode(segments[HEADER])["core"]
    entry = {"tensors": {}, "documents": {}}
    for tensor in core["tensors"]:
        description = core["schemes"][tensor["scheme"]]
        planes = {p: b"".join(segments[n] for n in taken) for p, taken in tensor["planes"].items()}
        values = oracle.values(description, planes, tuple(tensor["shape"]))
        found = {"shape": tensor["shape"], "sha256": decoded_digest(values)}
        entry["tensors"][tensor["name"]] = found
    for document in core["docs"]:
        text = b"".join(segments[n] for n in document["seg"])
        entry["documents"][document["name"]] = sha256(text).hexdigest()
    if code := without_zstd(data, ""):
        entry["without_zstd"] = code
    if "arch" in core and core["arch"]["family"] not in FAMILIES:
        entry["run"] = "E_ARCH_FAMILY"
    return entry


def run_entry(code, data):
    """What a reader must find in a valid file, and one that is to run it must answer."""
    found = valid_entry(data)
    found.pop("run", None)
    return found if code is None else found | {"run": code, "stage": "S7"}


def reject_entry(name, code, data):
    """What a reader must answer to a file with a defect."""
    entry = {"code": code, "stage": stage_of(name, code)}
    if other := without_zstd(data, code):
        entry["without_zstd"] = other
    return entry


def corpus():
    """Every file of the corpus by its path, the manifest last."""
    files, manifest = {}, {"licence": "CC0-1.0", "reject": {}, "run": {}, "valid": {}, "version": 1}
    for name, (code, make) in MODELS.items():
        files[f"run/{name}.rq"] = data = make()
        manifest["run"][f"{name}.rq"] = run_entry(code, data)
    for name, data in VALID.items():
        files[f"valid/{name}.rq"] = data
        manifest["valid"][f"{name}.rq"] = valid_entry(data)
    for name, (code, _, make) in DEFECTS.items():
        if name not in TOO_LARGE_TO_KEEP:
            data = make()
            files[f"reject/{name}.rq"] = data
            manifest["reject"][f"{name}.rq"] = reject_entry(name, code, data)
    files["manifest.json"] = manifest_text(manifest).encode("utf-8")
    return files


def manifest_text(manifest):
    """The manifest as JSON with a file a line, so that a change shows where it is."""
    parts = []
    for key, part in sorted(manifest.items()):
        text = compact(part)
        if isinstance(part, dict):
            lines = (f"{compact(name)}:{compact(entry)}" for name, entry in sorted(part.items()))
            text = "{\n" + ",\n".join(lines) + "\n}"
        parts.append(f"{compact(key)}:{text}")
    return "{" + ",\n".join(parts) + "}\n"


def compact(data):
    """JSON without spaces."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def main():
    """Write or check; the answer is the exit status."""
    parser = argparse.ArgumentParser(description="the corpus of .rq files")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where it differs")
    check = parser.parse_args().check
    if not check:
        record_schemes()
    wanted = corpus()
    kept = {p.relative_to(CORPUS).as_posix() for p in CORPUS.rglob("*") if p.is_file()}
    stale = sorted(kept - wanted.keys() - {"README.md"})
    for name, data in wanted.items():
        path = CORPUS / name
        if name in kept and path.read_bytes() == data:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for name in stale:
        print(f"{'differs' if check else 'written or left over'}: {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
