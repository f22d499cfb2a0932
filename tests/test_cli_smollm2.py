"""The main job on a real model: SmolLM2-135M through every command, where it is on this machine."""

import hashlib

import pytest

from refquant.formats import open_checkpoint
from refquant.formats.gguf_file import read_gguf
from tests.command_line import call

pytestmark = [pytest.mark.slow, pytest.mark.differential]


def test_keep_carries_every_tensor_byte_for_byte(capsys, tmp_path, smollm2_gguf):
    output = tmp_path / "kept.rq"
    options = ["--scheme", "keep", "--quiet"]
    assert call(capsys, "quantize", smollm2_gguf, "-o", output, *options).status == 0
    stored, carried = read_gguf(smollm2_gguf).tensors, open_checkpoint(output).tensors
    assert len(stored) == 272
    assert set(carried) == set(stored)
    for name, source in stored.items():
        (plane,) = carried[name].planes.values()
        assert carried[name].shape == source.shape
        assert plane.tobytes() == source.data.tobytes()


@pytest.mark.parametrize("scheme", ["ggml/q4_0", "int/affine[bits=8,channel]"])
def test_quantized_files_repeat_run_and_describe_themselves(capsys, tmp_path, smollm2_gguf, scheme):
    digests = []
    for name in ("one.rq", "two.rq"):
        options = ["-o", tmp_path / name, "--scheme", scheme, "--json"]
        found = call(capsys, "quantize", smollm2_gguf, *options)
        assert found.status == 0
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    kinds = {one["name"]: one["to"] for one in found.json["tensors"]}
    assert kinds["output_norm.weight"] == "float/f32"
    assert kinds["token_embd.weight"].startswith(("ggml/q8_0", "int/affine[bits=8"))
    prompt = "The capital of France is"
    found = call(capsys, "run", tmp_path / "one.rq", "-p", prompt, "-n", 2)
    assert found.status == 0
    # Four-bit codes made from four-bit codes lose the answer; eight bits keep it.
    assert found.out.startswith(" Paris") or scheme == "ggml/q4_0"
    shown = call(capsys, "inspect", tmp_path / "one.rq", "--json").json
    assert shown["provenance"]["sources"][0]["name"] == smollm2_gguf.name
    assert shown["obstacles"] == []
