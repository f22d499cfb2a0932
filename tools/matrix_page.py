"""The page of `make matrix`: who does what, family by family, then what differs and how.

A family has a table of its own with the engines that do any of it, so that tables stay narrow: they
fit a phone. Nothing is said by colour alone, nothing is loaded, and nothing needs a script; a small
one hides what does not match a word, where there are scripts.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["page"]

STYLE = """
:root { --ok: #1f7a3a; --okbg: #e2f3e6; --bad: #a3211b; --badbg: #fbe3e0; --other: #7a5a00;
  --otherbg: #fdf1cf; --line: #d8d8d4; --soft: #66665f; }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem;
  color: #1d1d1b; background: #fff }
h1 { font-size: 1.7rem; margin: .5rem 0 } h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem }
a { color: #1b4f9c } code, pre { font: .82rem/1.45 ui-monospace, monospace }
.soft { color: var(--soft) } .cards { display: grid; gap: .6rem; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)) }
.cards li { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .7rem }
.cards b { display: block } .wide { overflow-x: auto; border: 1px solid var(--line);
  border-radius: .5rem; margin: .4rem 0 1.2rem }
table { border-collapse: collapse; width: 100%; font-size: .92rem }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top } tr:last-child > * { border-bottom: 0 }
thead th { background: #f5f5f2; white-space: nowrap } thead small { font-weight: 400 }
tbody th { font-weight: 400; position: sticky; left: 0; background: #fff; width: 17rem;
  min-width: 12rem }
.c { display: inline-block; border-radius: .35rem; padding: 0 .4rem; margin: 0 .25rem .15rem 0;
  white-space: nowrap; text-decoration: none }
.all { color: var(--ok); background: var(--okbg) } .differs { color: var(--bad);
  background: var(--badbg) } .other { color: var(--other); background: var(--otherbg) }
.dev { border-left: .3rem solid var(--line); padding: .1rem 0 .1rem .8rem; margin: .8rem 0 }
.dev.differs, .dev.unexplained { border-color: var(--bad); background: none; color: inherit }
.dev.other { border-color: #d9a800; background: none; color: inherit }
.dev p { margin: .2rem 0 } pre { background: #f5f5f2; padding: .5rem .6rem; border-radius: .35rem;
  overflow-x: auto; margin: .3rem 0 } input { font: inherit; padding: .35rem .6rem; width: 100%;
  max-width: 24rem; border: 1px solid #999; border-radius: .35rem }
nav a { margin-right: .7rem; white-space: nowrap } [hidden] { display: none }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
@media (max-width: 46rem) {
  thead { display: none } table, tbody, tr, th, td { display: block }
  tbody th { position: static; width: auto; border: 0; padding-bottom: 0 }
  td { border: 0; padding: .1rem .6rem } td:empty { display: none }
  td::before { content: attr(data-engine) " "; display: inline-block; min-width: 9rem;
    color: var(--soft); margin-right: .4rem }
  tr { border-bottom: 1px solid var(--line); padding: .2rem 0 }
}
"""
SCRIPT = """
const box = document.querySelector('input');
box.parentElement.hidden = false;
box.addEventListener('input', () => {
  const word = box.value.toLowerCase();
  for (const section of document.querySelectorAll('section')) {
    let left = 0;
    for (const row of section.querySelectorAll('tbody tr')) {
      row.hidden = !(section.dataset.names + ' ' + row.textContent).toLowerCase().includes(word);
      left += !row.hidden;
    }
    section.hidden = !left;
  }
});
"""
SEARCH = (
    '<p hidden><input type="search" placeholder="a format or an engine" '
    'aria-label="Show formats and engines that hold this word"></p>'
)
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
    "container": "Containers",
    "model": "Models",
    "tokenize": "Tokenizers",
    "detokenize": "Tokenizers",
}
"""The families of all other operations."""

Engine = Mapping[str, Any]


def page(found: Mapping[str, Any]) -> str:
    """The whole page, which needs no other file."""
    there = [one for one in found["engines"] if "absent" not in one]
    absent = [one for one in found["engines"] if "absent" in one]
    families = _families(there)
    links = " ".join(f'<a href="#{_anchor(f)}">{escape(TITLES.get(f, f))}</a>' for f in families)
    missing = "".join(f"<li>{escape(one['id'])}: {escape(one['absent'])}</li>" for one in absent)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Who does what: quantization in engines</title><style>{STYLE}</style>",
            "<h1>Who does what</h1>",
            _head(found, there),
            _cards(there),
            "<h2>Formats</h2>",
            SEARCH,
            f"<nav>{links}</nav>",
            *(_section(family, rows, there, found) for family, rows in families.items()),
            '<h2 id="deviations">Deviations</h2>',
            "<p>Each command repeats one case, the smallest, from the root of a checkout.</p>",
            *(_deviations(one) for one in there),
            f"<h2>Not run</h2><ul>{missing}</ul>" if missing else "",
            f"<script>{SCRIPT}</script></html>\n",
        ]
    )


def _head(found: Mapping[str, Any], there: Sequence[Engine]) -> str:
    cases = sum(one["counts"].get("pass", 0) for one in there)
    bad = sum(d["cases"] for one in there for d in one["deviations"])
    around = ", ".join(f"{key} {value}" for key, value in found.get("environment", {}).items())
    return (
        f"<p>{len(there)} engines by others, put to the cases of refquant's conformance suite "
        f"{escape(found['suite'])} that they can be asked: {cases} answers agree to the bit, "
        f"{bad} differ, and each that differs is explained below. {escape(around)}</p>\n"
        '<p><span class="c all">decode ✓ 7</span> all cases agree '
        '<span class="c differs">encode ≠ 8/9</span> a clause says otherwise '
        '<span class="c other">decode ~ 8/9</span> another setting of the scheme, or a route that '
        "cannot show it: not wrong. An empty place says nothing about an engine: its adapter does "
        "not ask.</p>"
    )


def _cards(there: Sequence[Engine]) -> str:
    items = "".join(
        f"<li><b>{escape(one['name'])} {escape(one['version'])}</b>"
        f'<span class="soft">{escape(one["language"])}; {escape(one["environment"])}</span>'
        f"<br>{one['counts'].get('pass', 0)} agree, {_differing(one)}</li>"
        for one in there
    )
    return f'<ul class="cards">{items}</ul>'


def _differing(one: Engine) -> str:
    count = sum(deviation["cases"] for deviation in one["deviations"])
    return f'<a href="#{_anchor(one["id"])}">{count} differ</a>' if count else "none differs"


def _families(there: Sequence[Engine]) -> dict[str, dict[str, list[str]]]:
    """Features by family and by row, in the order of their names."""
    found: dict[str, dict[str, list[str]]] = {}
    for feature in sorted({feature for one in there for feature in one["features"]}):
        op, _, name = feature.partition(".")
        family = name.partition("-")[0] if op in OPERATIONS else OTHERS.get(op, op)
        found.setdefault(family, {}).setdefault(name, []).append(feature)
    return dict(sorted(found.items(), key=lambda item: (item[0] in OTHERS.values(), item[0])))


def _section(
    family: str,
    rows: Mapping[str, Sequence[str]],
    there: Sequence[Engine],
    found: Mapping[str, Any],
) -> str:
    features = {feature for row in rows.values() for feature in row}
    engines = [one for one in there if features & set(one["features"])]
    heads = "".join(
        f"<th>{escape(one['name'])}<br><small>{escape(one['version'])}</small></th>"
        for one in engines
    )
    spelled = found.get("schemes", {})
    body = "".join(
        f"<tr><th><code>{_broken(spelled.get(name, name))}</code></th>"
        + "".join(
            f'<td data-engine="{escape(one["name"])} {escape(one["version"])}">'
            f"{''.join(_cell(one, f) for f in row if f in one['features'])}</td>"
            for one in engines
        )
        + "</tr>"
        for name, row in rows.items()
    )
    title = escape(TITLES.get(family, family))
    names = escape(" ".join([family, title, *(one["name"] for one in engines)]))
    return (
        f'<section id="{_anchor(family)}" data-names="{names}"><h3>{title}</h3>'
        f'<div class="wide"><table><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _broken(name: str) -> str:
    """A name that may go on in the next line behind a bracket or a comma."""
    return escape(name).replace("[", "[<wbr>").replace(",", ",<wbr>")


def _cell(engine: Engine, feature: str) -> str:
    passed, asked = engine["features"][feature]
    op = feature.partition(".")[0]
    word = OPERATIONS.get(op, "")
    said = f"{word}: {passed} of {asked} cases agree".removeprefix(": ")
    if passed == asked:
        return f'<span class="c all" title="{said}">{f"{word} ✓ {passed}".strip()}</span>'
    kinds = {d["kind"] for d in engine["deviations"] if feature in d["features"]}
    kind, sign = ("other", "~") if kinds == {"other"} else ("differs", "≠")
    label = f"{word} {sign} {passed}/{asked}".strip()
    return f'<a class="c {kind}" href="#{_anchor(engine["id"])}" title="{said}">{label}</a>'


def _deviations(engine: Engine) -> str:
    if not engine["deviations"]:
        return ""
    title = f"{escape(engine['name'])} {escape(engine['version'])}"
    items = "".join(_deviation(one) for one in engine["deviations"])
    return f'<h3 id="{_anchor(engine["id"])}">{title}</h3>{items}'


KINDS = {
    "differs": "A clause says otherwise",
    "other": "Another setting, not wrong",
    "unexplained": "Not explained yet",
}


def _deviation(one: Mapping[str, Any]) -> str:
    clause = f", {escape(one['clause'])}" if one["clause"] else ""
    return (
        f'<div class="dev {one["kind"]}"><p><b>{KINDS[one["kind"]]}</b>{clause}: '
        f"{escape(one['why'])}</p>"
        f'<p class="soft">{one["cases"]} case{"s" * (one["cases"] != 1)}; the smallest: '
        f"{escape(one['detail'])}</p><pre>{escape(one['replay'])}</pre></div>"
    )


def _anchor(name: str) -> str:
    return escape(name.lower().replace(" ", "-"))
