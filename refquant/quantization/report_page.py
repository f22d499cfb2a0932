"""The report of a quantization as one page: nothing to load, light and dark, sorted by a click."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from refquant.quantization.errors_of import TensorErrors
from refquant.quantization.report_plots import heat_map, histogram, legend, scatter
from refquant.quantization.report_style import NARROW, SCRIPT, STYLE

__all__ = ["report_page"]

HINT: Final = (
    "A click on a title sorts. Errors are of the written file beside its source; the picture "
    "counts them from the largest below zero to the largest above. The worst run of 32 weights is "
    "told by its row and column."
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
    ("worst run", ""),
    ("errors", ""),
)


def report_page(data: Mapping[str, Any], errors: Sequence[TensorErrors]) -> str:
    """The page of a report: what was done, pictures, rules, and a row for each tensor."""
    title = escape(str(data["output"]))
    changed = [one for one in errors if one.sqnr_db is not None]
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}{_labels()}</style>",
        f"<h1>{title}</h1>",
        _summary(data, errors),
        "<h2>Where errors are</h2>",
        _figure(heat_map(errors), "Every matrix of the layers; bright is little loss."),
        "<h2>What bits buy</h2>",
        _figure(scatter(changed) + legend(changed), "A dot for each tensor that changed."),
        "<h2>Rules</h2>",
        _rules(data["rules"]),
        "<h2>Tensors</h2>",
        f'<p class="soft">{HINT}</p>',
        _tensors(errors),
        f"<script>{SCRIPT}</script>",
    ]
    return "\n".join([*parts, "</html>", ""])


def _labels() -> str:
    """Titles before the cells, for screens on which a row of the table is a block of its own."""
    rules = (
        f'table.sorted td:nth-child({number})::before {{ content: "{title}"; }}'
        for number, (title, _) in enumerate(COLUMNS[1:], 2)
    )
    return f"{NARROW} {{ {' '.join(rules)} }}"


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
        f'<div class="wide"><table class="rules"><thead><tr>{heads}</tr></thead>'
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
    run = "" if one.worst_run is None else f"{one.worst_run[0]}, {one.worst_run[1]}"
    shape = " × ".join(map(str, one.shape))
    return (
        f"<tr><td>{escape(one.name)}</td><td>{shape}</td><td>{scheme}</td>{cells}"
        f"<td>{run}</td><td>{histogram(one.histogram)}</td></tr>"
    )
