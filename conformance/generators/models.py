"""Packs about whole models and tokenizers, and the small files they are about."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as library

from conformance.generators.agreement import agree
from conformance.generators.writer import PackWriter, Values
from conformance.oracle import bpe
from conformance.oracle.llama_bounds import Ball, BoundedLlama, decided
from conformance.plain_model import model_of
from refquant.architectures import FAMILIES, Architecture
from refquant.conformance.packs import Comparison
from refquant.errors import ConformanceError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import write_checkpoint
from refquant.runtime import load_model
from refquant.runtime.trace import Trace
from refquant.tensor import quantize
from refquant.testing import SplitMix64

__all__ = ["FILES", "PACKS"]

ROOT = Path(__file__).resolve().parents[1]
SCHEMES = {
    "f32": "float/f32",
    "q4_0": "ggml/q4_0",
    "int8": "int/affine[bits=8,sym,channel]",
    "mxfp4": "mx/mxfp4[scale=floor]",
}
FIELDS = {
    "layers": 2,
    "width": 32,
    "heads": 4,
    "key_value_heads": 2,
    "head_width": 8,
    "feedforward_width": 64,
    "vocabulary": 40,
    "context": 64,
    "rope_theta": 10000.0,
    "rope_style": "interleaved",
    "norm_epsilon": 1e-5,
    "tied_embeddings": True,
}
ONE_LAYER = {**FIELDS, "layers": 1}
SIZES = {"token_embd": 0.3, "attn_q": 0.2, "attn_k": 0.2, "attn_v": 0.3, "attn_output": 0.3}
"""Sizes of the weights of the model for decisions, 0.04 for all others: attention tells which token
comes out, and a bound that is proven stays below the margins."""

TOKENS = (1, 7, 7, 39, 0, 12)
OTHER_TOKENS = (39, 1, 0, 7, 22, 22, 22, 5, 31)
TEXTS = {
    "empty": "",
    "plain": "the thing",
    "priority": "tthe heath in the",
    "overlap": "aaaaaaa aaa",
    "accents": "caf\u00e9 cafe\u0301 \u00e9\u00e9",
    "beyond-the-plane": "\U0001f600 \u4e2d\u6587",
    "controls": "\x00\t\n\r\x7f",
    "long": "the thing in the heath " * 40,
}


def _two_layers(name: str) -> float:
    return 1.5 if name.startswith("token") else 0.1875


def _one_layer(name: str) -> float:
    return SIZES.get(name.split(".")[-2], 0.04)


def model_file(
    scheme: str,
    fields: Mapping[str, Any] = FIELDS,
    size_of: Callable[[str], float] = _two_layers,
) -> bytes:
    """A llama whose weights come from a seed."""
    random = SplitMix64(2026)
    tensors = {}
    for name, shape in FAMILIES["llama"].tensors(fields).items():
        weights = random.bell(*shape)
        if len(shape) == 1:
            tensors[name] = quantize(1 + weights / np.float32(4), "float/f32")
        else:
            tensors[name] = quantize(weights * np.float32(size_of(name)), scheme)
    checkpoint = Checkpoint(Architecture("llama", fields), tensors, {}, None, {}, {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.rq"
        write_checkpoint(path, checkpoint)
        return path.read_bytes()


def tokenizer_file() -> bytes:
    """Bytes in GPT-2's alphabet and ten merges."""
    tokenizer = _tokenizer()
    return (json.dumps(json.loads(tokenizer.to_str()), indent=1) + "\n").encode()


def _alphabet() -> dict[int, str]:
    """GPT-2's character for each byte: its own where it is printable, else one from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {
        byte: chr(byte) if byte in printable else chr(256 + others.index(byte))
        for byte in range(256)
    }


def _merges() -> list[tuple[bytes, bytes]]:
    cuts = ((1, 1), (1, 1), (1, 2), (1, 1), (2, 2), (1, 1), (2, 1), (1, 1), (2, 2), (1, 1))
    pieces = (b"th", b"he", b"the", b" t", b" the", b"in", b"ing", b"aa", b"aaaa", b"\xc3\xa9")
    return [(p[:a], p[a : a + b]) for p, (a, b) in zip(pieces, cuts, strict=True)]


def _ids() -> dict[bytes, int]:
    singles = [bytes([byte]) for byte in range(256)]
    return {piece: place for place, piece in enumerate([*singles, *(a + b for a, b in _merges())])}


def _tokenizer() -> Tokenizer:
    letters = _alphabet()

    def spelled(piece: bytes) -> str:
        return "".join(letters[byte] for byte in piece)

    vocabulary = {spelled(piece): place for piece, place in _ids().items()}
    merges = [(spelled(a), spelled(b)) for a, b in _merges()]
    tokenizer = Tokenizer(library.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def modelled(writer: PackWriter, tokens: Sequence[int], also: str = "", *labels: str) -> None:
    """Logits and the state behind each layer, in exact arithmetic, for models by their labels."""
    for label in labels or SCHEMES:
        path = f"files/model/llama-{label}.rq"
        raw = FILES[path]()
        states = _states(raw, tokens)
        params = {"file": path, "sha256": sha256(raw).hexdigest()}
        writer.add(
            f"model.llama.{label}{also}",
            "model",
            params,
            {"tokens": np.array(tokens, np.int64)},
            states,
            features=["model.exact"],
            why=f"two layers with {SCHEMES[label]} weights, every sum and function rounded once",
        )


def _states(raw: bytes, tokens: Sequence[int]) -> dict[str, Values]:
    """What a model computes, all tokens together, as the plain model in `conformance.oracle` does.

    One by one, and with packed weights, the logits are the same bits.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.rq"
        path.write_bytes(raw)
        model = load_model(open_checkpoint(path), arithmetic_mode="exact")
        trace = Trace()
        logits = model.forward(tokens, model.new_cache(16), watch=trace.watch)
        packed = load_model(open_checkpoint(path), "packed", "exact")
        cache = packed.new_cache(16)
        apart = np.concatenate([packed.forward([one], cache) for one in tokens])
        expected = model_of(path).states(tokens)
    if apart.tobytes() != logits.tobytes():
        raise ConformanceError("tokens one by one give other logits than together")
    states = {**trace.states, "logits": logits}
    for place, rows in states.items():
        agree(np.ravel(rows).tolist(), [one for row in expected[place] for one in row], place)
    return states


