"""`refquant quantize`: what is written, what is refused, and what survives an interruption."""

import errno
import hashlib
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.formats.rq import write_checkpoint
from refquant.tensor import quantize
from tests.command_line import call, small_model
from tests.gguf_bytes import build
from tests.runtime_models import random_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq")


def run(capsys, source, output, scheme, *options):
    return call(capsys, "quantize", source, "-o", output, "--scheme", scheme, *options)


def test_tensors_are_what_the_library_makes_of_them(capsys, tmp_path, model):
    assert run(capsys, model, tmp_path / "out.rq", "q4_0").status == 0
    before, after = open_checkpoint(model), open_checkpoint(tmp_path / "out.rq")
    assert list(after.tensors) == list(before.tensors)
    for name, tensor in after.tensors.items():
        source = before.tensors[name]
        expected = source
        if len(source.shape) > 1:
            wanted = "q8_0" if name == "token_embd.weight" else "q4_0"
            expected = quantize(source.dequantize(), wanted)
        assert tensor.scheme.name == expected.scheme.name
        for plane, stored in tensor.planes.items():
            assert np.array_equal(stored, expected.planes[plane])


def test_everything_else_travels_along(capsys, tmp_path, model):
    run(capsys, model, tmp_path / "out.rq", "q8_0")
    before, after = open_checkpoint(model), open_checkpoint(tmp_path / "out.rq")
    assert after.architecture == before.architecture
    assert after.tokenizer == before.tokenizer
    assert after.aliases == before.aliases
    found = call(capsys, "run", tmp_path / "out.rq", "-p", "It is", "-n", 3)
    assert found.status == 0


@pytest.mark.parametrize("options", [[], ["--compression", "zstd"], ["--jobs", "2"]])
def test_the_second_time_writes_the_same_bytes(capsys, tmp_path, model, options):
    for name in ("one.rq", "two.rq"):
        found = run(capsys, model, tmp_path / name, "int/affine[bits=4,group=32]", *options)
        assert found.status == 0
    assert (tmp_path / "one.rq").read_bytes() == (tmp_path / "two.rq").read_bytes()


def test_jobs_do_not_change_the_bytes(capsys, tmp_path, model):
    for jobs in ("1", "3"):
        run(capsys, model, tmp_path / f"{jobs}.rq", "q4_1", "--jobs", jobs)
    assert (tmp_path / "1.rq").read_bytes() == (tmp_path / "3.rq").read_bytes()


def test_keep_carries_the_bytes_of_a_gguf(capsys, tmp_path):
    """Sixteen equal blocks of equal weights, which quantizing again would give a scale of 0."""
    raw = (np.array([1.0, 0.0], np.float16).tobytes() + b"\x77" * 16) * 16
    (tmp_path / "x.gguf").write_bytes(build([], [("w", (8, 64), 3, raw)]))
    assert run(capsys, tmp_path / "x.gguf", tmp_path / "x.rq", "keep").status == 0
    assert run(capsys, tmp_path / "x.gguf", tmp_path / "y.rq", "q4_1").status == 0
    for name in ("x.rq", "y.rq"):
        (tensor,) = open_checkpoint(tmp_path / name).tensors.values()
        assert tensor.scheme.name == "ggml/q4_1"
        assert tensor.planes["blocks"].tobytes() == raw
    assert quantize(tensor.dequantize(), "q4_1").planes["blocks"].tobytes() != raw


def test_what_is_quantized_already_is_a_warning_and_no_refusal(capsys, tmp_path, model):
    run(capsys, model, tmp_path / "eight.rq", "q8_0")
    found = run(capsys, tmp_path / "eight.rq", tmp_path / "four.rq", "q4_0")
    assert found.status == 0
    assert found.err.count("warning") == 1
    assert "14 of 20 tensors are quantized already (ggml/q8_0)" in found.err


def test_provenance_tells_every_step_and_no_path(capsys, tmp_path, model):
    run(capsys, model, tmp_path / "eight.rq", "int8")
    run(capsys, tmp_path / "eight.rq", tmp_path / "four.rq", "q4_0", "--embedding-scheme", "f16")
    record = open_checkpoint(tmp_path / "four.rq").info["provenance"]
    assert record["recipe"]["name"] == "ggml/q4_0"
    chosen = [(rule.get("role"), rule["scheme"]) for rule in record["recipe"]["rules"]]
    assert chosen == [("embedding", "float/f16"), ("head", "float/f16"), (None, "ggml/q4_0")]
    (source,) = record["sources"]
    eight = (tmp_path / "eight.rq").read_bytes()
    assert source == {
        "name": "eight.rq", "bytes": len(eight), "sha256": hashlib.sha256(eight).hexdigest()
    }  # fmt: skip
    (earlier,) = record["earlier"]
    name = "int/affine[bits=8,sym,channel]"
    assert earlier["recipe"] == {"recipe": 1, "name": name, "rules": [{"scheme": name}]}
    assert earlier["sources"][0]["name"] == "small.rq"
    assert str(tmp_path).encode() not in (tmp_path / "four.rq").read_bytes()


