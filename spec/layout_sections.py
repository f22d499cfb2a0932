"""What a scheme's page says of its layout: planes, fields, tables, bits, and the formula."""

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
from spec import markdown
from spec.bit_diagram import diagram

__all__ = ["extent_in_words", "layout_sections"]


def layout_sections(layout: Layout, *, borrowed: bool) -> list[str]:
    """The sections in their order; tables that are `borrowed` are another project's."""
    return [
        "## Planes and fields",
        _planes(layout),
        _fields(layout),
        *(_borrowed(layout) if borrowed else _tables(layout)),
        "## Bits",
        _bits(layout),
        "## Value",
        _value(layout),
    ]


def extent_in_words(extents: tuple[int, ...]) -> str:
    """How many weights a record or a code is for, axis by axis."""
    if len(extents) > 1 and not any(extents):
        return "the whole tensor"
    return " × ".join(str(n) if n else "the whole axis" for n in extents)


def _planes(layout: Layout) -> str:
    rows = [
        (
            f"`{name}`",
            extent_in_words(plane.block),
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
            _element_name(field.element),
            extent_in_words(field.over),
            _place_of(field),
        )
        for name, field in layout.fields.items()
    ]
    head = ("field", "plane", "element", "one code for", "bits (shape:strides+base)")
    return markdown.table(head, rows)


def _element_name(element: Element) -> str:
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


def _place_of(field: Field) -> str:
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
