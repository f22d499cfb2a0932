"""What holds for every registered scheme: a new scheme is tested by being listed."""

import subprocess
import sys
from math import lcm

import numpy as np
import pytest

import refquant
from conformance.oracle import layout as oracle
from refquant.driver import chunks
from refquant.layout import Digits, Layout, field_codes, pack_codes
from refquant.schemes import (
    ALIASES,
    FAMILIES,
    SCHEMES,
    scheme_of_layout,
    schemes_with_codebooks,
)
from refquant.testing import cases_of
from tests.test_layout_values import assert_same_bits, gridded, random_planes

EVERY = {found.name: found for found in (*schemes_with_codebooks(), *map(refquant.scheme, ALIASES))}
ENCODERS = [name for name, found in EVERY.items() if found.can_encode]
POWERS = "float/f8_e8m0"
"""The scheme that has neither zero nor signs."""
MOST_WEIGHTS = 1536


def fitting_shape(scheme, rows=2):
    """The smallest matrix (or more axes) that holds whole blocks and groups."""
    extents = [plane.block for plane in scheme.planes.values()] + [scheme.group]
    rank = max(2, *(len(e) for e in extents if any(e)))
    shape = []
    for axis in range(-rank, 0):
        given = [e[axis] for e in extents if len(e) >= -axis and e[axis]]
        shape.append(lcm(*given) if given else 1)
    if shape[-1] == 1:
        shape[-1] = 7
    if shape[0] == 1:
        shape[0] = rows
    return tuple(shape)


@pytest.mark.parametrize("name", EVERY)
def test_the_descriptor_decodes_by_the_interpreter_and_compiled_alike(name):
    scheme = EVERY[name]
    shape = fitting_shape(scheme)
    if np.prod(shape) > MOST_WEIGHTS:
        shape = fitting_shape(scheme, rows=1)
    planes = random_planes(scheme.layout, shape)
    values = refquant.QuantizedTensor.from_planes(scheme, shape, planes).dequantize()
    assert_same_bits(values, oracle.values(scheme.layout.describe(), planes, shape))


@pytest.mark.parametrize("name", EVERY)
def test_zero_subnormal_and_largest_scales_decode_by_the_interpreter_alike(name):
    (case,) = [c for c in cases_of(EVERY[name]) if c.kind == "special scales"]
    if np.prod(case.shape) > MOST_WEIGHTS:
        pytest.skip("too many weights for one at a time; random bytes hold such scales too")
    planes = {plane: records.tobytes() for plane, records in case.planes.items()}
    assert_same_bits(case.values, oracle.values(EVERY[name].layout.describe(), planes, case.shape))


@pytest.mark.parametrize("name", EVERY)
def test_packing_any_bytes_again_gives_the_same_bytes(name):
    layout, shape = EVERY[name].layout, fitting_shape(EVERY[name])
    planes = gridded(layout, random_planes(layout, shape, seed=11), shape)
    packed = {n: np.zeros_like(records) for n, records in planes.items()}
    digits = {f.plane for f in layout.fields.values() if isinstance(f.element, Digits)}
    for field_name, field in layout.fields.items():
        codes = field_codes(layout, field_name, planes[field.plane], shape)
        pack_codes(layout, field_name, codes, packed[field.plane], shape)
        again = field_codes(layout, field_name, packed[field.plane], shape)
        assert (again == codes).all()
    for plane in set(planes) - digits:
        assert (packed[plane] == planes[plane] & ~layout.spare_bits(plane)).all()


