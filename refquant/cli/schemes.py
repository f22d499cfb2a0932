"""`refquant schemes`: the table of all schemes, and the knobs of those that have them."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.output import emit_json, format_bits, print_table

if TYPE_CHECKING:
    from refquant.driver import Scheme
    from refquant.schemes.codebooks import Codebook
    from refquant.schemes.names import Family, Knob

__all__ = ["schemes"]


def schemes(
    pattern: Annotated[
        str | None, Parameter(help="A part of a name or alias, or a pattern such as 'ggml/*'.")
    ] = None,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """List the quantization schemes.

    Each scheme is one contract, under a name that says whose it is. Bits per weight count all that
    is stored, scales included, for a large matrix. A family has knobs, written in brackets behind
    its name; a scheme given with its knobs is shown under its full name.

    For example:
      refquant schemes
      refquant schemes 'ggml/*'
      refquant schemes int/affine
      refquant schemes 'int/affine[bits=4,group=64,asym]'
    """
    from refquant.schemes import ALIASES, FAMILIES

    found, lacking = _matching(pattern)
    families = {f.name: f for f in FAMILIES.values() if any(_family(s) == f.name for s in found)}
    aliases = _aliases(ALIASES, found)
    if json:
        facts = [_facts(s, aliases, families) for s in found]
        emit_json("schemes", {"schemes": [*facts, *map(_codebook_facts, lacking)]})
        return 0
    rows = [
        (s.name, format_bits(s.bits_per_weight()), "yes" if s.can_encode else "no",
         ", ".join(aliases[s.name]), s.title)
        for s in found
    ]  # fmt: skip
    rows += [(c.name, format_bits(c.bits_per_weight), "no", "", c.label) for c in lacking]
    print_table(("scheme", "bits/weight", "encodes", "aliases", "what it is"), rows, numeric=[1])
    if pattern:
        for family in families.values():
            _print_knobs(family)
    return 0


def _matching(pattern: str | None) -> tuple[list["Scheme"], list["Codebook"]]:
    """Schemes that a pattern names, and those whose codebooks are not installed."""
    from refquant.schemes import ALIASES, scheme

    found, lacking = _every()
    if pattern is None:
        return found, lacking
    if pattern.endswith("]") and "[" in pattern:
        return [scheme(pattern)], []
    wanted = pattern.lower()
    glob = wanted if any(sign in wanted for sign in "*?") else f"*{wanted}*"
    aliased = {scheme(full).name for alias, full in ALIASES.items() if fnmatchcase(alias, glob)}
    named = [s for s in found if s.name in aliased or fnmatchcase(s.name, glob)]
    unmade = [c for c in lacking if fnmatchcase(c.name, glob)]
    return (named, unmade) if named or unmade else ([scheme(pattern)], [])


def _every() -> tuple[list["Scheme"], list["Codebook"]]:
    """All registered schemes and the members of families that have an alias, by namespace.

    Formats with codebooks come second where their package is not installed.
    """
    from refquant.errors import UnsupportedError
    from refquant.schemes import ALIASES, scheme, schemes
    from refquant.schemes.codebooks import CODEBOOKS, codebook_scheme

    names = {s.name: s for s in (*schemes(), *(scheme(full) for full in ALIASES.values()))}
    lacking = []
    for codebook in CODEBOOKS.values():
        try:
            names[codebook.name] = codebook_scheme(codebook.name)
        except UnsupportedError:
            lacking.append(codebook)
    namespaces: dict[str, list[Scheme]] = {}
    for found in names.values():
        namespaces.setdefault(found.name.partition("/")[0], []).append(found)
    return [found for members in namespaces.values() for found in members], lacking


def _family(scheme: "Scheme") -> str:
    return scheme.name.partition("[")[0]


def _aliases(table: Any, found: list["Scheme"]) -> dict[str, list[str]]:
    from refquant.schemes import scheme

    names: dict[str, list[str]] = {s.name: [] for s in found}
    for alias, full in table.items():
        canonical = scheme(full).name
        if canonical in names:
            names[canonical].append(alias)
    return names


def _facts(
    scheme: "Scheme", aliases: dict[str, list[str]], families: dict[str, "Family"]
) -> dict[str, Any]:
    family = families.get(_family(scheme))
    return {
        "name": scheme.name,
        "namespace": scheme.name.partition("/")[0],
        "title": scheme.title,
        "bits_per_weight": scheme.bits_per_weight(),
        "encodes": scheme.can_encode,
        "aliases": aliases[scheme.name],
        "digest": scheme.digest,
        "planes": {
            name: {"block": list(plane.block), "bytes": plane.bytes}
            for name, plane in scheme.planes.items()
        },
        "parameters": dict(scheme.parameters),
        "knobs": [_knob_facts(knob) for knob in family.knobs] if family else [],
    }


def _codebook_facts(codebook: "Codebook") -> dict[str, Any]:
    """What is known of a format without the package that brings its vectors."""
    return {
        "name": codebook.name,
        "namespace": codebook.name.partition("/")[0],
        "title": codebook.label,
        "bits_per_weight": codebook.bits_per_weight,
        "encodes": False,
        "aliases": [],
        "digest": None,
        "planes": {"blocks": {"block": [256], "bytes": codebook.size}},
        "parameters": {},
        "knobs": [],
        "needs": "pip install refquant[iq]",
    }


def _knob_facts(knob: "Knob") -> dict[str, Any]:
    return {
        "name": knob.name,
        "meaning": knob.meaning,
        "values": _values(knob),
        "default": knob.default,
    }


def _values(knob: "Knob") -> str:
    if isinstance(knob.values, range):
        return f"{knob.values.start} to {knob.values.stop - 1}"
    return ", ".join(knob.values)


def _print_knobs(family: "Family") -> None:
    print(f"\nknobs of {family.name}")
    rows = [(knob.name, _values(knob), knob.default, knob.meaning) for knob in family.knobs]
    print_table(("knob", "values", "default", "meaning"), rows)
