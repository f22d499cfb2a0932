"""A report as one page: nothing to load, readable on paper and without scripts."""

import re
from collections import Counter
from collections.abc import Sequence
from html import escape

from refquant.conformance.badge import badge_svg
from refquant.conformance.results import BAD, CaseResult, Difference, Report, clause_score

__all__ = ["html_page"]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .15rem .8rem .15rem 0; }
td.n, th.n { text-align: right; } thead th { border-bottom: 1px solid #999; }
code, pre { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: #f4f4f2; padding: .6rem; overflow-x: auto; }
details { border-top: 1px solid #ddd; padding: .4rem 0; } summary { cursor: pointer; }
.bad { color: #b3261e; font-weight: 600; } .good { color: #2c7a3f; } .grey { color: #6b6b6b; }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: #ffd9d4; color: inherit; }
.named { background: #fff6d6; padding: .3rem .6rem; }
@media (prefers-color-scheme: dark) {
  body { color: #e4e4e0; background: #16181a; } a { color: #8ab4f8; }
  pre { background: #23262a; } details { border-color: #3a3d42; }
  .bad { color: #ff8a80; } .good { color: #7cc98c; } .grey { color: #a0a4a8; }
  mark { background: #6b2320; } .named { background: #3b3417; }
}
"""
MOST_SHOWN = 200


def html_page(report: Report) -> str:
    """The page: verdict, packs, and every failure with its bytes and its likely reason."""
    name = escape(f"{report.engine['name']} {report.engine['version']}".strip())
    bad = [one for one in report.results if one.result in BAD]
    option = str(report.engine.get("option") or "--engine 'CMD'")
    verdict = "passes" if report.passed else "does not pass"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style>",
        f"<h1>{name} {verdict}</h1><p>{badge_svg(report)}</p>{_facts(report)}",
        *(f'<p class="bad">This run does not count: {escape(one)}</p>' for one in report.problems),
        _likely(bad),
        _packs(report),
        f"<h2>Failures: {len(bad)}</h2>" if bad else "<h2>Nothing failed</h2>",
        *(_failure(one, option, opened=one is bad[0]) for one in bad[:MOST_SHOWN]),
    ]
    if len(bad) > MOST_SHOWN:
        parts.append(f"<p>{len(bad) - MOST_SHOWN} more stand in the JSON report.</p>")
    return "\n".join([*parts, "</html>", ""])


def _facts(report: Report) -> str:
    counts = ", ".join(f"{count} {escape(name)}" for name, count in report.counts.items())
    selected = " (selected cases only)" if report.selected else ""
    smoke = " (smoke)" if report.smoke else ""
    met, asked = clause_score(report.results)
    return (
        f"<p>{counts}{selected}{smoke}. Suite {escape(report.suite)}, seed {report.seed}, "
        f"{report.seconds} s, {report.starts} start{'s' * (report.starts != 1)} of the engine, "
        f"{report.controls.get('caught', 0)} of {sum(report.controls.values())} controls "
        "caught."
        f"{f' Clauses met: {met} of {asked}.' if asked else ''}</p>"
    )


def _likely(bad: Sequence[CaseResult]) -> str:
    """What the failures look like, most frequent first."""
    named = Counter(one.diagnosis[0] for one in bad if one.diagnosis)
    if not named:
        return ""
    rows = "".join(
        f'<tr><td class="n">{count}</td><td>{_linked(words)}</td></tr>'
        for words, count in named.most_common(20)
    )
    head = '<tr><th class="n">cases</th><th>known mistake</th></tr>'
    return f"<h2>It looks like</h2><table><thead>{head}</thead>{rows}</table>"


def _packs(report: Report) -> str:
    packs: dict[str, Counter[str]] = {}
    for one in report.results:
        packs.setdefault(one.pack, Counter())[one.result] += 1
    rows = []
    for pack, counts in packs.items():
        bad = sum(count for name, count in counts.items() if name in BAD)
        kind = "good" if counts["pass"] else "grey"
        rows.append(
            f'<tr><td>{escape(pack)}</td><td class="n {kind}">{counts["pass"]}</td>'
            f'<td class="n bad">{bad or ""}</td>'
            f'<td class="n grey">{counts["unsupported"] or ""}</td></tr>'
        )
    head = (
        '<th>pack</th><th class="n">pass</th><th class="n">bad</th><th class="n">unsupported</th>'
    )
    return f"<h2>Packs</h2><table><thead><tr>{head}</tr></thead>{''.join(rows)}</table>"


def _linked(words: str) -> str:
    """Text in which addresses can be followed."""
    return re.sub(r"https://[^ ]+", r'<a href="\g<0>">\g<0></a>', escape(words))


def _failure(one: CaseResult, option: str, *, opened: bool) -> str:
    named = "".join(
        f'<p class="named">Looks like {_linked(words)}</p>' for words in one.diagnosis[:1]
    )
    replay = f"refquant conformance replay {one.id}@{one.digest} {option}"
    return (
        f'<details{" open" * opened}><summary><span class="bad">{escape(one.result)}</span> '
        f"<code>{escape(one.id)}@{one.digest}</code><br>"
        f'<span class="grey">{escape(one.detail)}</span></summary>'
        f"<p>{escape(one.why)}</p>{named}"
        f"{''.join(map(_difference, one.differences))}"
        f'<pre class="wrap">{escape(replay)}</pre></details>'
    )


def _difference(difference: Difference) -> str:
    if not difference.found_bytes:
        return f"<p>{escape(difference.output)}: {escape(difference.note)}</p>"
    found, expected = difference.found_bytes, difference.expected_bytes
    return (
        f"<p>{escape(difference.output)}, from byte {difference.offset}</p>"
        f"<pre>found    {_marked(found, expected)}\nexpected {_marked(expected, found)}</pre>"
    )


def _marked(raw: str, other: str) -> str:
    """Bytes in hexadecimal, those that differ marked."""
    pairs = [raw[k : k + 2] for k in range(0, len(raw), 2)]
    return " ".join(
        pair if other[2 * k : 2 * k + 2] == pair else f"<mark>{pair}</mark>"
        for k, pair in enumerate(pairs)
    )
