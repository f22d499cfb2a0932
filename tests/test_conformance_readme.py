"""The adapter on the suite's page, taken from the page, passes what it says it can."""

import sys

from refquant.conformance.line_engine import LineEngine
from refquant.conformance.replies import Limits
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import select
from tests.conftest import REPOSITORY
from tests.house.fences import fences

SUITE = REPOSITORY / "conformance"


def adapter():
    text = (SUITE / "README.md").read_text("utf-8")
    (found,) = [fence.text for fence in fences(text) if fence.language == "python"]
    return found


def report_of(program, tmp_path):
    path = tmp_path / "adapter.py"
    path.write_text(program, "utf-8")
    found = select(SUITE, ["decode/ggml", "bytes/ggml"])
    engine = LineEngine(f"{sys.executable} {path}", Limits())
    return run(engine, found.packs, Options(expected=found.expected, root=found.root))


def test_the_adapter_of_the_page_passes(tmp_path):
    assert len(adapter().splitlines()) < 40
    report = report_of(adapter(), tmp_path)
    assert report.passed, report.problems
    assert report.counts["pass"] == 6


def test_a_slip_in_it_is_found(tmp_path):
    wrong = adapter().replace("(code - 8)", "(code - 7)")
    assert not report_of(wrong, tmp_path).passed
    swapped = adapter().replace(
        "[c & 15 for c in codes] + [c >> 4 for c in codes]",
        "[n for c in codes for n in (c & 15, c >> 4)]",
    )
    assert swapped != adapter()
    assert not report_of(swapped, tmp_path).passed
