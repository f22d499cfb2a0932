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
from refquant.layout import (
    Digits,
    Element,
    Field,
    Layout,
    Minifloat,
    Signed,
    Slice,
    Unsigned,
    show,
)
from refquant.layout.explain import BlockReading, explain_block, formula_with
from refquant.schemes import ALIASES, FAMILIES, schemes_with_codebooks
from refquant.schemes.codebooks import CODEBOOKS
from refquant.testing import Case, cases_of
from spec import markdown
from spec.bit_diagram import diagram

__all__ = ["FOLDER", "page_of", "pages"]

FOLDER = Path(__file__).resolve().parent / "schemes"

SHOWN = 12
"""Weights of the worked block that are computed in full."""


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
        "## Planes and fields",
        _planes(scheme.layout),
        _fields(scheme.layout),
        *(_borrowed(scheme.layout) if name in CODEBOOKS else _tables(scheme.layout)),
        "## Bits",
        _bits(scheme.layout),
        "## Value",
        _value(scheme.layout),
        *_clauses(entry),
        *_numerics(entry),
        "## Worked block",
        _worked(scheme),
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
        ("weights encoded together", _extents(scheme.group)),
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


def _extents(extents: tuple[int, ...]) -> str:
    if len(extents) > 1 and not any(extents):
        return "the whole tensor"
    return " × ".join(str(n) if n else "the whole axis" for n in extents)


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


def _planes(layout: Layout) -> str:
    rows = [
        (
            f"`{name}`",
            _extents(plane.block),
            str(plane.bytes),
            "C order" if plane.order is None else f"axes in the order {list(plane.order)}",
        )
        for name, plane in layout.planes.items()
    ]
    return markdown.table(("plane", "weights of a record", "bytes", "records stored in"), rows)


def _fields(layout: Layout) -> str:
    rows = [
        (
            f"`{name}`",
            f"`{field.plane}`",
            element_name(field.element),
            _extents(field.over),
            place_of(field),
        )
        for name, field in layout.fields.items()
    ]
    head = ("field", "plane", "element", "one code for", "bits (shape:strides+base)")
    return markdown.table(head, rows)


def element_name(element: Element) -> str:
    """An element in words."""
    match element:
        case Unsigned(bits):
            return f"unsigned, {bits} bit{'s' * (bits > 1)}"
        case Signed(bits):
            return f"two's complement, {bits} bits"
        case Digits(base, count):
            return f"{count} digits of base {base} a byte"
        case Minifloat(sign, exponent, mantissa, bias, specials):
            parts = f"{sign}+{exponent}+{mantissa} bits, bias {bias}"
            return f"float, {parts}, {specials}"


def place_of(field: Field) -> str:
    """The bits of a field in the notation of the scheme files."""
    pieces = [
        " joined with ".join(f"{run.bits}: `{_notation(run)}`" for run in piece)
        for piece in field.pieces
    ]
    return "; then ".join(pieces)


def _notation(run: Slice) -> str:
    if not run.shape:
        return str(run.base)
    if len(run.shape) == 1:
        return f"{run.shape[0]}:{run.strides[0]}+{run.base}"
    shape, strides = (",".join(map(str, axes)) for axes in (run.shape, run.strides))
    return f"({shape}):({strides})+{run.base}"


def _tables(layout: Layout) -> list[str]:
    parts = []
    for name, table in layout.tables.items():
        entries = ", ".join(f"{value:.9g}" for value in table.tolist()[:256])
        parts.append(f"Table `{name}`, {len(table)} entries in code order: {entries}.")
    return parts


def _borrowed(layout: Layout) -> list[str]:
    """Tables that are not printed, because they are another project's."""
    parts = [f"`{name}` of {len(table)} numbers" for name, table in layout.tables.items()]
    return [f"Tables: {', '.join(parts)}; the vectors are those of the installed `gguf` package."]


def _bits(layout: Layout) -> str:
    drawn = [f"plane {name}\n{diagram(layout, name)}" for name in layout.planes]
    return (
        "Bit 0 is the least significant. `name[k]` is code k of a record, `.a-b` its bits a to b; "
        "`0` is a\nbit that no field claims and that writers leave zero.\n\n```text\n"
        + "\n\n".join(drawn)
        + "\n```"
    )


def _value(layout: Layout) -> str:
    return (
        f"    value = {show(layout.value)}\n\nin binary32: codes become binary32 exactly, each "
        "operator rounds once to nearest, ties to even,\nin the order of the parentheses, and "
        "none is fused."
    )


def _clauses(entry: Entry | None) -> list[str]:
    if entry is None:
        return []
    lines = [f"- **{clause.id}** {clause.text}" for clause in entry.clauses]
    return ["## Clauses", "\n".join(lines)]


def _numerics(entry: Entry | None) -> list[str]:
    if entry is None or not entry.numerics:
        return []
    return ["## Numerics", markdown.table(("step", "rule"), list(entry.numerics.items()))]


def _worked(scheme: refquant.Scheme) -> str:
    """Block 0 of the case that holds every code: bytes, fields, and the first weights."""
    case = _decode_case(scheme)
    layout, tensor = case.scheme.layout, case.tensor
    block = explain_block(layout, tensor.planes, tensor.shape, 0)
    lines = []
    for name, records in block.records.items():
        raw = " ".join(data[:48].hex(" ") for _, data in records[:16])
        more = " ..." if len(records) > 16 or len(records[0][1]) > 48 else ""
        lines.append(f"{name:<12}{raw}{more}")
    lines.append("")
    for name, field in block.fields.items():
        codes = " ".join(str(int(code)) for code in field.codes.ravel()[:SHOWN])
        more = " ..." if field.codes.size > SHOWN else ""
        lines.append(f"{name:<12}{codes}{more}")
        if isinstance(field.element, Minifloat):
            reals = " ".join(f"{real:.9g}" for real in field.numbers.ravel()[:SHOWN].tolist())
            lines.append(f"{'':<10}= {reals}{more}")
    lines += ["", *_worked_weights(layout, block)]
    return "```text\n" + "\n".join(lines) + "\n```"


def _decode_case(scheme: refquant.Scheme) -> Case:
    return next(case for case in cases_of(scheme, edge=False) if "decode" in case.flags)


def _worked_weights(layout: Layout, block: BlockReading) -> list[str]:
    """The formula with its numbers, for the first weights of a block."""
    lines = []
    shape = block.values.shape
    for k in range(min(SHOWN // 3, shape[-1])):
        place = (*(0 for _ in shape[:-1]), k)
        spelled = {}
        for name, field in block.fields.items():
            spelled[name] = f"{field.at(place)[1]:.9g}"
        formula = formula_with(layout.value, spelled)
        lines.append(f"w{list(place)} = {formula} = {float(block.values[place]):.9g}")
    return lines


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
