"""The kits' engines pass what they say they can, and a slip planted in one is found and named."""

import re
import shutil
import subprocess
import sys

import pytest

from refquant.cli import main
from refquant.conformance.diagnosis import diagnosed
from refquant.conformance.line_engine import LineEngine
from refquant.conformance.replies import Limits
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import select
from tests.conftest import REPOSITORY
from tests.house.fences import fences

SUITE = REPOSITORY / "conformance"
KITS = SUITE / "kits"
STRICT = ["-Wall", "-Wextra", "-Werror"]
GLUE = (
    "c/example.c",
    "cpp/example.cpp",
    "python/example.py",
    "javascript/example.mjs",
    "rust/examples/example/main.rs",
)


def tool(name):
    found = shutil.which(name)
    return found or pytest.skip(f"{name} is not on this machine")


def built(command, engine, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return str(engine)


def c_engine(source, folder):
    flags = ["-std=c99", *STRICT, "-I", str(KITS / "c"), "-o", str(folder / "engine")]
    return built([tool("cc"), *flags, str(source), "-lm"], folder / "engine")


def cpp_engine(source, folder):
    flags = ["-std=c++17", *STRICT, "-o", str(folder / "engine")]
    return built([tool("c++"), *flags, str(source)], folder / "engine")


def rust_engine(source, folder):
    options = [
        "build",
        "--offline",
        "--locked",
        "--example",
        "example",
        "--target-dir",
        str(folder),
    ]
    built([tool("cargo"), *options], "", cwd=source.parents[2])
    return str(folder / "debug" / "examples" / "example")


def go_engine(source, folder):
    return built([tool("go"), "build", "-o", str(folder / "engine"), "."], folder / "engine",
                 cwd=source.parent)  # fmt: skip


ENGINES = {
    "c": ("c/example.c", c_engine, 9),
    "cpp": ("cpp/example.cpp", cpp_engine, 7),
    "python": ("python/example.py", lambda source, _: f"{sys.executable} {source}", 9),
    "javascript": ("javascript/example.mjs", lambda source, _: f"{tool('node')} {source}", 7),
    "rust": ("rust/examples/example/main.rs", rust_engine, 7),
    "go": ("go/example/main.go", go_engine, 2),
}


def report_of(command):
    found = select(SUITE, ["decode/ggml", "decode/float"])
    options = Options(expected=found.expected, root=found.root)
    return run(LineEngine(command, Limits()), found.packs, options)


def engine(kit, kits, tmp_path):
    source, build, _ = ENGINES[kit]
    return build(kits / source, tmp_path)


@pytest.mark.parametrize("kit", ENGINES)
def test_the_example_passes(kit, tmp_path):
    report = report_of(engine(kit, KITS, tmp_path))
    assert report.passed, report.problems
    assert report.counts["pass"] == ENGINES[kit][2]


@pytest.mark.parametrize("path", GLUE)
def test_the_glue_is_short(path):
    assert len((KITS / path).read_text("utf-8").splitlines()) <= 60


SLIPS = {
    "c": (
        "c/decoders.h",
        {
            "to[i] = scale * (float)((": "to[j] = scale * (float)((",
            "to[i + 16] = scale * (float)((": "to[i] = scale * (float)((",
            "to[j] =": "to[i + 16] =",
        },
        "q40-swapped",
    ),
    "python": ("python/decoders.py", {"blocks[at] - 128": "blocks[at] - 127"}, "mxfp4-not-halved"),
    "javascript": (
        "javascript/decoders.mjs",
        {"(bytes[at + 2 + i] << 24) >> 24": "bytes[at + 2 + i]"},
        "q80-unsigned",
    ),
}


@pytest.mark.parametrize("kit", SLIPS)
def test_a_slip_is_found_and_named(kit, tmp_path):
    shutil.copytree(KITS, tmp_path / "kits", ignore=shutil.ignore_patterns("target"))
    path, changes, mistake = SLIPS[kit]
    text = (tmp_path / "kits" / path).read_text("utf-8")
    for right, wrong in changes.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    (tmp_path / "kits" / path).write_text(text, "utf-8")
    report = diagnosed(report_of(engine(kit, tmp_path / "kits", tmp_path)), SUITE)
    failed = [one for one in report.results if one.result == "fail"]
    assert failed
    assert {one.diagnosis[0].split(":")[0] for one in failed if one.diagnosis} == {mistake}


def masked(text):
    """Without what changes as the suite grows, or from run to run."""
    return re.sub(r"\d+ (unsupported|s\b)", r"n \1", text).strip()


def test_the_page_takes_a_stranger_from_a_decoder_to_the_name_of_a_slip(tmp_path, capsys):
    page = (KITS / "README.md").read_text("utf-8")
    program, right, wrong = (one.text for one in fences(page))
    assert len(program.splitlines()) < 40
    (tmp_path / "toy.c").write_text(program, "utf-8")
    report = str(tmp_path / "report.json")

    def tried():
        command = c_engine(tmp_path / "toy.c", tmp_path)
        asked = ["decode/ggml", "--engine", command, "--quiet", "--json", report]
        status = main(["conformance", "run", *asked])
        return status, masked(capsys.readouterr().out)

    assert tried() == (0, masked(right))
    swapped = program.replace("& 15", "@").replace(">> 4)", "& 15)").replace("@) - 8", ">> 4) - 8")
    (tmp_path / "toy.c").write_text(swapped, "utf-8")
    assert tried()[0] == 1
    main(["conformance", "diagnose", report])
    assert masked(capsys.readouterr().out) == masked(wrong)


HOSTILE = """{"cmd":"run","seq":3,"op":"decode","params":{"x\\"in":{"in":[1]},"scheme":"a"},"in":[{\
"name":"a","dtype":"u8","shape":[],"path":"/\\u00e9\\ud83d\\ude00","off":0,"len":1}],"out":[]}
{"cmd":"run","seq":4,"op":"dec
{"cmd":"run","seq":5,"op":"\\ud83d
{"cmd":"run","seq":6,"in":[{"name":"
{"cmd":"x","seq":7
[[[
{"cmd":"bye"}
"""


def test_the_header_survives_broken_requests(tmp_path):
    command = [tool("cc"), "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    name = tmp_path / "engine"
    built([*command, "-o", str(name), str(KITS / "c" / "example.c"), "-lm"], name)
    done = subprocess.run([name], input=HOSTILE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count('@rq {"seq": ') == 6


BARE = """
import { readFileSync } from "node:fs";
import vm from "node:vm";
const source = readFileSync(process.argv[1], "utf8");
const module = new vm.SourceTextModule(source, { context: vm.createContext({}) });
await module.link(() => { throw new Error("it imports something"); });
await module.evaluate();
const { decodeQ4_0, decodeMXFP4 } = module.namespace;
const first = (decode, bytes) => Array.from(decode(Uint8Array.from(bytes)).slice(0, 2));
const codes = new Array(14).fill(0);
console.log(JSON.stringify([first(decodeQ4_0, [0, 0x3c, 0x1f, 0xf1, ...codes]),
                            first(decodeMXFP4, [128, 0x1f, 0xf1, ...codes])]));
"""


def test_the_decoders_need_nothing_that_a_browser_lacks():
    options = ["--experimental-vm-modules", "--no-warnings", "--input-type=module", "-e", BARE]
    command = [tool("node"), *options, str(KITS / "javascript" / "decoders.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[[7,-7],[-12,1]]\n", "")
