"""The kits' engines pass what they say they can, in a few lines, and need nothing else."""

import re
import subprocess

import pytest

from refquant.cli import main
from tests.house.fences import fences
from tests.kit_engines import ENGINES, KITS, SUITE, built, c_engine, parameters, report_of, tool

GLUE = (
    "c/example.c",
    "cpp/example.cpp",
    "python/example.py",
    "javascript/example.mjs",
    "rust/examples/example/main.rs",
    "go/example/main.go",
    "c/container.c",
    "python/container.py",
    "javascript/container.mjs",
)


@pytest.mark.parametrize("kit", parameters({kit: kit for kit in ENGINES}))
def test_the_example_passes(kit, tmp_path):
    engine = ENGINES[kit]
    report = report_of(engine.build(KITS / engine.source, tmp_path), engine.packs)
    assert report.passed, report.problems
    assert report.counts["pass"] >= engine.passes


@pytest.mark.parametrize("path", GLUE)
def test_the_glue_is_short(path):
    assert len((KITS / path).read_text("utf-8").splitlines()) <= 60


def masked(text):
    """Without what changes as the suite grows, or from run to run."""
    return re.sub(r"\d+ (unsupported|s\b)", r"n \1", text).strip()


def test_the_page_takes_a_stranger_from_a_decoder_to_the_name_of_a_slip(tmp_path, capsys):
    page = (SUITE / "README.md").read_text("utf-8")
    program, right, wrong = (one.text for one in fences(page) if one.language in ("c", "text"))
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
