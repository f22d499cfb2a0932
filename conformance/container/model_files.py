"""Files that are sound, and whose model can be run or not: stage S7.

A reader accepts all of them. One that is to run the model refuses those that have a code here.
"""

import copy
import json

from conformance.container.byte_defects import bytes_as
from conformance.container.parts import CHAT, TOKENIZER, assemble, build

__all__ = ["MODELS"]

MODELS = {}
"""Name -> (code or None, the file's bytes made on demand)."""

FIELDS = {
    "layers": 1,
    "width": 4,
    "heads": 2,
    "key_value_heads": 1,
    "head_width": 2,
    "feedforward_width": 3,
    "vocabulary": 5,
    "context": 16,
    "rope_theta": 10000.0,
    "rope_style": "halves",
    "norm_epsilon": 2.0**-20,
    "tied_embeddings": True,
}
LAYER = {
    "attn_norm": [4],
    "attn_q": [4, 4],
    "attn_k": [2, 4],
    "attn_v": [2, 4],
    "attn_output": [4, 4],
    "ffn_norm": [4],
    "ffn_gate": [3, 4],
    "ffn_up": [3, 4],
    "ffn_down": [4, 3],
}
SHAPES = {
    "token_embd.weight": [5, 4],
    "output_norm.weight": [4],
    **{f"blk.0.{name}.weight": shape for name, shape in LAYER.items()},
}
SECOND = {f"blk.1.{name}.weight": shape for name, shape in LAYER.items()}
TURNS = {
    "start": "<s>",
    "turns": {"user": ["<u>", "</u>"], "assistant": ["<a>", "</a>"], "system": ["", "\n"]},
    "prompt": "<a>",
}
SPECS = {"add_bos": True, "bos": 0, "doc": "tokenizer.json", "eos": [4], "kind": "bpe-bytelevel-1"}


def codes_of(name, shape):
    """A tensor of small integers."""
    size = 1
    for extent in shape:
        size *= extent
    data = bytes((7 * i + len(name)) % 251 for i in range(size))
    return name, bytes_as({"k": "i", "b": 8}, 8), shape, {"codes": data}


def model(name, code, *, text=TOKENIZER, config=b'{"a": 1}', without=(), **changes):
    """Register a model: `changes` are entries of `core`, or names and values in its parts."""

    def make():
        shapes = {n: s for n, s in {**SHAPES, **changes.get("shapes", {})}.items() if s}
        fields = {k: v for k, v in {**FIELDS, **changes.get("fields", {})}.items() if v is not None}
        core = {
            "arch": {"family": changes.get("family", "llama"), "fields": fields},
            "chat": copy.deepcopy(TURNS),
            "tokenizer": {**SPECS, **changes.get("tokenizer", {})},
        }
        if "alias" in changes:
            core["alias"] = changes["alias"]
        for key in without:
            del core[key]
        documents = [
            ("chat.jinja", "text/x-jinja", CHAT),
            ("config.json", changes.get("media", "application/json"), config),
            ("tokenizer.json", changes.get("tokenizer_media", "application/json"), text),
        ]
        return build(assemble([codes_of(*s) for s in shapes.items()], documents=documents, **core))

    MODELS[name] = (code, make)


OUTPUT = {"output.weight": [5, 4]}
TIED = [{"name": "output.weight", "of": "token_embd.weight"}]
model("tied_without_alias", None)
model("tied_with_alias", None, alias=TIED)
model("with_output", None, shapes=OUTPUT, fields={"tied_embeddings": False})
model("output_is_an_alias", None, alias=TIED, fields={"tied_embeddings": False})
model("of_2_layers", None, shapes=SECOND, fields={"layers": 2})
model("without_chat", None, without=["chat"])
model("without_tokenizer", None, without=["tokenizer"])
model("ids_without_architecture", None, without=["arch"], tokenizer={"eos": [9]})
model("text_that_is_no_json", None, media="text/plain", config=b"\xff{")
model("json_of_all_kinds", None, config=b' [0,-0.5e+3,"\\ud83d\\ude00\\u00e9/",true,null,{}]\r\n')
model("json_64_deep", None, config=b"[" * 64 + b"]" * 64)
model("vocabulary_as_an_array", None, text=b'{"model":{"vocab":[["a",0.5],["b",1]]}}')

