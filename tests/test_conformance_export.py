"""Exports are compiled, loaded or parsed by what they are for, and hold every byte."""

import io
import json
import re
import shutil
import subprocess
import zipfile

import numpy as np
import pytest

from refquant.cli import main
from refquant.conformance.export import exported
from refquant.conformance.selection import select
from tests.conftest import REPOSITORY

SUITE = REPOSITORY / "conformance"
WANTED = (
    "ggml-q4_0.[!d]*",
    "ggml-q4_0.decode.[!t]*",
    "ggml-mxfp4.decode.table-up",
    "integer/matmul-1",
    "container.refused.a*",
    "tokenizer.bytes.*empty*",
)


def is_stored(array):
    """What is compared by a digest is in no export; the digest is, in the comparison."""
    return array.cmp is None or array.cmp.name != "digest"


C_MAIN = """
#include <stdio.h>
#include "cases.h"
int main(void) {
    size_t cases = sizeof conformance_cases / sizeof *conformance_cases, bytes = 0;
    for (size_t i = 0; i < cases; i++)
        for (size_t k = 0; k < conformance_cases[i].count; k++)
            bytes += conformance_arrays[conformance_cases[i].first + k].size;
    printf("%zu %zu %s\\n", cases, bytes, conformance_cases[0].params);
    return 0;
}
"""
RUST_MAIN = """
mod cases;
fn main() {
    let arrays = || cases::CASES.iter().flat_map(|c| c.arrays.iter());
    let bytes: usize = arrays().map(|a| a.bytes.len()).sum();
    for a in arrays() { assert!(!a.kind.is_empty() && !a.name.is_empty() && a.dtype.len() > 1);
        assert!(a.shape.iter().product::<usize>() <= a.bytes.len()); }
    for c in cases::CASES { assert!(!c.op.is_empty() && !c.outcome.is_empty() && !c.why.is_empty());
        assert!(!c.id.is_empty() && c.digest.len() == 64 && !c.features.is_empty());
        assert!(c.compare.starts_with('{')); }
    println!("{} {} {}", cases::CASES.len(), bytes, cases::CASES[0].params);
}
"""
NODE = """
const { cases, arrays, bytes } = await import(process.argv[1]);
let size = 0;
for (const name of arrays) size += bytes(name).length;
console.log(Object.keys(cases).length, size, JSON.stringify(Object.values(cases)[0].params));
"""


@pytest.fixture(scope="module")
def chosen():
    return select(SUITE, WANTED)


@pytest.fixture(scope="module")
def summary(chosen):
    """Cases, bytes of all arrays, and the parameters of the first case."""
    cases = [(pack, case) for pack in chosen.packs for case in pack.cases]
    size = sum(
        len(pack.raw(one))
        for pack, case in cases
        for one in (*case.inputs, *case.outputs, *case.aside)
        if is_stored(one)
    )
    return f"{len(cases)} {size} {json.dumps(cases[0][1].params, separators=(',', ':'))}"


