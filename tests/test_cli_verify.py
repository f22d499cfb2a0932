"""`refquant verify` and `refquant convert`: forms of one file, damage, making again."""

import json
from dataclasses import replace

import pytest

from conformance.container.parts import build, example
from refquant.cli.destination import parse_bytes
from refquant.errors import UsageError
from refquant.formats.checkpoint import Document
from refquant.formats.rq import read, read_header, tensors_digest, write_checkpoint
from tests.command_line import call, small_model
from tests.test_rq import varied_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq")


def test_every_form_has_the_same_tensors(capsys, model, tmp_path):
    digest = tensors_digest(read(model))
    forms = {
        "raw": [],
        "packed": ["--compression", "zstd"],
        "split": ["--shard-size", "40kB"],
        "both": ["--compression", "zstd", "--shard-size", "40 kB"],
    }
    for name, options in forms.items():
        path = tmp_path / f"{name}.rq"
        done = call(capsys, "convert", model, path, *options, "--json")
        assert done.status == 0, done.err
        assert done.json["tensors_digest"] == digest
        assert done.json["root"] == read_header(path).root
        assert bool(done.json["shards"]) == ("--shard-size" in options)
        checked = call(capsys, "verify", path, "--deep", "--json")
        assert checked.status == 0, checked.err
        assert checked.json["ok"] is checked.json["canonical"] is True
        assert checked.json["tensors_digest"] == digest
        again = tmp_path / f"{name}-again.rq"
        assert call(capsys, "convert", path, again).status == 0
        assert again.read_bytes() == model.read_bytes()


def test_nothing_is_lost_on_the_way(capsys, tmp_path):
    parts = example()
    parts.header["ext"] = {"x-test.note": {"critical": False, "data": {"a": [1, 2.5]}}}
    parts.header["info"] |= {"labels": ["a name of ours", ""], "note": {"deep": [True]}}
    (tmp_path / "a.rq").write_bytes(build(parts))
    assert call(capsys, "convert", tmp_path / "a.rq", tmp_path / "b.rq").status == 0
    assert (tmp_path / "b.rq").read_bytes() == (tmp_path / "a.rq").read_bytes()
    options = ("--compression", "zstd", "--shard-size", "1")
    assert call(capsys, "convert", tmp_path / "a.rq", tmp_path / "s.rq", *options).status == 0
    assert call(capsys, "convert", tmp_path / "s.rq", tmp_path / "c.rq").status == 0
    assert (tmp_path / "c.rq").read_bytes() == (tmp_path / "a.rq").read_bytes()


def test_a_converted_model_runs(capsys, model, tmp_path):
    call(capsys, "convert", model, tmp_path / "s.rq", "--shard-size", "40kB", "--quiet")
    for command in (("run", "--prompt", "ab", "-n", "4"), ("inspect",)):
        name, *options = command
        found = call(capsys, name, tmp_path / "s.rq", *options)
        assert found.status == 0, found.err
        if name == "run":
            assert found.out == call(capsys, name, model, *options).out
    tensor = next(iter(read(model).tensors))
    explained = call(capsys, "explain", tmp_path / "s.rq", tensor)
    assert explained.status == 0, explained.err


def test_the_source_is_not_overwritten(capsys, tmp_path):
    path = tmp_path / "s.rq"
    write_checkpoint(path, varied_checkpoint(), shard_size=20_000)
    (tmp_path / "link.rq").symlink_to(path)
    shard = tmp_path / read_header(path).header.shards[0].name
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    for output in (path, tmp_path / "link.rq", shard):
        done = call(capsys, "convert", path, output)
        assert done.status == 2
        assert "it is the source" in done.err
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("a.onnx", "expected .rq"),
        ("a", "a: no ending, expected"),
        ("no/a.rq", "no folder"),
        ("d.rq", "a folder"),
    ],
)
def test_outputs_that_cannot_be(output, said, capsys, model, tmp_path):
    (tmp_path / "d.rq").mkdir()
    done = call(capsys, "convert", model, tmp_path / output)
    assert done.status == 2
    assert said in done.err


