"""ggml's encoders and decoders in C, from whichever package of the environment brings them."""

from importlib.metadata import version

import numpy as np
from ggml_library import Rows, base_library, distribution, version_of
from protocol import Table, both, serve

TYPES = {
    "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q8_1": 9, "q2_k": 10, "q3_k": 11,
    "q4_k": 12, "q5_k": 13, "q6_k": 14, "q8_k": 15, "iq2_xxs": 16, "iq2_xs": 17, "iq3_xxs": 18,
    "iq1_s": 19, "iq4_nl": 20, "iq3_s": 21, "iq2_s": 22, "iq4_xs": 23, "iq1_m": 29, "tq1_0": 34,
    "tq2_0": 35, "mxfp4": 39, "nvfp4": 40, "q1_0": 41, "q2_0": 42,
}  # fmt: skip
SINCE = {"nvfp4": (0, 13), "q1_0": (0, 13), "q2_0": (0, 25)}
"""The first versions met here that have these types; those before know nothing of their numbers."""

DECODED_ONLY = {"iq2_xxs", "iq2_xs", "iq3_xxs", "iq1_s", "iq3_s", "iq2_s", "iq1_m"}
ACTIVATIONS = {"q8_1", "q8_k"}


def main() -> None:
    base, package = base_library(), distribution()
    known = tuple(map(int, version_of(base).split(".")))
    table: Table = {}
    for name, kind in TYPES.items():
        if known < SINCE.get(name, ()):
            continue
        traits = base.ggml_get_type_traits(kind).contents

        def decode(planes, shape, traits=traits, name=name):
            data, values = np.ascontiguousarray(planes["blocks"]), np.zeros(shape, np.float32)
            symbol = f"dequantize_row_{name.replace('_k', '_K')}"
            run = Rows(traits.to_float) if traits.to_float else Rows((symbol, base))
            run(data.ctypes.data, values.ctypes.data, values.size)
            return values

        def encode(x, importance, traits=traits, kind=kind, name=name):
            x = np.ascontiguousarray(x)
            blocks = np.zeros(x.size // traits.blck_size * traits.type_size, np.uint8)
            if name in ACTIVATIONS:
                symbol = f"quantize_row_{name.replace('_k', '_K')}_ref"
                Rows((symbol, base))(x.ctypes.data, blocks.ctypes.data, x.size)
                return {"blocks": blocks}
            weights = None if importance is None else np.ascontiguousarray(importance)
            base.ggml_quantize_chunk(
                kind, x.ctypes.data, blocks.ctypes.data, 0, len(x), x.shape[1],
                None if weights is None else weights.ctypes.data,
            )  # fmt: skip
            return {"blocks": blocks}

        has_decode = bool(traits.to_float) or name == "q8_k"
        both(
            table,
            f"ggml/{name}",
            decode if has_decode else None,
            None if name in DECODED_ONLY else encode,
        )
    serve("ggml", f"{version_of(base)} ({package} {version(package)})", "C", table)


if __name__ == "__main__":
    main()