def test_json_lists_every_tensor(capsys, tmp_path, model):
    found = run(capsys, model, tmp_path / "out.rq", "q4_0", "--json").json
    assert found["schema"] == "refquant.quantize/1"
    assert found["bytes"] == (tmp_path / "out.rq").stat().st_size
    shown = call(capsys, "inspect", tmp_path / "out.rq", "--json").json
    assert found["root"] == shown["root"]
    by_name = {one["name"]: one for one in found["tensors"]}
    assert by_name["token_embd.weight"]["reason"] == "embedding: at least 8 bits"
    assert by_name["output_norm.weight"]["untouched"] is True
    stored = sum(8 * one["bytes"] for one in found["tensors"])
    assert found["bits_per_weight"] == stored / shown["weights"]


def test_the_table_adds_up(capsys, tmp_path, model):
    lines = run(capsys, model, tmp_path / "out.rq", "q4_0").out.splitlines()
    assert lines[0].split() == ["scheme", "from", "tensors", "size", "bits/weight", "why"]
    counts = [int(line.split()[2]) for line in lines[1:5]]
    assert lines[5].split()[:2] == ["total", str(sum(counts))]


def test_quiet_prints_nothing(capsys, tmp_path, model):
    found = run(capsys, model, tmp_path / "out.rq", "q4_0", "--quiet")
    assert (found.status, found.out, found.err) == (0, "", "")


def test_a_shape_that_does_not_fit_is_told(capsys, tmp_path):
    odd = random_checkpoint(vocabulary=258, width=36, head_width=9, feedforward_width=32)
    write_checkpoint(tmp_path / "odd.rq", odd)
    found = run(capsys, tmp_path / "odd.rq", tmp_path / "out.rq", "q4_0")
    assert found.status == 0
    assert "ggml/q4_0 does not fit: axis -1 has 36 weights" in found.out


@pytest.mark.parametrize(
    ("output", "options", "status", "message"),
    [
        ("out.rq", ["--scheme", "q4_00"], 2, "unknown scheme 'q4_00'; did you mean"),
        ("out.rq", ["--scheme", "q4_0", "--embedding-scheme", "q9"], 2, "unknown scheme 'q9'"),
        ("out.rq", ["--scheme", "int/affine[bits=9]"], 2, "bits=9 is not one of"),
        ("out.rq", ["--scheme", "q4_0", "--jobs", "0"], 2, "--jobs is 0, expected 1 or more"),
        ("out.rq", ["--scheme", "q4_0", "--jobs", 10**30], 2, "expected at most"),
        ("out.rq", ["--scheme", "q4_0", "--workers", 100_000], 2, "--workers is 100000, expected"),
        ("out.rq", ["--scheme", "q4_0", "--shard-size", ""], 2, "--shard-size '' is no size"),
        ("out.rq", ["--target-size", "2 cups"], 2, "--target-size '2 cups' is no size"),
        (
            "out.rq",
            ["--scheme", "q4_0", "--compression-registry", ""],
            2,
            "--compression-registry goes with --compression-method",
        ),
        ("", ["--scheme", "q4_0"], 2, "it is a folder"),
        ("nowhere/out.rq", ["--scheme", "q4_0"], 2, "there is no folder"),
        ("out.gguf", ["--scheme", "q4_0"], 2, "this command writes .rq files"),
        ("small.rq", ["--scheme", "q4_0"], 2, "it is the source"),
    ],
)
def test_mistakes_are_found_before_the_model_is_read(
    capsys, monkeypatch, tmp_path, output, options, status, message
):
    monkeypatch.setattr("refquant.formats.open_checkpoint", None)
    (tmp_path / "small.rq").touch()
    found = call(capsys, "quantize", tmp_path / "small.rq", "-o", tmp_path / output, *options)
    assert (found.status, found.out) == (status, "")
    assert message in found.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.rq"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_pipe_is_not_replaced_by_a_file(capsys, tmp_path, model):
    os.mkfifo(tmp_path / "pipe")
    found = run(capsys, model, tmp_path / "pipe", "q4_0")
    assert found.status == 2
    assert "it is a device or pipe" in found.err
    assert (tmp_path / "pipe").is_fifo()


