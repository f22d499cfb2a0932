"""Tables of the container's limits and error codes, for chapters 12 and 13."""

import json
from pathlib import Path

from spec.markdown import table

__all__ = ["CODES", "codes", "limits"]

SPEC = Path(__file__).resolve().parent
MANIFEST = SPEC.parent / "conformance" / "files" / "container" / "manifest.json"
SHARDED = SPEC.parent / "conformance" / "files" / "sharded" / "manifest.json"

CODES = {
    "E_SIZE": ("S0", "fewer than 128 bytes"),
    "E_MAGIC": ("S0", "the first 8 bytes are others"),
    "E_VERSION": ("S0", "major version other than 1; unsupported, not damaged"),
    "E_FEATURE": (
        "S0, S3, S6",
        "a required feature that the reader lacks (unsupported), or a bit that lies",
    ),
    "E_RESERVED": ("S0", "the reserved word is not 0"),
    "E_LENGTH": ("S0, S3", "file length other than stated, or bytes after the last segment"),
    "E_COUNT": ("S0", "number of segments out of range"),
    "E_TABLE_DIGEST": ("S1", "preamble and table do not match the root"),
    "E_SEG_FLAGS": ("S2", "flags not 0"),
    "E_SEG_CODEC": ("S2", "unknown codec, or a compressed header"),
    "E_SEG_KIND": ("S2", "unknown kind, or a header in another place than segment 0"),
    "E_SEG_OFFSET": ("S2", "an offset other than the one that follows from the lengths"),
    "E_SEG_BOUNDS": ("S2", "a segment that leaves the file"),
    "E_PAD": ("S2", "padding not zero"),
    "E_SEG_EMPTY": ("S2", "a segment without bytes"),
    "E_SEG_RAWLEN": ("S2", "a raw segment whose two lengths differ"),
    "E_ZSTD_RAWMAX": ("S2", "a frame that claims more than 64 MiB"),
    "E_ZSTD_NOGAIN": ("S2", "a frame no smaller than what it stands for"),
    "E_BUDGET": ("S3", "compressed segments that decode to more than the budget"),
    "E_SEG_CRC": ("S4, S8", "CRC-32 of the stored bytes"),
    "E_SEG_SHA": ("S4, S8", "SHA-256 of the decoded bytes"),
    "E_MP_TYPE": ("S5", "a tag that RQ-MP1 does not have"),
    "E_MP_MINIMAL": ("S5", "a number or size with a shorter form"),
    "E_MP_INT": ("S5", "an integer beyond 53 bits"),
    "E_MP_FLOAT": ("S5", "a float that is not finite, or -0.0"),
    "E_MP_UTF8": ("S5", "a string that is not UTF-8"),
    "E_MP_KEY": ("S5", "a key that does not match the pattern"),
    "E_MP_ORDER": ("S5", "keys that do not increase"),
    "E_MP_DEPTH": ("S5", "more than 16 arrays and maps open"),
    "E_MP_TRUNC": ("S5", "the bytes end too soon"),
    "E_MP_LIMIT": ("S5", "more than 2^22 values"),
    "E_MP_TRAIL": ("S5", "bytes after the value"),
    "E_SCHEMA_TYPE": ("S6", "a value of another type than the schema asks for"),
    "E_SCHEMA_MISSING": ("S6", "a required key is absent"),
    "E_SCHEMA_UNKNOWN": ("S6", "a key that the schema does not have"),
    "E_SCHEMA_EMPTY": ("S6", "an empty array or map that must be left out or have an entry"),
    "E_EXT_CRITICAL": (
        "S6",
        "an unknown extension that says it is critical; unsupported, not damaged",
    ),
    "E_NAME": ("S6", "a name, media type or word out of its pattern"),
    "E_ORDER": ("S6", "entries, references or token ids that do not increase"),
    "E_DUP": ("S6", "the same name or layout twice"),
    "E_LIMIT": ("S2, S6", "more than chapter 12 allows"),
    "E_SHAPE": ("S6", "a shape out of range"),
    "E_REF": ("S6, shard", "a reference to nothing, or to the wrong kind"),
    "E_SHARED": ("S6", "a segment with two owners"),
    "E_UNREF": ("S6, shard", "a segment or layout with no owner"),
    "E_PLANES": ("S6", "planes other than the layout's"),
    "E_PLANE_SIZE": ("S6, shard", "a plane of another size than its shape takes"),
    "E_CUT": ("S6, shard", "a plane or document cut where it may not be"),
    "E_DESC_VERSION": ("S6", "a descriptor of another version"),
    "E_DESC_ELEM": ("S6", "an element kind or width that is not in the registry"),
    "E_DESC_BLOCK": (
        "S6",
        "a number of a plane, field or slice out of range, or shares that do not divide",
    ),
    "E_DESC_PERM": ("S6", "an order that is no reordering"),
    "E_DESC_RANK": (
        "S6",
        "a layout with more axes than the tensor or its block, or weights that are no whole groups",
    ),
    "E_DESC_SLICE": ("S6", "slices that do not fit the record, the element or one another"),
    "E_DESC_OVERLAP": ("S6", "two runs of a plane that hold the same bit"),
    "E_DESC_TABLE": ("S6", "a table of the wrong size, or with values that are not finite"),
    "E_DESC_OP": ("S6", "an unknown operator"),
    "E_DESC_EXPR": ("S6", "a formula that is not one, is too large, or names nothing"),
    "E_DESC_UNUSED": ("S6", "a plane, field or table that nothing uses"),
    "E_DESC_OPS": ("S6", "operators that are unknown, out of range or do not fit the layout"),
    "E_JSON_UTF8": ("S7", "a JSON text that is not UTF-8, or begins with a byte order mark"),
    "E_JSON_DEPTH": ("S7", "more than 64 arrays and objects open"),
    "E_JSON_SYNTAX": ("S7", "a text that is not JSON"),
    "E_JSON_ESCAPE": ("S7", "an escape of half a surrogate pair"),
    "E_JSON_DUP": ("S7", "a key that stands in one object twice"),
    "E_ARCH_FAMILY": ("S7", "an unknown family of models; unsupported, not damaged"),
    "E_ARCH_FIELD": ("S7", "a field missing, unknown or unlawful"),
    "E_ARCH_TENSOR": ("S7", "a tensor missing, too many or of another shape"),
    "E_TOKENIZER_KIND": ("S7", "an unknown kind of tokenizer; unsupported, not damaged"),
    "E_TOKENIZER": ("S7", "a tokenizer's text without the parts of one"),
    "E_TOKENIZER_ID": ("S7", "a token id beyond the vocabulary"),
    "E_ZSTD_MAGIC": ("S8", "no frame, or a skippable one"),
    "E_ZSTD_DICT": ("S8", "a frame with a dictionary"),
    "E_ZSTD_CHECKSUM": ("S8", "a frame with its own checksum"),
    "E_ZSTD_RESERVED": ("S8", "a reserved or unused bit of the frame is set"),
    "E_ZSTD_NOSIZE": ("S8", "a frame that does not state its size"),
    "E_ZSTD_SIZE": ("S8", "a frame of another size than the table says"),
    "E_ZSTD_WINDOW": ("S8", "a window beyond 8 MiB"),
    "E_ZSTD_DATA": ("S8", "a frame that does not decode"),
    "E_ZSTD_TRAIL": ("S8", "bytes after the frame"),
    "E_CODE_PAD": ("S8", "a bit of a record that no field claims is set"),
    "E_CODE_DIGIT": ("S8", "a byte that is no row of digits"),
    "E_CODE_EDGE": ("S8", "a code of no weight that is not 0"),
    "E_CODE_INDEX": ("S8", "an index that names a group which is not there"),
    "E_SHARD_NAME": ("S6", "a shard's name that is no plain file name ending in .rq"),
    "E_SHARD_ROLE": (
        "shard",
        "a shard where a model was expected (unsupported), or a model where a shard was",
    ),
    "E_SHARD_MISSING": ("shard", "a shard that is not beside its root, or is no regular file"),
    "E_SHARD_LENGTH": ("S6, shard", "a shard of another length than its root says"),
    "E_SHARD_ROOT": ("shard", "a shard with another root digest than its root file pins"),
    "E_HTTP_RANGE": ("HTTP", "a server that ignores range requests (unsupported)"),
    "E_HTTP_CHANGED": ("HTTP", "another length or entity tag than in the first answer"),
    "E_HTTP_BODY": ("HTTP", "an answer for other bytes, or more or fewer, than were asked for"),
}
"""Code -> (stages, meaning), in the order of the stages."""


