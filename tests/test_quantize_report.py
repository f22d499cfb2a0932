"""The errors that a report tells: those of the written file, told in JSON and as a page."""

import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.quantization.errors_of import tensor_errors
from refquant.recipe import Assignment
from refquant.tensor import quantize
from tests.command_line import call, small_model
from tests.roundings import assert_rounded


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    small_model(folder / "model.rq", width=64, head_width=16, feedforward_width=96)
    (folder / "mine.toml").write_text(
        'name = "mine"\n[[rules]]\nrole = "head"\nscheme = "q8_0"\n[[rules]]\nscheme = "q4_0"\n'
    )
    return folder


def run(capsys, made, *options):
    names = ("model.rq", "-o", "out.rq", "--recipe", "mine.toml")
    tokens = [made / name if "." in name else name for name in names]
    return call(capsys, "quantize", *tokens, "--quiet", *options)


def test_json_and_page_tell_the_files_errors(capsys, made):
    reports = ("--report", made / "out.json", "--report", made / "out.html")
    assert run(capsys, made, *reports).status == 0
    data = json.loads((made / "out.json").read_text())
    assert data["schema"] == "refquant.quantize-report/1"
    assert [rule["tensors"] for rule in data["rules"]] == [0, 15]
    before, after = (
        open_checkpoint(made / "model.rq").tensors,
        open_checkpoint(made / "out.rq").tensors,
    )
    assert [one["name"] for one in data["tensors"]] == list(before)
    for one in data["tensors"]:
        w = before[one["name"]].dequantize().astype(np.float64)
        error = after[one["name"]].dequantize() - w
        assert one["max_error"] == np.abs(error).max()
        # Sums of all squares, each in an order of its own.
        roundings = 2 * (error.size + 4)
        assert_rounded(one["rmse"], math.sqrt(np.mean(error**2)), roundings)
        if one["sqnr_db"] is not None:
            expected = 10 * math.log10(np.sum(w**2) / np.sum(error**2))
            # Twice such sums; d(10 log10 x) is 10 / ln 10 = 4.3 dx / x.
            assert_rounded(one["sqnr_db"], expected, 2 * roundings, size=4.4 + expected)
            row, column = one["worst_run"]
            runs = np.square(error.reshape(len(w), -1, 32)).sum(axis=-1)
            assert runs[row, column // 32] == runs.max()
            assert sum(one["histogram"]) == min(w.size, 1 << 14)
    page = (made / "out.html").read_text()
    assert page.count("<tr>") == 1 + 2 + 1 + len(before)
    assert "took none" in page
    check(page)


def test_narrow_screens_have_titles_before_the_cells():
    from refquant.quantization.report_page import COLUMNS, report_page

    page = report_page({"output": "", "source": "", "root": "", "rules": []}, [])
    style = page.partition("</style>")[0]
    for number, (title, _) in enumerate(COLUMNS[1:], 2):
        assert f'td:nth-child({number})::before {{ content: "{title}"; }}' in style
        assert f"<button>{title}</button>" in page


class Strict(HTMLParser):
    """Every tag is closed, and nothing is loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in ("rect", "circle", "line")
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(page):
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page


def test_names_cannot_break_the_page(capsys, made):
    from refquant.quantization.report_page import report_page

    one = Assignment("<script>&\"'", (2, 32), "float/f32", "ggml/q4_0", "", 36)
    x = np.arange(64, dtype=np.float32).reshape(2, 32)
    found = tensor_errors(one, quantize(x, "f32"), quantize(x, "q4_0"))
    facts = {"output": "<b>", "source": "<i>", "root": "0"}
    rules = [{"scheme": "<u>", "match": "<s>", "tensors": 0}]
    page = report_page({**facts, "rules": rules}, [found])
    for tag in ("<b>", "<i>", "<u>", "<s>", "<script>&"):
        assert tag not in page
    check(page)


def test_large_tensors_are_compared_a_few_rows_at_a_time(monkeypatch):
    x = np.random.default_rng(3).normal(size=(40, 64)).astype(np.float32)
    one = Assignment("w", x.shape, "float/f32", "ggml/q4_0", "", 0)
    whole = tensor_errors(one, quantize(x, "f32"), quantize(x, "q4_0"))
    monkeypatch.setattr("refquant.quantization.errors_of.CHUNK", 64 * 7)
    parts = tensor_errors(one, quantize(x, "f32"), quantize(x, "q4_0"))
    assert parts.worst_run == whole.worst_run
    assert parts.max_error == whole.max_error
    assert_rounded(parts.rmse, whole.rmse, 2 * (x.size + 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--report", "x.pdf"], "expected a name that ends in .html or .json"),
        (["--report", "nowhere/x.html"], "there is no folder nowhere"),
        (["--report", "x.html", "--dry-run"], "--dry-run writes nothing"),
    ],
)
def test_reports_that_cannot_be(capsys, made, options, message):
    found = run(capsys, made, *options)
    assert found.status == 2
    assert message in found.err


def test_rows_that_cannot_be_taken_apart_are_compared_whole(monkeypatch):
    x = np.random.default_rng(4).normal(size=(64, 64)).astype(np.float32)
    made = quantize(x, "gptq/int4[group=32,order=act]")
    one = Assignment("w", x.shape, "float/f32", made.scheme.name, "", 0)
    whole = tensor_errors(one, quantize(x, "f32"), made)
    assert whole.max_error == np.abs(made.dequantize().astype(np.float64) - x).max()
    monkeypatch.setattr("refquant.quantization.errors_of.CHUNK", 64 * 7)
    assert tensor_errors(one, quantize(x, "f32"), made).max_error == whole.max_error
