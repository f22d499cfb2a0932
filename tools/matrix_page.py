"""The page of `make matrix`: who does what at a glance, then by format and version.

A family of formats has a table of its own with the engines that do any of it, so that tables stay
narrow: they fit a phone. Nothing is said by colour alone, nothing is loaded, and nothing needs a
script: a small one hides what does not match a word. What differs opens in place, and stands at the
end of the page with the command that repeats it.
"""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from matrix_deviations import card, listed, opened

__all__ = ["page"]

HERE = Path(__file__).resolve().parent

TITLES = {
    "bnb": "bitsandbytes",
    "ct": "compressed-tensors",
    "float": "floats",
    "mlx": "MLX",
    "mx": "MX and NVFP4",
    "onnx": "ONNX",
    "tflite": "TensorFlow Lite",
    "aeq": "AI Edge Quantizer",
}
"""Families whose names need words."""

OPERATIONS = {
    "decode": "decode",
    "encode": "encode",
    "unpack": "unpack",
    "pack": "pack",
    "linear": "product",
}
"""Operations on schemes, and what a cell calls them."""

OTHERS = {
    "integer_matmul": "Integer products",
    "quantize_rows": "Rows of activations",
    "requantize": "Requantization",
    "layer": "Integer layers",
    "container": "Containers",
    "model": "Models",
    "tokenize": "Tokenizers",
    "detokenize": "Tokenizers",
}
"""The families of all other operations."""

LEGEND = """<ul class="legend">
<li><span class="c all">decode ✓ 7</span> all cases agree to the bit</li>
<li><span class="c differs">encode ≠ 8/9</span> a clause says otherwise</li>
<li><span class="c other">decode ~ 8/9</span> another setting of the scheme, or a route that cannot
show it: not wrong</li>
<li>An empty place says nothing about an engine: its adapter does not ask.</li></ul>"""

TOOLS = (
    '<div class="tools" hidden><input type="search" placeholder="formats, operations or engines" '
    'aria-label="Show what holds these words"> <label><input type="checkbox"> only what differs'
    "</label></div>"
)

Engine = Mapping[str, Any]
Families = Mapping[str, Mapping[str, Sequence[str]]]


def page(found: Mapping[str, Any]) -> str:
    """The whole page, which needs no other file."""
    there = [one for one in found["engines"] if "absent" not in one]
    absent = [one for one in found["engines"] if "absent" in one]
    families, clauses = _families(there), found.get("clauses", {})
    links = " ".join(f'<a href="#{_anchor(f)}">{escape(_title(f))}</a>' for f in families)
    missing = "".join(f"<li>{escape(one['id'])}: {escape(one['absent'])}</li>" for one in absent)
    style, script = ((HERE / f"matrix_page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Who does what: quantization in engines</title><style>{style}</style>",
            "<h1>Who does what</h1>",
            _head(found, there),
            LEGEND,
            _overview(there, families),
            "<h2>Format by format</h2>",
            TOOLS,
            f"<nav>{links}</nav>",
            *(_section(family, rows, there, found) for family, rows in families.items()),
            '<h2 id="deviations">Deviations</h2>',
            "<p>Each command repeats one case, the smallest, from the root of a checkout.</p>",
            *(listed(one, clauses) for one in there),
            f"<h2>Not run</h2><ul>{missing}</ul>" if missing else "",
            *(opened(one, clauses) for one in there),
            f"<script>{script}</script></html>\n",
        ]
    )


def _head(found: Mapping[str, Any], there: Sequence[Engine]) -> str:
    cases = sum(one["counts"].get("pass", 0) for one in there)
    bad = sum(d["cases"] for one in there for d in one["deviations"])
    names = {one["name"] for one in there}
    languages = {one["language"] for one in there}
    around = ", ".join(f"{key} {value}" for key, value in found.get("environment", {}).items())
    return (
        f'<p class="lead">{len(names)} engines by others in {len(languages)} languages, '
        f"{len(there)} versions in all, put to the cases of refquant's conformance suite "
        f"{escape(found['suite'])} that they can be asked: {cases:,} answers agree to the bit, "
        f'{bad} differ, and <a href="#deviations">each that differs is explained</a>. '
        f"{escape(around)}.</p>"
    )


def _families(there: Sequence[Engine]) -> dict[str, dict[str, list[str]]]:
    """Features by family and row; formats that many engines know first, other operations last."""
    found: dict[str, dict[str, list[str]]] = {}
    for feature in sorted({feature for one in there for feature in one["features"]}):
        op, _, name = feature.partition(".")
        family = name.partition("-")[0] if op in OPERATIONS else OTHERS.get(op, op)
        found.setdefault(family, {}).setdefault(name, []).append(feature)

    def order(family: str) -> tuple[bool, int, str]:
        features = {feature for row in found[family].values() for feature in row}
        engines = sum(bool(features & set(one["features"])) for one in there)
        return family in OTHERS.values(), -engines, family

    return {family: found[family] for family in sorted(found, key=order)}


