"""What an engine does otherwise, on the page of `make matrix`: listed, and opened by marks."""

from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["card", "listed", "opened"]

KINDS = {
    "differs": "A clause says otherwise",
    "other": "Another setting, not wrong",
    "unexplained": "Not explained yet",
}

Engine = Mapping[str, Any]
Deviation = Mapping[str, Any]
Clauses = Mapping[str, str]


def listed(engine: Engine, clauses: Clauses) -> str:
    """All deviations of an engine, for the end of the page."""
    if not engine["deviations"]:
        return ""
    items = "".join(_deviation(one, clauses) for one in engine["deviations"])
    return f'<h3 id="{escape(engine["id"])}">{_full_name(engine)}</h3>{items}'


def opened(engine: Engine, clauses: Clauses) -> str:
    """One card for each mark that stands for deviations; the browser opens it over the page."""
    features = sorted({f for one in engine["deviations"] for f in one["features"]})
    return "".join(
        f'<aside popover id="{escape(engine["id"])}-{feature}"><h3>{_full_name(engine)}</h3>'
        + "".join(
            _deviation(one, clauses) for one in engine["deviations"] if feature in one["features"]
        )
        + "</aside>"
        for feature in features
    )


def card(one: Deviation) -> str:
    """What a mark says before it is opened."""
    return f"{one['clause'] or KINDS[one['kind']]}: {one['why']} Smallest: {one['smallest']}"


def _full_name(engine: Engine) -> str:
    return f"{escape(engine['name'])} {escape(engine['version'])}"


def _deviation(one: Deviation, clauses: Clauses) -> str:
    count = f"{one['cases']} case{'s' * (one['cases'] != 1)}"
    ids = [name for name in one["clause"].split(", ") if name]
    rules = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(clauses.get(name, ''))}</dd>" for name in ids
    )
    given = f"<dt>input</dt><dd>{escape(one['input'])}</dd>" if one.get("input") else ""
    return (
        f'<div class="dev for-{one["kind"]}"><p><b>{KINDS[one["kind"]]}</b>, {count}: '
        f"{escape(one['why'])}</p><dl>{rules}"
        f"<dt>smallest</dt><dd><code>{escape(one['smallest'])}</code></dd>{given}"
        f"<dt>output</dt><dd>{escape(one['detail'])}</dd></dl>"
        f"<pre>{escape(one['replay'])}</pre></div>"
    )
