"""The adapters of `conformance/engines` start, and their engines pass what they should."""

import json
import os
import shlex
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from refquant.cli import main
from refquant.conformance.line_engine import LineEngine
from refquant.conformance.replies import Limits
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import find_suite, select
from tests.conftest import REPOSITORY

ADAPTERS = Path(__file__).parent.parent / "conformance" / "engines"
WHEELS = {
    "gguf_py.py": ("decode/ggml", {"ggml-q4_0.decode.every-code"}),
    "ml_dtypes_engine.py": ("decode/float", {"float-bf16.decode.every-code"}),
    "safetensors_engine.py": (
        "container/safetensors-0",
        {"container.safetensors.overlap-0", "container.safetensors.valid-one"},
    ),
}
OTHERS = {
    "ggml": "encode/ggml",
    "ggml_0_9": "encode/ggml",
    "ggml_0_13": "encode/ggml",
    "gguf_py_0_10": "encode/ggml",
    "tinygrad": "decode/ggml",
    "torch": "decode/float",
    "openvino": "encode/float",
    "torchao": "decode/torchao",
    "bitsandbytes": "decode/bnb",
    "quanto": "decode/quanto",
    "compressed_tensors": "decode/ct",
    "mlx": "decode/mlx",
    "onnx": "decode/onnx",
    "onnxruntime": "encode/onnx",
    "tract": "decode/tract",
    "litert_reference": "decode/tflite",
}
"""Engines of the matrix by their names there, and a pack for each."""


@pytest.fixture(scope="module")
def engines():
    sys.path.insert(0, str(REPOSITORY / "tools"))
    from matrix_engines import ENGINES

    return ENGINES


def report_of(python, adapter, pack):
    chosen = select(find_suite(None), [pack])
    limits = Limits(scale=6.0)
    options = Options(expected=chosen.expected, selected=True, limits=limits, root=chosen.root)
    return run(LineEngine(f"{python} {ADAPTERS}/{adapter}", limits), chosen.packs, options)


@pytest.mark.parametrize("adapter", WHEELS)
def test_wheels_pass(adapter):
    pack, wanted = WHEELS[adapter]
    report = report_of(sys.executable, adapter, pack)
    assert report.passed, [one for one in report.results if one.result == "fail"]
    assert report.controls == {"caught": 5, "missed": 0}
    assert wanted <= {one.id for one in report.results if one.result == "pass"}


def explained(engine):
    """Patterns of the cases in which an engine is known to differ."""
    known = tomllib.loads((ADAPTERS / "deviations.toml").read_text("utf-8"))["deviation"]
    return [p for one in known if fnmatchcase(engine, one["engine"]) for p in one["cases"]]


@pytest.mark.differential
@pytest.mark.parametrize("engine", OTHERS)
def test_others_pass_but_for_what_is_explained(engine, engines, oracle):
    adapter = engines[engine]
    report = report_of(oracle(adapter.oracle), adapter.file, OTHERS[engine])
    failed = {one.id for one in report.results if one.result not in ("pass", "unsupported")}
    assert not report.problems
    assert [one for one in failed if not any(fnmatchcase(one, p) for p in explained(engine))] == []
    assert report.counts["pass"] > 3


@pytest.mark.differential
def test_the_package_of_npm_passes(engines):
    if reason := engines["onnxruntime_web"].missing():
        pytest.skip(reason)
    chosen = select(find_suite(None), ["encode/onnx", "integer/matmul-1"])
    limits = Limits(scale=6.0)
    options = Options(expected=chosen.expected, selected=True, limits=limits, root=chosen.root)
    report = run(LineEngine(engines["onnxruntime_web"].started(), limits), chosen.packs, options)
    assert report.passed, [one for one in report.results if one.result == "fail"]
    assert report.counts["pass"] > 15


@pytest.mark.differential
def test_each_deviation_of_the_page_is_repeated_by_its_command(monkeypatch, capsys):
    if Path(os.environ.get("REFQUANT_ORACLES", "")) != REPOSITORY / ".oracles":
        pytest.skip("the commands of the page name the environments of this checkout")
    monkeypatch.chdir(REPOSITORY)
    engines = json.loads((ADAPTERS.parent / "matrix.json").read_text("utf-8"))["engines"]
    replays = [one["replay"] for engine in engines for one in engine.get("deviations", ())]
    assert len(replays) > 5
    for words in map(shlex.split, replays):
        assert main(words[1:]) == 1, words
        assert "result  fail" in capsys.readouterr().out, words


def test_deviations_say_what_they_have_to():
    known = tomllib.loads((ADAPTERS / "deviations.toml").read_text("utf-8"))["deviation"]
    ids = {case.id for pack in select(find_suite(None)).packs for case in pack.cases}
    for one in known:
        assert one["kind"] in ("differs", "other")
        assert one["clause"]
        for pattern in one["cases"]:
            assert any(fnmatchcase(name, pattern) for name in ids), pattern
