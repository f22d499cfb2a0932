import time

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from refquant.architectures import FAMILIES
from refquant.errors import FormatError, UnsupportedError
from refquant.formats import open_checkpoint
from tests import gguf_bytes as made
from tests.gguf_bytes import ARRAY, BOOL, F32, STRING, U32, U64

METADATA = (
    ("general.architecture", STRING, "llama"),
    ("general.name", STRING, "tiny"),
    ("general.license", STRING, "apache-2.0"),
    ("general.Odd Key", STRING, "left out"),
    ("llama.block_count", U32, 1),
    ("llama.embedding_length", U32, 32),
    ("llama.feed_forward_length", U32, 64),
    ("llama.context_length", U32, 16),
    ("llama.attention.head_count", U32, 4),
    ("llama.attention.head_count_kv", U32, 2),
    ("llama.attention.layer_norm_rms_epsilon", F32, 2.0**-17),
    ("llama.vocab_size", U32, 7),
    ("tokenizer.chat_template", STRING, "{{ messages }}"),
)
FIELDS = {
    "layers": 1, "width": 32, "heads": 4, "key_value_heads": 2, "head_width": 8,
    "feedforward_width": 64, "vocabulary": 7, "context": 16, "rope_theta": 10000.0,
    "rope_style": "interleaved", "norm_epsilon": 2.0**-17, "tied_embeddings": True,
}  # fmt: skip
# The type of each tensor by its axes: vectors in float32, matrices in blocks.
TYPES = {1: (0, 1, 4), 2: (8, 32, 34)}


def tensors(**changed: int) -> list[made.Tensor]:
    """Every tensor of the tiny model; `changed` gives one another type, by the end of its name."""
    sizes = {0: (1, 4), 2: (32, 18), 8: (32, 34), 28: (1, 8)}
    found = []
    for seed, (name, shape) in enumerate(FAMILIES["llama"].tensors(FIELDS).items()):
        type_id = changed.get(name.split(".")[-2], TYPES[len(shape)][0])
        block, size = sizes[type_id]
        raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) // block * size)
        found.append((name, shape, type_id, raw))
    return found


@pytest.fixture
def save(tmp_path):
    def write(pairs=METADATA, stored=None):
        path = tmp_path / "tiny.gguf"
        path.write_bytes(made.build(pairs, tensors() if stored is None else stored))
        return path

    return write


def test_a_gguf_file_is_a_checkpoint(save):
    checkpoint = open_checkpoint(save())
    assert checkpoint.architecture.family == "llama"
    assert checkpoint.architecture.fields == FIELDS
    assert checkpoint.aliases == {"output.weight": "token_embd.weight"}
    assert checkpoint.tokenizer is None
    template = checkpoint.documents["chat_template.jinja"]
    assert (template.data, template.media) == (b"{{ messages }}", "text/x-jinja")
    assert checkpoint.info["gguf"] == {
        "general.architecture": "llama", "general.name": "tiny", "general.license": "apache-2.0"
    }  # fmt: skip
    assert checkpoint.info["provenance"]["licence"] == "apache-2.0"
    assert checkpoint.info["provenance"]["sources"][0]["name"] == "tiny.gguf"


def test_tensors_are_the_files_own_bytes(save):
    checkpoint = open_checkpoint(save())
    assert list(checkpoint.tensors) == [name for name, *_ in tensors()]
    for name, shape, _, raw in tensors():
        tensor = checkpoint.tensors[name]
        (plane,) = tensor.planes.values()
        assert tensor.shape == shape
        assert plane.tobytes() == raw
        assert not plane.flags.writeable
        assert checkpoint.tensors[name] is tensor


def test_an_output_matrix_of_its_own_is_no_alias(save):
    untied = [*tensors(), ("output.weight", (7, 32), 8, bytes(7 * 34))]
    checkpoint = open_checkpoint(save(stored=untied))
    assert checkpoint.aliases == {}
    assert checkpoint.architecture.fields["tied_embeddings"] is False


def test_a_type_without_a_scheme_is_listed_and_refused_when_asked_for(save):
    stored = tensors(output_norm=28)
    checkpoint = open_checkpoint(save(stored=stored))
    assert checkpoint.unreadable == {"output_norm.weight": "F64"}
    assert "output_norm.weight" in checkpoint.tensors
    with pytest.raises(UnsupportedError, match=r"output_norm\.weight.*F64"):
        checkpoint.tensors["output_norm.weight"]