# J-1 to J-5
for json_name, json_code, json_text in (
    ("not_utf8", "E_JSON_UTF8", b'["\xff"]'),
    ("surrogate_in_utf8", "E_JSON_UTF8", b'["\xed\xa0\x80"]'),
    ("byte_order_mark", "E_JSON_UTF8", b"\xef\xbb\xbf{}"),
    ("65_deep", "E_JSON_DEPTH", b"[" * 65 + b"]" * 65),
    ("65_deep_and_cut", "E_JSON_DEPTH", b'{"a":' * 65),
    ("empty", "E_JSON_SYNTAX", b""),
    ("cut", "E_JSON_SYNTAX", b'{"a": [1'),
    ("string_cut", "E_JSON_SYNTAX", b'["[[a\\'),
    ("two_values", "E_JSON_SYNTAX", b"{} {}"),
    ("nan", "E_JSON_SYNTAX", b"[NaN]"),
    ("minus_infinity", "E_JSON_SYNTAX", b"[-Infinity]"),
    ("leading_zero", "E_JSON_SYNTAX", b"[01]"),
    ("plus_sign", "E_JSON_SYNTAX", b"[+1]"),
    ("point_last", "E_JSON_SYNTAX", b"[1.]"),
    ("comma_last", "E_JSON_SYNTAX", b"[1,]"),
    ("comment", "E_JSON_SYNTAX", b"[1] // one"),
    ("single_quotes", "E_JSON_SYNTAX", b"['a']"),
    ("control_in_a_string", "E_JSON_SYNTAX", b'["a\nb"]'),
    ("escape_unknown", "E_JSON_SYNTAX", b'["\\x41"]'),
    ("escape_of_3_digits", "E_JSON_SYNTAX", b'["\\u041"]'),
    ("space_of_unicode", "E_JSON_SYNTAX", b"\xc2\xa0[]"),
    ("nul_last", "E_JSON_SYNTAX", b"[]\0"),
    ("high_surrogate_alone", "E_JSON_ESCAPE", b'["\\ud83d\\u0041"]'),
    ("low_surrogate_alone", "E_JSON_ESCAPE", b'["\\ude00"]'),
    ("surrogates_swapped", "E_JSON_ESCAPE", b'{"\\ude00\\ud83d": 0, "a": 0, "a": 1}'),
    ("key_twice", "E_JSON_DUP", b'{"a": 1, "b": 2, "a": 1}'),
    ("key_twice_by_an_escape", "E_JSON_DUP", b'[{"b": {"a": 1, "\\u0061": 2}}]'),
):
    model(f"json_{json_name}", json_code, config=json_text)

# M-1 to M-4
model("family_unknown", "E_ARCH_FAMILY", family="lama")
for field_name, changed in {
    "missing": {"context": None},
    "unknown": {"experts_per_head": 1},
    "an_integer_for_a_number": {"rope_theta": 10000},
    "a_number_for_an_integer": {"layers": 2.0},
    "a_bool_for_an_integer": {"layers": True},
    "an_integer_for_a_flag": {"tied_embeddings": 1},
    "another_choice": {"rope_style": "thirds"},
    "0_layers": {"layers": 0},
    "4097_layers": {"layers": 4097},
    "epsilon_0": {"norm_epsilon": 0.0},
    "epsilon_negative": {"norm_epsilon": -1e-5},
    "heads_no_multiple": {"heads": 3, "key_value_heads": 2},
    "head_width_odd": {"head_width": 3},
}.items():
    model(f"field_{field_name}", "E_ARCH_FIELD", fields=changed)
# Laws between fields, and shapes that are sums, halves, and there only under a condition.
STRETCH = {"rope_factor": 2.0, "rope_original_context": 8}
LINEAR = {"rope_scaling": "linear", "rope_factor": 2.0}
LLAMA3 = {"rope_scaling": "llama3", "rope_low_frequency": 1.0, "rope_high_frequency": 4.0}
for law_name, changed in {
    "period_without_a_window": {"window_period": 2},
    "experts_alone": {"experts": 2},
    "experts_used_alone": {"experts_used": 2},
    "more_experts_used_than_there_are": {"experts": 2, "experts_used": 3},
    "65537_experts_in_all": {"layers": 21, "experts": 3121, "experts_used": 1},
    "scaling_without_its_factor": {"rope_scaling": "linear"},
    "factor_without_scaling": {"rope_factor": 2.0},
    "scaling_with_the_field_of_another": {**LINEAR, "rope_truncated": True},
    "scaling_with_a_field_missing": {**LLAMA3, "rope_factor": 2.0},
}.items():
    model(f"law_{law_name}", "E_ARCH_FIELD", fields=changed)
