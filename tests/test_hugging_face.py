import contextlib
import json
import os

import numpy as np
import pytest
from tokenizers import Tokenizer

from refquant.architectures import FAMILIES
from refquant.errors import FormatError, UnsupportedError
from refquant.formats import open_checkpoint
from refquant.formats.hugging_face import open_hugging_face
from tests import safetensors_bytes as made

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 5,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for number, text in ((0, "<s>"), (1, "</s>"), (2, "<|end|>"))
    ],
    "normalizer": None,
    "pre_tokenizer": {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True
    },
    "post_processor": None,
    "decoder": {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True
    },
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
        "vocab": {"<s>": 0, "</s>": 1, "<|end|>": 2, "a": 3, "b": 4}, "merges": [],
    },
}  # fmt: skip


def weights(dtype: str = "F32", **config: object) -> dict[str, made.Entry]:
    """Every tensor of the model, its bytes counting up so that no two are alike."""
    family = FAMILIES["llama"]
    names = family.model_tensors(family.from_hugging_face({**CONFIG, **config}))
    width = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}[dtype]
    found = {}
    for seed, one in enumerate(names):
        raw = np.random.default_rng(seed).bytes(width * int(np.prod(one.shape)))
        found[one.hugging_face[0]] = (dtype, one.shape, raw)
    return found


@pytest.fixture
def folder(tmp_path):
    """Write a model directory; keyword arguments are contents of files, None leaves one out."""

    def write(tensors=None, **texts: object):
        files = {"config.json": CONFIG, "tokenizer.json": TOKENIZER}
        files |= {name.replace("__", "."): content for name, content in texts.items()}
        for name, content in files.items():
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (tmp_path / name).write_text(text, encoding="utf-8")
        shards = {"model.safetensors": weights()} if tensors is None else tensors
        for name, entries in shards.items():
            (tmp_path / name).write_bytes(made.build(entries))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("dtype", "scheme"), [("F32", "float/f32"), ("F16", "float/f16"), ("BF16", "float/bf16")]
)
def test_tensors_have_our_names_and_their_own_bytes(folder, dtype, scheme):
    stored = weights(dtype)
    checkpoint = open_checkpoint(folder({"model.safetensors": stored}))
    names = FAMILIES["llama"].hugging_face_names(checkpoint.architecture.fields)
    assert {names[name] for name in stored} == set(checkpoint.tensors)
    for name, (_, shape, raw) in stored.items():
        tensor = checkpoint.tensors[names[name]]
        assert (tensor.scheme.name, tensor.shape) == (scheme, shape)
        assert tensor.planes["values"].tobytes() == raw
        assert tensor.planes["values"].base is not None
    assert checkpoint.aliases == {}
    assert checkpoint.architecture.fields["rope_style"] == "halves"


def split(tensors: dict[str, made.Entry]) -> tuple[dict[str, dict[str, made.Entry]], dict]:
    """Two shards and their index."""
    names = list(tensors)
    parts = {
        "model-00001-of-00002.safetensors": {name: tensors[name] for name in names[:7]},
        "model-00002-of-00002.safetensors": {name: tensors[name] for name in names[7:]},
    }
    return parts, {name: shard for shard, part in parts.items() for name in part}


def test_shards_are_one_model(folder):
    parts, weight_map = split(weights())
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    checkpoint = open_checkpoint(folder(parts, model__safetensors__index__json=index))
    assert len(checkpoint.tensors) == len(weights())
    stored = weights()["model.embed_tokens.weight"][2]
    assert checkpoint.tensors["token_embd.weight"].planes["values"].tobytes() == stored


@pytest.mark.parametrize(
    "shard",
    ["../x.safetensors", "/etc/x.safetensors", "a/x.safetensors", "a\\x.safetensors", "..",
     "x.bin", ".x.safetensors", "x.safetensors\n", "C:x.safetensors", "", None, 5],
)  # fmt: skip
def test_a_shard_is_a_plain_name_beside_the_index(folder, shard):
    parts, weight_map = split(weights())
    index = {"weight_map": {**weight_map, "model.norm.weight": shard}}
    where = folder(parts, model__safetensors__index__json=index)
    with pytest.raises(FormatError, match="plain name") as caught:
        open_hugging_face(where)
    assert caught.value.code == "E_HF_INDEX"


