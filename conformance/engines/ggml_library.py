"""ggml's C functions through ctypes, from whichever package of this environment brings them.

Adapters here use it, and workers of `tests/differential` in the same environments. It is never
loaded in ours, because two builds of ggml in one process mix up their symbols.
"""

import ctypes
import importlib.util
import os
from pathlib import Path
from typing import Any

__all__ = [
    "PACKAGES",
    "Rows",
    "Traits",
    "base_library",
    "distribution",
    "processor_library",
    "version_of",
]

PACKAGES = {
    "ggml": "ggml-python",
    "llama_cpp": "llama-cpp-python",
    "_pywhispercpp": "pywhispercpp",
}
"""Modules that lie beside a ggml, and the packages that install them."""

Rows = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
"""A function that encodes or decodes so many weights."""


class Traits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml 0.9 to 0.25."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    )


def _package() -> tuple[str, Path]:
    for module, name in PACKAGES.items():
        found = importlib.util.find_spec(module)
        if found is not None and found.origin is not None:
            return name, Path(found.origin).parent
    raise SystemExit(f"none of {', '.join(PACKAGES.values())} is installed here")


def distribution() -> str:
    """The package that ggml came with."""
    return _package()[0]


def _loaded(name: str) -> Any:
    os.environ["GGML_NO_BACKTRACE"] = "1"
    _, folder = _package()
    for place in (folder / "lib", folder):
        if (place / name).exists():
            return ctypes.CDLL(str(place / name), mode=ctypes.RTLD_GLOBAL)
    raise SystemExit(f"{name} is not beside the package in {folder}")


def base_library() -> Any:
    """`libggml-base`: types, and their encoders and decoders in plain C."""
    base = _loaded("libggml-base.so")
    base.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    base.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    base.ggml_quantize_chunk.argtypes = (
        ctypes.c_int, pointer, pointer, count, count, count, pointer,
    )  # fmt: skip
    return base


def version_of(base: Any) -> str:
    """The version of ggml itself."""
    base.ggml_version.restype = ctypes.c_char_p
    found: bytes = base.ggml_version()
    return found.decode()


def processor_library() -> Any:
    """`libggml-cpu`, which has the functions that this machine's instructions make fast."""
    _loaded("libggml-base.so")
    library = _loaded("libggml-cpu.so")
    library.ggml_cpu_init()  # fills the table of binary16 numbers
    return library
