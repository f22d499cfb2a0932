"""Files of registered schemes: lawful noise under each, every reader must accept them."""

from math import lcm
from pathlib import Path

from conformance.container.edges import cleared
from conformance.container.layout_files import VALID
from conformance.container.parts import assemble, build
from conformance.container.valid import noise


def fitting_shape(layout, group=()):
    """The smallest matrix (or more axes) of whole blocks, with a few rows."""
    extents = [plane.block for plane in layout.planes.values()] + [tuple(group)]
    rank = max(2, *(len(e) for e in extents if any(e)), 0)
    shape = []
    for axis in range(-rank, 0):
        given = [e[axis] for e in extents if len(e) >= -axis and e[axis]]
        shape.append(lcm(*given) if given else 1)
    shape[-1] = shape[-1] if shape[-1] > 1 else 7
    shape[0] = shape[0] if shape[0] > 1 else 2
    return shape


def lawful(layout, plane, data):
    """Noise without spare bits, its bytes of digits replaced by such that are digits."""
    from refquant.layout import Digits

    size = layout.planes[plane].bytes
    mask = layout.spare_bits(plane)
    changed = bytearray(b & ~int(mask[i % size]) for i, b in enumerate(data))
    for found in layout.fields.values():
        if found.plane == plane and isinstance(found.element, Digits):
            whole = found.element.base**found.element.count
            for start in range(0, len(data), size):
                for run in (run for piece in found.pieces for run in piece):
                    for place in run.starts():
                        at = start + place // 8
                        changed[at] = -(-(changed[at] * whole // 256) * 256 // whole)
    return bytes(changed)


NAMES = Path(__file__).parent / "scheme_names.txt"


def scheme_names():
    """Every registered scheme, some with several knobs; a test asks for those that are missing."""
    return NAMES.read_text("utf-8").split()


def record_schemes():
    """Add the names of schemes that have been registered since, and their files."""
    import refquant

    names = scheme_names()
    names += [found.name for found in refquant.schemes() if found.name not in names]
    NAMES.write_text("".join(f"{name}\n" for name in names), "utf-8")
    add_schemes()


def scheme_file(name, axis=-1):
    """A tensor of lawful noise under a registered scheme, perhaps turned to another axis."""
    import refquant

    scheme = refquant.scheme(name)
    shape = fitting_shape(scheme.layout, scheme.group)
    layout = scheme.layout
    if axis == 0:
        layout = layout.along(0, 2)
        shape = [shape[1], 3]
    planes = {
        plane: lawful(layout, plane, noise(layout.plane_nbytes(plane, tuple(shape)), plane))
        for plane in layout.planes
    }
    from refquant import mp1

    description = mp1.decode(mp1.encode(layout.describe()))
    drawers = {"info": {"labels": [name]}}
    planes = cleared(description, shape, planes)
    return build(assemble([("w", description, shape, planes)], drawers=drawers))


def add_schemes():
    """Register the files of all registered schemes."""
    for name in scheme_names():
        plain = "".join(c if c.isalnum() else "_" for c in name).strip("_")
        VALID[f"scheme_{plain}"] = scheme_file(name)
    for name in ("int/affine[bits=4,sym,group=32]", "ggml/q4_k", "aeq/int8[sym,channel]"):
        plain = "".join(c if c.isalnum() else "_" for c in name).strip("_")
        VALID[f"turned_{plain}"] = scheme_file(name, axis=0)


add_schemes()