def test_index_and_shards_must_agree(folder):
    parts, weight_map = split(weights())
    first, second = parts
    moved = {**weight_map, "model.norm.weight": first}
    extra = {**weight_map, "model.extra.weight": second}
    absent = {**weight_map, "model.norm.weight": "model-3.safetensors"}
    fewer = {name: at for name, at in weight_map.items() if name != "model.norm.weight"}
    for wrong in (moved, extra, absent, fewer, {}, ["x"], None):
        where = folder(parts, model__safetensors__index__json={"weight_map": wrong})
        with pytest.raises(FormatError) as caught:
            open_hugging_face(where)
        assert caught.value.code == "E_HF_INDEX"


def test_tied_embeddings_are_an_alias_even_where_both_are_stored(folder):
    tied = weights(tie_word_embeddings=True)
    config = {**CONFIG, "tie_word_embeddings": True}
    for stored in (tied, {**tied, "lm_head.weight": tied["model.embed_tokens.weight"]}):
        checkpoint = open_checkpoint(folder({"model.safetensors": stored}, config__json=config))
        assert checkpoint.aliases == {"output.weight": "token_embd.weight"}
        assert "output.weight" not in checkpoint.tensors
    assert checkpoint.info["unread_tensors"] == ["lm_head.weight"]


def test_rotary_buffers_are_ignored_knowingly_and_others_are_not(folder):
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    stored = {**weights(), buffer: ("F32", (2,), bytes(8))}
    checkpoint = open_checkpoint(folder({"model.safetensors": stored}))
    assert checkpoint.info["unread_tensors"] == [buffer]
    assert len(checkpoint.tensors) == len(weights())
    stored = {**stored, "model.layers.0.self_attn.q_proj.bias": ("F32", (8,), bytes(32))}
    with pytest.raises(UnsupportedError, match=r"1 tensors .*q_proj\.bias"):
        open_checkpoint(folder({"model.safetensors": stored}))


def test_missing_and_misshapen_tensors_are_damage(folder):
    missing = {name: one for name, one in weights().items() if name != "model.norm.weight"}
    misshapen = {**weights(), "model.norm.weight": ("F32", (9,), bytes(36))}
    for stored in (missing, misshapen):
        where = folder({"model.safetensors": stored})
        with pytest.raises(FormatError, match=r"output_norm\.weight") as caught:
            open_checkpoint(where)
        assert str(where) in str(caught.value)


def test_absurd_numbers_are_damage_before_anything_is_counted_out(folder):
    config = {**CONFIG, "num_hidden_layers": 2**63}
    with pytest.raises(FormatError, match="layers") as caught:
        open_checkpoint(folder(config__json=config))
    assert caught.value.code == "E_ARCH_FIELD"


def test_a_family_unknown_here_keeps_its_names_and_says_why_it_cannot_run(folder):
    config = {**CONFIG, "model_type": "mamba"}
    checkpoint = open_checkpoint(folder(config__json=config))
    assert list(checkpoint.tensors) == list(weights())
    with pytest.raises(UnsupportedError, match="mamba"):
        checkpoint.need_architecture()


def test_a_type_without_a_scheme_is_listed_and_refused_when_asked_for(folder):
    stored = {**weights(), "model.norm.weight": ("F64", (8,), bytes(64))}
    checkpoint = open_checkpoint(folder({"model.safetensors": stored}))
    assert checkpoint.unreadable == {"output_norm.weight": "F64"}
    assert "output_norm.weight" in checkpoint.tensors
    with pytest.raises(UnsupportedError, match=r"model\.norm\.weight.*F64"):
        checkpoint.tensors["output_norm.weight"]


def test_the_tokenizer_travels_verbatim(folder):
    where = folder()
    spec = open_checkpoint(where).need_tokenizer()
    assert spec.json == (where / "tokenizer.json").read_bytes()
    assert (spec.kind, spec.bos, spec.eos, spec.add_bos) == ("bpe-bytelevel-1", 0, (1,), False)
    assert Tokenizer.from_str(spec.json.decode()).encode("ab").ids == [3, 4]


@pytest.mark.parametrize(
    ("texts", "bos", "eos", "add_bos"),
    [
        ({"generation_config__json": {"eos_token_id": [1, 2]}}, 0, (1, 2), False),
        ({"tokenizer_config__json": {"eos_token": {"content": "<|end|>"}}}, 0, (1, 2), False),
        ({"tokenizer_config__json": {"add_bos_token": True}}, 0, (1,), True),
        ({"config__json": {**CONFIG, "bos_token_id": None}}, None, (1,), False),
        ({"config__json": {**CONFIG, "bos_token_id": None},
          "tokenizer_config__json": {"bos_token": "<s>"}}, 0, (1,), False),
    ],
)  # fmt: skip
def test_ids_come_from_the_files_beside_the_tokenizer(folder, texts, bos, eos, add_bos):
    spec = open_checkpoint(folder(**texts)).need_tokenizer()
    assert (spec.bos, spec.eos, spec.add_bos) == (bos, eos, add_bos)