def test_a_tensor_without_elements_is_refused_when_asked_for(save):
    checkpoint = open_checkpoint(save(stored=[*tensors(), ("empty", (0, 32), 2, b"")]))
    assert checkpoint.unreadable == {"empty": "Q4_0"}
    with pytest.raises(UnsupportedError, match="no elements"):
        checkpoint.tensors["empty"]


def test_an_unknown_architecture_can_be_looked_at_and_says_why_it_cannot_run(save):
    pairs = (("general.architecture", STRING, "mamba"), *METADATA[1:])
    checkpoint = open_checkpoint(save(pairs))
    assert checkpoint.architecture is None
    assert len(checkpoint.tensors) == len(tensors())
    with pytest.raises(UnsupportedError, match="mamba"):
        checkpoint.need_architecture()
    with pytest.raises(UnsupportedError, match="holds no tokenizer"):
        checkpoint.need_tokenizer()


def test_missing_metadata_of_a_known_architecture_is_damage(save):
    path = save([one for one in METADATA if one[0] != "llama.block_count"])
    with pytest.raises(FormatError, match=r"llama\.block_count") as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)


def test_absurd_numbers_of_a_known_architecture_are_damage(save):
    pairs = [one for one in METADATA if one[0] != "llama.block_count"]
    with pytest.raises(FormatError, match="layers") as caught:
        open_checkpoint(save([*pairs, ("llama.block_count", U64, 2**63)]))
    assert caught.value.code == "E_ARCH_FIELD"


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        ((("tokenizer.ggml.model", STRING, "t5"),), "'t5'"),
        ((("tokenizer.ggml.model", BOOL, True),), "True"),
        ((("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-9"),
          ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a"]))), "'gpt-9'.*gpt-2"),
    ],
)  # fmt: skip
def test_an_unknown_tokenizer_leaves_its_reason(save, tokenizer, reason):
    checkpoint = open_checkpoint(save((*METADATA, *tokenizer)))
    assert checkpoint.tokenizer is None
    with pytest.raises(UnsupportedError, match=reason):
        checkpoint.need_tokenizer()


def test_smollm2_is_read_as_gguf_reads_it(smollm2_gguf):
    checkpoint = open_checkpoint(smollm2_gguf)
    theirs = gguf.GGUFReader(smollm2_gguf)
    assert [one.name for one in theirs.tensors] == list(checkpoint.tensors)
    for one in theirs.tensors:
        tensor = checkpoint.tensors[one.name]
        assert tensor.shape == tuple(int(n) for n in reversed(one.shape))
        (plane,) = tensor.planes.values()
        assert plane.tobytes() == one.data.tobytes()
    for one in theirs.tensors[:3]:
        ours = checkpoint.tensors[one.name].dequantize()
        assert ours.tobytes() == dequantize(one.data, one.tensor_type).tobytes()


def test_smollm2_opens_in_a_tenth_of_a_second(smollm2_gguf):
    """Before any weight is touched; the best of five, because other work shares the machine."""
    spans = []
    for _ in range(5):
        begin = time.perf_counter()
        checkpoint = open_checkpoint(smollm2_gguf)
        spans.append(time.perf_counter() - begin)
    assert len(checkpoint.tensors) == 272
    assert checkpoint.unreadable == {}
    assert min(spans) < 0.1


def test_the_vocabulary_may_be_counted_and_a_value_for_each_layer_is_refused(save):
    """Arrays stay packed in the file; the architecture must take them for what they are."""
    counted = [one for one in METADATA if one[0] != "llama.vocab_size"]
    words = ("tokenizer.ggml.tokens", ARRAY, (STRING, list("abcdefg")))
    assert open_checkpoint(save((*counted, words))).architecture.fields["vocabulary"] == 7
    alike = [one for one in METADATA if one[0] != "llama.attention.head_count_kv"]
    per_layer = ("llama.attention.head_count_kv", ARRAY, (U32, [2]))
    checkpoint = open_checkpoint(save((*alike, per_layer)))
    with pytest.raises(UnsupportedError, match="for each layer"):
        checkpoint.need_architecture()
