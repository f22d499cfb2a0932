"""The report of a quantization as one page: nothing to load, light and dark, sorted by a click."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from refquant.quantization.errors_of import TensorErrors
from refquant.quantization.report_plots import heat_map, histogram, scatter

__all__ = ["report_page"]

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #d5d5d0; --soft: #6b6b6b;
  --hover: #f3f3ef; --bad: #b3261e; --c0: #3366aa; --c1: #cc7722; --c2: #2c7a3f; --c3: #a3338f;
  --c4: #7a6a00; --c5: #008080; --c6: #b3261e; --c7: #555; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e1; --paper: #161614; --line: #3b3b37;
  --soft: #a0a09a; --hover: #22221f; --bad: #ff8a80; --c0: #7fb0f5; --c1: #f0a860; --c2: #7fd092;
  --c3: #e08fd2; --c4: #d6c650; --c5: #5fd0d0; --c6: #ff8a80; --c7: #bbb; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1.2rem; max-width: 82rem;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } .bad { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem .15rem 0; text-align: left; white-space: nowrap; }
td.n, th.n { text-align: right; } thead th { border-bottom: 1px solid var(--soft); }
tbody tr:hover { background: var(--hover); } tbody td { border-bottom: 1px solid var(--line); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--c0); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
svg { font: 12px system-ui, sans-serif; max-width: 100%; height: auto; }
svg text { fill: var(--ink); } svg .grid { stroke: var(--line); }
svg.spark { display: block; max-width: none; } svg.spark rect { fill: var(--soft); }
.s0 { fill: var(--c0); } .s1 { fill: var(--c1); } .s2 { fill: var(--c2); } .s3 { fill: var(--c3); }
.s4 { fill: var(--c4); } .s5 { fill: var(--c5); } .s6 { fill: var(--c6); } .s7 { fill: var(--c7); }
circle { fill-opacity: .75; }
"""

SCRIPT: Final = """
for (const head of document.querySelectorAll("table.sorted th")) {
  head.querySelector("button").addEventListener("click", () => {
    const table = head.closest("table"), column = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") !== "descending";
    const key = row => {
      const text = row.children[column].dataset.v ?? row.children[column].textContent;
      return head.classList.contains("n") ? (text === "" ? -Infinity : Number(text)) : text;
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const x = key(a), y = key(b);
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  });
}
"""

HINT: Final = (
    "A click on a title sorts. Errors are of the written file beside its source; the picture "
    "counts them from the largest below zero to the largest above."
)

COLUMNS: Final = (
    ("tensor", ""),
    ("shape", ""),
    ("scheme", ""),
    ("bits", "n"),
    ("bytes", "n"),
    ("RMSE", "n"),
    ("relative", "n"),
    ("SQNR dB", "n"),
    ("1 - cosine", "n"),
    ("largest", "n"),
    ("worst run of 32", ""),
    ("errors", ""),
)


def report_page(data: Mapping[str, Any], errors: Sequence[TensorErrors]) -> str:
    """The page of a report: what was done, pictures, rules, and a row for each tensor."""
    title = escape(str(data["output"]))
    changed = [one for one in errors if one.sqnr_db is not None]
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style>",
        f"<h1>{title}</h1>",
        _summary(data, errors),
        "<h2>Where errors are</h2>",
        _figure(heat_map(errors), "Every matrix of the layers; bright is little loss."),
        "<h2>What bits buy</h2>",
        _figure(scatter(changed), "A dot for each tensor that changed."),
        "<h2>Rules</h2>",
        _rules(data["rules"]),
        "<h2>Tensors</h2>",
        f'<p class="soft">{HINT}</p>',
        _tensors(errors),
        f"<script>{SCRIPT}</script>",
    ]
    return "\n".join([*parts, "</html>", ""])


def _summary(data: Mapping[str, Any], errors: Sequence[TensorErrors]) -> str:
    weights = sum(8 * one.nbytes / one.bits_per_weight for one in errors)
    nbytes = sum(one.nbytes for one in errors)
    bits = 8 * nbytes / weights if weights else 0.0
    worst = min(
        (one for one in errors if one.sqnr_db is not None),
        key=lambda one: one.sqnr_db or 0.0,
        default=None,
    )
    size = f"{weights:,.0f} weights, {nbytes:,} bytes, {bits:.3f} bits per weight"
    facts = [
        f"{len(errors)} tensors, {size}, from {escape(str(data['source']))}",
        f"root <code>{escape(str(data['root']))}</code>",
    ]
    if worst is not None:
        facts.append(
            f"the least SQNR is {worst.sqnr_db:.2f} dB, of <code>{escape(worst.name)}</code>"
        )
    return "".join(f'<p class="soft">{one}</p>' for one in facts)


def _figure(picture: str, caption: str) -> str:
    if not picture:
        return '<p class="soft">Nothing lost anything.</p>'
    return f'<div class="wide">{picture}</div><p class="soft">{caption}</p>'


def _rules(rules: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for index, rule in enumerate(rules):
        conditions = ", ".join(
            f"{key} {value}" for key, value in rule.items() if key in ("role", "layers", "match")
        )
        shown = conditions if len(conditions) <= 120 else f"{conditions[:117]}..."
        count = rule["tensors"] or '<span class="bad">took none</span>'
        rows.append(
            f'<tr><td class="n">{index}</td><td>{escape(str(rule["scheme"]))}</td>'
            f'<td>{escape(shown) or "everything else"}</td><td class="n">{count}</td>'
            f"<td>{escape(str(rule.get('why', '')))}</td></tr>"
        )
    titles = (("rule", "n"), ("scheme", ""), ("selects", ""), ("tensors", "n"), ("why", ""))
    heads = "".join(f'<th class="{kind}">{title}</th>' for title, kind in titles)
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _tensors(errors: Sequence[TensorErrors]) -> str:
    heads = "".join(f'<th class="{kind}"><button>{title}</button></th>' for title, kind in COLUMNS)
    rows = "".join(map(_tensor, errors))
    return (
        f'<div class="wide"><table class="sorted"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _tensor(one: TensorErrors) -> str:
    lost = one.sqnr_db is not None
    cosine = None if one.cosine is None or not lost else max(1 - one.cosine, 0.0)
    numbers = (
        (one.bits_per_weight, ".3f"),
        (float(one.nbytes), ",.0f"),
        (one.rmse, ".3e" if lost else ".0f"),
        (one.relative_rmse, ".3e" if lost else ".0f"),
        (one.sqnr_db, ".2f"),
        (cosine, ".2e"),
        (one.max_error, ".3e" if lost else ".0f"),
    )
    cells = "".join(
        f'<td class="n" data-v="{"" if value is None else repr(value)}">'
        f"{'' if value is None else format(value, form)}</td>"
        for value, form in numbers
    )
    scheme = escape(one.scheme) if one.scheme != one.source else f"{escape(one.scheme)} (kept)"
    run = "" if one.worst_run is None else f"row {one.worst_run[0]}, column {one.worst_run[1]}"
    shape = " × ".join(map(str, one.shape))
    return (
        f"<tr><td>{escape(one.name)}</td><td>{shape}</td><td>{scheme}</td>{cells}"
        f"<td>{run}</td><td>{histogram(one.histogram)}</td></tr>"
    )
