"""Damaged GGUF, safetensors and Hugging Face files, and what the package says about them."""

import json
import struct
import time
from functools import cache
from math import prod

from refquant.architectures import FAMILIES
from refquant.errors import RefquantError
from refquant.formats import open_checkpoint
from refquant.formats.chat_template import template_of
from refquant.formats.safetensors import read_safetensors
from refquant.runtime import Tokenizer
from tests import gguf_bytes, safetensors_bytes
from tests.gguf_bytes import ARRAY, BOOL, F32, I32, STRING, U32

__all__ = ["FORMATS", "LONGEST", "answer", "mutant"]

LONGEST = 5.0
"""Seconds of processor time after which a reader is said to hang."""

MOST_WEIGHTS = 1 << 20
"""Larger tensors are looked at, and not decoded: what they would take is no surprise."""

MODEL = (
    ("general.architecture", STRING, "llama"),
    ("general.license", STRING, "apache-2.0"),
    *(
        (f"llama.{name}", U32, size)
        for name, size in {
            "block_count": 1,
            "embedding_length": 32,
            "feed_forward_length": 64,
            "context_length": 16,
            "attention.head_count": 4,
            "attention.head_count_kv": 2,
            "vocab_size": 7,
        }.items()
    ),
    ("llama.attention.layer_norm_rms_epsilon", F32, 2.0**-17),
    ("tokenizer.chat_template", STRING, "{{ messages }}"),
    ("tokenizer.ggml.model", STRING, "gpt2"),
    ("tokenizer.ggml.pre", STRING, "gpt-2"),
    ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "ab", "c", "<s>", "é", "x"])),
    ("tokenizer.ggml.token_type", ARRAY, (I32, [1, 1, 1, 1, 3, 1, 4])),
    ("tokenizer.ggml.merges", ARRAY, (STRING, ["a b"])),
    ("tokenizer.ggml.bos_token_id", U32, 4),
    ("tokenizer.ggml.add_bos_token", BOOL, True),
    ("odd.nested", ARRAY, (ARRAY, [(U32, [1, 2]), (STRING, ["deep"])])),
)
SIZES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 14: (256, 210)}
"""Weights and bytes of a block, by the number of the type."""

ODD = [0, 1, 2, 31, 33, 255, 2**16, 2**24, 2**31, 2**32 - 1, 2**40, 2**53, 2**63, 2**64 - 1]
SLOW = "(a+)+$"  # a regular expression that goes back very often
ODD_JSON = [
    *ODD,
    -1,
    1.5,
    1e400,
    float("nan"),
    True,
    None,
    "",
    "F32",
    "é",
    SLOW,
    [],
    {},
    [0, 0],
    [2**64],
]


def gguf_seed(chance):
    """A valid file, with some of the metadata and tensors of several types."""
    pairs = [one for one in MODEL if chance.random() < 0.9]
    stored = []
    for number, (type_id, (block, size)) in enumerate(SIZES.items()):
        if chance.random() < 0.4:
            shape = chance.choice([(block,), (2, block), (1, 2, 2 * block)])
            blocks = shape[-1] // block * (4 if len(shape) == 3 else len(shape))
            blocks = blocks // 2 if len(shape) == 3 else blocks
            stored.append((f"blk.{number}.w", shape, type_id, chance.randbytes(size * blocks)))
    return gguf_bytes.build(pairs, stored)


def safetensors_seed(chance):
    """A valid file with tensors of several types."""
    widths = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "I64": 8, "F64": 8}
    names = ["model.embed_tokens.weight", "a", "b.qweight", "b.scales", "é"]
    tensors = {
        name: (dtype, (2, 3), chance.randbytes(6 * widths[dtype]))
        for name, dtype in zip(names, chance.sample(sorted(widths), len(names)), strict=True)
    }
    return safetensors_bytes.build(tensors, {"format": "pt"} if chance.random() < 0.5 else None)


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
    "eos_token_id": [1],
}
BYTES_AS_TEXT = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
CUT = {"type": "Split", "pattern": {"Regex": "a+|b"}, "behavior": "Isolated", "invert": False}
BEGIN = {"id": 0, "content": "<s>", "special": True, "normalized": False}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [BEGIN | {"single_word": False, "lstrip": False, "rstrip": False}],
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [CUT, BYTES_AS_TEXT]},
    "decoder": BYTES_AS_TEXT,
    "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]},
}
TOKENIZER_CONFIG = {"bos_token": "<s>", "add_bos_token": True, "chat_template": "{{ messages }}"}
TEXT = "<s>" + "a" * 40 + "b c\u00e9"
MORE = {
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
    },
    "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True},
    "torch_dtype": "bfloat16",
    "head_dim": 4,
}


