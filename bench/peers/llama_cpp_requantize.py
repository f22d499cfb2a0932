"""Another scheme for a GGUF file: `python llama_cpp_requantize.py FROM.gguf TO.gguf FTYPE`.

Runs in the environment of the `llama` oracle. FTYPE is a name such as MOSTLY_Q4_0.
"""

import sys

import llama_cpp


def main() -> None:
    """Requantize one file."""
    source, target, name = sys.argv[1:]
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{name}")
    options.allow_requantize = True
    status = llama_cpp.llama_model_quantize(source.encode(), target.encode(), options)
    if status != 0:
        raise SystemExit(f"llama.cpp refused {name}: status {status}")


if __name__ == "__main__":
    main()
