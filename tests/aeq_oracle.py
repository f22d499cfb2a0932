"""Asking AI Edge Quantizer: one worker process for any number of schemes and tensors."""

import json
import subprocess
from pathlib import Path

import numpy as np

import refquant
from refquant.layout import field_codes, numbers

__all__ = ["ask", "ask_values", "codes_and_parameters", "setting_of"]

WORKER = Path(__file__).parent / "differential" / "workers" / "aeq_worker.py"


def setting_of(name):
    """What the worker must be told to compute a scheme."""
    scheme = refquant.scheme(name)
    share = scheme.parameters["granularity"]
    size = f"_{scheme.parameters['block']}" if share == "block" else ""
    return {
        "bits": scheme.layout.fields["q"].element.bits,
        "symmetric": scheme.parameters["symmetry"] == "sym",
        "granularity": f"{share.upper()}WISE" + size,
        "algorithm": scheme.parameters.get("algorithm", "minmax"),
    }


def ask_values(python, folder, tensors):
    """The values of each tensor's codes and parameters."""
    given = {}
    for number, tensor in enumerate(tensors):
        parts = codes_and_parameters(tensor)
        parts.setdefault("zero_point", np.zeros(parts["scale"].shape, np.int8))
        if tensor.scheme.parameters["granularity"] == "channel":
            parts |= {part: parts[part].reshape(-1) for part in ("scale", "zero_point")}
        elif tensor.scheme.parameters["granularity"] == "tensor":
            parts |= {part: parts[part].reshape(1, 1) for part in ("scale", "zero_point")}
        given |= {f"{number}.{part}": array for part, array in parts.items()}
    settings = [setting_of(tensor.scheme.name) for tensor in tensors]
    return [found["values"] for found in answers_of(python, folder, settings, given)]


def ask(python, folder, settings, x):  # settings, f32[tensors, rows, columns]
    """One answer for each setting: arrays with an axis for the tensors, by name."""
    return answers_of(python, folder, settings, {"x": x})


def answers_of(python, folder, settings, arrays):
    """One answer for each setting, by name."""
    request, answer = folder / "request.npz", folder / "answer.npz"
    np.savez(request, settings=json.dumps(settings), **arrays)
    subprocess.run([python, WORKER, request, answer], check=True, capture_output=True)
    with np.load(answer) as found:
        arrays = dict(found)
    return [
        {
            key.partition(".")[2]: array
            for key, array in arrays.items()
            if key.partition(".")[0] == str(number)
        }
        for number in range(len(settings))
    ]


def codes_and_parameters(tensor):
    """Codes, scales and zero points (where there are any) as the worker names them."""
    layout = tensor.layout
    found = {
        name: field_codes(layout, name, tensor.planes[declared.plane], tensor.shape)
        for name, declared in layout.fields.items()
    }
    answer = {"codes": found["q"], "scale": numbers(found["s"], layout.fields["s"].element)}
    return answer | ({"zero_point": found["z"]} if "z" in found else {})
