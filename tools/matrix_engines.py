"""The engines of `make matrix`: an adapter each, and the environment that runs it."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import oracles

__all__ = ["ADAPTERS", "ENGINES", "ROOT", "Adapter", "build_missing"]

ROOT = Path(__file__).resolve().parent.parent
ADAPTERS = ROOT / "conformance" / "engines"


@dataclass(frozen=True)
class Adapter:
    """A file of `conformance/engines`, its arguments, and the oracle whose interpreter runs it.

    With `npm`, a package and its version, the file is run by Node, and the package is installed
    into the folder of the oracle when it is first asked for.
    """

    file: str
    oracle: str = ""
    npm: str = ""

    def command(self) -> str:
        """What starts it from the root of the repository."""
        if self.npm:
            modules = _nearby(oracles.folder() / self.oracle / "node_modules")
            return f"env REFQUANT_NODE_MODULES={modules} node conformance/engines/{self.file}"
        python = _nearby(oracles.python_of(self.oracle)) if self.oracle else ".venv/bin/python"
        return f"{python} conformance/engines/{self.file}"

    def started(self) -> str:
        """What starts it from anywhere."""
        if self.npm:
            modules = oracles.folder() / self.oracle / "node_modules"
            return f"env REFQUANT_NODE_MODULES={modules} node {ADAPTERS}/{self.file}"
        python = oracles.python_of(self.oracle) if self.oracle else Path(sys.executable)
        return f"{python} {ADAPTERS}/{self.file}"

    def environment(self) -> str:
        """What it runs in: the versions of the interpreter and of NumPy."""
        if self.npm:
            return f"Node {_said(['node', '--version']).removeprefix('v')}"
        code = (
            "import platform, numpy; "
            "print(platform.python_implementation(), platform.python_version() + ',', "
            "'NumPy', numpy.__version__)"
        )
        return _said([self.started().split()[0], "-c", code])

    def missing(self) -> str:
        """Why it cannot be run, or an empty text."""
        if self.npm:
            return self._install()
        return oracles.why_not(self.oracle) if self.oracle else ""

    def _install(self) -> str:
        """Install the package of npm where it is missing; why that cannot be, or an empty text."""
        place = oracles.folder() / self.oracle
        if (place / "node_modules" / self.npm.rpartition("@")[0]).is_dir():
            return ""
        if not shutil.which("npm"):
            return f"npm is not on this machine; {self.npm} needs it"
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--ignore-scripts", "--no-save", "--prefix", str(place)]
        done = subprocess.run([*command, self.npm], capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else f"npm: {done.stderr.strip().splitlines()[-1]}"


def _nearby(path: Path) -> Path:
    """A path as it is written from the root of the repository."""
    whole = path.absolute()
    return whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else whole


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


ENGINES = {
    "gguf_py_0_10": Adapter("gguf_py.py", "gguf_0_10"),
    "gguf_py": Adapter("gguf_py.py"),
    "ggml_0_9": Adapter("ggml_c.py", "ggml_0_9"),
    "ggml_0_13": Adapter("ggml_c.py", "ggml_0_13"),
    "ggml": Adapter("ggml_c.py", "ggml"),
    "llama_cpp": Adapter("ggml_c.py", "llama"),
    "tinygrad": Adapter("tinygrad_engine.py", "tinygrad"),
    "ml_dtypes": Adapter("ml_dtypes_engine.py"),
    "torch": Adapter("torch_engine.py", "torchao"),
    "torchao": Adapter("torchao_engine.py", "torchao"),
    "bitsandbytes": Adapter("bitsandbytes_engine.py", "bnb"),
    "quanto": Adapter("quanto_engine.py", "quanto"),
    "compressed_tensors": Adapter("ct_engine.py", "ct"),
    "mlx_0_32_0": Adapter("mlx_engine.py", "mlx_0_32_0"),
    "mlx": Adapter("mlx_engine.py", "mlx"),
    "onnx": Adapter("onnx_engine.py reference", "onnx"),
    "onnxruntime": Adapter("onnx_engine.py runtime", "onnx"),
    "openvino": Adapter("openvino_engine.py", "openvino"),
    "litert": Adapter("litert_engine.py builtin", "aeq"),
    "litert_reference": Adapter("litert_engine.py reference", "aeq"),
    "tract": Adapter("tract_engine.py", "tract"),
    "onnxruntime_web": Adapter(
        "onnxruntime_web.mjs", "onnxruntime_web", npm="onnxruntime-web@1.30.0"
    ),
    "safetensors": Adapter("safetensors_engine.py"),
}


def build_missing(names: Iterable[str]) -> None:
    """Build the environments of these engines that are not there; what fails is said by its run."""
    wanted = {ENGINES[name].oracle for name in names} & set(oracles.ORACLES)
    for oracle in sorted(wanted, key=lambda one: oracles.ORACLES[one].minutes):
        if oracles.why_not(oracle):
            oracles.build(oracle)
