"""Every row of `docs/upstream.md` does what it says, or says why nothing does."""

import re
import shlex
import subprocess

import pytest

from tests.command_line import call
from tests.house import sources
from tests.house.fences import fences

PAGE = (sources.REPOSITORY / "docs" / "upstream.md").read_text("utf-8")
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| what"))
]
COMMANDS = [row[1][1:-1] for row in ROWS if re.fullmatch(r"`-[^`]+`", row[1])]
PACKAGES = {
    *("ai-edge-quantizer", "torch", "torchao", "torch_to_nnef", "tract", "llama.cpp"),
    "the page's formula",
}
ON_THE_PAGES = re.findall(
    r"\S+",
    """
full_int8_dynamic_recipe LayerQuantRecipe GenerativeQuantRecipe create_layer_quant_fp16
create_layer_quant_int8_dynamic create_layer_quant_int8_weight_only create_layer_quant_int4_block
custom_selective_quantization_recipe ai_edge_torch.convert none dynamic_int8 weight_only_int8 fp16
dynamic_int4_block32 dynamic_int4_block128
embedding linear:int8 linear:int4 linear:8da4w linear:gptq linear:hqq a6w4dq a8w4dq bf16 fp32
generate.py export.py --output-pte-path --output-dso-path --compile --device
min_max_q4_0_all --compression-registry QTensor u8_blob U8Compressor write_in_file -f32-attn -dt
t2n_export_llm_to_tract --dump-with-tokenizer-and-conf --tract-check-io-tolerance
FP16Quantizer INT8Quantizer INT4Quantizer QuantizationConfig QuantizationDtype is_int4_available
memory_reduction_pct compression_ratio group_size exclude_layers XNNPACKBackend
""",
)
"""What stands in the schemes, options and examples of the four pages."""


def options(command):
    """The words of a command, its files found from anywhere."""
    return [
        str(sources.REPOSITORY / word) if word == "README.md" else word
        for word in shlex.split(command)
    ]


def test_the_page_has_its_commands():
    assert len(COMMANDS) >= 42
    assert len(ROWS) >= 60


@pytest.mark.parametrize("word", ON_THE_PAGES)
def test_everything_on_the_pages_has_its_place(word):
    assert word in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_row_has_a_test_or_a_reason(row):
    """A command is walked below; another way has its test; what is not here says why."""
    here, test = row[1], row[2] if len(row) > 2 else ""
    if here.startswith("not here: "):
        assert len(here.split()) >= 6
        return
    if here.startswith("["):
        assert (sources.REPOSITORY / "docs" / re.findall(r"\((.*)\)", here)[0]).exists()
        return
    how, _, package = test.rstrip(" |").partition("; ")
    if re.fullmatch(r"`-[^`]+`", here):
        assert how == "walked"
    elif how.startswith("tests/"):
        assert (sources.REPOSITORY / how).is_file()
    else:
        assert how in ("this page", "walked: each file is run")
    assert not package or package in PACKAGES


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(capsys, tmp_path, command):
    words = [*options(command), "--dry-run", "--json"]
    found = call(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", *words)
    assert found.status == 0, found.err
    changed = [one for one in found.json["tensors"] if not one["untouched"]]
    assert bool(changed) == (command != "--recipe none")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_writes_a_file_that_runs(capsys, tmp_path, command):
    words = [*options(command), "--quiet"]
    assert call(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", *words).status == 0
    found = call(capsys, "run", tmp_path / "x.rq", "-p", "It is a truth", "-n", 4)
    assert found.status == 0
    assert len(found.out.strip()) > 4


MODULE = """
import torch

model = torch.nn.Sequential()
model.add_module("tokens", torch.nn.Embedding(10, 64))
model.add_module("up", torch.nn.Linear(64, 128))
model.add_module("lm_head", torch.nn.Linear(128, 10))
"""


@pytest.mark.differential
def test_the_examples_that_need_torch_run(oracle, repository):
    examples = [one.text for one in fences(PAGE) if one.reason.startswith("needs torch")]
    assert len(examples) == 1
    program = MODULE + examples[0] + "\nassert result.compression_ratio > 1\n"
    done = subprocess.run(
        [oracle("torch"), "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(repository)},
    )
    assert done.returncode == 0, done.stderr
    assert "Compression ratio: 1." in done.stdout