def test_a_disk_without_room_is_found_before_the_work(capsys, monkeypatch, tmp_path, model):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    found = run(capsys, model, tmp_path / "out.rq", "q4_0")
    assert found.status == 6
    assert "only 10 B are free" in found.err


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 3), (b"hello", 4), (b"GGUF\x03\0\0\0", 3), (b"\x89RQF\r\n\x1a\n", 3)],
)
def test_files_that_are_no_models(capsys, tmp_path, content, status):
    (tmp_path / "x.rq").write_bytes(content)
    found = run(capsys, tmp_path / "x.rq", tmp_path / "out.rq", "q4_0")
    assert (found.status, found.out) == (status, "")
    assert found.err.count("\n") == 1
    assert not (tmp_path / "out.rq").exists()


# A process of its own, which something befalls when it begins to quantize its fourth tensor.
INTERRUPTED = """
import os, sys
from refquant.cli import main
from refquant.quantization import plan
original, calls = plan.Knowledge.encoded, []
def encoded(*arguments):
    calls.append(1)
    if len(calls) == 4:
        {misfortune}
    return original(*arguments)
plan.Knowledge.encoded = encoded
sys.exit(main(sys.argv[1:]))
"""

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


def interrupted(misfortune, model, output):
    program = INTERRUPTED.format(misfortune=misfortune)
    command = [sys.executable, "-c", program, "quantize", str(model), "-o", str(output)]
    return subprocess.run(
        [*command, "--scheme", "q4_0"], capture_output=True, text=True, check=False
    )


@needs_posix
@pytest.mark.parametrize("before", [None, b"what was there"])
def test_a_kill_half_way_leaves_the_old_file_and_the_next_run_cleans_up(
    capsys, tmp_path, model, before
):
    output = tmp_path / "out.rq"
    if before is not None:
        output.write_bytes(before)
    done = interrupted("os.kill(os.getpid(), 9)", model, output)
    assert done.returncode == -9
    assert (output.read_bytes() if output.exists() else None) == before
    assert len(list(tmp_path.glob(".refquant-*"))) == 1
    assert run(capsys, model, output, "q4_0").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.rq"]


@needs_posix
@pytest.mark.parametrize(("number", "status"), [(15, 143), (2, 130)])
def test_a_polite_kill_cleans_up_itself(tmp_path, model, number, status):
    output = tmp_path / "out.rq"
    output.write_bytes(b"what was there")
    done = interrupted(f"os.kill(os.getpid(), {number})", model, output)
    assert done.returncode == status
    assert [path.name for path in tmp_path.iterdir()] == ["out.rq"]
    assert output.read_bytes() == b"what was there"


@needs_posix
def test_a_full_disk_leaves_the_old_file(tmp_path, model):
    """A limit on the size of files stands in for the disk: both fail in `write`."""
    output = tmp_path / "out.rq"
    output.write_bytes(b"what was there")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"
    done = interrupted(limit, model, output)
    assert done.returncode == 6
    reason = os.strerror(errno.EFBIG)
    assert done.stderr == f"refquant: {output}: {reason}; what was there is as it was\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.rq"]
    assert output.read_bytes() == b"what was there"


def test_memory_does_not_grow_with_the_model(capsys, tmp_path):
    """What is held at once is a few temporaries of one tensor, here at most 512 x 256 weights."""
    sizes = {"layers": 24, "width": 256, "head_width": 64, "feedforward_width": 512}
    small_model(tmp_path / "wide.rq", **sizes)
    tracemalloc.start()
    try:
        found = run(capsys, tmp_path / "wide.rq", tmp_path / "out.rq", "f16", "--jobs", "1")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.status == 0
    assert (tmp_path / "out.rq").stat().st_size > 28_000_000
    assert peak < 12 * 4 * 512 * 256


RECIPE = """
name = "mixed"
[[rules]]
role = ["embedding", "head"]
scheme = "q8_0"
[[rules]]
layers = "0"
role = "attention"
scheme = "q5_0"
[[rules]]
match = ".*ffn_up.*"
scheme = "q4_1"
fallback = ["keep"]
[[rules]]
match = "blk.7.*"
scheme = "q4_0"
[[rules]]
scheme = "keep"
"""


def test_a_recipe_gives_each_tensor_its_scheme(capsys, tmp_path, model):
    (tmp_path / "mixed.toml").write_text(RECIPE)
    output = tmp_path / "out.rq"
    found = call(capsys, "quantize", model, "-o", output, "--recipe", tmp_path / "mixed.toml")
    assert found.status == 0
    assert found.err.count("\n") == 1
    assert "$.rules[3] (q4_0) took no tensor: no name matches 'blk.7.*'" in found.err
    before, after = open_checkpoint(model).tensors, open_checkpoint(output).tensors
    kept = before["blk.1.attn_q.weight"].scheme.name
    wanted = {
        "token_embd.weight": "ggml/q8_0",
        "blk.0.attn_q.weight": "ggml/q5_0",
        "blk.1.attn_q.weight": kept,
        "blk.1.ffn_up.weight": "ggml/q4_1",
    }
    assert {name: after[name].scheme.name for name in wanted} == wanted


