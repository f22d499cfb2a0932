"""Writing text with SmolLM2 beside llama.cpp and torch: `python bench/runtime.py`.

Every line is a whole process that reads a prompt of 128 tokens and writes 32 more, four times over;
the processes take turns, and what is printed are medians over the rounds. It takes some minutes and
says little unless the machine is quiet. Peers and the model are those of `make oracles` and
`refquant pull smollm2-135m`; what is missing is left out, with a sentence.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

PEERS = Path(__file__).parent / "peers"
WORK = REPOSITORY / "build" / "bench"
PROMPT_TOKENS, TOKENS, REPEATS = 128, 32, 4
PROMPT = "The capital of France is a city that lies on the banks of the river of"  # 16 tokens
SCHEMES = {"Q4_0": "MOSTLY_Q4_0", "Q8_0": "MOSTLY_Q8_0", "Q4_K_M": "MOSTLY_Q4_K_M"}

Facts = dict[str, float]


@dataclass(frozen=True)
class Target:
    """One promise: a number of ours, what it is compared with, and how it should come out."""

    what: str
    ours: tuple[str, str]
    theirs: tuple[str, str] | None
    limit: float
    at_most: bool = False


TARGETS = (
    Target("writing / llama.cpp", ("u8", "decode"), ("llama.cpp Q4_1", "decode"), 0.37),
    Target("writing / torch", ("u8", "decode"), ("torch float32", "decode"), 2.0),
    Target("writing, packed / llama.cpp", ("packed", "decode"), ("llama.cpp Q4_1", "decode"), 0.28),
    Target("reading / llama.cpp", ("u8", "prefill"), ("llama.cpp Q4_1", "prefill"), 1.6),
    Target("reading / torch", ("u8", "prefill"), ("torch float32", "prefill"), 0.95),
    Target("start to first token, s", ("first token", "seconds"), None, 1.0, at_most=True),
    Target("memory / weights, u8", ("u8", "memory"), None, 1.3, at_most=True),
    Target("memory / weights, packed", ("packed", "memory"), None, 1.3, at_most=True),
    Target("memory / weights, float32", ("float32", "memory"), None, 1.3, at_most=True),
    *(
        Target(f"writing / llama.cpp {name}", ("u8", "decode"), (f"llama.cpp {name}", "decode"), 0)
        for name in SCHEMES
    ),
)


def model_path() -> Path | None:
    """SmolLM2's Q4_1 file, if it is here."""
    from refquant.errors import RefquantError
    from refquant.library import locate

    named = os.environ.get("REFQUANT_SMOLLM2")
    if named:
        return Path(named)
    try:
        return Path(locate("smollm2-135m"))
    except RefquantError:
        return None


def peer(name: str) -> str | None:
    """The interpreter of an environment that `make oracles` has made, if it is here."""
    root = Path(os.environ.get("REFQUANT_ORACLES", REPOSITORY / ".oracles"))
    python = root / name / "bin" / "python"
    return str(python) if python.exists() else None


def run(*command: str | Path) -> str:
    """What a process prints, started as a user would: no limit on the threads of BLAS."""
    inherited = {name: value for name, value in os.environ.items() if "OPENBLAS" not in name}
    inherited["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run(
        [*map(str, command)], check=True, capture_output=True, text=True, env=inherited
    )
    return done.stdout


def ours(path: Path, weights: str, workers: int | None = None) -> Callable[[], Facts]:
    """One process of `refquant bench`."""
    effort = ("--prompt-tokens", PROMPT_TOKENS, "--tokens", TOKENS, "--repeats", REPEATS)
    chosen = () if workers is None else ("--workers", workers)
    command = (sys.executable, "-m", "refquant", "bench", path, "--weights", weights, *chosen)

    def measured() -> Facts:
        found = json.loads(run(*map(str, (*command, *effort, "--json"))))
        return {
            "prefill": found["prompt_tokens_per_second"],
            "decode": found["tokens_per_second"],
            "memory": found["memory_of_weights"] or float("nan"),
            "megabytes": (found["memory_bytes"] or float("nan")) / 1e6,
        }

    return measured


def theirs(python: str, script: str, path: Path, threads: int) -> Callable[[], Facts]:
    """One process of a peer."""
    numbers = (threads, PROMPT_TOKENS, TOKENS, REPEATS)
    command = (python, PEERS / script, path, *map(str, numbers))
    return lambda: json.loads(run(*command))


