"""Every operation of llama.cpp's forward pass, computed again by ours from its own operands.

Nothing is carried from one operation to the next, so no difference grows: what is left of each is
the rounding of binary32, and for that a bound follows from the formula. u is 2**-24 and gamma(n) =
n u / (1 - n u), which bounds n roundings in a row (Higham, Accuracy and Stability of Numerical
Algorithms, 3.1). Both sides round, so each bound counts twice:

- embeddings and residual sums: none, the bits are equal.
- norms: gamma(d / 2 + 5) |y|. The sum of d squares, under a root, and five more.
- products: gamma(blocks + 10) times the sum of the terms' magnitudes. The codes are the same
  integers, and so are their sums within a block (or within one of eight lanes of it); a term then
  meets at most three products, an addition for each block, and seven to join lanes and minima.
- rotations: llama.cpp multiplies up its angles in binary32, three roundings for each pair before
  (power, and product), so the angle t of pair i is off by 3 i u t; sines and cosines by 2 u.
- attention: scores by gamma(d) times their terms' magnitudes and the rounding of their distance
  to the largest, exponentials by 12 u together, sums over the n positions by gamma(n) each.
- SwiGLU: exponentials as above and four roundings. GEGLU: ggml reads its GELU from a table of
  binary16, so the gate is rounded to it before and after; only where GELU's own error of
  4 u |x| + 2 u |y| reaches across a boundary of binary16 may the two take neighbours.
"""

from dataclasses import dataclass

import numpy as np

from refquant.layout import Minifloat, field_codes, numbers
from refquant.runtime import blocks
from refquant.runtime.attention import attend
from refquant.runtime.decoder import embed
from refquant.runtime.linear import linear
from refquant.runtime.ops import GATES, gelu_tanh

U = 2.0**-24
ROWS = 1 << 14


def gamma(roundings):
    """What so many roundings in a row may add, relative to the magnitudes."""
    return roundings * U / (1 - roundings * U)


@dataclass(frozen=True)
class Operation:
    """One operation's results f32[t, n]: ours, llama.cpp's, and how far apart they may lie."""

    kind: str
    layer: int
    ours: np.ndarray
    theirs: np.ndarray
    bound: np.ndarray | float

    @property
    def stray(self):
        """The largest difference in units of its bound; infinite for one where none is allowed."""
        apart = np.abs(self.ours.astype(np.float64) - self.theirs)
        with np.errstate(invalid="ignore"):
            share = np.where(apart > 0, apart / self.bound, 0.0) if np.any(self.bound) else apart
        return float("inf") if np.isnan(share).any() else float(share.max() or 0)


def fields_of(tensor):
    """The fields of a tensor [n, k] of ggml's: integers, and floats as their values."""
    found = {}
    for name, field in tensor.layout.fields.items():
        codes = field_codes(tensor.layout, name, tensor.planes[field.plane], tensor.shape)
        real = isinstance(field.element, Minifloat)
        found[name] = numbers(codes, field.element) if real else codes.astype(np.int32)
    return found