def limits() -> str:
    """The limits of the container, from `limits.json`."""
    listed = json.loads((SPEC / "limits.json").read_text("utf-8"))["limits"]
    rows = ((row["what"], str(row["limit"]), row["note"], f"`{row['code']}`") for row in listed)
    return table(("what", "at most", "", "code"), rows)


def codes() -> str:
    """Every code, the stages in which it shows, its meaning, and the files that show it."""
    rejects = json.loads(MANIFEST.read_text("utf-8"))["reject"]
    files: dict[str, list[str]] = {}
    for name, entry in rejects.items():
        files.setdefault(entry["code"], []).append(name.removesuffix(".rq"))
    for name, entry in json.loads(MANIFEST.read_text("utf-8"))["run"].items():
        if "stage" in entry:
            files.setdefault(entry["run"], []).append(f"run/{name.removesuffix('.rq')}")
    for name, entry in json.loads(SHARDED.read_text("utf-8"))["reject"].items():
        files.setdefault(entry["code"], []).append(f"sharded/{name}")
    rows = (
        (f"`{code}`", stages, meaning, _shown(files.get(code, [])))
        for code, (stages, meaning) in CODES.items()
    )
    return table(("code", "stage", "meaning", "files in `reject/`"), rows)


def _shown(names: list[str]) -> str:
    if not names:
        return "made on demand"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"`{name}`" for name in names[:3]) + more
