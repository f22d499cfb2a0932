"""The engines of the kits: how each is built, and what the suite says of one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from refquant.conformance.line_engine import LineEngine
from refquant.conformance.replies import Limits
from refquant.conformance.results import Report
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import select
from tests.conftest import REPOSITORY
from tools import oracles

__all__ = [
    "ENGINES",
    "KITS",
    "SUITE",
    "Engine",
    "built",
    "c_engine",
    "parameters",
    "report_of",
    "tool",
]

SUITE = REPOSITORY / "conformance"
KITS = SUITE / "kits"
STRICT = ["-Wall", "-Wextra", "-Werror"]


@dataclass(frozen=True)
class Engine:
    """An engine of a kit: its source below the folder of kits, how it is built, whom it asks for.

    `build(source, folder)` puts what it builds into the folder and returns the command.
    """

    source: str
    build: Callable[[Path, Path], str]
    passes: int
    packs: Sequence[str] = ("decode/ggml", "decode/float")


def tool(name: str) -> str:
    """A program's path; skips where this machine has none."""
    found = shutil.which(name)
    return found or pytest.skip(f"{name} is not on this machine")


def go() -> str:
    """Go's compiler, of this machine or of the oracles; skips with the reason without one."""
    found = shutil.which("go")
    if not found and (reason := oracles.why_not("go")):
        pytest.skip(f"go is not on this machine; oracle go: {reason}")
    return found or str(oracles.python_of("go").with_name("go"))


def built(command: Sequence[str], engine: Path, where: Path | None = None, **env: str) -> str:
    """Run a compiler, in a folder and with settings; the engine's path as a command."""
    whole = {**os.environ, **env}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=where, env=whole
    )
    assert done.returncode == 0, done.stderr
    return str(engine)


def c_engine(source: Path, folder: Path, *more: Path) -> str:
    """With every warning an error."""
    flags = ["-std=c99", "-O1", "-ffp-contract=off", *STRICT, "-I", str(KITS / "c")]
    files = [str(source), *map(str, more), "-lm"]
    return built([tool("cc"), *flags, "-o", str(folder / "engine"), *files], folder / "engine")


def _c_reader(source: Path, folder: Path) -> str:
    return c_engine(source, folder, source.parents[2] / "readers" / "c" / "rq.c")


def _cpp_engine(source: Path, folder: Path) -> str:
    flags = ["-std=c++17", *STRICT, "-o", str(folder / "engine")]
    return built([tool("c++"), *flags, str(source)], folder / "engine")


def _rust_engine(source: Path, folder: Path) -> str:
    options = ["--offline", "--locked", "--example", "example", "--target-dir", str(folder)]
    engine = folder / "debug" / "examples" / "example"
    return built([tool("cargo"), "build", *options], engine, source.parents[2])


def _go_engine(source: Path, folder: Path) -> str:
    """The compiled library of Go is kept: it takes longer than all engines together."""
    kept = str(oracles.folder().absolute() / "go" / "cache")
    settings = {"GOCACHE": kept, "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": ""}
    command = [go(), "build", "-o", str(folder / "engine"), "."]
    return built(command, folder / "engine", source.parent, **settings)


def _javascript_engine(source: Path, _: Path) -> str:
    return f"{tool('node')} {source}"


def _python_engine(source: Path, _: Path) -> str:
    """With the package beside the suite of `source`, which a test may have changed."""
    return f"env PYTHONPATH={source.parents[3]} {sys.executable} {source}"


FILES = ("container/*",)
# Go's own library is compiled with the first engine: seconds that `make test` does without.
SLOW = {"go": pytest.mark.differential}

ENGINES: Mapping[str, Engine] = {
    "c": Engine("c/example.c", c_engine, 9),
    "cpp": Engine("cpp/example.cpp", _cpp_engine, 7),
    "python": Engine("python/example.py", _python_engine, 9),
    "javascript": Engine("javascript/example.mjs", _javascript_engine, 7),
    "rust": Engine("rust/examples/example/main.rs", _rust_engine, 7),
    "go": Engine("go/example/main.go", _go_engine, 2),
    "c_files": Engine("c/container.c", _c_reader, 635, FILES),
    "python_files": Engine("python/container.py", _python_engine, 670, FILES),
    "javascript_files": Engine("javascript/container.mjs", _javascript_engine, 670, FILES),
}


def parameters(engines: Mapping[str, str]) -> list[Any]:
    """A test's parameters, each by its name with the engine that it needs."""
    return [pytest.param(name, marks=SLOW.get(engine, ())) for name, engine in engines.items()]


def report_of(command: str, packs: Sequence[str]) -> Report:
    """What the suite says of an engine that was asked these packs."""
    found = select(SUITE, packs)
    options = Options(expected=found.expected, root=found.root)
    return run(LineEngine(command, Limits()), found.packs, options)
