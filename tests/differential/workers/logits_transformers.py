"""Logits of transformers in float32 and of the formulas in float64, with bounds on their distance.

    python logits_transformers.py FOLDER

Runs in the environment of the `torch` oracle and imports nothing of refquant. FOLDER holds
`config.json` (what transformers' LlamaConfig takes, and `rope_style`), `tokens.npy` and one
`NAME.npy` in float32 for each tensor under our names. It writes `transformers.npz`:

    theirs      f32[t, v]  LlamaForCausalLM, eager attention, float32
    exact       f64[t, v]  the formulas of spec/arch/llama.md in float64
    first       i64[t]     the most probable next token, of `exact`
    second      i64[t]     the next one
    probable    f64[t]     bound on the float32 error of logit[first] - logit[second]; see below
    worst       f64[t]     the same if every rounding did its worst

**The bounds.** A float32 evaluation of the formulas rounds many times; rounding r is off by
delta_r c_r with |delta_r| <= u = 2**-24. To first order the logit difference m of a position is off
by sum over r of (dm / dy_r) delta_r c_r, where dm / dy_r, the adjoint of the rounded number, comes
out of one backward pass through the float64 network for each position. A sum of n products commits
n roundings of partial sums, each at most c = sum |x| |w|, in any order of additions.

    worst    = u sum_r |dm / dy_r| c_r                      no evaluation is farther off
    probable = LAMBDA u sqrt(sum_r (dm / dy_r)**2 c_r**2)   by Hoeffding's inequality

The second holds if roundings are independent with mean zero (the model of Higham and Mary, 2019),
with probability 1 - 2 exp(-LAMBDA**2 / 2) a position. Errors of the rotation's table are shared by
all layers and heads, so they enter at the table, in the size that float32 angles have. Products of
two errors are left out: they are smaller by a factor of about 1e-4.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

U = 2.0**-24
LAMBDA = 6.0
# float32 exp within 4 units in the last place, that is 8 u, whoever computes it.
EXP = 8.0
# A float32 angle position * theta ** (-2 i / d) carries the power's and the product's rounding,
# and up to 32 more where the power is built by repeated multiplication.
ANGLE = 40.0


class Exact:
    """No marks: the formulas alone."""

    def at(self, y, _reach, **_roundings):
        """`y` as it is."""
        return y


class Errors:
    """Where float32 rounds: `at` marks a number, `bounds` turns adjoints into bounds."""

    def __init__(self):
        self.places, self.worst, self.squares = [], [], []

    def forget(self, count):
        """Keep only the first `count` marks."""
        for kept in (self.places, self.worst, self.squares):
            del kept[count:]

    def at(self, y, reach, *, worst, squares=None):
        """`y` with room for `worst` roundings of size `reach` u; `squares` if they are unequal."""
        place = torch.zeros_like(y, requires_grad=True)
        self.places.append(place)
        reach = reach.detach().expand_as(y)
        self.worst.append(worst * reach)
        self.squares.append((worst if squares is None else squares) * reach**2)
        return y + place

    def bounds(self, scalar):
        """(probable, worst) for one number that the network computed."""
        adjoints = torch.autograd.grad(scalar, self.places, retain_graph=True, allow_unused=True)
        square = worst = 0.0
        for adjoint, one, other in zip(adjoints, self.worst, self.squares, strict=True):
            if adjoint is not None:
                worst += float(adjoint.abs().flatten() @ one.flatten())
                square += float(adjoint.square().flatten() @ other.flatten())
        return LAMBDA * U * math.sqrt(square), U * worst


class Network:
    """The formulas, one function each, every float32 rounding marked through `errors.at`."""

    def __init__(self, config, tensors, number, errors):
        self.config, self.number, self.errors = config, number, errors
        self.tensors = {name: torch.from_numpy(x).to(number) for name, x in tensors.items()}

    def forward(self, tokens):
        """tokens i64[t] -> the last layer's normalised states [t, d]."""
        x = self.tensors["token_embd.weight"][tokens]
        table = self.rope_table(len(tokens))
        for layer in range(self.config["num_hidden_layers"]):
            block = f"blk.{layer}."
            x = self.add(x, self.attention(self.norm(x, f"{block}attn_norm.weight"), block, table))
            x = self.add(x, self.feed_forward(self.norm(x, f"{block}ffn_norm.weight"), block))
        return self.norm(x, "output_norm.weight")

    def logits(self, states, rows=None):
        """Products with the output matrix, or with some of its rows."""
        name = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        matrix = self.tensors[name]
        return self.linear(states, matrix if rows is None else matrix[rows])

    def add(self, x, y):
        whole = x + y
        return self.errors.at(whole, whole.abs(), worst=1)

    def linear(self, x, w):
        y, reach = x @ w.T, x.detach().abs() @ w.abs().T
        return self.errors.at(y, reach, worst=x.shape[-1])

    def norm(self, x, name):
        square = (x * x).mean(-1, keepdim=True)
        square = self.errors.at(square, square, worst=x.shape[-1] + 2)
        y = x / (square + self.config["rms_norm_eps"]).sqrt() * self.tensors[name]
        return self.errors.at(y, y.abs(), worst=4)

    def rope_table(self, length):
        width = self.config["head_dim"]
        powers = self.config["rope_theta"] ** (
            -torch.arange(0, width, 2, dtype=torch.float64) / width
        )
        angles = torch.arange(length, dtype=torch.float64)[:, None] * powers
        reach = (ANGLE * angles + 4).to(self.number)
        parts = (angles.cos().to(self.number), angles.sin().to(self.number))
        return tuple(self.errors.at(part, reach, worst=1) for part in parts)

    def rotate(self, x, table):
        """x [t, h, d]."""
        cosine, sine = (part[:, None, :] for part in table)
        if self.config["rope_style"] == "interleaved":
            a, b = x[..., 0::2], x[..., 1::2]
        else:
            a, b = x.chunk(2, dim=-1)
        first, second = a * cosine - b * sine, b * cosine + a * sine
        reach = [(p * cosine).abs() + (q * sine).abs() for p, q in ((a, b), (b, a))]
        first = self.errors.at(first, reach[0], worst=3)
        second = self.errors.at(second, reach[1], worst=3)
        # Every head's order of elements is its own affair, as long as queries and keys share it.
        return torch.cat([first, second], dim=-1)

    def heads(self, x, name):
        return self.linear(x, self.tensors[name]).unflatten(-1, (-1, self.config["head_dim"]))

    def attention(self, x, block, table):
        q, k, v = (self.heads(x, f"{block}attn_{part}.weight") for part in "qkv")
        per_key = q.shape[1] // k.shape[1]
        q, k = self.rotate(q, table).transpose(0, 1), self.rotate(k, table).transpose(0, 1)
        k, v = (part.repeat_interleave(per_key, 0) for part in (k, v.transpose(0, 1)))
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        reach = q.abs() @ k.abs().transpose(1, 2) / math.sqrt(q.shape[-1])
        scores = self.errors.at(scores, reach, worst=q.shape[-1] + 2)
        mixed = self.mix(scores, v).transpose(0, 1).flatten(1)
        return self.linear(mixed, self.tensors[f"{block}attn_output.weight"])

    def mix(self, scores, v):
        length = scores.shape[-1]
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        largest = scores.detach().masked_fill(hidden, -math.inf).amax(-1, keepdim=True)
        shifted = (scores - largest).masked_fill(hidden, 0.0)
        shifted = self.errors.at(shifted, shifted.abs(), worst=1)
        powers = shifted.exp().masked_fill(hidden, 0.0)
        powers = self.errors.at(powers, powers, worst=EXP, squares=EXP**2)
        whole = powers.sum(-1, keepdim=True)
        weights = powers / self.errors.at(whole, whole, worst=length)
        weights = self.errors.at(weights, weights, worst=1)
        return self.errors.at(weights @ v, weights.detach() @ v.detach().abs(), worst=length)

    def feed_forward(self, x, block):
        gate = self.linear(x, self.tensors[f"{block}ffn_gate.weight"])
        up = self.linear(x, self.tensors[f"{block}ffn_up.weight"])
        gated = torch.nn.functional.silu(gate) * up
        # exp, one more than it, the quotient, the product.
        gated = self.errors.at(gated, gated.abs(), worst=EXP + 3, squares=EXP**2 + 3)
        return self.linear(gated, self.tensors[f"{block}ffn_down.weight"])