def test_sizes():
    sizes = {"1": 1, "2GB": 2 * 10**9, "2GiB": 2 << 30, "1.5 kB": 1500, "10M": 10**7, "7B": 7}
    assert {text: parse_bytes(text) for text in sizes} == sizes
    for text in ("", "GB", "-1", "1e9", "2iB", "2 XB", "1..5", "2GBs"):
        with pytest.raises(UsageError):
            parse_bytes(text)


def test_a_damaged_file(capsys, model, tmp_path):
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.rq").write_bytes(data)
    done = call(capsys, "verify", tmp_path / "a.rq", "--json")
    assert done.status == 3
    assert done.json["problem"]["code"] == "E_SEG_CRC"
    assert done.json["ok"] is False
    assert "tensors_digest" not in done.json
    assert "E_SEG_CRC" in done.err


def test_a_damaged_or_missing_shard(capsys, tmp_path):
    write_checkpoint(tmp_path / "s.rq", varied_checkpoint(), shard_size=20_000)
    shard = tmp_path / read_header(tmp_path / "s.rq").header.shards[1].name
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    done = call(capsys, "verify", tmp_path / "s.rq")
    assert done.status == 3
    assert shard.name in done.err
    shard.unlink()
    done = call(capsys, "verify", tmp_path / "s.rq", "--json")
    assert (done.status, done.json["problem"]["code"]) == (3, "E_SHARD_MISSING")
    alone = tmp_path / read_header(tmp_path / "s.rq").header.shards[0].name
    assert call(capsys, "verify", alone).status == 4


def test_a_form_of_another_writer(capsys, tmp_path):
    """Valid, and not what this writer makes of the same content."""
    parts = example()
    parts.preamble["minor"] = 7
    (tmp_path / "minor.rq").write_bytes(build(parts))
    parts = example()
    parts.header["info"]["labels"] = ["only one of two"]
    (tmp_path / "labels.rq").write_bytes(build(parts))
    for name in ("minor", "labels"):
        done = call(capsys, "verify", tmp_path / f"{name}.rq", "--json")
        assert done.status == 1
        assert done.json["canonical"] is False
        assert "problem" not in done.json


def test_deep_checks(capsys, model, tmp_path):
    found = read(model)
    two_keys = Document("config.json", "application/json", b'{"a": 1, "a": 2}')
    no_text = Document("notes", "text/plain; charset=utf-8", b"\xff")
    tensors = {name: found.tensors[name] for name in list(found.tensors)[1:]}
    broken = {
        "E_JSON_DUP": replace(found, documents={"config.json": two_keys}),
        "not UTF-8 at byte 0": replace(found, documents={"notes": no_text}),
        "E_ARCH_TENSOR": replace(found, tensors=tensors),
    }
    for number, (said, checkpoint) in enumerate(broken.items()):
        path = tmp_path / f"{number}.rq"
        write_checkpoint(path, checkpoint)
        assert call(capsys, "verify", path).status == 0
        done = call(capsys, "verify", path, "--deep", "--json")
        assert done.status == 1
        (failure,) = done.json["failures"]
        assert said in failure


def test_weights_that_are_no_numbers_are_counted(capsys, tmp_path):
    parts = example()
    parts.header["core"] |= {"docs": []}
    for key in ("arch", "tokenizer"):
        del parts.header["core"][key]
    parts.payloads = parts.payloads[2:]
    for tensor in parts.header["core"]["tensors"]:
        tensor["planes"] = {p: [n - 2 for n in taken] for p, taken in tensor["planes"].items()}
    parts.payloads[2].stored = b"\x00\x00\xc0\x7f" + parts.payloads[2].stored[4:]
    (tmp_path / "a.rq").write_bytes(build(parts))
    done = call(capsys, "verify", tmp_path / "a.rq", "--deep", "--json")
    assert done.status == 1
    assert done.json["not_finite"] == {"b": 3}