DECISIONS = "files/model/llama-decisions.rq"
DECIDED = ((3, 17, 1, 38, 26, 9, 14, 0, 30, 21), (39, 8, 2, 35, 11, 27, 6, 19, 33, 4))


def decisions(writer: PackWriter, number: int) -> None:
    """Which token comes next, in any binary32 arithmetic, where a bound proves that it must."""
    tokens, raw = DECIDED[number], FILES[DECISIONS]()
    exact = _states(raw, tokens)["logits"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.rq"
        path.write_bytes(raw)
        rows = model_of(path, BoundedLlama).logits(tokens)
        model = load_model(open_checkpoint(path))
        fast = model.forward(tokens, model.new_cache(16))
    for found in (exact, fast):
        agree(found.argmax(-1).tolist(), [max_of(row) for row in rows], "the largest logit")
        away = np.abs(found - np.array([[one.value for one in row] for row in rows]))
        if not (away <= [[one.radius for one in row] for row in rows]).all():
            raise ConformanceError(f"{DECISIONS}: logits lie outside of their bound")
    writer.add(
        f"model.llama.decisions-{number}",
        "model",
        {"file": DECISIONS, "sha256": sha256(raw).hexdigest(), "arithmetic": "fast"},
        {"tokens": np.array(tokens, np.int64)},
        {"logits": exact},
        features=["model.fast"],
        cmp={"logits": Comparison("decision", margin="decided")},
        aside={"decided": np.array(list(map(decided, rows)), np.uint8)},
        clauses=("S-16",),
        why="the largest logit, wherever its margin exceeds what any arithmetic can lose",
    )


def max_of(row: Sequence[Ball]) -> int:
    """The place of the largest number."""
    return max(range(len(row)), key=lambda place: row[place].value)


def tokenized(writer: PackWriter, *, times: int) -> None:
    """Texts, each so many times with spaces between, to ids and back."""
    path = "files/tokenizer/bytes.json"
    tokenizer = _tokenizer()
    params = {"file": path, "sha256": sha256(FILES[path]()).hexdigest()}
    for (name, once), back in product(TEXTS.items(), (False, True)):
        text = " ".join([once] * times)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        agree(ids, bpe.encode(text.encode(), _merges(), _ids()), name)
        raw = {"text": np.frombuffer(text.encode(), np.uint8)}
        codes = {"ids": np.array(ids, np.int32)}
        op = "detokenize" if back else "tokenize"
        writer.add(
            f"tokenizer.bytes.{op}.{name}-{times}",
            op,
            params,
            codes if back else raw,
            raw if back else codes,
            features=[f"{op}.bpe"],
            why=f"{name.replace('-', ' ')}: ten merges over bytes",
        )


FILES: dict[str, Callable[[], bytes]] = {
    **{
        f"files/model/llama-{label}.rq": (lambda scheme=scheme: model_file(scheme))
        for label, scheme in SCHEMES.items()
    },
    DECISIONS: partial(model_file, "ggml/q4_0", ONE_LAYER, _one_layer),
    "files/tokenizer/bytes.json": tokenizer_file,
}
"""Files that the cases name, and what makes them."""

PACKS: dict[str, tuple[str, Callable[[PackWriter], None]]] = {
    "model/llama": (
        "a llama of two layers, with the state behind each",
        lambda writer: modelled(writer, TOKENS),
    ),
    "model/longer": (
        "a longer text through two of its files",
        lambda writer: modelled(writer, OTHER_TOKENS, ".longer", "f32", "mxfp4"),
    ),
    **{
        f"model/decisions-{k}": ("the next token in any arithmetic", partial(decisions, number=k))
        for k in (0, 1)
    },
    "tokenizer/once": ("texts to ids and back", lambda writer: tokenized(writer, times=1)),
    "tokenizer/twice": ("longer texts likewise", lambda writer: tokenized(writer, times=2)),
}
