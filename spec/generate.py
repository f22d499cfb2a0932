"""Fill the generated regions of all pages from the code, or check that they are fresh.

    python -m spec.generate            fill them
    python -m spec.generate --check    status 1 and a diff where one is stale

A region stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; NAME is a key of REGIONS.
Everything outside of regions is written by hand, and nothing inside them is.
"""

import argparse
import difflib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from refquant import errors
from refquant.architectures import FAMILIES, Family
from spec import (
    annotated_file,
    container_tables,
    family_table,
    ledger_tables,
    number_tables,
    scheme_pages,
    worked_codes,
)
from spec.markdown import table

__all__ = ["REGIONS", "filled", "pages"]

MOST_LINES = 20
"""How much `--check` shows of what changed, on the first stale page."""

REPOSITORY = Path(__file__).resolve().parent.parent

_REGION = re.compile(r"(<!-- begin (\S+) -->\n)(?:.*?\n)?(<!-- end \2 -->)", re.DOTALL)
_SKIPPED = {".venv", ".oracles", ".git", "node_modules"}


def _exit_statuses() -> str:
    """What each exit status of the command means, from the tree of errors."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(kind.exit_status, []).append(f"`{kind.__name__}`")
    rows = ((str(status), ", ".join(names)) for status, names in sorted(by_status.items()))
    return table(("exit status", "error"), rows)


def _rooms() -> str:
    """The rooms and their order, from the contract that the import linter checks."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "rooms")
    shown = (layer.replace("(", "").replace(")", "") for layer in layers)
    return "```text\n" + "\n".join(layer for layer in shown if layer != "__main__") + "\n```"


def _chapters() -> str:
    """The chapters of this folder, each with the title in its first line."""
    lines = []
    top = REPOSITORY / "spec"
    for page in sorted([*top.glob("*.md"), *top.glob("arch/*.md"), top / "schemes" / "README.md"]):
        if page != top / "README.md":
            name = page.relative_to(top).as_posix()
            title = page.read_text("utf-8").partition("\n")[0].removeprefix("# ")
            lines.append(f"- [{title}]({name})")
    return "\n".join(lines)


def _fields(family: Family) -> str:
    """The fields of a model family, and what other formats call them."""
    rows = (
        (
            f"`{field.name}`",
            field.law.replace("'", "`") + (", or left out" if field.optional else ""),
            field.meaning,
            f"`{field.gguf}`" if field.gguf else "",
            f"`{field.hugging_face}`" if field.hugging_face else "",
        )
        for field in family.fields
    )
    return table(("field", "value", "what it is", "GGUF key", "`config.json` key"), rows)


def _families() -> str:
    """Names of all families; those with a page of their own lead there."""
    rows = []
    for name, family in FAMILIES.items():
        has_page = (REPOSITORY / "spec" / "arch" / f"{name}.md").exists()
        rows.append((f"[`{name}`](arch/{name}.md)" if has_page else f"`{name}`", family.title))
    return table(("family", "models"), rows)


def _tensors(family: Family) -> str:
    """The tensors of a model family, and what Hugging Face calls them."""
    rows = (
        (
            f"`{tensor.name}`"
            + (f", if `{tensor.present_if}`" if tensor.present_if else "")
            + (f", unless `{tensor.absent_if}`" if tensor.absent_if else ""),
            f"`{tensor.formula}`",
            (f"`{tensor.hugging_face}`" if tensor.hugging_face else "")
            + ("" if tensor.form == "as it is" else f", {tensor.form}"),
        )
        for tensor in family.tensor_specs
    )
    return table(("tensor", "shape", "Hugging Face name"), rows)


REGIONS: dict[str, Callable[[], str]] = {
    "chapters": _chapters,
    "container-codes": container_tables.codes,
    "container-limits": container_tables.limits,
    "descriptor-limits": number_tables.limits,
    "catalogue": ledger_tables.catalogue,
    "evidence-ledger": ledger_tables.evidence,
    "exit-statuses": _exit_statuses,
    **{f"fields-{name}": partial(_fields, family) for name, family in FAMILIES.items()},
    "numerics-ledger": ledger_tables.numerics,
    "registry-families": _families,
    "rooms": _rooms,
    "smallest-file": annotated_file.explained,
    "worked-codes": worked_codes.table,
    "small-float-values": number_tables.small_float_values,
    "small-floats": number_tables.small_floats,
    **{f"tensors-{name}": partial(_tensors, family) for name, family in FAMILIES.items()},
}


def pages() -> list[Path]:
    """Every Markdown page of the project."""
    found = sorted(REPOSITORY.rglob("*.md"))
    return [page for page in found if not _SKIPPED & set(page.relative_to(REPOSITORY).parts)]


def filled(text: str) -> str:
    """The page with every region made anew; raises KeyError for a region that nothing fills."""
    return _REGION.sub(lambda match: f"{match[1]}{REGIONS[match[2]]()}\n{match[3]}", text)


def current() -> Iterator[tuple[Path, str]]:
    """Every page with the text it should have; the pages of schemes are made as a whole."""
    whole = {**dict(scheme_pages.pages()), **dict(family_table.pages())}
    yield from whole.items()
    for page in pages():
        if page not in whole:
            yield page, filled(page.read_text("utf-8"))


def main() -> int:
    """Fill or check, and say which pages changed."""
    parser = argparse.ArgumentParser(description="generated regions of the pages")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where stale")
    check = parser.parse_args().check
    stale = []
    for page, new in current():
        old = page.read_text("utf-8") if page.exists() else ""
        if new == old:
            continue
        name = page.relative_to(REPOSITORY).as_posix()
        stale.append((name, old, new))
        if not check:
            page.write_text(new, "utf-8")
            print(f"{name}: filled")
    if check and stale:
        print("stale, run `make docs`:", ", ".join(name for name, _, _ in stale))
        name, old, new = stale[0]
        lines = difflib.unified_diff(
            old.splitlines(), new.splitlines(), name, "made now", "", "", 1
        )
        print("\n".join(islice((line.rstrip() for line in lines), MOST_LINES)))
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
