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
    "ggml_c.py": ("ggml", "encode/ggml"),
    "torch_engine.py": ("torchao", "decode/float"),
    "torchao_engine.py": ("torchao", "decode/torchao"),
    "bitsandbytes_engine.py": ("bnb", "decode/bnb"),
    "quanto_engine.py": ("quanto", "decode/quanto"),
    "ct_engine.py": ("ct", "decode/ct"),
    "mlx_engine.py": ("mlx", "decode/mlx"),
    "onnx_engine.py reference": ("onnx", "decode/onnx"),
    "onnx_engine.py runtime": ("onnx", "encode/onnx"),
    "tract_engine.py": ("tract", "decode/tract"),
    "litert_engine.py reference": ("aeq", "decode/tflite"),
}


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


@pytest.mark.differential
@pytest.mark.parametrize("adapter", OTHERS)
def test_others_pass(adapter, oracle):
    name, pack = OTHERS[adapter]
    report = report_of(oracle(name), adapter, pack)
    failed = {one.id for one in report.results if one.result not in ("pass", "unsupported")}
    assert not report.problems
    assert failed <= {"onnx-dynamic_uint8.encode.zeros"}
    assert report.counts["pass"] > 3


@pytest.mark.differential
def test_the_package_of_npm_passes():
    sys.path.insert(0, str(ADAPTERS.parents[1] / "tools"))
    from matrix import ENGINES

    if reason := ENGINES["onnxruntime_web"].missing():
        pytest.skip(reason)
    chosen = select(find_suite(None), ["encode/onnx", "integer/matmul-1"])
    limits = Limits(scale=6.0)
    options = Options(expected=chosen.expected, selected=True, limits=limits, root=chosen.root)
    report = run(LineEngine(ENGINES["onnxruntime_web"].started(), limits), chosen.packs, options)
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