def test_a_file_made_again(capsys, model, tmp_path):
    made = tmp_path / "q.rq"
    assert call(capsys, "quantize", model, "-o", made, "--scheme", "q8_0", "--quiet").status == 0
    done = call(capsys, "verify", made, "--rederive", model, "--json")
    assert done.status == 0, done.err
    assert done.json["rederived"]["different"] == []
    assert done.json["rederived"]["same"] == len(read(model).tensors)


def test_a_file_that_is_not_what_its_recipe_makes(capsys, model, tmp_path):
    made = tmp_path / "q.rq"
    call(capsys, "quantize", model, "-o", made, "--scheme", "q8_0", "--quiet")
    found = read(made)
    name = next(n for n in found.tensors if found.tensors[n].scheme.name == "ggml/q8_0")
    tensor = found.tensors[name]
    changed = tensor.planes["blocks"].copy()
    changed.reshape(-1)[5] ^= 1
    tensors = dict(found.tensors)
    tensors[name] = type(tensor).from_planes(tensor.scheme, tensor.shape, {"blocks": changed})
    del tensors[next(n for n in tensors if n != name)]
    write_checkpoint(tmp_path / "c.rq", _with(found, tensors))
    done = call(capsys, "verify", tmp_path / "c.rq", "--rederive", model, "--json")
    assert done.status == 1
    different = {one["name"]: one["difference"] for one in done.json["rederived"]["different"]}
    assert len(different) == 2
    assert different[name].startswith("1 of ")


def _with(checkpoint, tensors):
    return replace(checkpoint, tensors=tensors)


def test_a_source_that_is_not_the_recorded_one(capsys, model, tmp_path):
    made, other = tmp_path / "q.rq", tmp_path / "other.rq"
    call(capsys, "quantize", model, "-o", made, "--scheme", "q8_0", "--quiet")
    call(capsys, "convert", model, other, "--compression", "zstd", "--quiet")
    done = call(capsys, "verify", made, "--rederive", other)
    assert done.status == 1
    assert "is not what the file was made from" in done.err
    done = call(capsys, "verify", model, "--rederive", model)
    assert done.status == 4
    assert "does not record" in done.err


def test_the_record_of_a_file(capsys, model, tmp_path):
    found = read(model)
    info = {"provenance": {"licence": "MIT", "base_model": "a/b", "sources": []}}
    write_checkpoint(tmp_path / "a.rq", replace(found, info=info))
    made = tmp_path / "q.rq"
    call(capsys, "quantize", tmp_path / "a.rq", "-o", made, "--scheme", "q8_0", "--quiet")
    record = read(made).info["provenance"]
    assert record["licence"] == "MIT"
    assert record["base_model"] == "a/b"
    assert record["tool"]["encoder"]
    assert record["sources"][0]["sha256"]
    assert json.dumps(record)


def test_a_budget_against_bombs(capsys, model, tmp_path):
    call(capsys, "convert", model, tmp_path / "z.rq", "--compression", "zstd", "--quiet")
    done = call(capsys, "verify", tmp_path / "z.rq", "--budget", "10kB", "--json")
    assert (done.status, done.json["problem"]["code"]) == (3, "E_BUDGET")
    assert call(capsys, "verify", tmp_path / "z.rq", "--budget", "1GB", "--no-mmap").status == 0


def test_quantizing_drops_the_extensions_that_follow_tensors(capsys, model, tmp_path):
    extensions = {
        "x-test.map": {"critical": False, "data": 1, "follows": "tensors"},
        "x-test.note": {"critical": False, "data": 2},
    }
    write_checkpoint(tmp_path / "a.rq", replace(read(model), extensions=extensions))
    assert dict(read(tmp_path / "a.rq").extensions) == extensions
    made = tmp_path / "q.rq"
    call(capsys, "quantize", tmp_path / "a.rq", "-o", made, "--scheme", "q8_0", "--quiet")
    assert list(read(made).extensions) == ["x-test.note"]