def measure(config, tensors, tokens):
    """exact, first, second, probable, worst of the module's docstring."""
    network = Network(config, tensors, torch.float64, Exact())
    with torch.no_grad():
        exact = network.logits(network.forward(tokens))
    first, second = exact.topk(2).indices.T
    # Adjoints are needed to two digits, which float32 gives in half the time.
    network = Network(config, tensors, torch.float32, Errors())
    states, marks = network.forward(tokens), len(network.errors.places)
    bounds = []
    for place in range(len(tokens)):
        rows = torch.stack([first[place], second[place]])
        pair = network.logits(states[place : place + 1], rows)[0]
        bounds.append(network.errors.bounds(pair[0] - pair[1]))
        network.errors.forget(marks)
    probable, worst = np.array(bounds).T
    return {
        "exact": exact.numpy(),
        "first": first.numpy(),
        "second": second.numpy(),
        "probable": probable,
        "worst": worst,
    }


def halves(rows, heads):
    """Rows of queries or keys whose neighbours rotate together, reordered for transformers."""
    parts = rows.reshape(heads, -1, 2, rows.shape[1])
    return np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(rows.shape)


def transformers_logits(config, tensors, names, tokens):
    """f32[t, v] of LlamaForCausalLM, with `names` from its own tensor names to ours."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    style = config.pop("rope_style")
    state = {}
    for theirs, ours in names.items():
        kind = ours.split(".")[-2]
        tensor = tensors[ours]
        if style == "interleaved" and kind in heads:
            tensor = halves(tensor, heads[kind])
        state[theirs] = torch.from_numpy(tensor)
    model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager")).float().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    model.tie_weights()
    with torch.no_grad():
        return model(tokens[None]).logits[0].numpy()


def main():
    """Read FOLDER, compute, write."""
    # More threads wait for each other in many small operations than they save.
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    names = json.loads((folder / "names.json").read_text())
    tensors = {ours: np.load(folder / f"{ours}.npy") for ours in names.values()}
    tokens = torch.from_numpy(np.load(folder / "tokens.npy"))
    results = measure(config, tensors, tokens)
    results["theirs"] = transformers_logits(config, tensors, names, tokens)
    np.savez(folder / "transformers.npz", **results)


if __name__ == "__main__":
    main()
