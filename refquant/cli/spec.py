"""`refquant spec`: the page that defines a scheme."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from refquant.cli.output import emit_json, format_bits, print_pairs
from refquant.errors import UnsupportedError

if TYPE_CHECKING:
    from refquant.driver import Scheme

__all__ = ["spec"]


def spec(
    name: Annotated[str, Parameter(help="A scheme's name or alias.")],
    /,
    *,
    json: Annotated[
        bool, Parameter(help="Print the descriptor and the page as one JSON object.")
    ] = False,
) -> int:
    """Show the definition of a scheme.

    The page says what the scheme is, which bits belong to which field, the formula, the numbered
    clauses, a worked block, where implementations differ, and the evidence. The descriptor is the
    layout as data, as .rq files store it; its SHA-256 is the scheme's digest.

    For example:
      refquant spec ggml/q4_0
      refquant spec ggml/q4_0 --json
    """
    from refquant.schemes import scheme

    found = scheme(name)
    page = _page(found)
    if json:
        emit_json("spec", {**_facts(found), "page": page})
    else:
        if f"`{found.name}`" not in page:
            _print_member(found)
        print(page, end="")
    return 0


def _print_member(scheme: "Scheme") -> None:
    """What is particular to a member of a family, whose page describes the default one."""
    from refquant.layout import show

    print_pairs(
        [
            ("scheme", f"{scheme.name}: {scheme.title}"),
            ("bits per weight", format_bits(scheme.bits_per_weight())),
            ("value", show(scheme.layout.value)),
            ("descriptor", f"SHA-256 {scheme.digest}"),
            ("page", "that of the family, which describes the member with default knobs"),
        ]
    )
    print()


def _page(scheme: "Scheme") -> str:
    """The text of the page, from the installed package or from a checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    file = f"{scheme.name.partition('[')[0].replace('/', '__')}.md"
    for folder in (package / "pages" / "schemes", package.parent / "spec" / "schemes"):
        if (folder / file).is_file():
            return (folder / file).read_text("utf-8")
    raise UnsupportedError(f"this installation has no page for {scheme.name}")


def _facts(scheme: "Scheme") -> dict[str, object]:
    tables = {name: table.tolist() for name, table in scheme.layout.tables.items()}
    description = dict(scheme.layout.describe())
    if tables:
        description["tables"] = tables
    return {
        "name": scheme.name,
        "title": scheme.title,
        "digest": scheme.digest,
        "bits_per_weight": scheme.bits_per_weight(),
        "parameters": dict(scheme.parameters),
        "descriptor": description,
    }