model("law_mask_beyond_the_vocabulary", "E_ARCH_FIELD", family="dream", fields={"mask_token": 5})
model("law_mask_within_the_vocabulary", "E_ARCH_TENSOR", family="dream", fields={"mask_token": 4})
model("scaling_linear", None, fields=LINEAR)
model("scaling_llama3", None, fields={**LLAMA3, **STRETCH})
model("window_and_period", None, fields={"window": 4, "window_period": 2})
HALF = {"rope_freqs.weight": [1]}
model("tensor_of_half_a_head", None, shapes=HALF, fields={"rope_factors": True})
model(
    "tensor_of_a_flag_that_is_false", "E_ARCH_TENSOR", shapes=HALF, fields={"rope_factors": False}
)
DENSE = {f"blk.0.ffn_{part}.weight": None for part in ("gate", "up", "down")}
EXPERTS = {
    "blk.0.ffn_gate_inp.weight": [2, 4],
    "blk.0.ffn_gate_exps.weight": [2, 3, 4],
    "blk.0.ffn_up_exps.weight": [2, 3, 4],
    "blk.0.ffn_down_exps.weight": [2, 4, 3],
}
MIXTURE = {"experts": 2, "experts_used": 1}
model("mixture_of_experts", None, shapes={**DENSE, **EXPERTS}, fields=MIXTURE)
model("mixture_with_a_dense_network", "E_ARCH_TENSOR", shapes=EXPERTS, fields=MIXTURE)
JOINED = {
    **{f"blk.0.{part}.weight": None for part in ("attn_q", "attn_k", "attn_v", "ffn_gate")},
    "blk.0.attn_qkv.weight": [8, 4],
    "blk.0.ffn_up.weight": [6, 4],
}
model("tensors_joined", None, family="phi3", shapes=JOINED)
NARROW = {"blk.0.attn_qkv.weight": [6, 4]}
model("tensors_joined_too_narrow", "E_ARCH_TENSOR", family="phi3", shapes={**JOINED, **NARROW})
LAST = "blk.0.ffn_up.weight"
model("tensor_missing", "E_ARCH_TENSOR", shapes={LAST: None})
model("tensor_too_many", "E_ARCH_TENSOR", shapes={"blk.1.attn_norm.weight": [4]})
model("second_layer_missing", "E_ARCH_TENSOR", fields={"layers": 2})
model("tensor_turned", "E_ARCH_TENSOR", shapes={LAST: [4, 3]})
model("tensor_of_rank_3", "E_ARCH_TENSOR", shapes={LAST: [1, 3, 4]})
model("tied_and_with_output", "E_ARCH_TENSOR", shapes=OUTPUT)
model("not_tied_without_output", "E_ARCH_TENSOR", fields={"tied_embeddings": False})
model("alias_too_many", "E_ARCH_TENSOR", alias=[{"name": "again", "of": "output_norm.weight"}])
model("alias_of_another_tensor", "E_ARCH_TENSOR", alias=[{"name": TIED[0]["name"], "of": LAST}])

# T-1 to T-4
model("kind_unknown", "E_TOKENIZER_KIND", tokenizer={"kind": "bpe-bytelevel-2"})
model("bos_beyond_the_vocabulary", "E_TOKENIZER_ID", tokenizer={"bos": 5})
model("eos_beyond_the_vocabulary", "E_TOKENIZER_ID", tokenizer={"eos": [1, 5]})
for text_name, text_code, value in (
    ("an_array", "E_TOKENIZER", []),
    ("without_model", "E_TOKENIZER", {"added_tokens": []}),
    ("without_vocabulary", "E_TOKENIZER", {"model": {"merges": []}}),
    ("vocabulary_a_number", "E_TOKENIZER", {"model": {"vocab": 5}}),
    ("id_a_string", "E_TOKENIZER", {"model": {"vocab": {"a": "0"}}}),
    ("id_a_float", "E_TOKENIZER", {"model": {"vocab": {"a": 0.0}}}),
    ("id_a_bool", "E_TOKENIZER", {"model": {"vocab": {"a": True}}}),
    ("id_negative", "E_TOKENIZER", {"model": {"vocab": {"a": -1}}}),
    ("added_tokens_a_map", "E_TOKENIZER", {"added_tokens": {}, "model": {"vocab": {}}}),
    ("added_token_without_id", "E_TOKENIZER", {"added_tokens": [{}], "model": {"vocab": {}}}),
    ("added_token_a_number", "E_TOKENIZER", {"added_tokens": [1], "model": {"vocab": {}}}),
    ("id_beyond", "E_TOKENIZER_ID", {"model": {"vocab": {"a": 5}}}),
    ("id_of_30_digits", "E_TOKENIZER_ID", {"model": {"vocab": {"a": 10**29}}}),
    ("array_too_long", "E_TOKENIZER_ID", {"model": {"vocab": [["a", 0]] * 6}}),
    ("added_id_beyond", "E_TOKENIZER_ID", {"added_tokens": [{"id": 5}], "model": {"vocab": {}}}),
):
    model(f"tokenizer_{text_name}", text_code, text=json.dumps(value).encode())
model("tokenizer_no_json", "E_JSON_SYNTAX", text=b"{", tokenizer_media="text/plain")
# The order: documents, then the architecture, then the tokenizer.
model("document_before_family", "E_JSON_SYNTAX", config=b"", family="lama")
model("family_before_tokenizer", "E_ARCH_FAMILY", family="lama", tokenizer={"kind": "x"})
