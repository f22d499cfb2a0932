"""A llama in float16 or bfloat16: `precision_transformers.py FOLDER PRECISION TOKENS ANSWER`.

TOKENS is a JSON list of ids. The answer, an npz, holds what every layer and its matrices read and
wrote, under the names of `tests/narrow_oracle.py` with the layer's number before them (`0.q_in`),
and `normal` and `logits`. Attention is transformers' own, written out in torch (eager).
"""

import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

MODULES = {
    "self_attn.q_proj": ("q_in", "q"),
    "self_attn.k_proj": (None, "k"),
    "self_attn.v_proj": (None, "v"),
    "self_attn.o_proj": ("o_in", "o"),
    "mlp.gate_proj": ("up_in", "gate"),
    "mlp.up_proj": (None, "up"),
    "mlp.down_proj": ("down_in", "down"),
}


def numbers(x):
    return (x[0] if isinstance(x, tuple) else x).detach().float().numpy()[0].copy()


def main():
    folder, precision, tokens, answer = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, precision), attn_implementation="eager"
    ).eval()
    seen = {}

    def note(module, given, taken):
        def hook(_module, arguments, result):
            if given:
                seen[given] = numbers(arguments[0])
            seen[taken] = numbers(result)

        module.register_forward_hook(hook)

    def arrival(name):
        def hook(_module, arguments, keywords):
            states = arguments[0] if arguments else keywords["hidden_states"]
            seen[name] = numbers(states)

        return hook

    for number, layer in enumerate(model.model.layers):
        layer.register_forward_pre_hook(arrival(f"{number}.before"), with_kwargs=True)
        note(layer, None, f"{number}.after")
        for path, (given, taken) in MODULES.items():
            module = layer.get_submodule(path)
            note(module, given and f"{number}.{given}", f"{number}.{taken}")
    note(model.lm_head, "normal", "logits")
    with torch.no_grad():
        model(torch.tensor([json.loads(tokens)]))
    np.savez(answer, **seen)


if __name__ == "__main__":
    main()
