"""A slip planted by hand in an engine of a kit is found, and named by the rule or the mistake."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from refquant.conformance.diagnosis import diagnosed
from refquant.conformance.results import BAD
from tests.conftest import REPOSITORY
from tests.kit_engines import ENGINES, SUITE, parameters, report_of


@dataclass(frozen=True)
class Slip:
    """What is changed in which file below the repository, and what the suite makes of it.

    `rules` are the codes that files had to be refused with, where files are read.
    """

    engine: str
    file: str
    changes: Mapping[str, str]
    mistake: str
    rules: tuple[str, ...] = ()


CODECS = {
    "c_halves_swapped": Slip(
        "c",
        "conformance/kits/c/decoders.h",
        {"- 8);\n        to[i + 16] = scale": "- 8);\n        to[i] = scale",
         "to[i] = scale * (float)((block[2 + i] & 15)":
         "to[i + 16] = scale * (float)((block[2 + i] & 15)"},
        "q40-swapped",
    ),
    "python_not_halved": Slip(
        "python",
        "conformance/kits/python/decoders.py",
        {"blocks[at] - 128": "blocks[at] - 127"},
        "mxfp4-not-halved",
    ),
    "javascript_unsigned": Slip(
        "javascript",
        "conformance/kits/javascript/decoders.mjs",
        {"(bytes[at + 2 + i] << 24) >> 24": "bytes[at + 2 + i]"},
        "q80-unsigned",
    ),
    "cpp_last_scale": Slip(
        "cpp",
        "conformance/kits/c/decoders.h",
        {"ldexpf(1, block[0] - 128)": "block[0] == 255 ? NAN : ldexpf(1, block[0] - 128)"},
        "rival-mxfp4-nan-scale",
    ),
    "rust_pairs": Slip(
        "rust",
        "conformance/kits/rust/examples/example/decoders.rs",
        {"halves(&block[2..])": "block[2..].iter().flat_map(|c| [c & 15, c >> 4])"},
        "q40-pairs",
    ),
    "go_halves_swapped": Slip(
        "go",
        "conformance/kits/go/example/main.go",
        {"(i/16*4)": "(4-i/16*4)"},
        "q40-swapped",
    ),
}  # fmt: skip

READERS = {
    "c_offsets": Slip(
        "c_files",
        "conformance/readers/c/rq.c",
        {'        if (offset != start) fail(file, "E_SEG_OFFSET");\n': "        (void)offset;\n"},
        "container-holes",
        ("E_SEG_OFFSET",),
    ),
    "c_checksums": Slip(
        "c_files",
        "conformance/readers/c/rq.c",
        {"if (crc32(": "if (0 && crc32(", "if (memcmp(digest": "if (0 && memcmp(digest"},
        "container-no-checksums",
        ("E_SEG_CRC", "E_SEG_SHA"),
    ),
    "javascript_trailing_bytes": Slip(
        "javascript_files",
        "conformance/readers/javascript/rq.mjs",
        {'  if (end !== size) fail("E_LENGTH", "bytes after the last segment");\n': ""},
        "container-no-sizes",
        ("E_LENGTH",),
    ),
    "python_text": Slip(
        "python_files",
        "refquant/mp1.py",
        {'self.take(size, start).decode("utf-8")':
         'self.take(size, start).decode("utf-8", "replace")'},
        "container-any-utf8",
        ("E_MP_UTF8",),
    ),
}  # fmt: skip


def planted(slip, folder):
    """The report of the engine with the slip in it, in a copy of what it is built from."""
    unneeded = shutil.ignore_patterns("target", "__pycache__", "demo")
    for part in ("conformance/kits", "conformance/readers", "refquant", "spec/arch"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=unneeded)
    text = (folder / slip.file).read_text("utf-8")
    for right, wrong in slip.changes.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    (folder / slip.file).write_text(text, "utf-8")
    engine = ENGINES[slip.engine]
    command = engine.build(folder / "conformance" / "kits" / engine.source, folder)
    return diagnosed(report_of(command, engine.packs), SUITE)


def mistakes(failed):
    """What the failures look like first; what follows from a slip may look like nothing known."""
    return {one.diagnosis[0].partition(":")[0] for one in failed if one.diagnosis}


@pytest.mark.parametrize("name", parameters({name: slip.engine for name, slip in CODECS.items()}))
def test_a_slip_in_a_decoder_is_named(name, tmp_path):
    report = planted(CODECS[name], tmp_path)
    failed = [one for one in report.results if one.result in BAD]
    assert mistakes(failed) == {CODECS[name].mistake}


@pytest.mark.parametrize("name", READERS)
def test_a_slip_in_a_reader_is_named_with_the_rule(name, tmp_path):
    slip = READERS[name]
    failed = [one for one in planted(slip, tmp_path).results if one.result in BAD]
    assert mistakes(failed) == {slip.mistake}
    assert {one.detail.rpartition(" ")[2] for one in failed} == set(slip.rules)