def _by_name(engines: Sequence[Engine]) -> list[list[Engine]]:
    """Versions of one engine together."""
    return [list(group) for _, group in groupby(engines, key=lambda one: str(one["name"]))]


# ------------------------------------------------------------------------------------- at a glance


def _overview(there: Sequence[Engine], families: Families) -> str:
    heads = "".join(f'<th><a href="#{_anchor(f)}">{escape(_title(f))}</a></th>' for f in families)
    body = "".join(
        _overview_row(one, families, more=number > 0)
        for versions in _by_name(there)
        for number, one in enumerate(versions)
    )
    return (
        f'<h2>At a glance</h2><div class="wide"><table class="over"><thead><tr><th></th>{heads}'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _overview_row(one: Engine, families: Families, *, more: bool) -> str:
    cells = "".join(
        f'<td data-of="{escape(_title(family))}">{_sum(one, family, rows)}</td>'
        for family, rows in families.items()
    )
    return (
        f"<tr{' class=more' if more else ''}><th>{escape(one['name'])} {escape(one['version'])}"
        f"<small>{escape(one['language'])}; {escape(one['environment'])}</small></th>{cells}</tr>"
    )


def _sum(one: Engine, family: str, rows: Mapping[str, Sequence[str]]) -> str:
    features = [f for row in rows.values() for f in row if f in one["features"]]
    if not features:
        return ""
    passed, asked = (sum(one["features"][f][k] for f in features) for k in (0, 1))
    kind, sign = _kind(one, features)
    label = f"{sign} {passed if passed == asked else f'{passed}/{asked}'}"
    return f'<a class="c {kind}" href="#{_anchor(family)}">{label}</a>'


def _kind(one: Engine, features: Sequence[str]) -> tuple[str, str]:
    """How a mark over these features looks, and its sign."""
    if all(passed == asked for passed, asked in (one["features"][f] for f in features)):
        return "all", "✓"
    kinds = {d["kind"] for d in one["deviations"] if set(features) & set(d["features"])}
    return ("other", "~") if kinds == {"other"} else ("differs", "≠")


# -------------------------------------------------------------------------------- format by format


def _section(
    family: str,
    rows: Mapping[str, Sequence[str]],
    there: Sequence[Engine],
    found: Mapping[str, Any],
) -> str:
    features = {feature for row in rows.values() for feature in row}
    groups = _by_name([one for one in there if features & set(one["features"])])
    names = "".join(
        f'<th class="first" colspan="{len(group)}">{escape(group[0]["name"])}</th>'
        for group in groups
    )
    columns = [(one, number == 0) for group in groups for number, one in enumerate(group)]
    versions = "".join(f"<th{_edge(first=f)}>{escape(one['version'])}</th>" for one, f in columns)
    body = "".join(
        _row(found.get("schemes", {}).get(name, name), row, columns) for name, row in rows.items()
    )
    words = escape(" ".join([family, _title(family), *(str(group[0]["name"]) for group in groups)]))
    return (
        f'<section id="{_anchor(family)}" data-names="{words}"><h3>{escape(_title(family))}</h3>'
        f'<div class="wide"><table><thead><tr><th></th>{names}</tr><tr><th></th>{versions}</tr>'
        f"</thead><tbody>{body}</tbody></table></div></section>"
    )


def _row(name: str, row: Sequence[str], columns: Sequence[tuple[Engine, bool]]) -> str:
    cells = "".join(
        f'<td{_edge(first=first)} data-of="{escape(one["name"])} {escape(one["version"])}">'
        f"{''.join(_cell(one, f) for f in row if f in one['features'])}</td>"
        for one, first in columns
    )
    # A name may go on in the next line behind a bracket or a comma.
    spelled = escape(name).replace("[", "[<wbr>").replace(",", ",<wbr>")
    return f"<tr><th><code>{spelled}</code></th>{cells}</tr>"


def _edge(*, first: bool) -> str:
    """The line between one engine and the next."""
    return ' class="first"' if first else ""


def _cell(engine: Engine, feature: str) -> str:
    passed, asked = engine["features"][feature]
    word = OPERATIONS.get(feature.partition(".")[0], "")
    said = f"{word}: {passed} of {asked} cases agree".removeprefix(": ")
    if passed == asked:
        return f'<span class="c all" title="{said}">{f"{word} ✓ {passed}".strip()}</span>'
    kind, sign = _kind(engine, [feature])
    tip = escape(
        "\n".join([said, *(card(d) for d in engine["deviations"] if feature in d["features"])])
    )
    return (
        f'<button type="button" class="c {kind}" popovertarget="{_anchor(engine["id"])}-{feature}" '
        f'title="{tip}">{f"{word} {sign} {passed}/{asked}".strip()}</button>'
    )


def _title(family: str) -> str:
    return TITLES.get(family, family)


def _anchor(name: str) -> str:
    return escape(name.lower().replace(" ", "-"))