def said(*command, cwd=None):
    tool = shutil.which(command[0]) or pytest.skip(f"{command[0]} is not on this machine")
    done = subprocess.run(
        [tool, *command[1:]], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("compiler", [("cc", "-std=c99"), ("c++", "-xc++")])
def test_c_headers_compile_without_a_warning(compiler, chosen, summary, tmp_path):
    (tmp_path / "cases.h").write_bytes(exported(chosen, "c-header"))
    (tmp_path / "main.c").write_text(C_MAIN, "utf-8")
    said(*compiler, "-Wall", "-Wextra", "-Werror", "-o", "main", "main.c", cwd=tmp_path)
    assert said(str(tmp_path / "main")) == summary


def test_rust_compiles_without_a_warning(chosen, summary, tmp_path):
    (tmp_path / "cases.rs").write_bytes(exported(chosen, "rust"))
    (tmp_path / "main.rs").write_text(RUST_MAIN, "utf-8")
    said("rustc", "-Dwarnings", "main.rs", cwd=tmp_path)
    assert said(str(tmp_path / "main")) == summary


def test_node_imports_the_module(chosen, summary, tmp_path):
    path = tmp_path / "cases.mjs"
    path.write_bytes(exported(chosen, "js"))
    assert said("node", "--input-type=module", "-e", NODE, str(path)) == summary


def test_numpy_loads_the_archive(chosen, summary):
    archive = np.load(io.BytesIO(exported(chosen, "npz")))
    cases = json.loads(archive["cases.json"].tobytes())
    arrays = {name: archive[name] for name in archive.files if name != "cases.json"}
    found = f"{len(cases)} {sum(one.nbytes for one in arrays.values())} "
    assert summary.startswith(found)
    values = arrays["ggml-q4_0.decode.every-code/out/values"]
    assert (values.dtype, values.shape) == (np.float32, (8, 32))


def test_the_zip_holds_the_files_that_cases_are_about(chosen):
    raw = exported(chosen, "zip")
    assert raw == exported(chosen, "zip")
    archive = zipfile.ZipFile(io.BytesIO(raw))
    cases = json.loads(archive.read("cases.json"))
    files = {one["params"]["file"] for one in cases if "file" in one["params"]}
    assert len(files) > 2
    assert files <= set(archive.namelist())
    assert all(o["cmp"]["class"] for one in cases for o in one.get("out", ()))
    for one in cases:
        for kind in ("in", "out"):
            for array in one.get(kind, ()):
                if array.get("cmp", {}).get("class") == "digest":
                    assert len(array["cmp"]["sha256"]) == 64
                    continue
                size = int(np.prod(array["shape"])) * int(array["dtype"][1:]) // 8
                held = archive.read(f"{one['id']}/{kind}/{array['name']}.bin")
                assert len(held) == size


def test_memory_of_a_simulator(chosen, summary):
    lines = exported(chosen, "memh").decode().splitlines()
    data = [line for line in lines if not line.startswith(("//", "@"))]
    assert all(re.fullmatch(r"[0-9a-f]{2}", line) for line in data)
    assert int(summary.split()[1]) == len(data)
    starts = [int(line[1:], 16) for line in lines if line.startswith("@")]
    assert starts == sorted(starts)


@pytest.mark.parametrize("form", ["c-header", "rust"])
def test_how_outputs_are_compared_stands_with_the_case(form):
    text = exported(select(SUITE, ["ggml-q4_0.decode.*"]), form).decode()
    assert json.dumps('{"values":{"class":"bits","nan":"any"}}') in text
    rule = re.search(r'{\\"values\\":{\\"class\\":\\"digest\\",.*?}}', text)[0]
    assert re.search(r'\\"sha256\\":\\"[0-9a-f]{64}\\"', rule)


def test_names_of_the_whole_suite_stay_apart():
    text = exported(select(SUITE, ["decode/*", "encode/torchao"]), "c-header").decode()
    labels = re.findall(r"^static const uint8_t (\w+)\[", text, re.MULTILINE)
    assert len(labels) > 1000
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.h", "c-header"), ("a.mjs", "js"), ("a.mem", "memh"), ("a\u200b.mem", "memh")],
)
def test_the_ending_chooses_the_form(name, form, chosen, tmp_path, capsys):
    assert main(["conformance", "export", str(tmp_path / name), *WANTED]) == 0
    told = capsys.readouterr().out
    assert f"cases as {form}, " in told
    assert told.rstrip("\n").isprintable()
    assert (tmp_path / name).read_bytes() == exported(chosen, form)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.bin", "ggml-q4_0.*"], "its ending is no known form; --to: expected one of npz"),
        (["a.h", "--to", "header"], "--to header: expected one of npz, c-header"),
        (["a.h", "nothing*"], "no case and no pack is called 'nothing*'"),
        (["no/folder/a.h", "ggml-q4_0.*"], "No such file or directory"),
    ],
)
def test_mistakes(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["conformance", "export", *words]) in (2, 3)
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
