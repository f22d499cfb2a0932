"""Rates of a llama in torch: `python torch_rates.py WEIGHTS.npz THREADS PROMPT TOKENS REPEATS`.

The usual eager modules in float32 with a cache of keys and values, written out: fused attention,
no graph, nothing beside the model itself in a token's time. Runs in the environment of the `torch`
oracle and prints one JSON object, as `llama_cpp_rates.py` does. The archive holds tensors by their
GGUF names and the numbers of the architecture in `fields`.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu


class Llama:
    """The forward pass, and the keys and values so far."""

    def __init__(self, path: str, capacity: int) -> None:
        archive = np.load(path)
        self.fields = json.loads(str(archive["fields"]))
        self.weights = {
            name: torch.from_numpy(archive[name]) for name in archive.files if name != "fields"
        }
        fields = self.fields
        pairs = torch.arange(0, fields["head_width"], 2, dtype=torch.float64)
        turns = fields["rope_theta"] ** (-pairs / fields["head_width"])
        angles = torch.arange(capacity, dtype=torch.float64)[:, None] * turns
        self.table = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        shape = (fields["layers"], fields["key_value_heads"], capacity, fields["head_width"])
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.length = 0

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        """Pairs of neighbours of [heads, t, d] turned by their positions."""
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        turned = pairs * self.table[self.length : self.length + x.shape[1]]
        return torch.view_as_real(turned).reshape(x.shape)

    def attention(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """One layer's attention."""
        weights, fields = self.weights, self.fields
        name, count = f"blk.{layer}.attn_", len(x)
        heads, groups = fields["heads"], fields["key_value_heads"]
        split = (count, -1, fields["head_width"])
        queries = linear(x, weights[f"{name}q.weight"]).view(split).transpose(0, 1)
        keys = linear(x, weights[f"{name}k.weight"]).view(split).transpose(0, 1)
        values = linear(x, weights[f"{name}v.weight"]).view(split).transpose(0, 1)
        stop = self.length + count
        self.keys[layer, :, self.length : stop] = self.turned(keys)
        self.values[layer, :, self.length : stop] = values
        mixed = scaled_dot_product_attention(
            self.turned(queries)[None],
            self.keys[layer, :, :stop].repeat_interleave(heads // groups, 0)[None],
            self.values[layer, :, :stop].repeat_interleave(heads // groups, 0)[None],
            is_causal=count > 1,
        )
        return linear(mixed[0].transpose(0, 1).reshape(count, -1), weights[f"{name}output.weight"])

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits after the last of the tokens."""
        weights, epsilon = self.weights, self.fields["norm_epsilon"]
        width = (self.fields["width"],)
        x = weights["token_embd.weight"][tokens]
        for layer in range(self.fields["layers"]):
            name = f"blk.{layer}."
            normal = rms_norm(x, width, weights[f"{name}attn_norm.weight"], epsilon)
            x = x + self.attention(layer, normal)
            normal = rms_norm(x, width, weights[f"{name}ffn_norm.weight"], epsilon)
            gate = silu(linear(normal, weights[f"{name}ffn_gate.weight"]))
            up = linear(normal, weights[f"{name}ffn_up.weight"])
            x = x + linear(gate * up, weights[f"{name}ffn_down.weight"])
        self.length += len(tokens)
        x = rms_norm(x[-1:], width, weights["output_norm.weight"], epsilon)
        return linear(x, weights.get("output.weight", weights["token_embd.weight"]))[0]


def main() -> None:
    """Measure one model."""
    path, *numbers = sys.argv[1:]
    threads, count, tokens, repeats = map(int, numbers)
    torch.set_num_threads(threads)
    prompt = torch.tensor([(37 * place + 11) % 40000 + 100 for place in range(count)])
    model = Llama(path, count + tokens)
    prefills, steps = [], []
    with torch.inference_mode():
        for _ in range(repeats):
            model.length = 0
            began = time.perf_counter()
            token = model(prompt).argmax()
            prefills.append(time.perf_counter() - began)
            for _ in range(tokens):
                began = time.perf_counter()
                token = model(token[None]).argmax()
                steps.append(time.perf_counter() - began)
    found = {"prefill": count / statistics.median(prefills), "decode": 1 / statistics.median(steps)}
    print(json.dumps(found | {"first": int(token)}))


if __name__ == "__main__":
    main()