@cache
def weights():
    """Every tensor of the model."""
    family, found = FAMILIES["llama"], {}
    for one in family.model_tensors(family.from_hugging_face(CONFIG)):
        found[one.hugging_face[0]] = ("BF16", one.shape, bytes(2 * prod(one.shape)))
    return safetensors_bytes.build(found)


def hugging_face_seed(chance):
    """The JSON texts of a folder as one; `look_at` puts the weights beside them."""
    config = CONFIG | {key: MORE[key] for key in MORE if chance.random() < 0.2}
    texts = {"config.json": config, "tokenizer.json": TOKENIZER}
    return json.dumps(texts | {"tokenizer_config.json": TOKENIZER_CONFIG}).encode()


def fill(folder, data):
    """Write the texts of a folder; what is no object of texts is the configuration."""
    try:
        texts = json.loads(data)
    except (ValueError, RecursionError):
        texts = None
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    if not isinstance(texts, dict) or not set(texts) <= set(names):
        texts = {"config.json": None}
    for name in names:
        found = texts.get(name)
        (folder / name).write_bytes(data if found is None else json.dumps(found).encode())
    (folder / "model.safetensors").write_bytes(weights())


def changed_bytes(data, chance):
    """Some bytes or whole numbers replaced, removed or repeated."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        place = chance.randrange(len(found) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            found[place : place + 8] = struct.pack("<Q", chance.choice(ODD))
        elif kind == 1:
            found[place : place + 4] = struct.pack("<I", chance.choice(ODD) % 2**32)
        elif kind == 2:
            found[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 3:
            del found[place : place + chance.choice([1, 4, 8, 40])]
        elif kind == 4:
            found[place:place] = found[place : place + chance.choice([1, 4, 8, 40])]
        elif chance.random() < 0.2:
            del found[place:]
    return bytes(found)


def changed_json(text, chance):
    """One value of a JSON text replaced; other bytes, where it is no JSON."""
    try:
        value = json.loads(text)
        parent, key = chance.choice(list(places(value)))
        parent[key] = chance.choice(ODD_JSON)
        return json.dumps(value).encode()
    except (ValueError, IndexError, RecursionError):
        return changed_bytes(text, chance)


def places(value):
    """Every entry of every object and array."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def changed_safetensors(data, chance):
    """Another header under its right length, or other bytes anywhere."""
    size = int.from_bytes(data[:8], "little")
    if chance.random() < 0.4 or size > len(data) - 8:
        return changed_bytes(data, chance)
    header = changed_json(data[8 : 8 + size], chance)
    return safetensors_bytes.with_header(header + b" " * (-len(header) % 8), data[8 + size :])


FORMATS = {
    "gguf": (gguf_seed, changed_bytes),
    "safetensors": (safetensors_seed, changed_safetensors),
    "hugging_face": (hugging_face_seed, changed_json),
}


def mutant(name, chance):
    """A damaged file of a format."""
    seed, change = FORMATS[name]
    data = seed(chance)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        data = change(data, chance)
    return data


def look_at(name, data, folder):
    """Everything that a user of the package may ask a file for."""
    path = folder / "file"
    path.write_bytes(data)
    if name == "safetensors":
        stored = read_safetensors(path).tensors.values()
        return sum(int(tensor.data.sum()) for tensor in stored)
    if name == "hugging_face":
        fill(folder, data)
        path = folder
    checkpoint = open_checkpoint(path)
    for tensor in checkpoint.tensors.values():
        if tensor.nbytes * 8 < MOST_WEIGHTS:
            tensor.dequantize()
    for document in checkpoint.documents.values():
        len(document.data)
    template_of(checkpoint)
    return None if checkpoint.tokenizer is None else read_and_write(checkpoint.tokenizer)


def read_and_write(spec):
    """A text as ids and back, where the tokenizer takes that."""
    tokenizer = Tokenizer(spec)
    return tokenizer.decode(tokenizer.encode(TEXT))


def answer(name, data, folder):
    """ "valid", the name of the error of ours, or "crash: ..." or "hang: ..."."""
    start = time.thread_time()
    try:
        look_at(name, data, folder)
        said = "valid"
    except RefquantError as error:
        said = getattr(error, "code", "") or type(error).__name__
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - any other is looked for, panics of Rust too
        return f"crash: {error!r}"
    took = time.thread_time() - start
    return said if took < LONGEST else f"hang: {took:.1f} seconds"
