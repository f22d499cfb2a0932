"""What every operation of llama.cpp gives while it writes the most probable tokens.

    python taps_llama_cpp.py MODEL.gguf PROMPTS.json FOLDER

Runs in the environment of the `llama` oracle and imports nothing of refquant. PROMPTS holds pairs
of token ids: a prompt, and what is read after it, one token at a time. FOLDER gets one npz for each
pair, with a row for each token. A product with a matrix has the matrix's name, another operation
its kind and its own name: `blk.0.attn_q.weight`, `ROPE Qcur-0`. Keys and values are cached in
float32 and attention is the plain one, so that the only narrow numbers are those of the products.
"""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np

SHOWN = ("ADD", "CONT", "GET_ROWS", "GLU", "MUL", "MUL_MAT", "ROPE", "SCALE")


class Tensor(ctypes.Structure):
    """`struct ggml_tensor` of ggml 0.25."""


Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10),
    ("view_src", ctypes.POINTER(Tensor)),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]

base = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
base.ggml_op_name.restype = ctypes.c_char_p


class Taps:
    """Collects rows by name; give `callback` to a context."""

    def __init__(self):
        self.rows, self.tokens = {}, 0
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self.see)

    def see(self, pointer, asking, _):
        """Ask for every operation, and keep a copy of those that are shown."""
        tensor = ctypes.cast(pointer, ctypes.POINTER(Tensor)).contents
        kind, name = base.ggml_op_name(tensor.op).decode(), tensor.name.decode()
        if asking or kind not in SHOWN or tensor.type != llama_cpp.GGML_TYPE_F32:
            return True
        if kind == "MUL_MAT":
            matrix = tensor.src[0].contents.name.decode()
            if not matrix.endswith(".weight"):  # products of attention
                return True
            name = matrix
        else:
            name = f"{kind} {name}"
        count = int(np.prod(tensor.ne))
        assert tensor.nb[3] * tensor.ne[3] == 4 * count, f"{name} is not contiguous"
        numbers = ctypes.cast(tensor.data, ctypes.POINTER(ctypes.c_float))
        values = np.ctypeslib.as_array(numbers, (count,)).reshape(self.tokens, -1)
        self.rows.setdefault(name, []).append(values.copy())
        return True


def main():
    """Load the model with the taps, read every pair, write what was seen."""
    path, asked, folder = sys.argv[1:]
    taps, plain = Taps(), llama_cpp.llama_cpp.llama_context_default_params

    def with_taps():
        parameters = plain()
        parameters.cb_eval = taps.callback
        return parameters

    llama_cpp.llama_cpp.llama_context_default_params = with_taps
    model = llama_cpp.Llama(
        model_path=path,
        n_ctx=512,
        n_batch=512,
        n_threads=1,
        n_threads_batch=1,
        n_gpu_layers=0,
        logits_all=True,
        flash_attn=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        verbose=False,
    )
    for index, (prompt, more) in enumerate(json.loads(Path(asked).read_text())):
        model.reset()
        taps.rows.clear()
        for tokens in (prompt, *([token] for token in more)):
            taps.tokens = len(tokens)
            model.eval(tokens)
        found = {name: np.concatenate(rows) for name, rows in taps.rows.items()}
        np.savez(Path(folder) / f"{index}.npz", **found)


if __name__ == "__main__":
    main()