def first_token(path: Path) -> Facts:
    """Seconds from the start of `refquant run` to its first character."""
    command = [sys.executable, "-m", "refquant", "run", str(path), "-p", PROMPT, "-n", "1"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        if process.stdout is None or not process.stdout.read(1):
            raise SystemExit("refquant run wrote nothing")
        seconds = time.perf_counter() - began
        process.stdout.read()
    return {"seconds": seconds}


def prepared_rq(gguf: Path) -> Path:
    """The same weights in `.rq`."""
    path = WORK / "smollm2.rq"
    if not path.exists():
        run(sys.executable, "-m", "refquant", "quantize", gguf, "-o", path, "--scheme", "keep")
    return path


def prepared_npz(gguf: Path) -> Path:
    """The weights in float32, for torch."""
    import numpy as np

    from refquant.formats import open_checkpoint

    path = WORK / "float32.npz"
    if not path.exists():
        checkpoint = open_checkpoint(gguf)
        arrays = {name: tensor.dequantize() for name, tensor in checkpoint.tensors.items()}
        fields = json.dumps(dict(checkpoint.architecture.fields))
        np.savez(path, fields=np.array(fields), **arrays)
    return path


def candidates() -> Iterator[tuple[str, Callable[[], Facts]]]:
    """What takes turns; a sentence to stderr for what is not here."""
    gguf = model_path()
    if gguf is None:
        print("SmolLM2 is not here: `refquant pull smollm2-135m`", file=sys.stderr)
        return
    WORK.mkdir(parents=True, exist_ok=True)
    path, threads = prepared_rq(gguf), len(os.sched_getaffinity(0))
    yield "u8", ours(path, "u8")
    llama, torch = peer("llama"), peer("torch")
    if llama is None:
        print("llama.cpp is not here: `make oracles`", file=sys.stderr)
    else:
        yield "llama.cpp Q4_1", theirs(llama, "llama_cpp_rates.py", gguf, threads)
    yield "packed", ours(path, "packed")
    if torch is None:
        print("torch is not here: `make oracles`", file=sys.stderr)
    else:
        yield "torch float32", theirs(torch, "torch_rates.py", prepared_npz(gguf), threads)
    yield "first token", lambda: first_token(path)
    yield "float32", ours(path, "float32")
    yield "u8, one process", ours(path, "u8", 1)
    if llama is not None:
        yield "llama.cpp Q4_1, one thread", theirs(llama, "llama_cpp_rates.py", gguf, 1)
        for name, kind in SCHEMES.items():
            other = WORK / f"smollm2-{name}.gguf"
            if not other.exists():
                run(llama, PEERS / "llama_cpp_requantize.py", gguf, other, kind)
            yield f"llama.cpp {name}", theirs(llama, "llama_cpp_rates.py", other, threads)


def measured(rounds: int) -> dict[str, Facts]:
    """Medians over the rounds, in which everybody takes a turn."""
    turns = list(candidates())
    found: dict[str, list[Facts]] = {name: [] for name, _ in turns}
    for number in range(rounds):
        for name, once in turns:
            print(f"round {number + 1} of {rounds}: {name:30}", end="\r", file=sys.stderr)
            found[name].append(once())
    return {
        name: {what: statistics.median(one[what] for one in facts) for what in facts[0]}
        for name, facts in found.items()
    }


def judged(found: dict[str, Facts]) -> Iterator[tuple[str, float, str]]:
    """Each promise, the number, and what became of it; promises without a number are left out."""
    for target in TARGETS:
        needed = [target.ours, *([target.theirs] if target.theirs else [])]
        if any(name not in found for name, _ in needed):
            continue
        value = found[target.ours[0]][target.ours[1]]
        if target.theirs is not None:
            value /= found[target.theirs[0]][target.theirs[1]]
        sign = "at most" if target.at_most else "at least"
        kept = value <= target.limit if target.at_most else value >= target.limit
        verdict = "kept" if kept else "NOT KEPT"
        yield target.what, value, f"{sign} {target.limit}: {verdict}" if target.limit else "told"


def main() -> None:
    """Measure, and print two tables or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found = measured(options.rounds)
    if not found:
        return
    if options.json:
        machine = {"machine": platform.machine(), "processors": os.cpu_count(), "load": load}
        print(json.dumps({"schema": "refquant.runtime/1", **machine, "measured": found}, indent=1))
        return
    print(f"{'process':<28} {'prefill/s':>10} {'decode/s':>9} {'MB':>6}   (load {load:.1f})")
    for name, facts in found.items():
        rates = (
            f"{facts.get('prefill', float('nan')):>10.1f} {facts.get('decode', float('nan')):>9.2f}"
        )
        print(f"{name:<28} {rates} {facts.get('megabytes', float('nan')):>6.0f}")
    print()
    for what, value, verdict in judged(found):
        print(f"{what:<30} {value:>7.3f}   {verdict}")


if __name__ == "__main__":
    main()
