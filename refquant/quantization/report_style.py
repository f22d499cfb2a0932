"""How the page of a report looks, on a wide screen and a phone, and how its table is sorted."""

from typing import Final

__all__ = ["NARROW", "SCRIPT", "STYLE"]

NARROW: Final = "@media (max-width: 66rem)"
"""Screens on which the table does not fit: there each of its rows becomes a block."""

STYLE: Final = (
    """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #d5d5d0; --soft: #6b6b6b;
  --hover: #f3f3ef; --bad: #b3261e; --c0: #3366aa; --c1: #cc7722; --c2: #2c7a3f; --c3: #a3338f;
  --c4: #7a6a00; --c5: #008080; --c6: #b3261e; --c7: #555; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e1; --paper: #161614; --line: #3b3b37;
  --soft: #a0a09a; --hover: #22221f; --bad: #ff8a80; --c0: #7fb0f5; --c1: #f0a860; --c2: #7fd092;
  --c3: #e08fd2; --c4: #d6c650; --c5: #5fd0d0; --c6: #ff8a80; --c7: #bbb; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1.2rem; max-width: 82rem;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } .bad { color: var(--bad); }
code { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top; }
table.sorted td { white-space: nowrap; } table.rules td:nth-child(3) { overflow-wrap: anywhere; }
td.n, th.n { text-align: right; } thead th { border-bottom: 1px solid var(--soft); }
th { vertical-align: bottom; white-space: nowrap; }
tbody tr:hover { background: var(--hover); } tbody td { border-bottom: 1px solid var(--line); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--c0); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
svg { font: 12px system-ui, sans-serif; max-width: 100%; height: auto; }
svg text { fill: var(--ink); } svg .grid { stroke: var(--line); }
svg.map, svg.spark { max-width: none; } svg.spark rect { fill: var(--soft); }
ul.legend { list-style: none; margin: .3rem 0; padding: 0; font-size: .85rem; display: flex;
  flex-wrap: wrap; gap: 0 1.2rem; }
.s0 { fill: var(--c0); } .s1 { fill: var(--c1); } .s2 { fill: var(--c2); } .s3 { fill: var(--c3); }
.s4 { fill: var(--c4); } .s5 { fill: var(--c5); } .s6 { fill: var(--c6); } .s7 { fill: var(--c7); }
circle { fill-opacity: .75; }
@media (max-width: 84rem) { table.sorted { font-size: .82rem; }
  table.sorted th { white-space: normal; }
  table.sorted th, table.sorted td { padding-right: .45rem; }
  table.sorted td:nth-child(3) { white-space: normal; overflow-wrap: anywhere; min-width: 8rem; } }
@media (max-width: 36rem) { svg.plot { font-size: 17px; } body { padding: 0 .8rem; }
  table.rules { font-size: .82rem; } table.rules th, table.rules td { padding-right: .4rem; }
  table.rules td:nth-child(2) { overflow-wrap: anywhere; } }
"""
    f"{NARROW}"
    """ { table.sorted, table.sorted thead, table.sorted tbody { display: block; }
  table.sorted { font-size: .9rem; }
  table.sorted thead tr { display: flex; flex-wrap: wrap; gap: .1rem .9rem; }
  table.sorted th { border: 0; padding: 0; }
  table.sorted tbody tr { display: grid; gap: 0 1rem; padding: .4rem 0;
    grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr));
    border-top: 1px solid var(--line); }
  table.sorted td { border: 0; padding: 0; text-align: left; white-space: normal; }
  table.sorted td:first-child { grid-column: 1 / -1; font-weight: 600; overflow-wrap: anywhere; }
  table.sorted td::before { color: var(--soft); padding-right: .5em; }
  svg.spark { display: inline-block; }
  table.sorted td:empty { display: none; } }
"""
)

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
