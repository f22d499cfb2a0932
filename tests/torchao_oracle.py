"""Asking torchao, and torch for torchchat's formulas: one worker process for many schemes."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from refquant.layout import field_codes, numbers

__all__ = ["ask", "ask_values", "codes_and_parameters", "offset_of", "worker"]

WORKER = Path(__file__).parent / "differential" / "workers" / "torchao_worker.py"


def kind_of(scheme):
    """Which of the worker's functions computes a scheme."""
    if scheme.name.startswith("torchao/int4_tinygemm"):
        return "tinygemm"
    return "torchchat" if scheme.name.startswith("torchchat/") else "affine"


def offset_of(scheme):
    """What is added to codes of a scheme where they are stored."""
    if scheme.name.startswith("torchao/int1["):
        return 1
    return 8 if scheme.name.startswith("torchchat/embedding[bits=4") else 0


@contextmanager
def worker(python):
    """A process that answers until the block ends."""
    command = [python, WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.stdin.close()


def ask(process, folder, scheme, x):
    """Codes, scales, zero points (or real offsets) and values, all in plain dtypes."""
    return answer_of(process, folder, scheme, x.shape[1], x=x)


def ask_values(process, folder, tensor):
    """The values of a tensor's codes and parameters."""
    width = tensor.shape[1]
    given = codes_and_parameters(tensor)
    return answer_of(process, folder, tensor.scheme, width, **given)["values"]


def answer_of(process, folder, scheme, width, **arrays):
    """What the worker makes of arrays."""
    request, answer = folder / "request.npz", folder / "answer.npz"
    settings = {"bits": scheme.layout.fields["q"].element.bits, **scheme.parameters}
    if settings.get("granularity") == "channel":
        settings["group"] = width
    # The knob `scale` would take the name of the scales.
    settings["storage"] = settings.pop("scale", "f32")
    np.savez(request, kind=kind_of(scheme), **settings, **arrays)
    process.stdin.write(f"{request}\t{answer}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "written\n", "the worker has ended; see its messages"
    with np.load(answer) as found:
        return dict(found)


def codes_and_parameters(tensor):
    """What a tensor stores, named and numbered as in the worker's answers."""
    layout, offset = tensor.layout, offset_of(tensor.scheme)
    found = {
        name: field_codes(layout, name, tensor.planes[declared.plane], tensor.shape)
        for name, declared in layout.fields.items()
    }
    answer = {
        "codes": found["q"].astype(np.int32) - offset,
        "scale": numbers(found["s"], layout.fields["s"].element),
    }
    if "z" in found:
        shift = offset if layout.fields["z"].element.bits == 1 else 0
        with np.errstate(invalid="ignore"):
            answer["zero_point"] = numbers(found["z"], layout.fields["z"].element) - shift
    return answer
