"""Asking ggml's C functions: one worker process for each request."""

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refquant.formats.gguf_types import GGML_TYPES

__all__ = ["ask", "half_places", "oracle_of", "package_of", "type_of"]

WORKER = Path(__file__).parent / "differential" / "workers" / "ggml_worker.py"

HALF_PLACES = {
    "Q4_1": (0, 2),
    "Q5_1": (0, 2),
    "Q8_1": (0, 2),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "Q8_K": (2,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
    "MXFP4": (),
    "NVFP4": (),
    "IQ1_M": (),
}
"""First bytes of the binary16 parameters in a block, where they are not byte 0 alone."""


def half_places(name: str) -> tuple[int, ...]:
    """Where a block of the ggml type `name` holds binary16 numbers."""
    return HALF_PLACES.get(name.upper(), (0,))


def type_of(scheme_name: str) -> tuple[int, str]:
    """The id of the ggml type that a scheme stores, and its name in ggml's functions."""
    for number, kind in GGML_TYPES.items():
        if kind.scheme == scheme_name:
            return number, kind.name.replace("Q", "q", 1) if "K" in kind.name else kind.name.lower()
    raise KeyError(scheme_name)


def oracle_of(scheme_name: str) -> str:
    """Which oracle knows a scheme: Q2_0 came after ggml 0.15."""
    return "llama" if scheme_name == "ggml/q2_0" else "ggml"


def package_of(scheme_name: str) -> str:
    """The package and version behind that oracle."""
    return {"ggml": "ggml-python 0.0.45", "llama": "llama-cpp-python 0.3.36"}[
        oracle_of(scheme_name)
    ]


def ask(
    python: Path, folder: Path, kind: int, row: int = 256, **request: NDArray[np.generic] | str
) -> dict[str, NDArray[np.generic]]:
    """The worker's answer for the ggml type `kind`; see its first lines for what can be asked."""
    asked, answered = folder / "request.npz", folder / "answer.npz"
    np.savez(asked, type=kind, row=row, **request)
    subprocess.run([python, WORKER, asked, answered], check=True)
    with np.load(answered) as found:
        return dict(found)