def test_a_dry_run_writes_nothing_and_tells_all(capsys, tmp_path, model):
    (tmp_path / "mixed.toml").write_text(RECIPE)
    command = ("quantize", model, "-o", tmp_path / "out.rq", "--recipe", tmp_path / "mixed.toml")
    shown = call(capsys, *command, "--dry-run")
    assert shown.status == 0
    assert "blk.0.attn_q.weight" in shown.out
    plan = call(capsys, *command, "--dry-run", "--json").json
    assert plan["unused_rules"] == [3]
    assert not (tmp_path / "out.rq").exists()
    written = call(capsys, *command, "--json").json
    assert written["tensors"] == plan["tensors"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "quantize needs one of --scheme, --recipe"),
        (("--scheme", "q4_0", "--recipe", "x.toml"), "and not --scheme and --recipe"),
        (("--recipe", "nowhere.toml"), "--recipe nowhere.toml: there is no such file"),
        (("--recipe", "Q4_K_N"), "did you mean 'Q4_K"),
        (("--recipe", "Q4_K_M", "--embedding-scheme", "f16"), "--embedding-scheme goes with"),
        (("--quantize", '{"embeding": {}}'), "did you mean 'embedding'?"),
        (("-c", "min_max_q4"), "did you mean 'min_max_q4_0'?"),
        (("--scheme", "q4_0", "--compression-registry", "a.B"), "--compression-registry goes"),
        (("--scheme", "q4_0", "--tensor-type", "ffn"), "expected REGEX=TYPE"),
        (("--scheme", "q4_0", "--tensor-type", "ffn=q9"), "unknown scheme 'q9'"),
    ],
)
def test_contradicting_options(capsys, tmp_path, model, options, message):
    found = call(capsys, "quantize", model, "-o", tmp_path / "out.rq", *options)
    assert found.status == 2
    assert message in found.err


@pytest.mark.parametrize(
    ("options", "schemes"),
    [
        (("--recipe", "Q4_K_M"), {"ggml/q6_k", "ggml/q4_k", "float/f32", "ggml/q5_0", "ggml/q8_0"}),
        (("--recipe", "dynamic_int8"), {"aeq/int8[sym,channel]"}),
        (("-c", "min_max_q4_0_all"), {"t2n/q40[mode=strict]"}),
        (("--quantize", '{"linear:int8": {"groupsize": 0}}'), {"torchchat/int8[channel]"}),
        (("--scheme", "q4_0", "--tensor-type", "ffn_up=q5_1"), {"ggml/q5_1", "ggml/q4_0"}),
    ],
)
def test_others_words_run(capsys, tmp_path, model, options, schemes):
    found = call(capsys, "quantize", model, "-o", tmp_path / "out.rq", *options)
    assert (found.status, found.err) == (0, "")
    written = open_checkpoint(tmp_path / "out.rq")
    assert schemes & {tensor.scheme.name for tensor in written.tensors.values()}
    assert call(capsys, "run", tmp_path / "out.rq", "-p", "It is", "-n", 2).status == 0


def test_named_recipes_are_listed_and_shown(capsys):
    assert "Q4_K_M" in call(capsys, "recipes").out
    shown = call(capsys, "recipes", "dynamic_int4_block32", "--json").json
    assert shown["rules"][0]["scheme"] == "aeq/int4[sym,block=32]"
    for_nothing = call(capsys, "recipes", "--model", "demo")
    assert (for_nothing.status, "the name of a recipe" in for_nothing.err) == (2, True)


def test_a_model_in_shards(capsys, model, tmp_path):
    whole, split = tmp_path / "whole.rq", tmp_path / "split.rq"
    assert call(capsys, "quantize", model, "-o", whole, "--scheme", "q8_0", "--quiet").status == 0
    options = ("--scheme", "q8_0", "--shard-size", "30kB", "--json")
    found = call(capsys, "quantize", model, "-o", split, *options)
    assert found.status == 0, found.err
    assert found.json["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("split*"))
    assert len(list(tmp_path.glob("split-*"))) > 1
    assert call(capsys, "convert", split, tmp_path / "again.rq").status == 0
    assert (tmp_path / "again.rq").read_bytes() == whole.read_bytes()