def test_a_template_that_begins_with_bos_means_that_bos_is_added(folder):
    processor = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }  # fmt: skip
    alone = {**TOKENIZER, "post_processor": processor}
    among = {**TOKENIZER, "post_processor": {"type": "Sequence", "processors": [processor]}}
    for tokenizer in (alone, among):
        Tokenizer.from_str(json.dumps(tokenizer))
        assert open_checkpoint(folder(tokenizer__json=tokenizer)).need_tokenizer().add_bos
        stated = {"tokenizer_config__json": {"add_bos_token": False}}
        where = folder(tokenizer__json=tokenizer, **stated)
        assert not open_checkpoint(where).need_tokenizer().add_bos
        (where / "tokenizer_config.json").unlink()


def test_other_tokenizers_leave_a_reason(folder):
    unigram = {**TOKENIZER, "model": {"type": "Unigram", "vocab": []}}
    for tokenizer, reason in ((unigram, "Unigram"), (None, "no tokenizer.json")):
        where = folder(tokenizer__json=tokenizer)
        if tokenizer is None:
            (where / "tokenizer.json").unlink()
        with pytest.raises(UnsupportedError, match=reason):
            open_checkpoint(where).need_tokenizer()


@pytest.mark.parametrize("wrong", [[], {}, [[]], {"id": []}, 5, "x", None])
@pytest.mark.parametrize(
    "place", ["added_tokens", "content", "id", "type", "decoder", "model", "vocab", "processor"]
)
def test_no_value_of_the_wrong_type_gets_through(folder, place, wrong):
    """Wherever it stands, it is passed over, damage or unsupported, and never a TypeError."""
    changed = json.loads(json.dumps(TOKENIZER))
    if place in ("content", "id"):
        changed["added_tokens"][0][place] = wrong
    elif place == "type":
        changed["decoder"]["type"] = changed["pre_tokenizer"]["type"] = wrong
    elif place == "vocab":
        changed["model"]["vocab"] = wrong
    elif place == "processor":
        changed["post_processor"] = {"single": [wrong], "special_tokens": wrong}
    else:
        changed[place] = wrong
    with contextlib.suppress(FormatError, UnsupportedError):
        open_checkpoint(folder(tokenizer__json=changed)).need_tokenizer()


def test_a_pair_of_surrogates_is_one_character(folder):
    where = folder(tokenizer_config__json=r'{"chat_template":"\ud83d\ude00"}')
    assert open_checkpoint(where).documents["chat_template.jinja"].data == "😀".encode()


def test_the_chat_template_comes_from_either_place(folder):
    inside = {"tokenizer_config__json": {"chat_template": "{{ 1 }}"}}
    assert open_checkpoint(folder(**inside)).documents["chat_template.jinja"].data == b"{{ 1 }}"
    where = folder(chat_template__jinja="{{ 2 }}")
    document = open_checkpoint(where).documents["chat_template.jinja"]
    assert (document.data, document.media) == (b"{{ 2 }}", "text/x-jinja")


def test_damaged_texts_are_format_errors(folder):
    for name in ("config__json", "tokenizer__json", "tokenizer_config__json"):
        for wrong in ("{", "[]", '{"a":1,"a":1}', '{"a":NaN}', "[" * 100_000, r'{"a":"\ud800"}'):
            with pytest.raises(FormatError) as caught:
                open_checkpoint(folder(**{name: wrong}))
            assert caught.value.code.startswith("E_JSON")
            assert name.replace("__", ".") in str(caught.value)
        folder(tokenizer_config__json={})


def test_directories_without_a_model_say_what_is_missing(folder, tmp_path):
    with pytest.raises(UnsupportedError, match=r"no config\.json"):
        open_checkpoint(tmp_path)
    where = folder({})
    with pytest.raises(UnsupportedError, match=r"no model\.safetensors"):
        open_checkpoint(where)
    (where / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UnsupportedError, match="pickle"):
        open_checkpoint(where)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_files_may_be_links_as_in_the_hubs_cache(folder, tmp_path_factory):
    where = folder()
    blobs = tmp_path_factory.mktemp("blobs")
    (where / "model.safetensors").rename(blobs / "digest")
    (where / "model.safetensors").symlink_to(blobs / "digest")
    assert open_checkpoint(where).tensors["output_norm.weight"].shape == (8,)
