"""`refquant explain` and `refquant spec`: blocks taken apart, pages shown."""

import numpy as np
import pytest

import refquant
from refquant.formats import open_checkpoint
from refquant.layout import Layout
from refquant.layout.explain import block_count, byte_ranges, explain_block
from tests.command_line import call, small_model
from tests.test_layout_values import DESIGN, assert_same_bits, gridded, random_planes


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq")


def test_a_scheme_shows_an_example_block(capsys):
    found = call(capsys, "explain", "q4_0", "--block", "3")
    assert found.status == 0
    lines = found.out.splitlines()
    assert lines[0].startswith("scheme  ggml/q4_0: 4-bit codes")
    assert lines[1] == "block   3 of 8, which begins at [3, 0]"
    assert lines[2] == "value   d * (q - 8)"
    assert "plane blocks, record [3, 0]" in lines
    assert any(line.startswith("  0     ") and line.endswith("  d") for line in lines)
    assert any(line.startswith("  2     ") and line.endswith("  q") for line in lines)
    assert sum(line.startswith("[3, ") for line in lines) == 32


def test_the_numbers_are_those_of_the_tensor(capsys):
    found = call(capsys, "explain", "q4_k", "--block", "5", "--json").json
    assert found["schema"] == "refquant.explain/1"
    raw = bytes.fromhex(found["planes"]["blocks"]["records"][0]["hex"])
    assert len(raw) == 144
    tensor = refquant.QuantizedTensor.from_planes("q4_k", (1, 256), {"blocks": raw})
    assert_same_bits(np.float32(found["values"]), tensor.dequantize())
    assert found["descriptor"] == refquant.scheme("q4_k").digest
    assert len(found["fields"]["sc"]["codes"][0]) == 8
    assert found["fields"]["q"]["weights_per_code"] == [1, 1]
    spans = found["planes"]["blocks"]["bytes"]
    assert spans[0] == {"from": 0, "to": 1, "fields": ["d"]}
    assert {"from": 12, "to": 15, "fields": ["sc", "mn"]} in spans
    assert spans[-1]["to"] == 143


def test_a_stored_tensor_shows_its_own_bytes(capsys, model):
    name = "blk.0.attn_q.weight"
    tensor = open_checkpoint(model).tensors[name]
    found = call(capsys, "explain", model, name, "--block", "1", "--json").json
    assert found["tensor"] == name
    assert found["scheme"] == "float/f32"
    start = tuple(found["start"])
    assert found["values"][0][0] == tensor.dequantize()[start]
    shown = call(capsys, "explain", model, name)
    assert shown.out.startswith(f"tensor  {name}, ")


def test_more_weights_on_request(capsys):
    short = call(capsys, "explain", "q4_k").out
    assert "224 more weights: add --all" in short
    long = call(capsys, "explain", "gptq/int4").out
    assert "256 more bytes: add --all" in long
    assert "more bytes" not in call(capsys, "explain", "gptq/int4", "--all").out
    whole = call(capsys, "explain", "q4_k", "--all").out
    assert sum(line.startswith("[0, ") for line in whole.splitlines()) == 256


def test_nonfinite_numbers_have_names_in_json(capsys):
    values = call(capsys, "explain", "f16", "--json").json["values"]
    assert values
    assert all(isinstance(v, int | float | str) for v in np.ravel(np.array(values, object)))


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (("no/such",), "unknown scheme"),
        (("q4_0", "--block", "99"), "the blocks 0 to 7"),
        (("q4_0", "--block", "-1"), "no block"),
    ],
)
def test_what_cannot_be_explained(capsys, tokens, reason):
    found = call(capsys, "explain", *tokens)
    assert found.status == 2
    assert reason in found.err


def test_files_need_the_name_of_a_tensor(capsys, model):
    found = call(capsys, "explain", model)
    assert found.status == 2
    assert "name one of its tensors" in found.err
    found = call(capsys, "explain", model, "blk.0.attn_x.weight")
    assert found.status == 2
    assert "did you mean blk.0.attn_" in found.err
    # What is to be typed is there, word for word.
    assert f"`refquant inspect {model} --tensors`" in found.err
    assert call(capsys, "explain", "").err.startswith("refquant: '' is no scheme name")


def test_a_page_is_shown(capsys, repository):
    found = call(capsys, "spec", "q4_0")
    assert found.out == (repository / "spec/schemes/ggml__q4_0.md").read_text("utf-8")
    facts = call(capsys, "spec", "int/affine[bits=4,asym,group=64]", "--json").json
    assert Layout.parse(facts["descriptor"]).digest == facts["digest"]
    assert facts["page"].startswith("# int/affine")
    member = call(capsys, "spec", "int/affine[bits=4,asym,group=64]").out
    assert member.startswith("scheme           int/affine[bits=4,asym,group=64]: 4-bit integers")
    assert "\n# int/affine\n" in member
    assert call(capsys, "spec", "no/such").status == 2


@pytest.mark.parametrize("name", DESIGN)
def test_every_block_of_every_layout_agrees_with_the_whole(name):
    layout, shape = DESIGN[name], (16, 512)
    planes = gridded(layout, random_planes(layout, shape), shape)
    scheme = refquant.Scheme("test/any", "", layout, None)
    values = refquant.QuantizedTensor(scheme, shape, planes).dequantize()
    seen = 0
    for number in range(block_count(layout, shape)):
        block = explain_block(layout, planes, shape, number)
        place = tuple(slice(s, s + n) for s, n in zip(block.start, block.values.shape, strict=True))
        assert_same_bits(block.values, np.ascontiguousarray(values[place]))
        seen += block.values.size
        for plane, records in block.records.items():
            for grid_place, raw in records:
                assert planes[plane][grid_place].tobytes() == raw
    assert seen == values.size


@pytest.mark.parametrize("name", DESIGN)
def test_ranges_of_bytes_cover_the_record(name):
    for plane, declared in DESIGN[name].planes.items():
        spans = [span for span, _ in byte_ranges(DESIGN[name], plane)]
        assert [b for span in spans for b in span] == list(range(declared.bytes))


def test_blocks_behind_operators_are_explained(capsys):
    name = "gptq/int4[v=1,sym,group=128,order=act]"
    told = call(capsys, "explain", name)
    assert told.status == 0
    assert "the group of each input named by an index; the blocks behind that are:" in told.out
    assert call(capsys, "explain", name, "--json").json["behind"]
    assert "behind" not in call(capsys, "explain", "ggml/q4_0", "--json").json
