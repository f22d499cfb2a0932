"""One page for each scheme, made from its declaration, the ledger of evidence, and the notes.

Nothing here is typed twice: planes, bits, formula and worked block come from the layout; clauses,
numerics and evidence from conformance/registry/evidence; what only people know (who uses it, where
implementations differ) from spec/schemes/notes/<namespace>.md, one `## name` section a scheme.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import refquant
from conformance.evidence import Entry, entry_of
from refquant.schemes import ALIASES, FAMILIES, schemes_with_codebooks
from refquant.schemes.codebooks import CODEBOOKS
from spec import markdown
from spec.layout_sections import extent_in_words, layout_sections
from spec.worked_block import worked_block

__all__ = ["FOLDER", "page_of", "pages"]

FOLDER = Path(__file__).resolve().parent / "schemes"


def pages() -> Iterator[tuple[Path, str]]:
    """Every page of this folder with its text: one a scheme, and the index."""
    names = []
    for scheme in schemes_with_codebooks():
        name = scheme.name.partition("[")[0]
        names.append(name)
        yield FOLDER / f"{name.replace('/', '__')}.md", page_of(scheme)
    yield FOLDER / "README.md", _index()


def _index() -> str:
    rows = []
    for scheme in schemes_with_codebooks():
        name = scheme.name.partition("[")[0]
        bits = float(scheme.bits_per_weight())
        link = f"[`{name}`]({name.replace('/', '__')}.md)"
        rows.append((link, f"{bits:.4g}", _encodes(scheme), scheme.title))
    head = ("scheme", "bits per weight", "encodes", "what it is")
    return (
        "# Schemes\n\nOne page for each scheme, all made by `make docs`. Bits per weight count "
        "scales too, for a\n4096 × 4096 matrix; a family with knobs stands here with its "
        f"defaults.\n\n{markdown.table(head, rows)}\n"
    )


def page_of(scheme: refquant.Scheme) -> str:
    """The page of one scheme."""
    name = scheme.name.partition("[")[0]
    entry, notes = entry_of(scheme.name), _notes(name)
    parts = [
        f"# {name}",
        f"{FAMILIES[name].title if name in FAMILIES else scheme.title}.",
        *notes.get("", []),
        _facts(scheme),
        *_knobs(name),
        *layout_sections(scheme.layout, borrowed=name in CODEBOOKS),
        *_clauses(entry),
        *_numerics(entry),
        "## Worked block",
        worked_block(scheme),
        *_differences(entry, notes),
        "## Evidence",
        _evidence(entry),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _notes(name: str) -> dict[str, list[str]]:
    """The paragraphs of a scheme's section in the notes, those under `### ` by that heading."""
    path = FOLDER / "notes" / f"{name.partition('/')[0]}.md"
    if not path.exists():
        return {}
    sections = re.split(r"^## ", path.read_text("utf-8"), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for section in sections[1:]:
        title, _, body = section.partition("\n")
        if title.strip().strip("`") != name:
            continue
        first, *others = re.split(r"^### ", body, flags=re.MULTILINE)
        if first.strip():
            found[""] = [first.strip()]
        for other in others:
            heading, _, text = other.partition("\n")
            found[heading.strip()] = [text.strip()]
    return found


def _encodes(scheme: refquant.Scheme) -> str:
    return "yes" if scheme.can_encode else "no"


def _facts(scheme: refquant.Scheme) -> str:
    bits = scheme.bits_per_weight()
    aliases = [f"`{alias}`" for alias, full in ALIASES.items() if full == scheme.name]
    rows = [
        ("full name", f"`{scheme.name}`"),
        ("bits per weight", f"{float(bits):g} (4096 × 4096)"),
        ("encodes", _encodes(scheme)),
        ("weights encoded together", extent_in_words(scheme.group)),
        ("NaN and infinities", "have a rule" if scheme.non_finite else "are refused"),
        ("descriptor", f"SHA-256 `{scheme.digest}`"),
    ]
    if aliases:
        rows.insert(1, ("short names", ", ".join(aliases)))
    if not scheme.can_encode:
        rows = [
            row for row in rows if row[0] not in ("weights encoded together", "NaN and infinities")
        ]
    return markdown.table(("property", "value"), rows)


def _knobs(name: str) -> list[str]:
    if name not in FAMILIES:
        return []
    rows = [
        (f"`{knob.name}`", _choices(knob.values), f"`{knob.default}`", knob.meaning)
        for knob in FAMILIES[name].knobs
    ]
    head = ("knob", "values", "default", "what it says")
    note = "What follows describes the member with every knob at its default."
    return ["## Knobs", markdown.table(head, rows), note]


def _choices(values: tuple[str, ...] | range) -> str:
    if isinstance(values, range):
        return f"{values.start} to {values.stop - 1}"
    return ", ".join(f"`{value}`" for value in values)


def _clauses(entry: Entry | None) -> list[str]:
    if entry is None:
        return []
    lines = [f"- **{clause.id}** {clause.text}" for clause in entry.clauses]
    return ["## Clauses", "\n".join(lines)]


def _numerics(entry: Entry | None) -> list[str]:
    if entry is None or not entry.numerics:
        return []
    return ["## Numerics", markdown.table(("step", "rule"), list(entry.numerics.items()))]


def _differences(entry: Entry | None, notes: Mapping[str, list[str]]) -> list[str]:
    parts = [text for heading, texts in notes.items() if heading for text in texts]
    if entry is not None:
        for third in entry.third_party:
            parts += [f"- {third.package} {third.version}: {d}" for d in third.known_differences]
    return ["## Where implementations differ", "\n\n".join(parts)] if parts else []


def _evidence(entry: Entry | None) -> str:
    if entry is None:
        return "No evidence besides the tests of all schemes is recorded yet."
    source = " ".join(filter(None, (entry.source.project, entry.source.version)))
    lines = [
        f"- Contract of {source}" + (f" (`{entry.source.file}`)" if entry.source.file else "") + "."
    ]
    lines.append(f"- {len(entry.clauses)} clauses; scalar oracle `{entry.oracle}`.")
    for third in entry.third_party:
        what = " and ".join(
            w for w, yes in (("decode", third.decode), ("encode", third.encode)) if yes
        )
        count = len(third.known_differences)
        known = f", {count} known difference{'s' * (count > 1)}" if count else ""
        lines.append(f"- Compared with {third.package} {third.version} ({what}{known}).")
    if entry.no_third_party:
        lines.append(f"- Compared with nobody else's code. {entry.no_third_party}")
    if entry.exhaustive:
        lines.append(f"- In full: {entry.exhaustive}.")
    lines.append(f"- Adversarial inputs: {', '.join(entry.adversarial)}.")
    lines.append(f"- {len(entry.mutants)} mutants, all killed:")
    for mutant in entry.mutants:
        shipped = f" (shipped: {mutant.shipped_bug})" if mutant.shipped_bug else ""
        lines.append(f"  - `{mutant.id}`: {mutant.change}{shipped}")
    return "\n".join(lines)
