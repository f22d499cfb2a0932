"""The files of the project, as the house rules see them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = [
    "REPOSITORY",
    "documents",
    "module_name",
    "modules",
    "public_modules",
    "python_files",
    "relative",
    "text_files",
    "tree_of",
]

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# Made by tools, not by us.
_SKIPPED = {"__pycache__", "build", "dist", "node_modules"}
_TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".sh", ".c", ".h", ".js", ""}


@cache
def _files() -> tuple[Path, ...]:
    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") and path.name != ".ci"
            if hidden or path.name in _SKIPPED or path.name.endswith(".egg-info"):
                continue
            if path.is_dir():
                yield from walk(path)
            else:
                yield path

    return tuple(walk(REPOSITORY))


def text_files() -> list[Path]:
    """Everything we wrote as text: code, pages, settings; data of models and vectors apart."""
    return [path for path in _files() if path.suffix in _TEXT]


def python_files() -> list[Path]:
    """Every Python file: the package, its tests, tools and benchmarks."""
    return [path for path in _files() if path.suffix == ".py"]


def documents() -> list[Path]:
    """Every page in Markdown."""
    return [path for path in _files() if path.suffix == ".md"]


def modules() -> list[Path]:
    """The Python files of the package itself."""
    return [path for path in python_files() if relative(path).startswith("refquant/")]


def public_modules() -> list[Path]:
    """The modules of the package that may be imported from outside: no part begins with `_`."""
    return [path for path in modules() if not re.search(r"/_(?!_init__)", relative(path))]


def module_name(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def relative(path: Path) -> str:
    """The path from the top of the project, with forward slashes."""
    return path.relative_to(REPOSITORY).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text("utf-8"), relative(path))
