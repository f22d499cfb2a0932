"""The suite put to every engine that is there: `make matrix`.

    python tools/matrix.py              run all, write conformance/matrix.json and matrix.html
    python tools/matrix.py mlx torch    run these alone and print, write nothing
    python tools/matrix.py --build      build the environments that are missing first

An engine is an adapter of `conformance/engines` and the interpreter that has its package: this one,
or an environment of `tools/oracles.py`. One that is not there is listed with the reason.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import oracles
from matrix_page import page

from refquant.conformance.line_engine import LineEngine
from refquant.conformance.packs import Case
from refquant.conformance.replies import Limits
from refquant.conformance.results import BAD, CaseResult, Report
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import Selection, find_suite, select
from refquant.errors import ConformanceError

__all__ = ["ENGINES", "Adapter", "measured"]

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
    "gguf_py": Adapter("gguf_py.py"),
    "ggml": Adapter("ggml_c.py", "ggml"),
    "llama_cpp": Adapter("ggml_c.py", "llama"),
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


def measured(name: str, chosen: Selection) -> dict[str, Any]:
    """What became of the suite under one engine."""
    reason = ENGINES[name].missing()
    if reason:
        return {"id": name, "absent": reason}
    suite = Options(
        chosen.suite.suite,
        chosen.sha256,
        chosen.expected,
        selected=chosen.partial,
        limits=Limits(scale=6.0),
        root=chosen.root,
    )
    try:
        report = run(LineEngine(ENGINES[name].started(), suite.limits), chosen.packs, suite)
    except ConformanceError as error:
        return {"id": name, "absent": str(error).splitlines()[0]}
    cases = {case.id: case for pack in chosen.packs for case in pack.cases}
    return {
        "id": name,
        **{key: report.engine[key] for key in ("name", "version", "language")},
        "environment": ENGINES[name].environment(),
        "command": ENGINES[name].command(),
        "counts": report.counts,
        "problems": list(report.problems),
        "features": _features(report, cases),
        "deviations": list(_deviations(name, report, cases)),
    }


def _features(report: Report, cases: Mapping[str, Case]) -> dict[str, list[int]]:
    """Cases that passed and that were asked, by feature."""
    found: dict[str, list[int]] = {}
    for one in report.results:
        if one.result != "unsupported":
            counts = found.setdefault(cases[one.id].features[0], [0, 0])
            counts[0] += one.result == "pass"
            counts[1] += 1
    return dict(sorted(found.items()))


def _deviations(name: str, report: Report, cases: Mapping[str, Case]) -> Iterator[dict[str, Any]]:
    """What is known of the cases that failed, each with its smallest case."""
    known = tomllib.loads((ADAPTERS / "deviations.toml").read_text("utf-8"))["deviation"]
    bad = [one for one in report.results if one.result in BAD]
    for entry in known:
        matching = [one for one in bad if entry["engine"] == name and _among(one, entry["cases"])]
        if matching:
            bad = [one for one in bad if one not in matching]
            yield _entry(name, entry, matching, cases)
    for one in bad:
        yield _entry(name, {"clause": "", "kind": "unexplained", "why": one.why}, [one], cases)


def _among(one: CaseResult, patterns: list[str]) -> bool:
    return any(fnmatchcase(one.id, pattern) for pattern in patterns)


def _entry(
    name: str, entry: Mapping[str, Any], failed: list[CaseResult], cases: Mapping[str, Case]
) -> dict[str, Any]:
    def size(one: CaseResult) -> int:
        return sum(array.len + len(array.hex) // 2 for array in cases[one.id].inputs)

    least = min(failed, key=lambda one: (size(one), one.id))
    cited = f"{least.id}@{least.digest}"
    return {
        "kind": entry["kind"],
        "clause": entry["clause"],
        "why": entry["why"],
        "cases": len(failed),
        "features": sorted({cases[one.id].features[0] for one in failed}),
        "smallest": cited,
        "detail": least.detail.partition(";")[0],
        "replay": f"refquant conformance replay {cited} --engine '{ENGINES[name].command()}'",
    }


def _machine() -> dict[str, str]:
    """Where the engines ran."""
    libc = " ".join(platform.libc_ver()).strip()
    return {"Run on": f"{platform.system()} {platform.machine()}", "with": libc or "its own libc"}


def _schemes(chosen: Selection) -> dict[str, str]:
    """The names of schemes by the ends of the features that speak of them."""
    cases = [case for pack in chosen.packs for case in pack.cases if "scheme" in case.params]
    return {
        case.features[0].partition(".")[2]: str(case.params["scheme"])
        for case in sorted(cases, key=lambda case: case.id)
    }


def main() -> int:
    """Run, print, and write unless only some were named."""
    parser = argparse.ArgumentParser(description="the suite put to every engine that is there")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--build", action="store_true", help="build missing environments first")
    arguments = parser.parse_args()
    names = arguments.names
    if unknown := set(names) - set(ENGINES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(ENGINES)}")
    if arguments.build:
        build_missing(names or ENGINES)
    chosen = select(find_suite(None))
    engines = []
    for name in names or ENGINES:
        one = measured(name, chosen)
        counts = ", ".join(f"{n} {what}" for what, n in one.get("counts", {}).items())
        print(f"{name}: {one.get('absent') or counts}", flush=True)
        for deviation in one.get("deviations", ()):
            print(f"  {deviation['kind']}: {deviation['why']}\n    {deviation['replay']}")
        engines.append(one)
    if not names:
        found = {
            "schema": "refquant.matrix/1",
            "suite": chosen.suite.suite,
            "suite_sha256": chosen.sha256,
            "environment": _machine(),
            "schemes": _schemes(chosen),
            "engines": engines,
        }
        folder = ROOT / "conformance"
        (folder / "matrix.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        (folder / "matrix.html").write_text(page(found), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
