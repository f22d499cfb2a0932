"""The chapters' dumps, worked numbers and tables, and the list of all inputs to be refused."""

import json
import re

import numpy as np
import pytest

from conformance.container import generate, shard_files
from conformance.container.byte_defects import DEFECTS, bytes_as
from refquant.driver import decode_planes
from refquant.layout import Layout
from spec import annotated_file, worked_codes
from tests.conftest import REPOSITORY

SPEC = REPOSITORY / "spec"
OVERVIEW = (SPEC / "01-overview.md").read_text("utf-8")
CHAPTER_2 = (SPEC / "02-container.md").read_text("utf-8")
NUMBERS = (SPEC / "06-numerics.md").read_text("utf-8")


def test_the_overview_explains_every_byte_of_the_file_in_chapter_2():
    spans = annotated_file.spans()
    assert [start for start, _, _ in spans] == [0, *(end for _, end, _ in spans[:-1])]
    assert spans[-1][1] == len(annotated_file.SMALLEST)
    dump = re.findall(r"^[0-9a-f]{4}  ((?:[0-9a-f]{2} )+)", CHAPTER_2, re.MULTILINE)
    assert bytes.fromhex("".join(dump)) == annotated_file.SMALLEST


def test_the_dump_of_the_overview_is_the_file():
    dump = OVERVIEW.partition("<!-- begin smallest-file -->")[2]
    found = bytearray()
    for place, line in re.findall(r"^([0-9a-f]{4})  (.*)$", dump, re.MULTILINE):
        text = line[:23].strip()
        assert int(place, 16) == len(found)
        zeros = re.match(r"(\d+) times 00", text)
        found += bytes(int(zeros[1])) if zeros else bytes.fromhex(text)
    assert bytes(found) == annotated_file.SMALLEST


def test_what_the_overview_says_about_one_weight():
    place = int(re.search(r"record 1, at ([0-9a-f]+)\.", OVERVIEW)[1], 16)
    assert f"`{annotated_file.SMALLEST[place : place + 4].hex(' ')}`" in OVERVIEW


@pytest.mark.parametrize("case", list(worked_codes.lines()), ids=str)
def test_worked_codes_are_the_packages_numbers(case):
    element, code, bits, _ = case
    width = element["b"] if element["k"] != "f" else element["s"] + element["e"] + element["m"]
    size = -(-width // 8)
    layout = Layout.parse(bytes_as(element, width, size=size))
    record = np.frombuffer(code.to_bytes(size, "little"), np.uint8).reshape(1, size)
    value = decode_planes(layout, {"codes": record}, (1,))
    found = 0x7FC00000 if np.isnan(value[0]) else int(value.view(np.uint32)[0])
    assert found == bits
    assert f"{json.dumps(element):64}  {code:4x}  {bits:08x}" in NUMBERS


ROWS = json.loads((REPOSITORY / "conformance/container/rows.json").read_text("utf-8"))


def places():
    """Every place a manifest lists."""
    manifest = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
    sharded = json.loads((shard_files.CORPUS / "manifest.json").read_text("utf-8"))
    for kind in ("reject", "valid", "run"):
        yield from (f"{kind}/{name.removesuffix('.rq')}" for name in manifest[kind])
        yield from (f"sharded/{kind}/{name}" for name in sharded.get(kind, ()))
    yield from (f"made/{name}" for name in DEFECTS)


def test_every_row_of_the_plan_has_a_file_or_a_reason():
    assert [int(row) for row in ROWS] == list(range(205))
    known = set(places())
    for row, found in ROWS.items():
        if isinstance(found, dict):
            assert found["reason"], row
            continue
        assert found, row
        for place in found:
            path, _, test = place.partition("::")
            if test:
                assert f"def {test}(" in (REPOSITORY / path).read_text("utf-8"), (row, place)
            else:
                assert place in known, (row, place)
