"""The page of `make matrix`: rows are features, columns engines, then what differs and how."""

from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["page"]

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px }
th, td { border: 1px solid #ccc; padding: .2rem .5rem; text-align: left }
thead th { position: sticky; top: 0; background: #f4f4f4; vertical-align: bottom }
td.all { background: #d9f0dd } td.differs { background: #f8d7d4 } td.other { background: #fdf0c8 }
code { font-size: 12px; overflow-wrap: anywhere } .none { color: #bbb }
"""
LEGEND = (
    "A number is how many cases passed; a dot, that the engine was not asked, for its adapter "
    "declares no such feature: it says nothing about the engine. Red: a clause says otherwise. "
    "Yellow: the engine follows another setting of the scheme, or cannot be asked what the clause "
    "is about; it is not wrong."
)


def page(found: Mapping[str, Any]) -> str:
    """The whole page, which needs no other file."""
    there = [one for one in found["engines"] if "absent" not in one]
    absent = [one for one in found["engines"] if "absent" in one]
    missing = "".join(f"<li>{escape(one['id'])}: {escape(one['absent'])}</li>" for one in absent)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Who does what</title><style>{STYLE}</style>\n<h1>Who does what</h1>\n"
        f"<p>Suite {escape(found['suite'])}, {len(there)} engines. {LEGEND}</p>\n"
        f'<div class="wide">{_table(there)}</div>\n<h2>Deviations</h2>\n'
        + "\n".join(_deviations(one) for one in there)
        + (f"\n<h2>Not run</h2>\n<ul>{missing}</ul>" if missing else "")
        + "\n</html>\n"
    )


def _table(engines: list[Mapping[str, Any]]) -> str:
    features = sorted({feature for one in engines for feature in one["features"]})
    heads = "".join(
        f"<th>{escape(one['name'])}<br>{escape(one['version'])}<br><small>"
        f"{escape(one['language'])}</small></th>"
        for one in engines
    )
    rows = "\n".join(
        f"<tr><th>{escape(feature)}</th>{''.join(_cell(one, feature) for one in engines)}</tr>"
        for feature in features
    )
    return f"<table><thead><tr><th>feature</th>{heads}</tr></thead>\n{rows}\n</table>"


def _cell(engine: Mapping[str, Any], feature: str) -> str:
    if feature not in engine["features"]:
        return '<td class="none">·</td>'
    passed, asked = engine["features"][feature]
    if passed == asked:
        return f'<td class="all">{passed}</td>'
    kinds = {d["kind"] for d in engine["deviations"] if feature in d["features"]}
    kind = "other" if kinds == {"other"} else "differs"
    return f'<td class="{kind}">{passed} of {asked}</td>'


def _deviations(engine: Mapping[str, Any]) -> str:
    title = f"<h3>{escape(engine['name'])} {escape(engine['version'])}</h3>"
    if not engine["deviations"]:
        return f"{title}<p>None in {engine['counts'].get('pass', 0)} cases.</p>"
    items = "".join(
        f"<li><b>{escape(one['kind'])}</b> {escape(one['clause'])}: {escape(one['why'])} "
        f"({one['cases']} cases; the smallest: {escape(one['detail'])})<br>"
        f"<code>{escape(one['replay'])}</code></li>"
        for one in engine["deviations"]
    )
    return f"{title}<ul>{items}</ul>"
