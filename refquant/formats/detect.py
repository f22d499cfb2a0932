"""What a file that is not read here seems to be, for an error that helps."""

from collections.abc import Mapping
from typing import Final

__all__ = ["describe_foreign"]

TORCH: Final = "convert it with torch (refquant.convert_torch)"

# What files of other kinds have at a place near their start, and what to do about them.
FOREIGN: Final[Mapping[tuple[int, bytes], str]] = {
    (0, b"\x89RQ"): "a .rq file whose first bytes were changed, as by a transfer in text mode",
    (0, b"PK\x03\x04"): f"a zip archive, as PyTorch writes; {TORCH}",
    (0, b"\x80\x02"): f"a pickle, which can run code and is not read; {TORCH}",
    (0, b"\x80\x03"): f"a pickle, which can run code and is not read; {TORCH}",
    (0, b"\x80\x04"): f"a pickle, which can run code and is not read; {TORCH}",
    (0, b"\x80\x05"): f"a pickle, which can run code and is not read; {TORCH}",
    (8, b"{"): (
        "a safetensors file, which holds no architecture; "
        "give its directory, with config.json beside it"
    ),
    (4, b"TFL3"): "a TensorFlow Lite model, which is not read yet",
    (0, b"lmgg"): "a llama.cpp file older than GGUF; convert it with llama.cpp",
    (0, b"fmgg"): "a llama.cpp file older than GGUF; convert it with llama.cpp",
    (0, b"tjgg"): "a llama.cpp file older than GGUF; convert it with llama.cpp",
    (0, b"\x1f\x8b"): "a gzip archive; unpack it first",
    (0, b"\x28\xb5\x2f\xfd"): "a zstd archive; unpack it first",
    (0, b"\x89HDF"): "an HDF5 file, which is not read",
    (0, b"version https://git-lfs"): "a Git LFS pointer, not the file itself; run `git lfs pull`",
    # ONNX has no magic; a model starts with the field ir_version, a small varint.
    (0, b"\x08"): "perhaps an ONNX model, which is not read yet",
}


def describe_foreign(start: bytes) -> str:
    """What a file with these first bytes seems to be: the end of the sentence `it is ...`."""
    for (offset, magic), sentence in FOREIGN.items():
        if start[offset : offset + len(magic)] == magic:
            return sentence
    kind = "a text file" if _is_text(start) else "no file of a kind known here"
    return f"{kind}; expected .rq, GGUF or a Hugging Face directory"


def _is_text(start: bytes) -> bool:
    # The last character may be cut off, which `ignore` forgives; anything else shows below.
    text = start.decode("utf-8", "ignore")
    return len(text.encode()) > len(start) - 4 and all(
        letter.isprintable() or letter in "\r\n\t" for letter in text
    )