@pytest.mark.parametrize("name", EVERY)
def test_names_titles_and_digests(name):
    scheme = EVERY[name]
    assert refquant.scheme(scheme.name).digest == scheme.digest
    assert refquant.scheme(scheme.name).name == scheme.name
    assert Layout.parse(scheme.layout.describe()).digest == scheme.digest
    assert scheme_of_layout(scheme.layout, scheme.name).name == scheme.name
    assert scheme_of_layout(scheme.layout).digest == scheme.digest
    assert scheme_of_layout(scheme.layout, "no/such[name]").digest == scheme.digest
    assert scheme.title
    assert not scheme.title.endswith(".")
    assert 0 < scheme.bits_per_weight() <= 32.01


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_encoded_can_be_decoded_and_keeps_spare_bits_zero(name):
    scheme = EVERY[name]
    shape = fitting_shape(scheme, rows=3)
    x = np.random.default_rng(8).normal(size=shape).astype(np.float32)
    x = np.abs(x) if name.startswith(POWERS) else x
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        tensor = refquant.quantize(x, scheme)
        values = tensor.dequantize()
    assert np.isfinite(values).all()
    if scheme.bits_per_weight() >= 2:  # one-bit codes may all be equal
        assert np.corrcoef(values.ravel(), x.ravel())[0, 1] > 0.5
    for plane, records in tensor.planes.items():
        assert not (records & scheme.layout.spare_bits(plane)).any()


@pytest.mark.parametrize("name", ENCODERS)
def test_encoding_is_a_function_of_the_group_alone(name):
    scheme = EVERY[name]
    shape = fitting_shape(scheme, rows=4)
    all_rows = all(extent == 0 for extent in scheme.group) and len(scheme.group) > 1
    if shape[0] != 4 or all_rows or scheme.whole:
        pytest.skip("one group holds all rows")
    x = np.random.default_rng(9).normal(size=shape).astype(np.float32)
    whole = refquant.quantize(x, scheme).dequantize()
    for row in range(4):
        alone = refquant.quantize(x[row : row + 1], scheme).dequantize()
        assert_same_bits(whole[row : row + 1], alone)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_and_threads_change_no_byte(name, threads, monkeypatch):
    scheme = EVERY[name]
    first, *others = fitting_shape(scheme, rows=2)
    x = np.random.default_rng(10).normal(size=(5 * first, *others)).astype(np.float32)
    whole = refquant.quantize(x, scheme, threads=1)
    values = whole.dequantize(threads=1)
    monkeypatch.setattr(chunks, "CHUNK_WEIGHTS", 1)
    pieces = refquant.quantize(x, scheme, threads=threads)
    for plane, records in whole.planes.items():
        assert np.array_equal(pieces.planes[plane], records), plane
    assert_same_bits(whole.dequantize(threads=threads), values)


# torchao divides by the range of a group, which it does not keep from being 0; `mode=fixed` does.
NO_ZEROS = (POWERS, "torchao/afpwx")


@pytest.mark.parametrize("name", [name for name in ENCODERS if not name.startswith(NO_ZEROS)])
def test_zeros_and_negative_zeros_decode_to_zeros(name):
    scheme = EVERY[name]
    x = np.zeros(fitting_shape(scheme), np.float32)
    assert not refquant.quantize(x, scheme).dequantize().any()
    assert not refquant.quantize(-x, scheme).dequantize().any()


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_stand_for_full_names(alias):
    assert refquant.scheme(alias).name == refquant.scheme(ALIASES[alias]).name
    assert "/" in ALIASES[alias]


def test_the_table_is_keyed_by_name_and_no_name_is_taken_twice():
    assert all(name == found.name for name, found in SCHEMES.items())
    assert all(name == family.name for name, family in FAMILIES.items())
    assert not set(SCHEMES) & set(FAMILIES)
    assert not set(ALIASES) & {*SCHEMES, *FAMILIES}
    names = [found.name for found in refquant.schemes()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "code",
    [
        "import refquant; refquant.schemes(); import refquant.schemes as s; assert s.SCHEMES",
        "import refquant.schemes as s; import refquant; assert refquant.schemes is s; assert s()",
        "from refquant import schemes; from refquant.schemes import ggml; assert schemes()",
    ],
)
def test_the_package_of_schemes_is_the_function_in_any_order_of_imports(code):
    subprocess.run([sys.executable, "-c", code], check=True)
