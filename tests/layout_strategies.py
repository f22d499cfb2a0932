"""Hypothesis strategies for layouts whose fields do not overlap, and bytes for them."""

from math import prod

from hypothesis import strategies as st

from refquant.layout import Digits, Field, Layout, Minifloat, Plane, Signed, Slice, Unsigned

MINIFLOATS = (
    Minifloat(1, 2, 1, 1, "none"),
    Minifloat(1, 2, 3, 1, "none"),
    Minifloat(1, 3, 2, 3, "none"),
    Minifloat(1, 4, 3, 7, "fn"),
    Minifloat(1, 4, 3, 8, "fnuz"),
    Minifloat(1, 5, 2, 15, "ieee"),
    Minifloat(0, 8, 0, 127, "e8m0"),
    Minifloat(1, 5, 10, 15, "ieee"),
    Minifloat(1, 8, 7, 127, "ieee"),
    Minifloat(1, 8, 23, 127, "ieee"),
)


@st.composite
def runs(draw, bits, count, base):
    """A slice of `count` runs from `base`, its axes cut and strided at random, without overlap."""
    shape, rest = [], count
    while rest > 1 and len(shape) < 4:
        factor = draw(st.sampled_from([n for n in range(2, rest + 1) if rest % n == 0]))
        shape.append(factor)
        rest //= factor
    if rest > 1:
        shape[-1] *= rest
    inner_first = draw(st.permutations(range(len(shape))))
    strides, reach = [0] * len(shape), bits
    for axis in inner_first:
        # A byte-aligned stride and a ragged one take different paths through the compiler.
        gap = draw(st.sampled_from([0, 0, 0, 1, 3, -reach % 8]))
        strides[axis] = reach + gap
        reach = strides[axis] * shape[axis]
    return Slice(bits, base, tuple(shape), tuple(strides))


@st.composite
def placed_fields(draw, plane, count, over, base):
    """A field of `count` codes from bit `base` on, in pieces of joined slices, and its end."""
    element = draw(
        st.one_of(
            st.integers(1, 24).map(Unsigned),
            st.integers(2, 24).map(Signed),
            st.sampled_from(MINIFLOATS),
        )
    )
    halved = count % 2 == 0 and draw(st.booleans())
    pieces = [count // 2] * 2 if halved else [count]
    placed = []
    for length in pieces:
        widths, rest = [], element.bits
        while rest and len(widths) < 3:
            widths.append(draw(st.integers(1, rest)) if len(widths) < 2 else rest)
            rest -= widths[-1]
        joined = []
        for width in widths:
            if draw(st.booleans()):
                base += -base % 8
            run = draw(runs(width, length, base))
            base = run.end
            joined.append(run)
        placed.append(tuple(joined))
    return Field(plane, element, over, tuple(placed)), base


@st.composite
def digit_fields(draw, plane, count, over, base):
    """A field of digits, `count` of them, from the next whole byte on."""
    choices = [(b, n) for b in (2, 3, 6, 16) for n in range(1, 9) if b**n <= 256]
    base_of, number = draw(st.sampled_from([c for c in choices if count % c[1] == 0]))
    start = base + -base % 8
    bytewise = draw(runs(1, count // number, 0))
    run = Slice(8, start, bytewise.shape, tuple(8 * s for s in bytewise.strides))
    return Field(plane, Digits(base_of, number), over, ((run,),)), run.end


def _divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def layouts(draw):
    """A layout of one or two planes over one or two axes, one formula, and a fitting shape."""
    axes = draw(st.integers(1, 2))
    block = tuple(draw(st.sampled_from([1, 2, 4, 6, 8])) for _ in range(axes))
    if axes == 2 and block[0] == 1:
        block = (draw(st.sampled_from([2, 3])), block[1])
    share = tuple(draw(st.sampled_from(_divisors(b))) for b in block)
    codes = prod(block)
    strategy = draw(st.sampled_from([placed_fields, placed_fields, digit_fields]))
    q, end = draw(strategy("blocks", codes, (1,) * axes, draw(st.integers(0, 9))))
    shares = prod(b // s for b, s in zip(block, share, strict=True))
    s, end = draw(placed_fields("blocks", shares, share, end))
    order = draw(st.sampled_from([None, (1, 0)])) if axes == 2 else None
    planes = {"blocks": Plane(block, -(-end // 8) + draw(st.integers(0, 2)), order)}
    operator = draw(st.sampled_from(["mul", "mul", "div"]))
    fields, value = {"q": q, "s": s}, (operator, "s", "q")
    if draw(st.booleans()):
        multiple = draw(st.sampled_from([0, 1, 2]))
        wide = tuple(b * multiple for b in block)
        over = wide if multiple != 1 else tuple(b * 1 for b in block)
        z, end = draw(placed_fields("zero_points", 1, over, 0))
        planes["zero_points"] = Plane(wide if multiple else (0,) * axes, -(-end // 8))
        fields["z"] = Field("zero_points", z.element, wide if multiple else (0,) * axes, z.pieces)
        value = (operator, "s", ("sub", "q", "z"))
    layout = Layout(planes, fields, value)
    leading = (
        draw(st.sampled_from([(), (2,), (1, 3)]))
        if axes == 1
        else draw(st.sampled_from([(), (2,)]))
    )
    shape = leading + tuple(draw(st.integers(1, 2 * b + 1)) for b in block)
    return layout, shape


@st.composite
def random_planes(draw, layout, shape):
    """Bytes for every plane: any at all."""
    return {
        name: draw(st.binary(min_size=n, max_size=n))
        for name in layout.planes
        for n in [layout.plane_nbytes(name, shape)]
    }
