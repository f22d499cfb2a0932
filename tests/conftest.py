"""What all tests share: paths, the environments of others' implementations, real checkpoints."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tools import oracles

REPOSITORY = Path(__file__).resolve().parent.parent

cached_reason = cache(oracles.why_not)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the project."""
    return REPOSITORY


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], Path]:
    """`oracle("ggml")` is the interpreter of that environment; skips with the reason without it."""

    def find(name: str) -> Path:
        reason = cached_reason(name)
        if reason:
            pytest.skip(f"oracle {name}: {reason}")
        return oracles.python_of(name)

    return find


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as GGUF, Q4_1: where REFQUANT_SMOLLM2 says, or from the oracles."""
    named = os.environ.get("REFQUANT_SMOLLM2")
    places = [Path(named)] if named else sorted(oracles.folder().glob("smollm2/**/*.gguf"))
    if not places or not places[0].exists():
        pytest.skip("SmolLM2: no file; `make oracles` fetches it, or set REFQUANT_SMOLLM2")
    return places[0]


@pytest.fixture(autouse=True)
def own_cache_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the cache folder of whoever runs it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