def magnitudes(tensor, x):
    """The sums of the magnitudes of all terms of x times the rows of a tensor, f32[t, n]."""
    found, width = fields_of(tensor), tensor.shape[1]
    spread = {name: np.repeat(v, width // v.shape[1], axis=1) for name, v in found.items()}
    zero = {"ggml/q5_0": 16, "ggml/q6_k": 32}.get(tensor.scheme.name, 0)
    weights = np.abs((spread["q"] - zero) * spread.get("sc", 1) * spread["d"])
    # A code lies within half a step, amax / 254, of its number; its scale is off by 2**-11.
    size = 256 if tensor.scheme.name.endswith("k") else 32
    largest = np.abs(x).reshape(len(x), -1, size).max(axis=2)
    held = np.abs(x) + np.repeat(largest / 220, size, axis=1)
    sums = held @ weights.T.astype(np.float32)
    if "m" in found:
        sums += held @ np.abs(spread["m"]).T.astype(np.float32)
    if "mn" in found:
        sums += held @ np.abs(spread["mn"] * spread["dmin"]).T.astype(np.float32)
    return sums * (1 + 2 * gamma(width))


def product(kind, layer, x, matrix, tensors, theirs):
    """A product with matrices that read the same rows."""
    ours = linear(x, matrix)
    size = 256 if tensors[0].scheme.name.endswith("k") else 32
    sums = np.concatenate(
        [
            magnitudes(tensor.rows(start, min(start + ROWS, tensor.shape[0])), x)
            for tensor in tensors
            for start in range(0, tensor.shape[0], ROWS)
        ],
        axis=1,
    )
    return Operation(kind, layer, ours, theirs, 2 * gamma(x.shape[1] // size + 10) * sums)


def norm(layer, x, weights, theirs):
    """An RMS norm of vectors f32[..., d]; theirs f32[t, n]."""
    ours = blocks.normalize(x, weights).reshape(theirs.shape)
    bound = 2 * gamma(x.shape[-1] / 2 + 5) * np.abs(theirs)
    return Operation("norm", layer, ours, theirs, bound)


def rotation(layer, heads, rope, theirs):
    """Heads f32[t, h, d], turned by their positions' angles."""
    tokens, _, width = heads.shape
    ours = rope.turn(heads, rope.table(0, tokens)).reshape(theirs.shape)
    angles = np.arange(tokens)[:, None] * rope.frequencies
    off = (3 * np.arange(width // 2) * angles + 8) * U
    if rope.style == "interleaved":
        pairs = np.abs(heads).reshape(*heads.shape[:2], -1, 2).sum(axis=3)
        bound = np.repeat(off[:, None] * pairs, 2, axis=2)
    else:
        pairs = np.abs(heads[..., : width // 2]) + np.abs(heads[..., width // 2 :])
        bound = np.tile(off[:, None] * pairs, 2)
    return Operation("rotation", layer, ours, theirs, bound.reshape(theirs.shape))


def mixing(layer, queries, keys, values, sight, theirs):
    """Attention of queries f32[t, h, d] to keys and values f32[g, t, d]."""
    ours = attend(queries, keys, values, sight)
    tokens, heads, width = queries.shape
    bound = np.empty((tokens, heads, width))
    hidden = np.triu(np.full((tokens, tokens), -np.inf), 1)
    for head in range(heads):
        group = head * len(keys) // heads
        q, k = (one.astype(np.float64) for one in (queries[:, head], keys[group]))
        scores = q @ k.T / np.sqrt(sight.divisor)
        far = scores.max(axis=1, keepdims=True) - scores
        off = 2 * gamma(width) * (np.abs(q) @ np.abs(k).T) / np.sqrt(sight.divisor) + 2 * U * far
        off = np.where(hidden == 0, off, 0).max(axis=1, keepdims=True)
        weights = np.exp(scores + hidden - (scores + hidden).max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        share = np.expm1(2 * off) + (12 + 6) * U + 4 * gamma(tokens)
        bound[:, head] = share * (weights @ np.abs(values[group].astype(np.float64)))
    return Operation("attention", layer, ours, theirs, bound.reshape(theirs.shape))


def table_geglu(gate, up):
    """ggml's GEGLU: GELU from a table of binary16 between -10 and 10."""
    with np.errstate(over="ignore"):
        half = gate.astype(np.float16).astype(np.float32)
    bent = gelu_tanh(half.copy()).astype(np.float16).astype(np.float32)
    return np.where(gate <= -10, np.float32(0), np.where(gate >= 10, gate, bent)) * up


def gating(layer, activation, gate, up, theirs):
    """The gated vector of a network."""
    if activation == "silu":
        ours = GATES[activation](gate, up)
        return Operation("SwiGLU", layer, ours, theirs, (12 + 2 * 4) * U * np.abs(theirs))
    half = gate.astype(np.float16).astype(np.float64)
    bent = half / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (half + 0.044715 * half**3)))
    off = 4 * U * np.abs(half) + 2 * U * np.abs(bent)
    ends = [(bent + side).astype(np.float16).astype(np.float64) for side in (-off, off)]
    bound = (ends[1] - ends[0]) * np.abs(up) + 2 * U * np.abs(theirs)
    return Operation("GEGLU", layer, table_geglu(gate, up), theirs, bound)


class Taps:
    """What the worker saw of one text, and the model that computes it again."""

    def __init__(self, model, rows):
        self.model, self.rows = model, rows
        self.tensors = model.checkpoint.tensors

    def named(self, layer, *names):
        """The rows of the first of the names that this architecture has."""
        for name in names:
            found = self.rows.get(name.replace("#", str(layer)))
            if found is not None:
                return found
        raise KeyError(f"{names} of layer {layer}")

    def product(self, kind, layer, x, matrix, *names):
        """A product with matrices of a layer, stacked."""
        full = [f"blk.{layer}.{name}.weight" for name in names]
        theirs = np.concatenate([self.rows[name] for name in full], axis=1)
        return product(kind, layer, x, matrix, [self.tensors[name] for name in full], theirs)

    def operations(self, tokens):
        """All of them, in order."""
        network = self.model.network
        x = embed(np.array(tokens), network.embedding)
        if network.embedding_scale is not None:
            x = x * np.float32(network.embedding_scale)
        read = self.named(0, "SCALE inp_scaled", "GET_ROWS embd")
        yield Operation("embedding", 0, x, read, 0.0)
        for layer, block in enumerate(network.blocks):
            middle = yield from self.attention(layer, block, read)
            read = yield from self.feed_forward(layer, block, middle)
        last = self.rows["MUL result_norm"]
        yield norm(len(network.blocks), read, network.output_norm, last)
        output = self.tensors["token_embd.weight"]
        theirs = self.rows["token_embd.weight"]
        yield product("output", len(network.blocks), last, network.output, [output], theirs)

    def attention(self, layer, block, x):
        """The first half of a layer; gives llama.cpp's state behind it."""
        w, normal = block.attention, self.named(layer, "MUL attn_norm-#")
        yield norm(layer, x, block.attention_norm, normal)
        yield self.product(
            "query, key, value",
            layer,
            normal,
            w.query_key_value.matrix,
            "attn_q",
            "attn_k",
            "attn_v",
        )
        queries, keys, values = (
            self.rows[f"blk.{layer}.attn_{one}.weight"].reshape(len(x), count, -1)
            for one, count in zip("qkv", (w.heads, *[w.key_value_heads] * 2), strict=True)
        )
        if w.query_norm is not None:
            found = [self.named(layer, f"MUL {one}cur_normed-#") for one in "QK"]
            yield norm(layer, queries, w.query_norm, found[0])
            yield norm(layer, keys, w.key_norm, found[1])
            queries, keys = found[0].reshape(queries.shape), found[1].reshape(keys.shape)
        turned = [self.named(layer, f"ROPE {one}cur-#") for one in "QK"]
        yield rotation(layer, queries, w.rope, turned[0])
        yield rotation(layer, keys, w.rope, turned[1])
        queries, keys = turned[0].reshape(queries.shape), turned[1].reshape(keys.shape)
        by_group = [np.ascontiguousarray(one.swapaxes(0, 1)) for one in (keys, values)]
        mixed = self.named(layer, "CONT kqv_out-#")
        yield mixing(layer, queries, *by_group, w.sight, mixed)
        yield self.product("attention output", layer, mixed, w.output.matrix, "attn_output")
        inner = self.rows[f"blk.{layer}.attn_output.weight"]
        behind = self.named(layer, "ADD sa_out-#", "ADD ffn_inp-#")
        return (yield from self.added(layer, x, inner, block.attention_post_norm, "attn", behind))

    def feed_forward(self, layer, block, x):
        """The second half of a layer; gives llama.cpp's state behind it."""
        w, normal = block.feed_forward, self.named(layer, "MUL ffn_norm-#")
        yield norm(layer, x, block.feed_forward_norm, normal)
        matrix = w.gate_up.matrix
        yield self.product("gate, up", layer, normal, matrix, "ffn_gate", "ffn_up")
        gate, up = (self.rows[f"blk.{layer}.ffn_{one}.weight"] for one in ("gate", "up"))
        gated = self.named(layer, "GLU ffn_swiglu-#", "GLU ffn_geglu-#")
        yield gating(layer, w.activation, gate, up, gated)
        yield self.product("down", layer, gated, w.down.matrix, "ffn_down")
        inner = self.rows[f"blk.{layer}.ffn_down.weight"]
        behind = self.named(layer, "ADD l_out-#")
        return (yield from self.added(layer, x, inner, block.feed_forward_post_norm, "ffn", behind))

    def added(self, layer, x, inner, post_norm, part, behind):
        """What a half adds to the state, behind a norm of its own if there is one."""
        if post_norm is not None:
            normal = self.named(layer, f"MUL {part}_post_norm-#")
            yield norm(layer, inner, post_norm, normal)
            inner = normal
        yield Operation("sum", layer, x + inner, behind, 0.0)
        return behind
